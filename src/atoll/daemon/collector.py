"""Counts and latencies per edge and release, each second, from the proxy: what `status` and receipts are made of.

Kept in memory for a minute. Nothing here decides anything.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from atoll.model.traffic import Sample
from atoll.ports import Clock, Traffic

WINDOW_S = 60.0
_EVERY_S = 1.0


class Rates(NamedTuple):
    """The last minute of one service. None where there was nothing to measure."""

    rps: float
    error_pct: float | None
    p95_ms: float | None


class Collector:
    """Implements `ports.Signals`."""

    def __init__(self, traffic: Traffic, clock: Clock) -> None:
        self._traffic, self._clock = traffic, clock
        self._window: dict[str, deque[tuple[float, Sample]]] = defaultdict(deque)
        self._totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        self._lock = asyncio.Lock()
        self._since_s = clock.now().boot_s

    async def run(self) -> None:
        """Collect for ever."""
        while True:
            await self.collect()
            await self._clock.sleep(_EVERY_S)

    async def collect(self) -> None:
        """Take what the proxy counted since the last time. Also called just before a receipt is written."""
        async with self._lock:
            samples = await self._traffic.samples()
            now_s = self._clock.now().boot_s
            for sample in samples:
                totals = self._totals[sample.callee]
                totals[0] += sample.requests
                totals[1] += sample.failed
                if sample.requests:
                    self._window[sample.callee].append((now_s, sample))
            for window in self._window.values():
                while window and window[0][0] < now_s - WINDOW_S:
                    window.popleft()

    def totals(self, service: str) -> tuple[int, int]:
        """(requests, failed) to this service since the daemon started counting."""
        requests, failed = self._totals[service]
        return requests, failed

    def rates(self, service: str) -> Rates:
        """Rates over the last minute, or over the daemon's own age while that is less."""
        samples = [sample for _, sample in self._window.get(service, ())]
        requests = sum(sample.requests for sample in samples)
        age_s = min(WINDOW_S, max(1.0, self._clock.now().boot_s - self._since_s))
        if not requests:
            return Rates(0.0, None, None)
        failed = sum(sample.failed for sample in samples)
        return Rates(requests / age_s, 100.0 * failed / requests, percentile_ms(samples, 0.95))


def percentile_ms(samples: Iterable[Sample], share: float) -> float | None:
    """The `share` quantile (0..1) of all samples' latencies, linear within its bucket. None without one."""
    merged: dict[tuple[float, float], int] = defaultdict(int)
    for sample in samples:
        for low, width, count in sample.latency_ms:
            merged[low, width] += count
    return _quantile(sorted((low, width, count) for (low, width), count in merged.items()), share)


def _quantile(buckets: Sequence[tuple[float, float, int]], share: float) -> float | None:
    total = sum(count for _, _, count in buckets)
    if not total:
        return None
    rank = share * total
    for low, width, count in buckets:
        if rank <= count:
            return low + width * rank / count
        rank -= count
    low, width, _ = buckets[-1]
    return low + width
