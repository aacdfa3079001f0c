"""Changes reach the real Envoy, are acknowledged, and are undone where it refuses them."""

import socket

from tests.proxy.lab import Lab, ask, edge, eventually, here, route, service, upstream

from atoll.model.traffic import Ack, Disconnected, Refused


async def test_a_service_is_reachable_at_the_gateway_when_its_change_was_acknowledged(lab: Lab) -> None:
    one = await lab.backend("one")
    assert await lab.apply(service("orders", upstream(1, one.address), routes=(route("/orders"),))) == Ack()
    assert (await ask(lab.gateway, "/orders/5")).who == "one"
    assert lab.proxy.generation() == 1
    assert lab.proxy.problem() == ""
    print(lab.log())
