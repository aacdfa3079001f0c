"""What is refused before anything is touched, and what is only told."""

from typing import Any

import pytest
from msgspec.structs import replace

from atoll.decide.admission import admit
from atoll.model.errors import Refused
from atoll.model.spec import Call, Limits, Port, Route
from atoll.model.state import Image, Release

MIB = 2**20


def other(orders: Any, **changes: Any) -> Release:
    return Release(service="shop", n=3, spec=orders.spec(**changes), artifact=orders.release().artifact)


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (Route(path="/orders"), Route(path="/orders")),
        (Route(path="/orders/"), Route(path="/orders")),
        (Route(path="/", host="Shop.test"), Route(path="/", host="shop.test")),
    ],
)
def test_a_route_of_another_service_is_refused(orders: Any, mine: Route, theirs: Route) -> None:
    candidate = orders.release(7, routes=(mine,))
    with pytest.raises(Refused, match="cannot take the route") as caught:
        admit(candidate, {"shop": [other(orders, routes=(theirs,))]}, None, 1)
    assert "shop r3 has it" in str(caught.value) or "orders r3 has it" in str(caught.value)


@pytest.mark.parametrize("theirs", [Route(path="/orders/old"), Route(path="/"), Route(path="/orders", host="a.test")])
def test_longer_paths_and_other_hosts_do_not_clash(orders: Any, theirs: Route) -> None:
    assert admit(orders.release(7), {"shop": [other(orders, routes=(theirs,))]}, None, 1) == []


def test_its_own_older_releases_do_not_clash(orders: Any) -> None:
    assert admit(orders.release(7), {"orders": [orders.release(6)]}, None, 1) == []


def test_what_does_not_fit_beside_the_old_release_is_refused_with_numbers(orders: Any) -> None:
    candidate = orders.release(7, limits=Limits(memory_bytes=256 * MIB))
    with pytest.raises(Refused) as caught:
        admit(candidate, {"orders": [orders.release(6)]}, 500 * MIB, 2)
    assert caught.value.why == (
        "it may use 2 x 256 MiB, next to orders r6 that runs until the switch is done; the machine has 500 MiB free"
    )
    assert "overlap = false" in caught.value.fix


def test_what_nearly_fills_the_machine_is_told(orders: Any) -> None:
    candidate = orders.release(7, limits=Limits(memory_bytes=256 * MIB))
    assert admit(candidate, {}, 10_000 * MIB, 2) == []
    assert "nearly all free memory" in admit(candidate, {}, 600 * MIB, 2)[0]


def test_a_release_that_stops_the_old_one_first_gets_its_memory(orders: Any) -> None:
    limits = Limits(memory_bytes=256 * MIB)
    candidate = orders.release(7, limits=limits, overlap=False)
    assert admit(candidate, {"orders": [orders.release(6, limits=limits)]}, 100 * MIB, 1) == []


@pytest.mark.parametrize(("limit", "free"), [(None, 1), (MIB, None)])
def test_memory_is_not_judged_without_a_limit_or_a_measure(orders: Any, limit: int | None, free: int | None) -> None:
    assert admit(orders.release(7, limits=Limits(memory_bytes=limit)), {}, free, 1000) == []


@pytest.mark.parametrize(
    ("call", "warnings"),
    [
        (Call(callee="shop"), 0),
        (Call(callee="shop", port="rpc"), 0),
        (Call(callee="shop", port="admin"), 1),
        (Call(callee="mail"), 1),
        (Call(callee="mail", optional=True), 0),
        (Call(callee="mail", url="https://mail.test"), 0),
    ],
)
def test_calls_that_will_fail_are_told(orders: Any, call: Call, warnings: int) -> None:
    shop = other(orders, routes=(), ports=(Port(), Port(name="rpc")))
    assert len(admit(orders.release(7, calls=(call,)), {"shop": [shop]}, None, 1)) == warnings


@pytest.mark.parametrize(("image", "containers"), [(Image(id="sha256:1"), False), (None, True)])
def test_what_was_built_for_the_other_engine_is_refused(orders: Any, image: Image | None, containers: bool) -> None:
    release = orders.release(7)
    candidate = replace(release, artifact=replace(release.artifact, image=image))
    assert admit(candidate, {}, None, 1, containers=not containers) == []
    with pytest.raises(Refused, match="orders r7 cannot run here") as caught:
        admit(candidate, {}, None, 1, containers=containers)
    assert caught.value.id == "engine-changed"
