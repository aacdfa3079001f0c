"""Golden signals as they cross the daemon's API. As `wire`, whose rules hold here, too."""

import msgspec

from atoll.model.signals import Counts, EdgeKey


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that took longer than the bucket before, and up to `le_s` seconds. Empty buckets are left out."""

    le_s: float
    requests: int


class SignalRow(msgspec.Struct, frozen=True, kw_only=True):
    """A service, a release, or an edge over some time. What is None was not measured; it is not zero."""

    service: str
    release: int | None = None  # None: all of them; 0: outside the workspace
    caller: str | None = None  # None: all of them; "": the gateway
    caller_release: int | None = None
    seconds: int = 0  # seen of those asked for
    requests: int = 0
    failures: int = 0
    timeouts: int = 0
    resets: int = 0
    overflows: int = 0
    retries: int = 0
    retries_won: int = 0
    ejections: int = 0
    rps: float | None = None
    failure_pct: float | None = None
    retries_per_s: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    inflight: int = 0  # now
    inflight_avg: float | None = None
    ejected: int = 0  # replicas taken out now
    latency: tuple[Bucket, ...] = ()  # by bound


class ReplicaRow(msgspec.Struct, frozen=True, kw_only=True):
    """One replica: what it got over the same time, every try counted, and what it uses now."""

    service: str
    release: int
    replica: str
    requests: int = 0
    failures: int = 0
    rps: float | None = None
    inflight_avg: float | None = None
    memory_bytes: int | None = None
    cpu_s: float | None = None  # so far


class SignalsView(msgspec.Struct, frozen=True, kw_only=True):
    """Golden signals of now."""

    wall: float
    boot_s: float  # the same instant by CLOCK_BOOTTIME
    seconds: int  # asked for
    services: tuple[SignalRow, ...] = ()
    releases: tuple[SignalRow, ...] = ()
    edges: tuple[SignalRow, ...] = ()
    replicas: tuple[ReplicaRow, ...] = ()


class SeriesPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a series; with `seconds` 0 nobody looked."""

    wall: float  # its beginning
    seconds: int = 0
    requests: int = 0
    failures: int = 0
    retries: int = 0
    rps: float | None = None
    failure_pct: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    inflight_avg: float | None = None


class SeriesView(msgspec.Struct, frozen=True, kw_only=True):
    """Golden signals over time, the oldest first."""

    service: str
    release: int | None = None
    caller: str | None = None
    step_s: int
    points: tuple[SeriesPoint, ...] = ()


class TotalRow(msgspec.Struct, frozen=True, kw_only=True):
    """An edge since the daemon started."""

    edge: EdgeKey
    counts: Counts
    inflight: int = 0
    ejected: int = 0


class TotalsView(msgspec.Struct, frozen=True, kw_only=True):
    """What a collector such as Prometheus needs."""

    workspace: str
    environment: str
    age_s: float | None = None  # since the proxy answered last; None when it never did
    edges: tuple[TotalRow, ...] = ()
    replicas: tuple[ReplicaRow, ...] = ()
