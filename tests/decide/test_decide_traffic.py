"""Tables of `entry`: which replica stands in the traffic table, and how."""

from typing import Any

import pytest

from atoll.decide.traffic import callee_port, edge_key, edge_keys, entry
from atoll.model.failures import Failures
from atoll.model.spec import Call, EdgePolicy, Port, Route
from atoll.model.state import Exit
from atoll.model.traffic import ServiceTraffic


def made(orders: Any, want: Any, seen: Any, *releases: Any, ports: dict[str, int] | None = None) -> ServiceTraffic:
    known = {release.n: release for release in (orders.release(6), orders.release(7), *releases)}
    return entry(want, seen, known, ports or {}, lambda call: callee_port(call, {}, None))


def endpoints(traffic: ServiceTraffic, release: int = 7) -> dict[str, str]:
    return {
        one.replica: one.state
        for upstream in traffic.upstreams
        if upstream.release == release
        for one in upstream.endpoints
    }


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ({}, "serving"),
        ({"phase": "draining"}, "draining"),
        ({"phase": "draining", "alive": None}, "draining"),
        ({"phase": "draining", "alive": False}, None),
        ({"phase": "starting", "ready": True}, None),
        ({"phase": "stopping"}, None),
        ({"alive": False}, None),
        ({"exit": Exit(code=1)}, None),
        ({"ready": False}, None),
        ({"alive": None, "ready": False}, None),
    ],
)
def test_an_endpoint_follows_its_replica(orders: Any, facts: dict[str, Any], state: str | None) -> None:
    seen = orders.seen(orders.replica("other", slot=1), orders.replica("a", **facts))
    found = endpoints(made(orders, orders.want((7, 2, 100)), seen))
    assert found == {"other": "serving", **({"a": state} if state else {})}


@pytest.mark.parametrize("facts", [{"ready": False}, {"ready": False, "alive": None}])
def test_the_last_ones_stay_when_all_lose_readiness(orders: Any, facts: dict[str, Any]) -> None:
    seen = orders.seen(
        orders.replica("a", **facts),
        orders.replica("b", slot=1, **facts),
        orders.replica("dead", slot=2, alive=False, ready=False),
        orders.replica("unborn", slot=3, phase="starting"),
    )
    assert endpoints(made(orders, orders.want((7, 4, 100)), seen)) == {"a": "serving", "b": "serving"}


def test_addresses_are_the_leased_ports_by_name(orders: Any) -> None:
    two = orders.release(7, ports=(Port(name="http"), Port(name="rpc", protocol="grpc")))
    seen = orders.seen(orders.replica("a", ports={"http": 21000, "rpc": 21001}))
    traffic = made(orders, orders.want((7, 1, 100)), seen, two)
    assert [(up.port, up.protocol, str(up.endpoints[0].address)) for up in traffic.upstreams] == [
        ("http", "http", "127.0.0.1:21000"),
        ("rpc", "grpc", "127.0.0.1:21001"),
    ]


def test_each_release_brings_its_own_definition_of_failure(orders: Any) -> None:
    strict = Failures(http=("4xx", "5xx"))
    seen = orders.seen(orders.replica("old", n=6), orders.replica("new", n=7))
    traffic = made(orders, orders.want((6, 1, 100), (7, 1, 0)), seen, orders.release(7, failures=strict))
    assert [upstream.failures for upstream in traffic.upstreams] == [Failures(), strict]


def test_both_releases_of_a_deploy_have_weights_and_upstreams(orders: Any) -> None:
    seen = orders.seen(orders.replica("old", n=6), orders.replica("new", n=7))
    traffic = made(orders, orders.want((6, 1, 100), (7, 1, 0)), seen)
    assert traffic.weights == {6: 100, 7: 0}
    assert [upstream.release for upstream in traffic.upstreams] == [6, 7]


def test_a_release_that_ends_keeps_its_draining_endpoints_but_neither_weight_nor_routes(orders: Any) -> None:
    seen = orders.seen(orders.replica("old", n=6, phase="draining"), orders.replica("new", n=7))
    traffic = made(orders, orders.want((7, 1, 100)), seen)
    assert endpoints(traffic, 6) == {"old": "draining"}
    assert traffic.weights == {7: 100}
    assert [route.releases for route in traffic.routes] == [(7,)]


def test_a_service_that_is_down_and_gone_has_nothing(orders: Any) -> None:
    assert made(orders, orders.want(), orders.seen()) == ServiceTraffic(service="orders")


def test_routes_stay_while_requests_are_held_and_nothing_runs(orders: Any) -> None:
    traffic = made(orders, orders.want((6, 0, 100), hold=True), orders.seen())
    assert traffic.hold
    assert [route.path for route in traffic.routes] == ["/orders"]


def test_the_union_of_both_releases_routes_is_served(orders: Any) -> None:
    old = orders.release(6, routes=(Route(path="/orders", strip=True), Route(path="/old")))
    new = orders.release(7, routes=(Route(path="/orders"), Route(path="/new", host="shop.test")))
    traffic = made(orders, orders.want((6, 1, 100), (7, 1, 0)), orders.seen(), old, new)
    found = {(route.host, route.path): (route.releases, route.strip) for route in traffic.routes}
    assert found == {
        (None, "/old"): ((6,), False),
        (None, "/orders"): ((6, 7), True),  # as the release with the traffic says
        ("shop.test", "/new"): ((7,), False),
    }


def test_a_route_leads_only_to_releases_that_have_its_port(orders: Any) -> None:
    new = orders.release(7, ports=(Port(name="web"),), routes=(Route(path="/orders"),))
    traffic = made(orders, orders.want((6, 1, 0), (7, 1, 100)), orders.seen(), new)
    assert [(route.port, route.releases) for route in traffic.routes] == [("web", (7,))]


# --- edges ---

CATALOG = Call(callee="catalog", port="rpc", policy=EdgePolicy(timeout_s=2.0))


def test_edges_are_named_by_the_callers_own_words() -> None:
    assert edge_key("orders", 7, CATALOG) == "edge:orders-r7->catalog.rpc"
    assert edge_key("orders", 7, Call(callee="catalog")) == "edge:orders-r7->catalog"


def test_each_release_that_runs_has_its_own_edges(orders: Any) -> None:
    old, new = orders.release(6, calls=(CATALOG,)), orders.release(7, calls=(CATALOG,))
    ports = {edge_key("orders", 6, CATALOG): 23006, edge_key("orders", 7, CATALOG): 23007}
    seen = orders.seen(orders.replica("old", n=6, phase="draining"))
    traffic = made(orders, orders.want((7, 1, 100)), seen, old, new, ports=ports)
    assert [(edge.caller_release, str(edge.listen), edge.policy.timeout_s) for edge in traffic.edges] == [
        (6, "127.0.0.1:23006", 2.0),
        (7, "127.0.0.1:23007", 2.0),
    ]


def test_an_edge_without_a_lease_is_left_out(orders: Any) -> None:
    new = orders.release(7, calls=(CATALOG,))
    assert made(orders, orders.want((7, 1, 100)), orders.seen(), new).edges == ()


def test_every_lease_a_release_needs_is_named_once(orders: Any) -> None:
    release = orders.release(7, calls=(CATALOG, CATALOG, Call(callee="mail", optional=True)))
    assert edge_keys(release) == ("edge:orders-r7->catalog.rpc", "edge:orders-r7->mail")


def test_an_edge_speaks_what_its_callee_speaks(orders: Any) -> None:
    rpc = orders.release(7, ports=(Port(name="rpc", protocol="grpc"),))
    assert callee_port(Call(callee="orders"), {7: rpc}, 7) == Port(name="rpc", protocol="grpc")
    assert callee_port(Call(callee="orders", port="other"), {7: rpc}, 7) == Port(name="other")
    assert callee_port(Call(callee="orders"), {}, None) == Port(name="http")
    assert callee_port(Call(callee="orders", url="https://api.test"), {7: rpc}, 7) == Port(name="http")
    assert callee_port(Call(callee="orders", protocol="tcp"), {}, None) == Port(name="http", protocol="tcp")


@pytest.mark.parametrize(
    ("url", "protocol"),
    [("http://a", "http"), ("https://a", "http"), ("grpc://a", "grpc"), ("grpcs://a", "grpc"), ("tcp://a:5432", "tcp")],
)
def test_the_port_of_a_callee_outside_speaks_what_its_url_says(url: str, protocol: Any) -> None:
    assert callee_port(Call(callee="out", url=url), {}, None).protocol == protocol


def test_an_edge_speaks_what_the_target_speaks_not_the_newest(orders: Any) -> None:
    rpc, web = orders.release(7, ports=(Port(name="rpc", protocol="grpc"),)), orders.release(8)
    assert callee_port(Call(callee="orders"), {7: rpc, 8: web}, 7).protocol == "grpc"
    assert callee_port(Call(callee="orders"), {7: rpc, 8: web}, None).protocol == "http"
