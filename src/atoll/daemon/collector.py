"""Reads the proxy each second, for the signals, and counts what went to each service, for receipts.

Nothing here decides anything, and nothing is kept here but totals: windows are `ports.Signals`.
"""

import asyncio
from collections import defaultdict
from typing import NamedTuple

from atoll.ports import Clock, Signals, Traffic

WINDOW_S = 60.0
_EVERY_S = 1.0


class Rates(NamedTuple):
    """The last minute of one service. None where there was nothing to measure."""

    rps: float | None
    error_pct: float | None
    p95_ms: float | None


class Collector:
    """The one reader of the proxy's counters."""

    def __init__(self, traffic: Traffic, signals: Signals, clock: Clock) -> None:
        self.signals = signals  # what was read, for who judges by it
        self._traffic, self._clock = traffic, clock
        self._totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        self._lock = asyncio.Lock()
        self.seen_s = -1.0  # CLOCK_BOOTTIME of the last reading; negative before the first

    async def run(self) -> None:
        """Collect for ever, on the second: a reading is then one second's."""
        while True:
            await self.collect()
            past = self._clock.now().boot_s % _EVERY_S
            await self._clock.sleep(_EVERY_S - past if past < _EVERY_S / 2 else 2 * _EVERY_S - past)

    async def collect(self) -> None:
        """Take what the proxy counted since the last time. Also called just before a receipt is written."""
        async with self._lock:
            reading = await self._traffic.read()
            if reading is None:
                return
            self.signals.record(reading)
            self.seen_s = self._clock.now().boot_s
            for key, sample in reading.edges.items():
                totals = self._totals[key.callee]
                totals[0] += sample.counts.requests
                totals[1] += sample.counts.failures

    def totals(self, service: str) -> tuple[int, int]:
        """(requests, failures) to this service since the daemon started counting."""
        requests, failures = self._totals[service]
        return requests, failures

    def rates(self, service: str) -> Rates:
        """Rates over what was seen of the last minute."""
        now_s = self._clock.now().boot_s
        window = self.signals.window(service, None, now_s - WINDOW_S, now_s)
        share, p95_s = window.failure_share, window.counts.latency.quantile(0.95)
        return Rates(window.rps, None if share is None else 100 * share, None if p95_s is None else 1000 * p95_s)
