"""When a count of requests in flight is believed."""

import asyncio
import contextlib

from atoll.model.state import Address, ReplicaPhase, ReplicaRecord
from atoll.model.traffic import ServiceTraffic
from atoll.realise.inflight import Inflight
from atoll.realise.traffic import TrafficActor
from atoll.testing.clock import VirtualClock
from atoll.testing.fake_proxy import FakeTraffic

AT = Address("127.0.0.1", 20001)


def row(phase: ReplicaPhase) -> ReplicaRecord:
    return ReplicaRecord(
        id="orders-r1-0-aaaaaa", service="orders", release=1, slot=0, phase=phase, ports={"http": AT.port}
    )


async def counts(phase: ReplicaPhase, at_s: tuple[float, ...], *, tables: bool = False) -> list[int | None]:
    """What is known after counts at these times, of one table or of a new one each; nothing is in flight."""
    proxy = FakeTraffic(VirtualClock(), ack_s=0.0)
    actor = TrafficActor(proxy, Address("127.0.0.1", 8080), (), lambda _: None)
    running = asyncio.create_task(actor.run())
    actor.submit(ServiceTraffic(service="orders"))
    while actor.acked("orders") is None:
        await asyncio.sleep(0)
    inflight, known = Inflight("orders", actor), list[int | None]()
    for now_s in at_s:
        if tables:
            inflight.reset()
        await inflight.count([row(phase)], now_s)
        known.append(inflight.of("orders-r1-0-aaaaaa"))
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    return known


def test_one_that_drains_is_not_idle_before_every_worker_of_the_proxy_can_know_of_it() -> None:
    assert asyncio.run(counts("draining", (7.0, 7.1, 7.25))) == [None, None, 0]


def test_tables_that_follow_one_another_keep_it_from_nothing() -> None:
    assert asyncio.run(counts("draining", (7.0, 7.1, 7.25), tables=True)) == [None, None, 0]


def test_one_that_only_gets_no_more_traffic_is_counted_at_once() -> None:
    assert asyncio.run(counts("serving", (7.0,))) == [0]
