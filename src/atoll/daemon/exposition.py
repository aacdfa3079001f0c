"""Totals in Prometheus' text format, for `/metrics`. Names and units as its documentation asks for. Pure.

Bounded: a row an edge, with eleven buckets and a dozen counters, and a row a replica. An edge that the proxy forgot is
gone after an hour. Histograms have the bounds that Prometheus' own clients use by default, all of which are bounds of
ours, too: those counts are exact. The sum of durations is not counted by the proxy; it is that of the buckets' middles.
"""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from atoll.model.signals import EdgeKey, Histogram, bounds
from atoll.model.wire_signals import (
    ReplicaRow,
    TotalRow,
    TotalsView,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_EDGE = ("service", "release", "caller", "caller_release")
_REPLICA = ("service", "release", "replica")
_COUNTERS = (
    ("requests", "atoll_requests", "Requests that got an answer, the proxy's own included."),
    ("failures", "atoll_request_failures", "Requests that failed by the service's own definition."),
    ("timeouts", "atoll_request_timeouts", "Requests that the proxy gave up."),
    ("resets", "atoll_connection_resets", "Connections that broke under a request."),
    ("overflows", "atoll_request_overflows", "Requests refused by a breaker."),
    ("retries", "atoll_request_retries", "Tries after the first."),
    ("retries_won", "atoll_request_retries_succeeded", "Requests that a retry saved."),
    ("ejections", "atoll_replica_ejections", "Replicas taken out of an edge."),
)


def text(view: TotalsView) -> bytes:
    """The page."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(lambda: _families(view)))
    return generate_latest(registry)


class _Once(Collector):
    """A registry's only content."""

    def __init__(self, families: Callable[[], Iterator[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return self._families()


def _families(view: TotalsView) -> Iterator[Metric]:
    where = {"workspace": view.workspace, "environment": view.environment}
    info = GaugeMetricFamily("atoll_environment_info", "The environment that this is.", labels=tuple(where))
    info.add_metric(tuple(where.values()), 1)
    yield info
    if view.age_s is not None:
        yield GaugeMetricFamily("atoll_proxy_reading_age_seconds", "Since the proxy was read last.", value=view.age_s)
    for field, name, doc in _COUNTERS:
        counter = CounterMetricFamily(name, doc, labels=_EDGE)
        for row in view.edges:
            counter.add_metric(_edge(row.edge), getattr(row.counts, field))
        yield counter
    yield _gauge("atoll_requests_in_flight", "Requests in flight now.", view.edges, lambda row: row.inflight)
    yield _gauge("atoll_replicas_ejected", "Replicas taken out now.", view.edges, lambda row: row.ejected)
    duration = HistogramMetricFamily(
        "atoll_request_duration_seconds",
        "From the request's last byte to the answer's last byte, of what the service answered.",
        labels=_EDGE,
    )
    for row in view.edges:
        buckets, total_s = cumulative(row.counts.latency)
        duration.add_metric(_edge(row.edge), buckets, total_s)
    yield duration
    memory = GaugeMetricFamily("atoll_replica_memory_bytes", "Resident memory of its process tree.", labels=_REPLICA)
    cpu = CounterMetricFamily("atoll_replica_cpu_seconds", "CPU time of its process tree.", labels=_REPLICA)
    for replica in view.replicas:
        if replica.memory_bytes is not None and replica.cpu_s is not None:
            memory.add_metric(_replica(replica), replica.memory_bytes)
            cpu.add_metric(_replica(replica), replica.cpu_s)
    yield memory
    yield cpu


def _gauge(name: str, doc: str, rows: Sequence[TotalRow], value: Callable[[TotalRow], int]) -> Metric:
    gauge = GaugeMetricFamily(name, doc, labels=_EDGE)
    for row in rows:
        gauge.add_metric(_edge(row.edge), value(row))
    return gauge


def _edge(key: EdgeKey) -> tuple[str, str, str, str]:
    caller_release = f"r{key.caller_release}" if key.caller else ""
    return key.callee, f"r{key.callee_release}" if key.callee_release else "", key.caller or "gateway", caller_release


def _replica(row: ReplicaRow) -> tuple[str, str, str]:
    return row.service, f"r{row.release}", row.replica


def cumulative(latency: Histogram) -> tuple[list[tuple[str, float]], float]:
    """Prometheus' buckets ("le", requests up to it), and the sum of all durations in seconds."""
    counts, total_s, at = [0] * (len(BOUNDS_S) + 1), 0.0, 0
    for bucket, count in latency.counts:
        low, high = bounds(bucket)
        while at < len(BOUNDS_S) and high > BOUNDS_S[at]:
            at += 1
        counts[at] += count
        total_s += count * (low + high) / 2
    running, found = 0, []
    for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), counts, strict=True):
        running += count
        found.append((bound, float(running)))
    return found, total_s
