"""A table becomes resources: pure, no Envoy."""

import re
from typing import Any

import msgspec
import pytest
from tests.proxy.lab import edge, route, service, upstream

from atoll.model.failures import Failures
from atoll.model.signals import EdgeKey
from atoll.model.spec import EdgePolicy
from atoll.model.state import Address
from atoll.model.traffic import Edge, ServiceTraffic, Table
from atoll.proxy.clusters import External
from atoll.proxy.listeners import http_edge
from atoll.proxy.protos import message
from atoll.proxy.resources import CDS, EDS, LDS, RDS, Key, Resource
from atoll.proxy.translate import (
    endpoint_sets,
    held_choice,
    keys,
    measured,
    translate,
    untranslatable,
    widened,
)

GATEWAY = Address("127.0.0.1", 8080)
KINDS = {
    CDS: "envoy.config.cluster.v3.Cluster",
    EDS: "envoy.config.endpoint.v3.ClusterLoadAssignment",
    LDS: "envoy.config.listener.v3.Listener",
    RDS: "envoy.config.route.v3.RouteConfiguration",
}


def at(port: int) -> Address:
    return Address("127.0.0.1", port)


def table(*entries: ServiceTraffic) -> Table:
    return Table(gateway=GATEWAY, services={entry.service: entry for entry in entries})


def all_of(found: Table) -> dict[Key, Resource]:
    return dict(translate(found, found.services))


def opened(made: dict[Key, Resource], kind: str, name: str) -> Any:
    return message(KINDS[kind]).FromString(made[kind, name].body.value)


def weights(made: dict[Key, Resource], name: str) -> dict[str, int]:
    action = opened(made, RDS, name).virtual_hosts[0].routes[-1].route
    return {one.name: one.weight.value for one in action.weighted_clusters.clusters}


TWO = table(
    service("web", upstream(3, at(1)), routes=(route("/", releases=(3,)),), edges=(edge("orders", at(20), release=3),)),
    service("orders", upstream(1, at(2)), upstream(2, at(3)), weights={1: 90, 2: 10}),
)


def test_names_say_the_release_on_both_sides() -> None:
    made = all_of(TWO)
    assert {key for key in made if key[0] != CDS} == {
        (LDS, "gateway"),
        (RDS, "gateway"),
        (LDS, "edge:web-r3->orders@20"),
        (RDS, "edge:web-r3->orders@20"),
        (EDS, "web.http@r3"),
        (EDS, "orders.http@r1"),
        (EDS, "orders.http@r2"),
    }
    assert {name for kind, name in made if kind == CDS and name.startswith("edge")} == {
        "edge:web-r3->orders.http@r1~20",
        "edge:web-r3->orders.http@r2~20",
    }
    assert measured(TWO)["edge:web-r3->orders.http@r2~20"].edge == EdgeKey("web", 3, "orders", 2)


def test_each_cluster_is_measured_as_the_release_behind_it_says() -> None:
    strict = msgspec.structs.replace(
        TWO.services["orders"],
        upstreams=tuple(
            msgspec.structs.replace(one, failures=Failures(http=("4xx",))) if one.release == 2 else one
            for one in TWO.services["orders"].upstreams
        ),
    )
    found = measured(table(TWO.services["web"], strict))
    by_release = {(one.edge.caller, one.edge.callee_release): one.failures.http for one in found.values()}
    assert by_release["web", 1] == ("5xx",)
    assert by_release["web", 2] == ("4xx",)


def test_a_weight_of_zero_keeps_its_cluster_in_the_routes() -> None:
    entry = msgspec.structs.replace(TWO.services["orders"], weights={1: 100, 2: 0})
    made = all_of(table(TWO.services["web"], entry))
    found = {"edge:web-r3->orders.http@r1~20": 100, "edge:web-r3->orders.http@r2~20": 0}
    assert weights(made, "edge:web-r3->orders@20") == found
    assert all((CDS, name) in made for name in found)


def test_a_change_of_endpoints_touches_no_route_and_no_listener() -> None:
    before = all_of(TWO)
    orders = service("orders", upstream(1, at(2), at(9)), upstream(2, at(3)), weights={1: 90, 2: 10})
    after = translate(table(TWO.services["web"], orders), ["orders"], before=TWO)
    differing = [key for key, resource in after.items() if before[key].version != resource.version]
    assert differing == [(EDS, "orders.http@r1")]
    assert (RDS, "gateway") not in after


def test_a_change_of_a_callee_makes_its_callers_edges_again_and_nobody_elses() -> None:
    other = service("other", upstream(1, at(7)), edges=(edge("web", at(21)),))
    wide = table(*TWO.services.values(), other)
    made = translate(wide, ["orders"], before=wide)
    assert (RDS, "edge:web-r3->orders@20") in made
    assert not [key for key in made if "other" in key[1]]
    assert made[RDS, "edge:web-r3->orders@20"].owners == ("web", "orders")


def test_keys_are_what_translation_makes() -> None:
    tcp = service("db", upstream(1, at(5), port="sql", protocol="tcp"))
    user = service("user", edges=(edge("db", at(30), port="sql", protocol="tcp"), edge("x", at(31), url="http://x")))
    wide = table(*TWO.services.values(), tcp, user)
    assert keys(wide, frozenset(wide.services)) == all_of(wide).keys() - {(LDS, "gateway"), (RDS, "gateway")}


def test_draining_endpoints_say_so_and_stay() -> None:
    made = all_of(table(service("a", upstream(1, at(1), at(2), draining=(at(2),)))))
    hosts = opened(made, EDS, "a.http@r1").endpoints[0].lb_endpoints
    states = {host.endpoint.address.socket_address.port_value: host.health_status for host in hosts}
    assert states == {1: 0, 2: 3}  # UNKNOWN counts as healthy; DRAINING


def test_a_tcp_port_shares_one_set_where_a_release_without_weight_drains() -> None:
    both = (upstream(1, at(1), at(2), port="db", protocol="tcp"), upstream(2, at(3), port="db", protocol="tcp"))
    made = all_of(table(service("s", *both, weights={1: 60, 2: 40})))
    hosts = opened(made, EDS, "s.db@tcp").endpoints[0].lb_endpoints
    assert [host.load_balancing_weight.value for host in hosts] == [3000, 3000, 4000]
    made = all_of(table(service("s", *both, weights={1: 0, 2: 100})))
    assert [host.health_status for host in opened(made, EDS, "s.db@tcp").endpoints[0].lb_endpoints] == [3, 3, 0]


def test_what_served_still_serves_while_routes_move() -> None:
    old = table(service("a", upstream(1, at(1), at(2))))
    new = table(service("a", upstream(1, at(1), at(2), draining=(at(1),)), upstream(2, at(3))))
    wide = widened(old, new, frozenset({"a"}))
    states = [(point.address.port, point.state) for up in wide.services["a"].upstreams for point in up.endpoints]
    assert states == [(1, "serving"), (2, "serving"), (3, "serving")]
    assert set(endpoint_sets(wide, frozenset({"a"}))) == {(EDS, "a.http@r1"), (EDS, "a.http@r2")}


@pytest.mark.parametrize(
    ("weight_of", "releases", "expected"),
    [
        ({1: 80, 2: 20}, (1, 2), {1: 80, 2: 20}),
        ({1: 80, 2: 20}, (2,), {2: 20}),  # alone, so all
        ({1: 100, 2: 0}, (2,), {2: 1}),
        ({1: 100, 2: 0}, (1, 2), {1: 100, 2: 0}),
        ({1: 0, 2: 0}, (1, 2), {}),
    ],
)
def test_a_route_takes_the_weights_of_the_releases_that_declare_it(
    weight_of: dict[int, int], releases: tuple[int, ...], expected: dict[int, int]
) -> None:
    entry = service("a", upstream(1, at(1)), upstream(2, at(2)), weights=weight_of, routes=(route(releases=releases),))
    routes = opened(all_of(table(entry)), RDS, "gateway").virtual_hosts[0].routes  # the last is its 404
    clusters = routes[-2].route.weighted_clusters.clusters
    assert {int(one.name.split("@r")[1].split("~")[0]): one.weight.value for one in clusters} == expected
    if not expected:
        assert routes[-2].direct_response.status == 503


def test_gateway_routes_with_the_same_limits_share_a_cluster_and_others_do_not() -> None:
    routes = (route("/a"), route("/b", timeout_s=1.0), route("/c", max_requests=5))
    made = all_of(table(service("a", upstream(1, at(1)), routes=routes)))
    assert len([key for key in made if key[0] == CDS]) == 2


def test_one_path_that_two_releases_declare_differently_is_one_route() -> None:
    routes = (route("/a", releases=(1,), timeout_s=1.0), route("/a/", releases=(2,), timeout_s=2.0))
    entry = service("a", upstream(1, at(1)), upstream(2, at(2)), weights={1: 10, 2: 90}, routes=routes)
    found = opened(all_of(table(entry)), RDS, "gateway").virtual_hosts[0].routes
    matched = [one for one in found if one.match.path_separated_prefix == "/a" and not one.match.headers]
    assert [one.route.timeout.seconds for one in matched] == [2]
    assert [one.weight.value for one in matched[0].route.weighted_clusters.clusters] == [10, 90]


def test_streams_have_no_time_out_but_an_idle_one() -> None:
    policy = {"timeout_s": 2.0, "idle_timeout_s": 60.0}
    made = all_of(
        table(
            service("a", upstream(1, at(1)), edges=(edge("a", at(20), **policy),)),
            service("g", upstream(1, at(2), port="g", protocol="grpc")),
            service("w", edges=(edge("g", at(21), port="g", protocol="grpc", **policy),)),
        )
    )
    stream, ordinary = opened(made, RDS, "edge:a-r1->a@20").virtual_hosts[0].routes
    assert stream.match.headers[0].name == "accept"
    assert (stream.route.timeout.seconds, stream.route.idle_timeout.seconds) == (0, 60)
    assert (ordinary.route.timeout.seconds, ordinary.route.idle_timeout.seconds) == (2, 60)
    calls = opened(made, RDS, "edge:w-r1->g@21").virtual_hosts[0].routes
    for call in calls:
        assert (call.route.timeout.seconds, call.route.idle_timeout.seconds) == (0, 60)
        assert call.route.max_stream_duration.HasField("grpc_timeout_header_max")


@pytest.mark.parametrize(
    ("sent", "early_ms"),
    [
        *((sent, 5) for sent in ("", "50m", "901m", "999999u", "99999999n")),
        *((sent, 20) for sent in ("1001m", "1000000u", "12345m", "100001m")),
        *((sent, 30) for sent in ("1010m", "1500m", "9990m", "1S", "9S")),
        *((sent, 120) for sent in ("10S", "10100m", "99900m", "59S", "1M")),
        *((sent, 1020) for sent in ("101S", "2M", "1H")),
    ],
)
def test_a_call_ends_before_its_client_ends_it_however_that_rounded_its_deadline(sent: str, early_ms: int) -> None:
    made = all_of(
        table(
            service("g", upstream(1, at(2), port="g", protocol="grpc")),
            service("w", edges=(edge("g", at(21), port="g", protocol="grpc"),)),
        )
    )
    calls = opened(made, RDS, "edge:w-r1->g@21").virtual_hosts[0].routes
    taken = next(
        call
        for call in calls
        if all(re.fullmatch(one.string_match.safe_regex.regex, sent) for one in call.match.headers)
    )
    early = taken.route.max_stream_duration.grpc_timeout_header_offset
    assert early.seconds * 1000 + early.nanos / 1e6 == early_ms


def test_a_request_longer_than_the_idle_time_is_not_cut_by_it() -> None:
    made = all_of(table(service("a", upstream(1, at(1)), edges=(edge("a", at(20), timeout_s=900.0),))))
    assert opened(made, RDS, "edge:a-r1->a@20").virtual_hosts[0].routes[-1].route.idle_timeout.seconds == 900


def test_a_held_service_is_asked_for_by_edge_and_by_route() -> None:
    routes = (route("/o", releases=(2,)), route("/o", host="h", releases=(2,)))
    held = service("orders", upstream(2, at(3)), weights={2: 100}, routes=routes, hold=True)
    found = table(TWO.services["web"], held)
    action = opened(all_of(found), RDS, "edge:web-r3->orders@20").virtual_hosts[0].routes[0]
    assert action.route.cluster_header == "x-atoll-cluster"
    assert "envoy.filters.http.ext_authz" in action.typed_per_filter_config
    by_edge = {"service": "orders", "listener": "edge:web-r3->orders@20"}
    assert held_choice(found, by_edge) == {"edge:web-r3->orders.http@r2~20": 100}
    at_gateway = {"service": "orders", "listener": "gateway", "host": "h", "path": "/o"}
    assert [name.split("~")[0] for name in held_choice(found, at_gateway)] == ["gateway->orders.http@r2"]
    assert held_choice(found, {**at_gateway, "path": "/gone"}) == {}
    assert held_choice(table(), by_edge) == {}


def test_ejection_and_breakers_are_the_policys() -> None:
    policy = {"eject_after": 7, "eject_for_s": 3.0, "max_pending": 11, "retry_budget_pct": 40.0, "retry_on": ("5xx",)}
    made = all_of(table(service("a", upstream(1, at(1)), edges=(edge("a", at(20), **policy),))))
    cluster = opened(made, CDS, "edge:a-r1->a.http@r1~20")
    assert cluster.outlier_detection.consecutive_5xx.value == 7
    assert cluster.outlier_detection.base_ejection_time.seconds == 3
    assert cluster.circuit_breakers.thresholds[0].max_pending_requests.value == 11
    assert cluster.circuit_breakers.thresholds[0].retry_budget.budget_percent.value == 40
    made = all_of(table(service("a", upstream(1, at(1)), edges=(edge("a", at(20), eject_after=0),))))
    assert not opened(made, CDS, "edge:a-r1->a.http@r1~20").HasField("outlier_detection")


def test_a_budget_limits_only_what_may_be_done_twice() -> None:
    edges = (edge("a", at(20), max_requests=3, max_pending=4), edge("a", at(21), retry_on=("reset",)))
    made = all_of(table(service("a", upstream(1, at(1)), edges=edges)))
    limits = [opened(made, CDS, name).circuit_breakers.thresholds[0] for kind, name in sorted(made) if kind == CDS]
    assert [limit.HasField("retry_budget") for limit in limits] == [False, True]
    assert limits[0].max_retries.value == 7


def test_two_edges_to_the_same_port_keep_their_own_policies() -> None:
    edges = (edge("a", at(20), max_requests=1), edge("a", at(21), max_requests=2))
    made = all_of(table(service("a", upstream(1, at(1)), edges=edges)))
    limits = [opened(made, CDS, name).circuit_breakers.thresholds[0] for kind, name in sorted(made) if kind == CDS]
    assert [limit.max_requests.value for limit in limits] == [1, 2]


def test_the_same_table_gives_the_same_versions() -> None:
    assert {key: one.version for key, one in all_of(TWO).items()} == {
        key: one.version for key, one in all_of(TWO).items()
    }


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "path", "authority"),
    [
        ("https://api.bank.example/v1/", "api.bank.example", 443, True, "/v1", "api.bank.example"),
        ("http://localhost:9000", "localhost", 9000, False, "", "localhost:9000"),
        ("https://[::1]:8443", "::1", 8443, True, "", "[::1]:8443"),
        ("grpcs://x.example", "x.example", 443, True, "", "x.example"),
        ("tcp://db.example:5432", "db.example", 5432, False, "", "db.example:5432"),
        ("db.example:81", "db.example", 81, False, "", "db.example:81"),
    ],
)
def test_external_urls(url: str, host: str, port: int, tls: bool, path: str, authority: str) -> None:
    assert External.parse(url) == External(host=host, port=port, tls=tls, path=path, authority=authority)


@pytest.mark.parametrize("url", ["https://", "tcp://db.example", "http://x:99999", ""])
def test_an_external_url_that_is_none_is_said_so(url: str) -> None:
    found = table(service("web", edges=(edge("bank", at(20), url=url),)))
    assert "bank" in untranslatable(found, frozenset({"web"}))["web"]


def test_an_edge_is_closed_to_whoever_is_not_in_its_callers_network() -> None:
    edge = Edge(
        caller_release=7,
        callee="catalog",
        port="http",
        protocol="http",
        listen=Address("10.201.3.1", 20001),
        policy=EdgePolicy(),
        sources="10.201.3.0/24",
    )
    listener = http_edge("orders", edge)
    [chain] = listener.filter_chains
    [allowed] = chain.filter_chain_match.source_prefix_ranges
    assert (allowed.address_prefix, allowed.prefix_len.value) == ("10.201.3.0", 24)
    assert not listener.HasField("default_filter_chain")
    assert listener.freebind.value
    local = http_edge("orders", msgspec.structs.replace(edge, listen=Address("127.0.0.1", 20001), sources=""))
    assert not local.filter_chains[0].HasField("filter_chain_match")
    assert not local.HasField("freebind")
