"""Changes reach the real Envoy, are acknowledged, and are undone where it refuses them."""

import asyncio
import signal
import socket
import time

import pytest
from tests.proxy.lab import Lab, ask, edge, eventually, here, route, service, upstream

from atoll.model.state import Address
from atoll.model.traffic import Ack, Disconnected, Refused
from atoll.proxy import EnvoyProxy

pytestmark = pytest.mark.e2e


async def reachable(where: Address, path: str = "/") -> int:
    try:
        return (await ask(where, path)).status
    except (OSError, asyncio.IncompleteReadError):
        return 0


async def test_a_service_is_reachable_at_the_gateway_when_its_change_was_acknowledged(lab: Lab) -> None:
    one = await lab.backend("one")
    assert await lab.apply(service("orders", upstream(1, one.address), routes=(route("/orders"),))) == Ack()
    assert (await ask(lab.gateway, "/orders/5")).who == "one"
    assert lab.proxy.generation() == 1
    assert lab.proxy.problem() == ""


async def test_a_table_given_while_envoy_is_away_arrives_when_it_connects(lab: Lab) -> None:
    await lab.kill_envoy()
    one = await lab.backend("one")
    await eventually(lambda: lab.proxy._ads.connected is False)
    outcome = await lab.apply(service("orders", upstream(1, one.address), routes=(route(),)), deadline_s=0.2)
    assert isinstance(outcome, Disconnected)
    assert "not connected" in lab.proxy.problem()
    before = lab.proxy.generation()
    await lab.start_envoy()
    await eventually(lambda: lab.proxy.generation() > before)
    assert await lab.apply(lab.services["orders"]) == Ack()
    assert (await ask(lab.gateway)).who == "one"


async def test_a_refused_change_is_undone_and_names_the_culprit_alone(lab: Lab) -> None:
    one, two, port = await lab.backend("one"), await lab.backend("two"), here()
    good = service("web", upstream(1, one.address), routes=(route(),), edges=(edge("web", port),))
    await lab.apply(good, service("cart", upstream(1, one.address), routes=(route("/cart"),)))
    bad = service("web", upstream(1, two.address), routes=(route(),), edges=(edge("web", Address("nowhere", 80)),))
    outcome = await lab.apply(bad, service("cart", upstream(1, two.address), routes=(route("/cart"),)))
    assert isinstance(outcome, Refused)
    assert outcome.services == ("web",)
    assert "nowhere" in outcome.text
    assert (await ask(lab.gateway)).who == "one"  # as before
    assert (await ask(port)).who == "one"
    assert (await ask(lab.gateway, "/cart")).who == "two"  # the other's change went through
    assert lab.proxy.problem() == ""


async def test_a_refusal_of_the_shared_routes_finds_its_culprit(lab: Lab) -> None:
    one = await lab.backend("one")
    await lab.apply(service("web", upstream(1, one.address), routes=(route(),)))
    bad = service("bad", upstream(1, one.address), routes=(route(host="a\nb"),))
    good = service("good", upstream(1, one.address), routes=(route("/good"),))
    outcome = await lab.apply(bad, good)
    assert isinstance(outcome, Refused)
    assert outcome.services == ("bad",)
    assert (await ask(lab.gateway, "/good")).who == "one"


async def test_an_address_that_is_none_is_refused_without_asking_envoy(lab: Lab) -> None:
    await lab.apply(service("web"))
    outcome = await lab.apply(service("web", edges=(edge("bank", here(), url="https://"),)))
    assert isinstance(outcome, Refused)
    assert "bank" in outcome.text


async def test_tls_without_any_authority_is_refused_with_what_to_do(lab: Lab) -> None:
    lab.proxy._ca_file = ""
    await lab.apply(service("web"))
    outcome = await lab.apply(service("web", edges=(edge("bank", here(), url="https://bank.test"),)))
    assert isinstance(outcome, Refused)
    assert "install ca-certificates" in outcome.text


async def test_a_new_edge_whose_port_is_taken_is_refused(lab: Lab) -> None:
    port = here()
    await lab.apply(service("web"))
    with socket.create_server((port.host, port.port)):
        outcome = await lab.apply(service("web", edges=(edge("orders", port),)))
    assert isinstance(outcome, Refused)
    assert outcome.services == ("web",)
    assert str(port) in outcome.text
    assert lab.proxy.problem() == ""


async def test_a_gateway_whose_port_is_taken_is_a_problem_that_heals_by_itself(lab: Lab) -> None:
    one = await lab.backend("one")
    with socket.create_server((lab.gateway.host, lab.gateway.port)):
        assert await lab.apply(service("orders", upstream(1, one.address), routes=(route(),))) == Ack()
        assert lab.proxy.problem() == f"the gateway cannot listen on {lab.gateway}: address already in use"
        assert await lab.apply(service("cart", upstream(1, one.address))) == Ack()  # others are not held up
    await eventually(lambda: lab.proxy.problem() == "")
    await eventually(lambda: reachable(lab.gateway))
    assert (await ask(lab.gateway)).who == "one"


async def test_a_gateway_that_moves_to_a_taken_port_holds_up_no_service_and_gets_there_by_itself(lab: Lab) -> None:
    one, two, port = await lab.backend("one"), await lab.backend("two"), here()
    await lab.apply(service("orders", upstream(1, one.address), routes=(route(),)))
    before, lab.gateway = lab.gateway, here()
    with socket.create_server((lab.gateway.host, lab.gateway.port)):
        moved = service(
            "orders", upstream(2, two.address), routes=(route(releases=(2,)),), edges=(edge("orders", port),)
        )
        assert await lab.apply(moved) == Ack()
        assert lab.proxy.problem() == f"the gateway cannot listen on {lab.gateway}: address already in use"
        assert (await ask(port)).who == "two"
        assert (await ask(before)).who == "two"  # until it has the new place it serves at the old one
        bad = service("bad", edges=(edge("bad", Address("nowhere", 80)),))
        outcome = await lab.apply(bad)
        assert isinstance(outcome, Refused)
        assert outcome.services == ("bad",)
        del lab.services["bad"]
    await eventually(lambda: lab.proxy.problem() == "")
    await eventually(lambda: reachable(lab.gateway))
    assert (await ask(lab.gateway)).who == "two"
    await eventually(lambda: refuses(before))


async def refuses(where: Address) -> bool:
    try:
        _, writer = await asyncio.open_connection(where.host, where.port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


async def test_an_edge_whose_port_was_stolen_while_envoy_was_away_is_a_problem_that_heals(lab: Lab) -> None:
    one, port = await lab.backend("one"), here()
    await lab.apply(service("orders", upstream(1, one.address), routes=(route(),), edges=(edge("orders", port),)))
    await lab.kill_envoy()
    with socket.create_server((port.host, port.port)):
        await lab.start_envoy()
        await eventually(lambda: "orders r1's calls to orders cannot listen" in lab.proxy.problem())
        assert (await ask(lab.gateway)).who == "one"  # all the rest is served
        assert isinstance(await lab.apply(lab.services["orders"]), Refused)  # the same once more: no
        other = service("orders", upstream(1, one.address), routes=(route("/o"),), edges=lab.services["orders"].edges)
        assert await lab.apply(other) == Ack()  # nothing of this change was refused
        assert (await ask(lab.gateway, "/o")).who == "one"
    await eventually(lambda: lab.proxy.problem() == "")
    await eventually(lambda: reachable(port))


async def test_a_killed_envoy_serves_again_on_the_same_ports(lab: Lab) -> None:
    one, port = await lab.backend("one"), here()
    await lab.apply(service("orders", upstream(1, one.address), routes=(route(),), edges=(edge("orders", port),)))
    await lab.kill_envoy()
    began = time.monotonic()
    await lab.start_envoy()
    await eventually(lambda: reachable(lab.gateway))
    await eventually(lambda: reachable(port))
    print(f"serves again after {time.monotonic() - began:.2f} s")
    assert (await ask(port)).who == "one"


async def test_a_new_daemon_with_the_same_table_sends_nothing_and_fails_no_request(lab: Lab) -> None:
    one, failed, stop = await lab.backend("one"), 0, asyncio.Event()
    entries = [service(f"s{n}", upstream(1, one.address), routes=(route(f"/s{n}"),)) for n in range(5)]
    await lab.apply(*entries)

    async def load() -> None:
        nonlocal failed
        while not stop.is_set():
            failed += await reachable(lab.gateway, "/s3") != 200
            await asyncio.sleep(0.005)

    loading = asyncio.create_task(load())
    await lab.proxy.close()
    await asyncio.sleep(0.3)
    lab.proxy = EnvoyProxy(lab.folder, lab.folder)
    await lab.proxy.start()
    sent: list[str] = []
    await eventually(lambda: lab.proxy._ads.connected)
    await asyncio.sleep(0.3)  # Envoy asks; nothing may be answered before the table is there
    stream = lab.proxy._ads._streams[-1]
    push = stream.push
    stream.push = lambda kind, resources, removed=(): (
        sent.extend([*resources, *removed]),
        push(kind, resources, removed),
    )  # type: ignore[method-assign,assignment,return-value]
    assert await lab.apply(*entries) == Ack()
    assert sent == []
    stop.set()
    await loading
    assert failed == 0


async def test_a_new_daemon_with_another_table_sends_what_differs_and_drops_what_is_gone(lab: Lab) -> None:
    one, two = await lab.backend("one"), await lab.backend("two")
    await lab.apply(
        service("a", upstream(1, one.address), routes=(route("/a"),)),
        service("b", upstream(1, one.address), routes=(route("/b"),)),
    )
    await lab.proxy.close()
    lab.proxy, lab.services = EnvoyProxy(lab.folder, lab.folder), {}
    await lab.proxy.start()
    assert await lab.apply(service("a", upstream(2, two.address), routes=(route("/a", releases=(2,)),))) == Ack()
    assert (await ask(lab.gateway, "/a")).who == "two"
    assert (await ask(lab.gateway, "/b")).status == 404


async def test_a_changed_cluster_is_acknowledged_at_once(lab: Lab) -> None:
    """Envoy holds the acknowledgement for 15 s unless the endpoint set follows (envoy#13009)."""
    one, port = await lab.backend("one"), here()
    for timeout_s in (1.0, 2.0, 3.0):
        began = time.monotonic()
        changed = service("web", upstream(1, one.address), edges=(edge("web", port, connect_timeout_s=timeout_s),))
        assert await lab.apply(changed) == Ack()
        assert time.monotonic() - began < 14


async def test_an_edge_keeps_its_port_when_its_callee_comes_and_changes(lab: Lab) -> None:
    """What the callee's port is called, and speaks, is known only once there is a callee."""
    one, port = await lab.backend("one"), here()
    await lab.apply(service("web", edges=(edge("orders", port),)))
    assert await reachable(port) == 503
    for name, protocol in (("api", "http"), ("raw", "tcp"), ("http", "http")):
        orders = service("orders", upstream(1, one.address, port=name, protocol=protocol))
        edges = (edge("orders", port, port=name, protocol=protocol),)
        assert await lab.apply(orders) == Ack()
        assert await lab.apply(service("web", edges=edges)) == Ack()
        await eventually(lambda: reachable(port))
        assert (await ask(port)).who == "one"
    assert await lab.apply(service("web", edges=(edge("orders", port, release=2),))) == Ack()
    assert (await ask(port)).who == "one"  # the port of an edge that went in the same change


async def test_a_removed_service_leaves_nothing_behind(lab: Lab) -> None:
    one, port = await lab.backend("one"), here()
    await lab.apply(
        service("web", edges=(edge("orders", port),)), service("orders", upstream(1, one.address), routes=(route(),))
    )
    assert await lab.apply(gone=("orders",)) == Ack()
    assert (await ask(port)).status == 503
    assert b'there is no service "orders"' in (await ask(port)).body
    assert await lab.apply(gone=("web",)) == Ack()
    assert await reachable(port) == 0
    wanted = lab.proxy._ads.want.values()
    assert sorted(name for resources in wanted for name in resources) == ["gateway", "gateway"]


async def test_traffic_moves_to_a_new_release_in_one_change_without_a_failure(lab: Lab) -> None:
    one, two, statuses, stop = await lab.backend("one"), await lab.backend("two"), [], asyncio.Event()
    await lab.apply(service("web", upstream(1, one.address), routes=(route(),)))

    async def load() -> None:
        while not stop.is_set():
            statuses.append(await reachable(lab.gateway))

    loading = [asyncio.create_task(load()) for _ in range(4)]
    for number in range(2, 12):
        old, new = (one, two) if number % 2 == 0 else (two, one)
        await lab.apply(
            service(
                "web",
                upstream(number - 1, old.address, draining=(old.address,)),
                upstream(number, new.address),
                weights={number - 1: 0, number: 100},
                routes=(route(releases=(number - 1, number)),),
            )
        )
        assert (await ask(lab.gateway)).who == new.name
        before = len(statuses)
        await eventually(lambda before=before: len(statuses) > before + 10)
    stop.set()
    await asyncio.gather(*loading)
    assert set(statuses) == {200}


async def test_an_envoy_that_is_frozen_is_reported_and_catches_up(lab: Lab) -> None:
    one, two = await lab.backend("one"), await lab.backend("two")
    await lab.apply(service("web", upstream(1, one.address), routes=(route(),)))
    assert lab.envoy is not None
    lab.envoy.send_signal(signal.SIGSTOP)
    outcome = await lab.apply(service("web", upstream(1, two.address), routes=(route(),)), deadline_s=0.5)
    assert isinstance(outcome, Disconnected)
    lab.envoy.send_signal(signal.SIGCONT)
    assert await lab.apply(service("web", upstream(1, two.address), routes=(route(),))) == Ack()
    assert (await ask(lab.gateway)).who == "two"
