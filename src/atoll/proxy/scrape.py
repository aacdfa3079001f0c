"""What Envoy's admin pages say, taken apart: counters, latencies, hosts. Pure; `stats` calls it.

The pages are read as text: /stats is half of the bytes of its JSON and a third of the time to read, /clusters costs
Envoy a quarter. One /stats a second serves all; what is not used never comes into being (`CLUSTER_STATS`), so that no
filter is needed, which would match a pattern with every name.
"""

from collections.abc import Iterable, Mapping
from functools import cache

import msgspec

from atoll.model.signals import Histogram, bucket_of_ms
from atoll.model.state import Address

# What of a cluster comes into being. By the variant that ends a cluster's name, so that the same counts by origin
# (`external.`) and of retried tries (`retry.`) do not.
CLUSTER_STATS = (
    r"cluster\.[^~]*~[0-9a-f]+\.("
    r"upstream_rq_([1-5]\d\d|active|retry|retry_success|pending_overflow|active_overflow|rx_reset|timeout|time)"
    r"|upstream_cx_destroy_remote_with_active_rq|grpc\.(\d+|total)"
    r"|outlier_detection\.ejections_(active|enforced_total))"
)
LISTENER_STATS = r"http\.[^~]*\.downstream_rq_tx_reset"
GATEWAY_STATS = r"http\.gateway(-plain)?\.downstream_rq_active"  # of `names.GATEWAY` and `PLAIN`; `leaving` reads it
_LATENCY = "upstream_rq_time:"
_CUT_OFF = ".downstream_rq_tx_reset"
_HOST_STATS = frozenset({"rq_total", "rq_error", "rq_active", "cx_total", "cx_connect_fail", "cx_active"})

Counters = Mapping[str, int]
Buckets = Mapping[str, str]
HostCounters = Mapping[tuple[str, Address], Counters]


class Scrape(msgspec.Struct):
    """One reading. Clusters and listeners are named as in statistics, `edge_...` for `edge:...`."""

    clusters: dict[str, dict[str, int]]  # cluster -> counter or gauge -> value
    latency: dict[str, str]  # cluster -> its buckets as Envoy writes them: "5,0.1:3, 110,10:1"
    cut_off: dict[str, int]  # listener -> answers that were cut off in the middle
    uptime_s: int


def parse(body: bytes) -> Scrape:
    """Envoy's /stats as text with detailed buckets; what is not a number there is passed over."""
    scrape = Scrape({}, {}, {}, 0)
    latency = ""
    for line in body.decode().split("\n"):
        if line.startswith("cluster."):
            head, _, tail = line[len("cluster.") :].partition("~")
            variant, _, rest = tail.partition(".")
            stat, _, value = rest.partition(": ")
            name = f"{head}~{variant}"
            if value.isdigit():
                scrape.clusters.setdefault(name, {})[stat] = int(value)
            elif not value and stat == _LATENCY:
                latency = name
        elif latency and line.startswith("  totals="):
            scrape.latency[latency] = line[len("  totals=") :]
            latency = ""
        elif line.startswith("http."):
            name, _, value = line[len("http.") :].partition(": ")
            if name.endswith(_CUT_OFF):
                scrape.cut_off[name.removesuffix(_CUT_OFF)] = int(value)
        elif line.startswith("server.uptime: "):
            scrape.uptime_s = int(line.partition(": ")[2])
    return scrape


def buckets(text: str) -> Buckets:
    """Envoy's buckets: "lower bound in ms,width" -> count, both as it writes them."""
    parts = (part.rpartition(":") for part in text.split(", ") if part)
    return {place: count for place, _, count in parts}


def latency_since(before: Buckets, now: Buckets) -> Histogram:
    """What came since, in our buckets, which hold each of Envoy's whole. A bucket that fell is of a histogram made anew."""
    if before.keys() - now.keys():
        before = {}
    counts: dict[int, int] = {}
    for place, count in now.items() - before.items():  # a few of dozens
        grew = int(count) - int(before.get(place, 0))
        if grew < 0:
            return latency_since({}, now)
        bucket = _bucket(place)
        counts[bucket] = counts.get(bucket, 0) + grew
    return Histogram.of(counts)


@cache
def _bucket(place: str) -> int:
    return bucket_of_ms(round(float(place.partition(",")[0])))


def parse_hosts(body: bytes) -> dict[tuple[str, Address], dict[str, int]]:
    """Envoy's /clusters as text: counters and gauges of each host of each cluster, by the cluster's own name."""
    found: dict[tuple[str, Address], dict[str, int]] = {}
    last, row = "", dict[str, int]()
    for line in body.decode().split("\n"):
        head, _, value = line.rpartition("::")
        where, _, stat = head.rpartition("::")
        if stat not in _HOST_STATS:
            continue
        if where != last:
            cluster, _, host = where.partition("::")
            name, _, port = host.rpartition(":")
            last, row = where, {}
            if port.isdigit():
                found[cluster, Address(name.strip("[]"), int(port))] = row
        row[stat] = int(value)
    return found


def grown(before: Counters, now: Counters, gauges: Iterable[str] = ()) -> dict[str, int]:
    """By how much each counter grew. One that fell began anew, and with it all of its family: they count from 0."""
    fell = any(now.get(name, 0) < value for name, value in before.items() if name not in gauges)
    return {name: value - (0 if fell else before.get(name, 0)) for name, value in now.items() if name not in gauges}
