"""Requests that the real Envoy holds while a service has no release that may take them."""

import asyncio

import pytest
from tests.proxy.lab import Lab, ask, edge, eventually, here, route, service, upstream

from atoll.model.traffic import Ack
from atoll.proxy import EnvoyProxy

pytestmark = pytest.mark.e2e


async def waiting(lab: Lab, count: int) -> bool:
    return await lab.at_the_gateway() == count


async def test_held_requests_wait_and_go_to_the_release_that_came_meanwhile(lab: Lab) -> None:
    one, two, port = await lab.backend("one"), await lab.backend("two"), here()
    web = service("web", edges=(edge("orders", port),))
    await lab.apply(web, service("orders", upstream(1, one.address), routes=(route("/o"), route("/o/p", host="h"))))
    held = service("orders", upstream(1, one.address), routes=(route("/o"), route("/o/p", host="h")), hold=True)
    await lab.apply(held)
    body = bytes(range(256)) * 80
    asks = [asyncio.create_task(ask(lab.gateway, "/o/echo", method="POST", body=body)) for _ in range(5)]
    asks += [asyncio.create_task(ask(port, "/echo", method="POST", body=body)) for _ in range(5)]
    asks.append(asyncio.create_task(ask(lab.gateway, "/o/p", host="h")))
    await eventually(lambda: waiting(lab, 6))
    await asyncio.sleep(1)
    assert not any(task.done() for task in asks)
    assert one.heads == []
    assert (await ask(lab.gateway, "/elsewhere")).status == 404  # nobody else waits
    await one.stop()
    routes = (route("/o", releases=(2,)), route("/o/p", host="h", releases=(2,)))
    await lab.apply(service("orders", upstream(2, two.address), weights={2: 100}, routes=routes, hold=True))
    await asyncio.sleep(0.2)
    assert not any(task.done() for task in asks)
    await lab.apply(service("orders", upstream(2, two.address), weights={2: 100}, routes=routes))
    replies = await asyncio.gather(*asks)
    assert [reply.who for reply in replies] == ["two"] * 11
    assert "x-atoll-cluster" not in "".join(two.heads)
    assert sum(reply.body == body for reply in replies) == 5  # of the edge, whose path is /echo
    assert (await ask(port)).who == "two"


async def test_held_requests_outlive_the_daemon(lab: Lab) -> None:
    one = await lab.backend("one")
    entry = service("orders", upstream(1, one.address), routes=(route(),))
    held = service("orders", upstream(1, one.address), routes=(route(),), hold=True)
    await lab.apply(held)
    asked = [asyncio.create_task(ask(lab.gateway, "/echo", method="POST", body=b"kept")) for _ in range(5)]
    await eventually(lambda: waiting(lab, 5))
    await lab.proxy.close()
    await asyncio.sleep(0.5)
    lab.proxy = EnvoyProxy(lab.folder, lab.folder)
    await lab.proxy.start()
    assert await lab.apply(held) == Ack()
    assert not any(task.done() for task in asked)
    assert await lab.apply(entry) == Ack()
    assert [reply.body for reply in await asyncio.gather(*asked)] == [b"kept"] * 5


async def test_requests_held_for_a_service_that_goes_away_are_told(lab: Lab) -> None:
    one = await lab.backend("one")
    await lab.apply(service("orders", upstream(1, one.address), routes=(route(),), hold=True))
    held = asyncio.create_task(ask(lab.gateway))
    await eventually(lambda: waiting(lab, 1))
    await lab.apply(gone=("orders",))
    reply = await held
    assert reply.status == 503
    assert b"orders" in reply.body
