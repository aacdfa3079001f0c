"""What went through: differences of Envoy's counters, edge by edge, and requests in flight. `EnvoyProxy` alone calls it.

Never a negative number, and no spike: an Envoy that was started anew, or a cluster that was made anew, counts from 0;
the first reading of a daemon only remembers. Counters are live; latencies are merged each second
(`stats_flush_interval`), so that they may come a reading late.
"""

import re
import time
from collections.abc import Iterable, Mapping, Sequence

from atoll.model.failures import GRPC_CODES, PROXY_STATUSES
from atoll.model.signals import Counts, EdgeKey, Histogram, ReplicaCounts, ReplicaKey
from atoll.model.state import Address
from atoll.model.traffic import Reading, Sample
from atoll.proxy.admin import Admin
from atoll.proxy.names import ClusterKey, Measured, stat_name
from atoll.proxy.scrape import Buckets, HostCounters, Scrape, buckets, grown, latency_since, parse, parse_hosts

REPLICAS_EVERY_S = 5.0  # /clusters is ten times the bytes of /stats
_CLUSTER_GAUGES = frozenset({"upstream_rq_active", "outlier_detection.ejections_active"})
_HOST_GAUGES = frozenset({"rq_active", "cx_active"})
_DEADLINE_EXCEEDED = GRPC_CODES.index("DEADLINE_EXCEEDED")
_STATUS = re.compile(r"upstream_rq_\d{3}")
_CODE = re.compile(r"grpc\.\d+")
_ZERO = Sample()
Latency = Mapping[str, tuple[str, Buckets]]  # cluster -> as Envoy wrote it, and taken apart
_UNREAD: tuple[str, Buckets] = ("", {})


class Statistics:
    """Remembers the last reading, so that each call gives what came since."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._last: Scrape | None = None
        self._last_at_s = 0.0
        self._last_pid = 0
        self._latency: Latency = {}
        self._tcp: HostCounters = {}
        self._hosts: HostCounters = {}
        self._hosts_at_s = 0.0

    async def read(self, clusters: Mapping[str, Measured], replicas: Mapping[Address, ReplicaKey]) -> Reading | None:
        """What came since the last call; None without Envoy, and the first time, which only remembers."""
        at_s = time.monotonic()
        body = await self._admin.get("/stats", usedonly="", histogram_buckets="detailed")
        pid = self._admin.pid
        if body is None:
            return None
        now = parse(body)
        before, was_at_s = self._last, self._last_at_s
        if before is not None and (pid != self._last_pid or now.uptime_s < before.uptime_s):  # another Envoy: from 0
            before, was_at_s = Scrape({}, {}, {}, 0), max(was_at_s, at_s - now.uptime_s)
            self._latency, self._tcp, self._hosts = {}, {}, {}
            self._hosts_at_s = max(self._hosts_at_s, was_at_s) if self._hosts_at_s else 0.0
        tcp = {name: one for name, one in clusters.items() if one.key.callee_release is None}
        tcp_hosts = await self._clusters(one.key for one in tcp.values())
        hosts = await self._clusters() if at_s - self._hosts_at_s >= REPLICAS_EVERY_S - 0.5 else None
        latency = {
            name: old if (old := self._latency.get(name)) and old[0] == text else (text, buckets(text))
            for name, text in now.latency.items()
        }
        edges = {} if before is None else self._edges(before, now, clusters, latency)
        self._last, self._last_at_s, self._last_pid, self._latency = now, at_s, pid, latency
        if tcp_hosts is not None:
            if before is not None:
                edges |= _tcp_edges(self._tcp, tcp_hosts, tcp, replicas)
            self._tcp = tcp_hosts
        counted: Mapping[ReplicaKey, ReplicaCounts] = {}
        if hosts is not None:
            if before is not None and self._hosts_at_s:
                counted = _replicas(self._hosts, hosts, clusters, replicas, at_s - self._hosts_at_s)
            self._hosts, self._hosts_at_s = hosts, at_s
        return None if before is None else Reading(seconds=at_s - was_at_s, edges=edges, replicas=counted)

    async def inflight(self, addresses: Sequence[Address], keys: Iterable[ClusterKey]) -> dict[Address, int] | None:
        """Requests in flight (connections of TCP) at each address, over the clusters of these keys; None without Envoy."""
        hosts = await self._clusters(keys)
        if hosts is None:
            return None
        counts = dict.fromkeys(addresses, 0)
        for (cluster, address), values in hosts.items():
            if address in counts:
                counts[address] += values.get("cx_active" if "@tcp~" in cluster else "rq_active", 0)
        return counts

    async def _clusters(self, keys: Iterable[ClusterKey] | None = None) -> HostCounters | None:
        """The hosts of the clusters of these keys; of all without."""
        if keys is None:
            body = await self._admin.get("/clusters")
        else:
            targets = sorted({re.escape(key.endpoints) for key in keys})
            if not targets:
                return {}
            body = await self._admin.get("/clusters", filter=rf"->({'|'.join(targets)})~[^~]*$")
        return None if body is None else parse_hosts(body)

    def _edges(
        self, before: Scrape, now: Scrape, clusters: Mapping[str, Measured], latency: Latency
    ) -> dict[EdgeKey, Sample]:
        cut_off = {name: max(0, count - before.cut_off.get(name, 0)) for name, count in now.cut_off.items()}
        found: dict[EdgeKey, Sample] = {}
        for name, one in clusters.items():
            if one.key.callee_release is None:
                continue
            stem = stat_name(name)
            values = now.clusters.get(stem)
            if values is None:
                found.setdefault(one.edge, _ZERO)
                continue
            since = grown(before.clusters.get(stem, {}), values, _CLUSTER_GAUGES)
            # An answer cut off in the middle counts for the listener only: it belongs to a release that lost a connection.
            resets = since.get("upstream_rq_rx_reset", 0) + since.get("upstream_cx_destroy_remote_with_active_rq", 0)
            listener = stat_name(one.key.listener)
            cut = min(cut_off.get(listener, 0), resets)
            if cut:
                cut_off[listener] -= cut
            old, new = self._latency.get(stem, _UNREAD), latency.get(stem, _UNREAD)
            took = Histogram() if new is old else latency_since(old[1], new[1])
            counts = _counts(since, one, resets, cut, took)
            sample = Sample(
                counts=counts,
                inflight=values.get("upstream_rq_active", 0),
                ejected=values.get("outlier_detection.ejections_active", 0),
            )
            found[one.edge] = _together(found[one.edge], sample) if one.edge in found else sample
        return found


def _together(one: Sample, other: Sample) -> Sample:
    """Several clusters of one edge: its ports, or routes whose policies differ."""
    return Sample(
        counts=one.counts + other.counts,
        inflight=one.inflight + other.inflight,
        ejected=one.ejected + other.ejected,
    )


def _counts(since: Mapping[str, int], one: Measured, resets: int, cut: int, latency: Histogram) -> Counts:
    if not (latency.counts or any(since.values())):
        return _ZERO.counts
    statuses = {int(name[-3:]): n for name, n in since.items() if n and _STATUS.fullmatch(name)}
    timeouts = since.get("upstream_rq_timeout", 0)
    if one.protocol == "grpc":
        # By what a call ended with, since its status is 200 from the beginning; an answer without a code is a status.
        codes = {int(name[5:]): n for name, n in since.items() if n and _CODE.fullmatch(name)}
        proxy = sum(n for status, n in statuses.items() if status in PROXY_STATUSES)
        requests = max(since.get("grpc.total", 0), proxy) + cut
        failures = max(sum(n for code, n in codes.items() if one.failures.code_fails(code)), proxy) + cut
        timeouts += codes.get(_DEADLINE_EXCEEDED, 0)
    else:
        requests = sum(statuses.values())
        failures = sum(n for status, n in statuses.items() if one.failures.status_fails(status)) + cut
    return Counts(
        requests=requests,
        failures=failures,
        timeouts=timeouts,
        resets=resets,
        overflows=since.get("upstream_rq_pending_overflow", 0) + since.get("upstream_rq_active_overflow", 0),
        retries=since.get("upstream_rq_retry", 0),
        retries_won=since.get("upstream_rq_retry_success", 0),
        ejections=since.get("outlier_detection.ejections_enforced_total", 0),
        latency=latency,
    )


def _tcp_edges(
    before: HostCounters, now: HostCounters, tcp: Mapping[str, Measured], replicas: Mapping[Address, ReplicaKey]
) -> dict[EdgeKey, Sample]:
    """Connections instead of requests; by host, since a TCP cluster has the replicas of all releases."""
    found: dict[EdgeKey, Sample] = {}
    for (name, address), values in now.items():
        if name not in tcp or address not in replicas:
            continue
        since = grown(before.get((name, address), {}), values, _HOST_GAUGES)
        failed = since.get("cx_connect_fail", 0)
        counts = Counts(requests=since.get("cx_total", 0), failures=failed)
        sample = Sample(counts=counts, inflight=values.get("cx_active", 0))
        edge = tcp[name].edge_to(replicas[address].release)
        found[edge] = _together(found[edge], sample) if edge in found else sample
    return found


def _replicas(
    before: HostCounters,
    now: HostCounters,
    clusters: Mapping[str, Measured],
    replicas: Mapping[Address, ReplicaKey],
    seconds: float,
) -> dict[ReplicaKey, ReplicaCounts]:
    sums: dict[ReplicaKey, list[int]] = {}  # over all callers: requests, failures, in flight
    for (name, address), values in now.items():
        replica, one = replicas.get(address), clusters.get(name)
        if replica is None or one is None:
            continue
        since = grown(before.get((name, address), {}), values, _HOST_GAUGES)
        row = sums.setdefault(replica, [0, 0, 0])
        tcp = one.protocol == "tcp"
        row[0] += since.get("cx_total" if tcp else "rq_total", 0)
        row[1] += since.get("cx_connect_fail" if tcp else "rq_error", 0)
        row[2] += values.get("cx_active" if tcp else "rq_active", 0)
    return {
        replica: ReplicaCounts(seconds=seconds, requests=requests, failures=failures, inflight_s=inflight * seconds)
        for replica, (requests, failures, inflight) in sums.items()
    }
