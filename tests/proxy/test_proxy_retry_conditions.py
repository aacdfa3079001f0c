from atoll.model.spec import EdgePolicy
from atoll.proxy.routes import NOTHING_SENT, Target, target_routes


def conditions(protocol: str, *retry_on: str) -> list[set[str]]:
    """The retry conditions of each route that such an edge gets."""
    policy = EdgePolicy(retry_on=retry_on)
    target = Target(callee="catalog", protocol=protocol, policy=policy, clusters={"catalog": 100})
    return [set(route["route"]["retry_policy"]["retry_on"].split(",")) for route in target_routes(target)]


def test_a_grpc_edge_that_asks_for_it_repeats_calls_that_a_dead_callee_left_unanswered() -> None:
    found = conditions("grpc", "reset", "unavailable")
    assert found
    assert all(each == {*NOTHING_SENT, "reset", "unavailable"} for each in found)


def test_without_being_asked_nothing_is_repeated_once_a_byte_was_sent() -> None:
    for protocol in ("http", "grpc"):
        assert all(found == set(NOTHING_SENT) for found in conditions(protocol))


def test_over_http_only_one_route_repeats_more_and_it_is_that_of_get_and_head() -> None:
    assert [found - set(NOTHING_SENT) for found in conditions("http", "reset")] == [set(), {"reset"}, set()]
