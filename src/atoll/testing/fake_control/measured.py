"""Golden signals of pretend. Part of `FakeControl`."""

import time

from atoll.model.signals import Counts, EdgeKey, Histogram
from atoll.model.wire_signals import (
    ReplicaRow,
    SeriesPoint,
    SeriesView,
    SignalRow,
    SignalsView,
    TotalRow,
    TotalsView,
)
from atoll.testing.fake_control.world import WALL, World


class Measured:
    """The same at any time."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def signals(
        self, service: str | None = None, release: int | None = None, caller: str | None = None, seconds: int = 10
    ) -> SignalsView:
        """Ten requests a second through the gateway to each service, one in a hundred failed."""
        names = sorted(self._world.services) if service is None else [self._world.find(service).name]

        def row(name: str, n: int | None, who: str | None) -> SignalRow:
            return SignalRow(
                service=name,
                release=n,
                caller=who,
                seconds=seconds,
                requests=10 * seconds,
                failures=seconds // 10,
                rps=10.0,
                failure_pct=1.0,
                p50_ms=4.0,
                p95_ms=9.5,
                p99_ms=120.0,
                inflight=2,
            )

        return SignalsView(
            wall=time.time(),
            boot_s=time.monotonic(),
            seconds=seconds,
            services=tuple(row(name, None, caller) for name in names),
            releases=tuple(row(name, release or 1, caller) for name in names),
            edges=tuple(row(name, release or 1, caller or "") for name in names),
            replicas=tuple(
                ReplicaRow(service=name, release=1, replica=f"{name}-1", memory_bytes=2**24, cpu_s=1.5)
                for name in names
            ),
        )

    async def series(
        self, service: str, release: int | None = None, caller: str | None = None, seconds: int = 3600, step: int = 60
    ) -> SeriesView:
        self._world.find(service)
        points = tuple(
            SeriesPoint(wall=WALL + step * n, seconds=step, requests=step, rps=1.0)
            for n in range(min(3, seconds // step))
        )
        return SeriesView(service=service, release=release, caller=caller, step_s=step, points=points)

    async def totals(self) -> TotalsView:
        counts = Counts(requests=100, failures=1, latency=Histogram.of({4: 90, 100: 10}))
        edges = tuple(
            TotalRow(edge=EdgeKey("", 0, name, 1), counts=counts, inflight=2) for name in sorted(self._world.services)
        )
        return TotalsView(workspace="shop", environment="local", age_s=0.5, edges=edges)
