"""The fakes do what their scripts say, and survive the daemon that uses them."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from atoll.model.errors import Permanent, Retryable
from atoll.model.hosted import Hosted, Listener
from atoll.model.signals import Counts, EdgeKey
from atoll.model.spec import Command, Probe
from atoll.model.state import Address, Exit
from atoll.model.traffic import Ack, Disconnected, Endpoint, Refused, ServiceTraffic, Table, Upstream
from atoll.ports import Launch
from atoll.testing.clock import VirtualClock
from atoll.testing.fake_host import Behaviour, FakeHost
from atoll.testing.fake_proxy import FakeTraffic

GATEWAY = Address("127.0.0.1", 8080)


def a_launch(replica: str = "orders-r1-0-a", release: int = 1, port: int = 20000) -> Launch:
    return Launch(
        id=replica, service="orders", release=release, command=Command(("x",)), folder="/", env={}, ports={"http": port}
    )


def a_table(**services: tuple[str, ...]) -> Table:
    return Table(
        gateway=GATEWAY,
        services={
            name: ServiceTraffic(
                service=name,
                weights={1: 100},
                upstreams=(
                    Upstream(
                        release=1,
                        port="http",
                        protocol="http",
                        endpoints=tuple(Endpoint(replica=id, address=Address("127.0.0.1", 20000)) for id in replicas),
                    ),
                ),
            )
            for name, replicas in services.items()
        },
    )


class World:
    """A clock and a host."""

    def __init__(self, **behaviour: Any) -> None:
        self.clock = VirtualClock()
        self.host = FakeHost(self.clock)
        self.host.script("orders", Behaviour(**behaviour))

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        self.clock.run(main)


def test_a_replica_is_ready_after_its_delay_and_listens_then() -> None:
    world = World(ready_s=5)

    async def main() -> None:
        hosted = await world.host.start(a_launch())
        assert (hosted.exit, hosted.service, hosted.release) == (None, "orders", 1)
        assert world.host.alive(hosted.id)
        assert not world.host.ready(hosted.id)
        assert (await world.host.listener(hosted.id, 20000)).state == "none"
        assert (await world.host.run(a_launch(), 1))[0].code == 1
        await world.clock.sleep(5)
        assert world.host.ready(hosted.id)
        assert world.host.at(20000) == hosted.id
        assert await world.host.listener(hosted.id, 20000) == Listener(state="own")
        assert (await world.host.run(a_launch(), 1))[0].code == 0

    world.run(main())


def test_a_start_is_done_once_even_after_the_end() -> None:
    world = World()

    async def main() -> None:
        first = await world.host.start(a_launch())
        assert await world.host.start(a_launch()) == first
        world.host.kill(first.id)
        again = await world.host.start(a_launch())
        assert again.exit is not None
        assert len(world.host.launches) == 1

    world.run(main())


def test_a_script_of_one_release_counts_more_than_that_of_its_service() -> None:
    world = World()
    world.host.script("orders", Behaviour(exits_after_s=3, exit=Exit(code=7), last_words=("panic",)), release=2)

    async def main() -> None:
        await world.host.start(a_launch("one", 1))
        await world.host.start(a_launch("two", 2))
        exits = world.host.exits()
        ended = await anext(exits)
        assert ended.id == "two"
        assert ended.exit is not None
        assert ended.exit.code == 7
        assert ended.exit.at_s == pytest.approx(world.clock.now().boot_s)
        assert await world.host.last_output("two") == "panic"
        assert world.host.running() == ["one"]
        assert {hosted.id for hosted in await world.host.list()} == {"one", "two"}

    world.run(main())


def test_a_command_that_cannot_run_is_an_exit_with_its_error() -> None:
    world = World(cannot_start="no such file: ./orders")

    async def main() -> None:
        hosted = await world.host.start(a_launch())
        assert hosted.pid is None
        assert hosted.exit is not None
        assert hosted.exit.text == "no such file: ./orders"

    world.run(main())


def test_a_stop_signal_ends_it_after_its_while_and_a_deaf_one_needs_sigkill() -> None:
    world = World(stop_s=2.0)
    world.host.script("orders", Behaviour(ignores_signals=True), release=2)

    async def main() -> None:
        await world.host.start(a_launch("polite", 1))
        await world.host.start(a_launch("deaf", 2))
        assert await world.host.signal("polite", "SIGTERM")
        assert await world.host.signal("deaf", "SIGTERM")
        await world.clock.sleep(1.9)
        assert world.host.running() == ["polite", "deaf"]
        await world.clock.sleep(0.2)
        assert world.host.running() == ["deaf"]
        assert await world.host.signal("deaf", "SIGKILL")
        await world.clock.sleep(0.1)
        (polite, deaf) = await world.host.list()
        assert (polite.exit and polite.exit.code, deaf.exit and deaf.exit.signal) == (0, 9)
        assert not await world.host.signal("deaf", "SIGKILL")
        with pytest.raises(Permanent, match="SIGNAL"):
            await world.host.signal("deaf", "SIGNAL")

    world.run(main())


def test_forgetting_kills_what_runs_and_keeps_what_it_printed() -> None:
    world = World(output=("hello", "world"))

    async def main() -> None:
        await world.host.start(a_launch())
        await world.clock.sleep(1)
        exits = world.host.exits()
        await world.host.forget("orders-r1-0-a")
        assert (await anext(exits)).id == "orders-r1-0-a"
        await world.host.forget("orders-r1-0-a")
        assert list(await world.host.list()) == []
        assert await world.host.last_output("orders-r1-0-a", 1) == "world"
        assert [line.text async for line in world.host.logs("orders")] == ["hello", "world"]

    world.run(main())


def test_logs_are_followed_across_replicas() -> None:
    world = World(output=("up",), exits_after_s=10, last_words=("down",))

    async def main() -> None:
        seen: list[tuple[str, str]] = []

        async def follow() -> None:
            async for line in world.host.logs("orders", follow=True, tail=0):
                seen.append((line.replica, line.text))

        follower = asyncio.create_task(follow())
        await world.host.start(a_launch("a"))
        await world.clock.sleep(5)
        await world.host.start(a_launch("b"))
        await world.clock.sleep(30)
        follower.cancel()
        assert seen == [("a", "up"), ("b", "up"), ("a", "down"), ("b", "down")]

    world.run(main())


def test_replicas_outlive_the_daemon_that_started_them() -> None:
    world = World(exits_after_s=60)

    async def main() -> None:
        heard: list[Hosted] = []

        async def daemon() -> None:
            await world.host.start(a_launch())
            async for ended in world.host.exits():
                heard.append(ended)

        first = asyncio.create_task(daemon())
        await world.clock.sleep(10)
        first.cancel()
        await world.clock.sleep(10)
        assert world.host.running("orders", 1) == ["orders-r1-0-a"]
        await world.clock.sleep(60)
        assert heard == []
        (hosted,) = await world.host.list()
        assert hosted.exit is not None

    world.run(main())


def test_readiness_can_flap_by_script_and_by_hand() -> None:
    world = World(ready_s=1, unready=((10, 20),))

    async def main() -> None:
        id_ = (await world.host.start(a_launch())).id
        seen = []
        for _ in range(6):
            await world.clock.sleep(4.5)
            seen.append(world.host.ready(id_))
        assert seen == [True, True, False, False, True, True]
        world.host.set_ready(id_, False)
        assert not world.host.ready(id_)
        world.host.set_ready(id_, None)
        assert world.host.ready(id_)
        assert await world.host.usage() == {id_: (10_000_000, 0.0)}

    world.run(main())


def test_a_reboot_leaves_nothing_running_and_no_timer_of_before() -> None:
    world = World(exits_after_s=5)

    async def main() -> None:
        await world.host.start(a_launch())
        exits = world.host.exits()
        world.host.reboot()
        world.clock.reboot()
        assert list(await world.host.list()) == []
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(exits), 60)

    world.run(main())


def test_a_host_that_is_away_is_retryable_and_its_replicas_go_on() -> None:
    world = World(exits_after_s=30)

    async def main() -> None:
        await world.host.start(a_launch())
        waiting = asyncio.ensure_future(anext(world.host.exits()))
        await asyncio.sleep(0)
        world.host.disconnect()
        with pytest.raises(Retryable):
            await waiting
        with pytest.raises(Retryable):
            await anext(world.host.exits())
        with pytest.raises(Retryable):
            await world.host.list()
        with pytest.raises(Retryable):
            await world.host.start(a_launch("b"))
        await world.clock.sleep(10)
        world.host.connect()
        assert [hosted.exit for hosted in await world.host.list()] == [None]
        assert (await anext(world.host.exits())).id == "orders-r1-0-a"

    world.run(main())


def test_probes_are_answered_by_script_and_by_path() -> None:
    world = World(ready_s=2)
    ready, live = Probe(kind="http", path="/ready"), Probe(kind="http", path="/live", timeout_s=0.5)
    address = Address("127.0.0.1", 20000)

    async def ok(probe: Probe, launch: Launch | None = None) -> bool:
        return (await world.host.ask(probe, None if launch else address, world.host, launch)).ok

    async def main() -> None:
        assert not await ok(ready)
        id_ = (await world.host.start(a_launch())).id
        assert not await ok(ready)
        await world.clock.sleep(2)
        assert await ok(ready)
        assert await ok(Probe(kind="command"), a_launch())
        world.host.set_answer(id_, "/live", False)
        assert (await ok(ready), await ok(live)) == (True, False)
        world.host.set_answer(id_, "/live", None)
        assert await ok(live)
        world.host.kill(id_, last_words="oh")
        assert not await ok(ready)
        assert await world.host.last_output(id_) == "oh"

    world.run(main())


def test_the_proxy_acknowledges_and_remembers_what_got_traffic() -> None:
    world = World()
    traffic = FakeTraffic(world.clock, ack_s=0.5, alive=world.host.alive)

    async def main() -> None:
        await world.host.start(a_launch("a"))
        assert await traffic.apply(a_table(orders=("a",)), frozenset({"orders"}), 5) == Ack()
        assert traffic.serving("orders") == {1: ["a"]}
        assert await traffic.apply(a_table(orders=("a", "ghost")), frozenset({"orders"}), 5) == Ack()
        assert [applied.dead for applied in traffic.history] == [(), ("ghost",)]
        assert world.clock.elapsed_s == pytest.approx(1.01, abs=0.05)

    world.run(main())


def test_a_refused_services_old_entry_stands_and_the_others_change() -> None:
    clock = VirtualClock()
    traffic = FakeTraffic(clock)

    async def main() -> None:
        await traffic.apply(a_table(orders=("a",), catalog=("c",)), frozenset({"orders", "catalog"}), 5)
        traffic.refuse("orders", "duplicate listener")
        outcome = await traffic.apply(
            a_table(orders=("b",), catalog=("d",), fresh=("f",)), frozenset({"orders", "catalog", "fresh"}), 5
        )
        assert outcome == Refused(("orders",), "orders: duplicate listener")
        assert [traffic.serving(name) for name in ("orders", "catalog", "fresh")] == [
            {1: ["a"]},
            {1: ["d"]},
            {1: ["f"]},
        ]
        assert await traffic.apply(a_table(orders=("b",), catalog=("e",)), frozenset({"catalog"}), 5) == Ack()
        traffic.accept("orders")
        assert await traffic.apply(a_table(orders=("b",)), frozenset({"orders"}), 5) == Ack()
        assert traffic.serving("orders") == {1: ["b"]}

    clock.run(main())


def test_a_proxy_that_is_away_answers_nothing_until_it_is_back() -> None:
    clock = VirtualClock()
    traffic = FakeTraffic(clock)
    address = Address("127.0.0.1", 20000)

    async def main() -> None:
        traffic.set_inflight(address, 3)
        edge = EdgeKey("", 0, "orders", 1)
        assert await traffic.read() is None  # the first time it only remembers
        traffic.count(edge, Counts(requests=3))
        assert await traffic.inflight([address]) == {address: 3}
        traffic.disconnect("cannot bind :8080")
        assert await traffic.apply(a_table(orders=("a",)), frozenset({"orders"}), 2) == Disconnected(
            "cannot bind :8080"
        )
        assert (await traffic.inflight([address]), await traffic.read()) == (None, None)
        assert (traffic.generation(), traffic.problem()) == (1, "cannot bind :8080")
        waiting = asyncio.create_task(traffic.apply(a_table(orders=("a",)), frozenset({"orders"}), 30))
        await clock.sleep(10)
        traffic.connect()
        assert await waiting == Ack()
        assert (traffic.generation(), traffic.problem()) == (2, "")
        reading = await traffic.read()
        assert reading is not None
        assert (reading.seconds, reading.edges[edge].counts.requests) == (pytest.approx(12, abs=0.1), 3)
        after = await traffic.read()
        assert after is not None
        assert after.edges[edge].counts == Counts()  # it knows the edge, nobody used it

    clock.run(main())
