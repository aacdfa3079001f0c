"""What went through: samples from differences of Envoy's counters, and requests in flight. `EnvoyProxy` alone calls it.

Counters are live; histograms are merged each second (`stats_flush_interval`), so latencies may come a sample late.
"""

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from atoll.model.state import Address
from atoll.model.traffic import Sample
from atoll.proxy.admin import Admin
from atoll.proxy.names import ClusterKey, stat_name

# UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS: OpenTelemetry's server errors
GRPC_FAILURES = (2, 4, 12, 13, 14, 15)
_CUT_OFF = "downstream_rq_tx_reset"
_FILTER = (
    r"^cluster\.(edge_|gateway->).*\.(upstream_rq_(completed|5xx|active|retry|pending_overflow|active_overflow"
    rf"|rx_reset|time)|upstream_cx_destroy_remote_with_active_rq|grpc\.\d+)$|^http\..*\.{_CUT_OFF}$|^server\.uptime$"
)
Buckets = Mapping[tuple[float, float], int]


class Scrape(msgspec.Struct):
    """One reading: counters and gauges by name, histograms by name and bucket."""

    values: dict[str, int]
    histograms: dict[str, Buckets]
    at_s: float
    pid: int = 0  # of the Envoy that was read


class Statistics:
    """Remembers the last reading, so that each call gives what came since."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._last: Scrape | None = None
        self._last_hosts: dict[tuple[str, Address], dict[str, int]] = {}

    async def samples(self, clusters: Mapping[str, ClusterKey], releases: Mapping[Address, int]) -> list[Sample]:
        """What went through these clusters since the last call; the first one only remembers. Empty without Envoy."""
        now = await self._scrape()
        if now is None:
            return []
        before, self._last = self._last, now
        tcp = [key for key in clusters.values() if key.callee_release is None]
        hosts = await self._hosts(tcp, releases) if tcp else {}
        if before is None:
            self._last_hosts = hosts
            return []
        uptime = "server.uptime"
        if now.pid != before.pid or now.values.get(uptime, 0) < before.values.get(uptime, 0):  # another Envoy: from 0
            before = Scrape({}, {}, before.at_s)
            self._last_hosts = {}
        found = _http_samples(before, now, clusters)
        found += _tcp_samples(self._last_hosts, hosts, clusters, releases, now.at_s - before.at_s)
        self._last_hosts = hosts
        return found

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

    async def _scrape(self) -> Scrape | None:
        query = {"usedonly": "", "format": "json", "histogram_buckets": "detailed", "filter": _FILTER}
        at_s = time.monotonic()
        body = await self._admin.get("/stats", **query)
        if body is None:
            return None
        scrape = parse(body, at_s)
        scrape.pid = self._admin.pid
        return scrape

    async def _hosts(
        self, keys: Iterable[ClusterKey], releases: Mapping[Address, int]
    ) -> dict[tuple[str, Address], dict[str, int]]:
        found = await self._clusters(keys) or {}
        return {place: values for place, values in found.items() if place[1] in releases}

    async def _clusters(self, keys: Iterable[ClusterKey]) -> dict[tuple[str, Address], dict[str, int]] | None:
        targets = sorted({re.escape(key.endpoints) for key in keys})
        if not targets:
            return {}
        body = await self._admin.get("/clusters", format="json", filter=rf"->({'|'.join(targets)})~[^~]*$")
        return None if body is None else parse_hosts(body)


def parse(body: bytes, at_s: float) -> Scrape:
    """Envoy's /stats in JSON with detailed buckets."""
    scrape = Scrape({}, {}, at_s)
    for stat in json.loads(body)["stats"]:
        if "histograms" in stat:
            for detail in stat["histograms"].get("details", ()):
                buckets = {(b["lower_bound"], b["width"]): b["count"] for b in detail["totals"]}
                scrape.histograms[detail["name"]] = buckets
        elif isinstance(stat.get("value"), int):
            scrape.values[stat["name"]] = stat["value"]
    return scrape


def parse_hosts(body: bytes) -> dict[tuple[str, Address], dict[str, int]]:
    """Envoy's /clusters in JSON: the counters of each host of each cluster."""
    found: dict[tuple[str, Address], dict[str, int]] = {}
    for cluster in json.loads(body).get("cluster_statuses", ()):
        for host in cluster.get("host_statuses", ()):
            where: Any = host["address"].get("socket_address")
            if where:
                values = {stat["name"]: int(stat.get("value", 0)) for stat in host["stats"] if "name" in stat}
                found[cluster["name"], Address(where["address"], where["port_value"])] = values
    return found


def _http_samples(before: Scrape, now: Scrape, clusters: Mapping[str, ClusterKey]) -> list[Sample]:
    found = []
    cut_off = {
        name: _grown(before, now, f"http.{name}.{_CUT_OFF}")
        for name in {stat_name(k.listener) for k in clusters.values()}
    }
    for name, key in clusters.items():
        if key.callee_release is None:
            continue
        stem = f"cluster.{stat_name(name)}."

        def grown(what: str, stem: str = stem) -> int:
            return _grown(before, now, stem + what)

        answered = max(grown("upstream_rq_5xx"), sum(grown(f"grpc.{code}") for code in GRPC_FAILURES))
        # An answer cut off in the middle counts for the edge only: it belongs to a release that lost a connection.
        lost = grown("upstream_rq_rx_reset") + grown("upstream_cx_destroy_remote_with_active_rq")
        cut = min(cut_off[stat_name(key.listener)], lost)
        cut_off[stat_name(key.listener)] -= cut
        sample = Sample(
            caller=key.caller,
            caller_release=key.caller_release,
            callee=key.callee,
            callee_release=key.callee_release,
            seconds=now.at_s - before.at_s,
            requests=grown("upstream_rq_completed"),
            failed=answered + cut,
            retries=grown("upstream_rq_retry"),
            overflow=grown("upstream_rq_pending_overflow") + grown("upstream_rq_active_overflow"),
            active=now.values.get(stem + "upstream_rq_active", 0),
            latency_ms=_latency(before, now, stem + "upstream_rq_time"),
        )
        if sample.requests or sample.failed or sample.active or sample.latency_ms:
            found.append(sample)
    return found


def _grown(before: Scrape, now: Scrape, name: str) -> int:
    return max(0, now.values.get(name, 0) - before.values.get(name, 0))


def _latency(before: Scrape, now: Scrape, name: str) -> tuple[tuple[float, float, int], ...]:
    old = before.histograms.get(name, {})
    grown = ((place, count - old.get(place, 0)) for place, count in now.histograms.get(name, {}).items())
    return tuple((lower, width, count) for (lower, width), count in grown if count > 0)


def _tcp_samples(
    before: Mapping[tuple[str, Address], Mapping[str, int]],
    now: Mapping[tuple[str, Address], Mapping[str, int]],
    clusters: Mapping[str, ClusterKey],
    releases: Mapping[Address, int],
    seconds: float,
) -> list[Sample]:
    sums: dict[tuple[str, int], list[int]] = {}
    for (name, address), values in now.items():
        old = before.get((name, address), {})
        row = sums.setdefault((name, releases[address]), [0, 0, 0])
        row[0] += max(0, values.get("cx_total", 0) - old.get("cx_total", 0))
        row[1] += max(0, values.get("cx_connect_fail", 0) - old.get("cx_connect_fail", 0))
        row[2] += values.get("cx_active", 0)
    return [
        Sample(
            caller=clusters[name].caller,
            caller_release=clusters[name].caller_release,
            callee=clusters[name].callee,
            callee_release=release,
            seconds=seconds,
            requests=total,
            failed=failed,
            active=active,
        )
        for (name, release), (total, failed, active) in sums.items()
        if name in clusters and (total or failed or active)
    ]
