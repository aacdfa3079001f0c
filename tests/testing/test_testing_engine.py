"""The fakes carry a real engine through hours of crashes, dead daemons and an absent proxy, in virtual time."""

import asyncio

import pytest

from atoll.model.rows import Change
from atoll.model.spec import Command, Health, Port, Probe, ServiceSpec
from atoll.model.state import Address, Artifact, Intent, Release, Revision, ServiceDesired
from atoll.realise.engine import HostEngine
from atoll.realise.leases import Ports
from atoll.realise.records import Records
from atoll.testing.clock import VirtualClock
from atoll.testing.fake_host import Behaviour, FakeHost
from atoll.testing.fake_proxy import FakeTraffic
from atoll.testing.memory_store import MemoryStore, MemoryVault

SPEC = ServiceSpec(
    name="orders", run=Command(("x",)), ports=(Port(),), health=Health(ready=Probe(kind="http", path="/ready"))
)
ARTIFACT = Artifact(key="k", digest="d", builder="b", platform="p", path="/x")
WANT = ServiceDesired(service="orders", generation=1, revisions=(Revision(release=1, replicas=2, weight_pct=100),))


class Environment:
    """The parts that outlive a daemon, and a daemon that can be killed."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.host = FakeHost(self.clock)
        self.traffic = FakeTraffic(self.clock, alive=self.host.alive)
        self.store = MemoryStore()
        self._task: asyncio.Task[None] | None = None

    async def start_daemon(self) -> None:
        await self.store.lead()
        records = Records(self.store, await self.store.load())
        if not records.intents:
            release = Release(service="orders", n=1, spec=SPEC, artifact=ARTIFACT)
            await records.commit(Change(puts=(release, Intent(service="orders", generation=1, target=1))))
        engine = HostEngine(
            self.host,
            self.traffic,
            records,
            MemoryVault(),
            self.clock,
            Address("127.0.0.1", 8080),
            Ports(20000, 29999),
            lambda _service: None,
            self.host.ask,
        )
        self._task = asyncio.create_task(engine.run())
        await asyncio.sleep(0)
        engine.apply(WANT)

    async def kill_daemon(self) -> None:
        self.store = self.store.crash()
        assert self._task is not None
        self._task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._task

    def serving(self) -> int:
        return len(self.traffic.serving("orders").get(1, []))


def test_replicas_are_replaced_for_hours_and_a_new_daemon_adopts_them() -> None:
    world = Environment()
    world.host.script("orders", Behaviour(ready_s=3.0))

    async def main() -> None:
        await world.start_daemon()
        await world.clock.until(lambda: world.serving() == 2)
        before = world.host.running()
        await world.kill_daemon()
        await world.clock.sleep(3600)
        assert world.serving() == 2  # the proxy goes on
        await world.start_daemon()
        await world.clock.sleep(3600)
        assert world.host.running() == before
        for _ in range(5):
            world.host.kill(world.host.running()[0])
            await world.clock.until(lambda: world.serving() == 1)
            await world.clock.until(lambda: world.serving() == 2)
            await world.clock.sleep(1800)
        assert len(world.host.running()) == 2
        await world.kill_daemon()

    world.clock.run(main())
    assert world.clock.elapsed_s > 4 * 3600
    assert len(world.host.launches) == 7


def test_nothing_dead_gets_traffic_and_an_absent_proxy_is_told_when_it_is_back() -> None:
    world = Environment()

    async def main() -> None:
        world.traffic.disconnect()
        await world.start_daemon()
        await world.clock.sleep(60)
        assert world.serving() == 0
        world.traffic.connect()
        await world.clock.until(lambda: world.serving() == 2)
        world.host.set_ready(world.host.running()[0], False)
        await world.clock.until(lambda: world.serving() == 1)
        await world.kill_daemon()

    world.clock.run(main())
    assert not any(applied.dead for applied in world.traffic.history)
