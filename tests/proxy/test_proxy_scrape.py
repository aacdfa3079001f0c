"""Envoy's pages taken apart, and differences that are never negative."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.model.signals import Histogram
from atoll.model.state import Address
from atoll.proxy.names import ClusterKey, stat_name
from atoll.proxy.scrape import buckets, grown, latency_since, parse, parse_hosts

STATS = b"""\
cluster.edge_web-r4->orders.http@r1~12315.grpc.13: 2
cluster.edge_web-r4->orders.http@r1~12315.outlier_detection.ejections_active: 0
cluster.edge_web-r4->orders.http@r1~12315.upstream_rq_200: 34
cluster.gateway->orders.http@r1~1f1a5d.upstream_rq_503: 2
http.edge_web-r4->orders@12315.downstream_rq_tx_reset: 1
http.gateway.downstream_rq_tx_reset: 0
server.uptime: 77
cluster.edge_web-r4->orders.http@r1~12315.upstream_rq_time:
  totals=0,0:27, 1,0.1:1, 50,1:1, 110.00000000000001,10:2
  intervals=
  summary=P0(nan,0) P100(nan,205)
cluster.gateway->orders.http@r1~1f1a5d.upstream_rq_time:
  totals=
  intervals=
  summary=No recorded values
"""
HOSTS = b"""\
edge:web-r4->orders.http@r1~13180::observability_name::edge:web-r4->orders.http@r1~13180
edge:web-r4->orders.http@r1~13180::default_priority::max_requests::1024
edge:web-r4->orders.http@r1~13180::127.0.0.1:13173::rq_total::4
edge:web-r4->orders.http@r1~13180::127.0.0.1:13173::rq_error::1
edge:web-r4->orders.http@r1~13180::127.0.0.1:13173::health_flags::healthy
gateway->orders.http@r1~1f1a5d::[::1]:13174::rq_active::3
atoll.xds::/run/xds.sock::rq_active::1
"""
counters = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 1000))


def test_a_page_of_statistics_is_taken_apart_by_cluster() -> None:
    found = parse(STATS)
    edge, gate = "edge_web-r4->orders.http@r1~12315", "gateway->orders.http@r1~1f1a5d"
    assert found.clusters[edge] == {"grpc.13": 2, "outlier_detection.ejections_active": 0, "upstream_rq_200": 34}
    assert found.clusters[gate] == {"upstream_rq_503": 2}
    assert found.latency == {edge: "0,0:27, 1,0.1:1, 50,1:1, 110.00000000000001,10:2", gate: ""}
    assert (found.cut_off["edge_web-r4->orders@12315"], found.cut_off["gateway"], found.uptime_s) == (1, 0, 77)
    key = ClusterKey(caller="web", caller_release=4, callee="orders", port="http", callee_release=1, variant="12315")
    assert (stat_name(key.name), stat_name(key.listener)) == (edge, "edge_web-r4->orders@12315")


def test_envoys_buckets_are_whole_within_ours() -> None:
    some = buckets("0,0:27, 1,0.1:1, 50,1:1, 110.00000000000001,10:2")
    assert latency_since({}, some) == Histogram.of({0: 27, 1: 1, 50: 1, 101: 2})
    assert buckets("") == {}


@pytest.mark.parametrize(
    ("before", "now", "since"),
    [
        ("0,0:27, 50,1:1", "0,0:27, 50,1:3, 60,1:1", {50: 2, 60: 1}),
        ("0,0:27, 50,1:1", "0,0:27, 50,1:1", {}),
        ("0,0:27, 50,1:1", "0,0:3", {0: 3}),  # made anew
        ("0,0:27, 50,1:1", "0,0:3, 50,1:9", {0: 3, 50: 9}),
        ("", "0,0:3", {0: 3}),
        ("0,0:3", "", {}),
    ],
)
def test_latencies_since_the_last_reading(before: str, now: str, since: dict[int, int]) -> None:
    assert latency_since(buckets(before), buckets(now)) == Histogram.of(since)


def test_hosts_are_told_from_the_rest_of_the_page() -> None:
    edge = "edge:web-r4->orders.http@r1~13180"
    assert parse_hosts(HOSTS) == {
        (edge, Address("127.0.0.1", 13173)): {"rq_total": 4, "rq_error": 1},
        ("gateway->orders.http@r1~1f1a5d", Address("::1", 13174)): {"rq_active": 3},
    }


@pytest.mark.parametrize(
    ("before", "now", "since"),
    [
        ({}, {"a": 3}, {"a": 3}),
        ({"a": 3}, {"a": 3}, {"a": 0}),
        ({"a": 3, "b": 9}, {"a": 5, "b": 9}, {"a": 2, "b": 0}),
        ({"a": 3, "b": 9}, {"a": 5, "b": 1}, {"a": 5, "b": 1}),  # one fell: all began anew
        ({"a": 3, "b": 9}, {"a": 5}, {"a": 5}),
        ({"g": 7, "a": 1}, {"g": 0, "a": 2}, {"a": 1}),  # a gauge may fall
    ],
)
def test_what_a_counter_grew_by(before: dict[str, int], now: dict[str, int], since: dict[str, int]) -> None:
    assert grown(before, now, {"g"}) == since


@given(counters, counters)
def test_a_difference_is_never_negative_and_never_more_than_there_is(
    before: dict[str, int], now: dict[str, int]
) -> None:
    since = grown(before, now)
    assert since.keys() == now.keys()
    assert all(0 <= since[name] <= now[name] for name in now)
