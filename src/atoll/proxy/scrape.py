"""What Envoy's admin pages say, taken apart: counters, latencies, hosts. Pure; `stats` calls it.

The pages are read as text: /stats is half of the bytes of its JSON and a third of the time to read, /clusters costs
Envoy a quarter. One /stats a second serves all; what is not used never comes into being (`CLUSTER_STATS`), so that no
filter is needed, which would match a pattern with every name.
"""

import re
from collections.abc import Iterable, Mapping

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
_LATENCY = "upstream_rq_time:"
_CUT_OFF = ".downstream_rq_tx_reset"
_HOST = re.compile(
    r"^(.+?~[0-9a-f]+)::(.+)::(rq_total|rq_error|rq_active|cx_total|cx_connect_fail|cx_active)::(\d+)$", re.MULTILINE
)

Counters = Mapping[str, int]
HostCounters = Mapping[tuple[str, Address], Counters]


class Scrape(msgspec.Struct):
    """One reading. Clusters and listeners are named as in statistics, `edge_...` for `edge:...`."""

    clusters: dict[str, dict[str, int]]  # cluster -> counter or gauge -> value
    latency: dict[str, str]  # cluster -> its buckets as Envoy writes them: "5,0.1:3, 110,10:1"
    cut_off: dict[str, int]  # listener -> answers that were cut off in the middle
    uptime_s: int


def parse(body: bytes) -> Scrape:
    """Envoy's /stats as text with detailed buckets. Raises ValueError for something else."""
    scrape = Scrape({}, {}, {}, 0)
    latency = ""
    for line in body.decode().split("\n"):
        if line.startswith("cluster."):
            head, _, tail = line[len("cluster.") :].partition("~")
            variant, _, rest = tail.partition(".")
            stat, _, value = rest.partition(": ")
            name = f"{head}~{variant}"
            if value:
                scrape.clusters.setdefault(name, {})[stat] = int(value)
            elif stat == _LATENCY:
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


def buckets(text: str) -> Histogram:
    """Envoy's buckets (lower bound in ms, width, count) in ours, which hold each of them whole."""
    counts: dict[int, int] = {}
    for part in text.split(", "):
        place, _, count = part.rpartition(":")
        if count:
            bucket = bucket_of_ms(round(float(place.partition(",")[0])))
            counts[bucket] = counts.get(bucket, 0) + int(count)
    return Histogram.of(counts)


def parse_hosts(body: bytes) -> dict[tuple[str, Address], dict[str, int]]:
    """Envoy's /clusters as text: counters and gauges of each host of each cluster, by the cluster's own name."""
    found: dict[tuple[str, Address], dict[str, int]] = {}
    for cluster, host, stat, value in _HOST.findall(body.decode()):
        name, _, port = host.rpartition(":")
        if port.isdigit():
            found.setdefault((cluster, Address(name.strip("[]"), int(port))), {})[stat] = int(value)
    return found


def grown(before: Counters, now: Counters, gauges: Iterable[str] = ()) -> dict[str, int]:
    """By how much each counter grew. One that fell began anew, and with it all of its family: they count from 0."""
    fell = any(now.get(name, 0) < value for name, value in before.items() if name not in gauges)
    return {name: value - (0 if fell else before.get(name, 0)) for name, value in now.items() if name not in gauges}
