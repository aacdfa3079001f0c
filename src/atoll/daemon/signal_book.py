"""Golden signals as people and dashboards get them: rows, series, totals. Changes nothing.

Part of `Environment`. What was counted is `ports.Signals`; this only chooses and shapes.
"""

from collections.abc import Iterable, Sequence

from atoll.daemon.collector import Collector
from atoll.daemon.loops import Loops
from atoll.model.errors import NotFound, UserError
from atoll.model.signals import Counts, EdgeKey, Histogram, Point, Window, merged
from atoll.model.wire_signals import (
    Bucket,
    ReplicaRow,
    SeriesPoint,
    SeriesView,
    SignalRow,
    SignalsView,
    TotalRow,
    TotalsView,
)
from atoll.ports import Clock, Signals
from atoll.realise.engine import HostEngine

HOUR_S = 3600
MONTH_S = 30 * 24 * HOUR_S
MOST_POINTS = 1440
_COUNTED = tuple(name for name in Counts.__struct_fields__ if name != "latency")


class SignalBook:
    """What the API says of signals."""

    def __init__(
        self,
        place: tuple[str, str],
        loops: Loops,
        engine: HostEngine,
        signals: Signals,
        collector: Collector,
        clock: Clock,
    ) -> None:
        self._place, self._loops, self._engine = place, loops, engine
        self._signals, self._collector, self._clock = signals, collector, clock

    async def signals(
        self, service: str | None = None, release: int | None = None, caller: str | None = None, seconds: int = 10
    ) -> SignalsView:
        """The last `seconds` (1 to 3600) of what is named, or of everything."""
        _within(seconds, 1, HOUR_S, "seconds")
        keys = self._matching(service, release, caller)
        now = self._clock.now()
        first_s, last_s = now.boot_s - seconds, now.boot_s

        def row(key: EdgeKey) -> SignalRow:
            window = self._signals.edge(key, first_s, last_s)
            return self._row(window, [key], key.callee, key.callee_release, key.caller, key.caller_release)

        releases = sorted({(key.callee, key.callee_release) for key in keys})
        services = sorted({key.callee for key in keys})
        windows = {
            (name, n): self._signals.window(name, n, first_s, last_s, caller=caller)
            for name, n in [*releases, *((name, None) for name in services)]
        }

        def summed(name: str, n: int | None) -> SignalRow:
            mine = [key for key in keys if key.callee == name and n in {None, key.callee_release}]
            return self._row(windows[name, n], mine, name, n, caller, None)

        return SignalsView(
            wall=now.wall,
            boot_s=now.boot_s,
            seconds=seconds,
            services=tuple(summed(name, None) for name in services) if release is None else (),
            releases=tuple(summed(name, n) for name, n in releases),
            edges=tuple(row(key) for key in keys),
            replicas=await self._replicas({(name, n): windows[name, n] for name, n in releases}),
        )

    async def series(
        self, service: str, release: int | None = None, caller: str | None = None, seconds: int = HOUR_S, step: int = 60
    ) -> SeriesView:
        """The last `seconds` in steps of `step` seconds; what is older than an hour in whole minutes."""
        _within(seconds, 1, MONTH_S, "seconds")
        _within(step, 1, MONTH_S, "step")
        if seconds > HOUR_S and step % 60:
            raise UserError(
                f"step={step} is too fine",
                "beyond an hour whole minutes are kept",
                "ask for step=60 or more",
                id="bad-request",
            )
        if seconds / step > MOST_POINTS:
            text = f"{seconds} s in steps of {step} s are more than {MOST_POINTS} points"
            raise UserError(
                text, "an answer has its limits", f"ask for step={-(-seconds // MOST_POINTS)} or more", id="bad-request"
            )
        self._loops.known(service)
        now = self._clock.now()
        if seconds > HOUR_S:
            past = await self._signals.past(service, release, now.wall - seconds, now.wall, caller=caller)
            points = _steps(past, now.wall - seconds, step)
        else:
            last = int(now.boot_s) // step * step  # the step that goes on is left out: it would always look low
            starts = range(max(0, last - seconds // step * step), last, step)
            points = [
                _point(
                    now.wall - now.boot_s + at,
                    self._signals.window(service, release, at, at + step, caller=caller),
                )
                for at in starts
            ]
        return SeriesView(service=service, release=release, caller=caller, step_s=step, points=tuple(points))

    async def totals(self) -> TotalsView:
        """Since the daemon started."""
        now = self._clock.now()
        rows = [
            TotalRow(edge=key, counts=counts, inflight=sample.inflight, ejected=sample.ejected)
            for key, counts in self._signals.totals().items()
            for sample in [self._signals.now(key)]
        ]
        pairs = sorted({(row.edge.callee, row.edge.callee_release) for row in rows})
        windows = {pair: self._signals.window(*pair, now.boot_s - 60, now.boot_s) for pair in pairs}
        workspace, environment = self._place
        seen_s = self._collector.seen_s
        return TotalsView(
            workspace=workspace,
            environment=environment,
            age_s=None if seen_s < 0 else round(now.boot_s - seen_s, 3),
            edges=tuple(rows),
            replicas=await self._replicas(windows),
        )

    def _matching(self, service: str | None, release: int | None, caller: str | None) -> list[EdgeKey]:
        keys = self._signals.edges()
        if service is not None and not any(key.callee == service for key in keys):
            self._loops.known(service)
        for name in (caller,) if caller else ():
            if not any(key.caller == name for key in keys):
                self._loops.known(name)
        if (
            service is not None
            and release is not None
            and not any((key.callee, key.callee_release) == (service, release) for key in keys)
        ):
            raise NotFound(
                f"nothing was measured of {service} r{release} within the hour",
                "the proxy does not know it",
                f"see `atoll releases {service}`",
                id="unknown-release",
            )
        return [
            key
            for key in keys
            if service in {None, key.callee} and release in {None, key.callee_release} and caller in {None, key.caller}
        ]

    def _row(
        self,
        window: Window,
        keys: Iterable[EdgeKey],
        service: str,
        release: int | None,
        caller: str | None,
        caller_release: int | None,
    ) -> SignalRow:
        counts, seconds = window.counts, window.seconds
        samples = [self._signals.now(key) for key in keys]
        return SignalRow(
            service=service,
            release=release,
            caller=caller,
            caller_release=caller_release,
            seconds=seconds,
            **{name: getattr(counts, name) for name in _COUNTED},
            rps=_rounded(window.rps),
            failure_pct=_pct(window.failure_share),
            retries_per_s=_rounded(counts.retries / seconds) if seconds else None,
            p50_ms=_ms(counts.latency, 0.5),
            p95_ms=_ms(counts.latency, 0.95),
            p99_ms=_ms(counts.latency, 0.99),
            inflight=sum(sample.inflight for sample in samples),
            inflight_avg=_rounded(window.inflight),
            ejected=sum(sample.ejected for sample in samples),
            latency=tuple(Bucket(le_s=bound, requests=n) for bound, n in counts.latency.pairs),
        )

    async def _replicas(self, windows: dict[tuple[str, int], Window]) -> tuple[ReplicaRow, ...]:
        """Those that run, and those that ended within the window."""
        usage = await self._engine.usage()
        rows: dict[tuple[str, int, str], ReplicaRow] = {}
        for (service, release), window in windows.items():
            live = {one.record.id for one in self._engine.observe(service).replicas if one.record.release == release}
            for replica in sorted(live | window.replicas.keys()):
                counts = window.replicas.get(replica)
                memory_bytes, cpu_s = usage.get(replica, (None, None))
                rows[service, release, replica] = ReplicaRow(
                    service=service,
                    release=release,
                    replica=replica,
                    requests=counts.requests if counts else 0,
                    failures=counts.failures if counts else 0,
                    rps=_rounded(counts.rps) if counts else None,
                    inflight_avg=_rounded(counts.inflight) if counts else None,
                    memory_bytes=memory_bytes,
                    cpu_s=cpu_s,
                )
        return tuple(row for _, row in sorted(rows.items(), key=lambda item: item[0]))


def _within(value: int, low: int, high: int, name: str) -> None:
    if not low <= value <= high:
        raise UserError(
            f"{name}={value} is out of range", f"it must be from {low} to {high}", "ask for less", id="bad-request"
        )


def _steps(points: Sequence[Point], from_wall: float, step: int) -> list[SeriesPoint]:
    """Minutes put together; a step without one is a gap and is left out."""
    groups: dict[int, list[Point]] = {}
    for point in points:
        groups.setdefault(int(point.wall - from_wall) // step, []).append(point)
    found = []
    for number, many in sorted(groups.items()):
        sums = {name: sum(getattr(one.counts, name) for one in many) for name in _COUNTED}
        window = Window(
            seconds=sum(one.seconds for one in many),
            counts=Counts(**sums, latency=merged(one.counts.latency for one in many)),
            inflight_s=sum(one.inflight_s for one in many),
        )
        found.append(_point(from_wall + number * step, window))
    return found


def _point(wall: float, window: Window) -> SeriesPoint:
    counts = window.counts
    return SeriesPoint(
        wall=round(wall, 3),
        seconds=window.seconds,
        requests=counts.requests,
        failures=counts.failures,
        retries=counts.retries,
        rps=_rounded(window.rps),
        failure_pct=_pct(window.failure_share),
        p50_ms=_ms(counts.latency, 0.5),
        p95_ms=_ms(counts.latency, 0.95),
        p99_ms=_ms(counts.latency, 0.99),
        inflight_avg=_rounded(window.inflight),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _pct(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 3)


def _ms(latency: Histogram, share: float) -> float | None:
    found = latency.quantile(share)
    return None if found is None else round(1000 * found, 2)
