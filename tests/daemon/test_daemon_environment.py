"""A daemon's life in virtual time: deploys, crashes, and being killed at any instant."""

import asyncio

import pytest
from world import World, at_every_commit, spec

from atoll.model.errors import NotFound
from atoll.model.hosted import Hosted
from atoll.model.launch import Reach
from atoll.model.spec import Health, Probe, RolloutSpec
from atoll.model.state import Address, Exit
from atoll.model.wire import RollbackRequest, StopRequest
from atoll.ports import Launch
from atoll.testing.fake_host import Behaviour, FakeHost


def test_a_first_deploy_ends_live_with_all_traffic() -> None:
    world = World()

    async def scenario() -> None:
        done = await world.live(spec(replicas=2))
        assert done.receipt is not None
        assert done.receipt.outcome == "live"
        view = await world.of()
        assert (view.state, view.release, view.ready, view.wanted) == ("up", "r1", 2, 2)
        entry = world.traffic.entry("orders")
        assert entry is not None
        assert dict(entry.weights) == {1: 100}

    world.run(scenario)


def test_a_second_deploy_switches_after_the_candidate_is_stable_and_keeps_the_old_one_warm() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        [old] = world.host.running("orders", 1)
        done = await world.live(spec(version="v2"))
        assert done.receipt is not None
        assert done.receipt.touched == ()
        assert done.receipt.seconds["starting"] >= 1.0  # the stability window
        assert world.host.running("orders", 1) == [old]
        await world.clock.sleep(700)
        assert world.host.running("orders", 1) == []
        assert len(world.host.running("orders", 2)) == 1

    world.run(scenario)


def test_traffic_never_goes_to_a_dead_replica_by_our_own_doing() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec(replicas=2))
        for n in range(2, 5):
            await world.live(spec(version=f"v{n}", replicas=2))
        assert [applied.dead for applied in world.traffic.history if applied.dead] == []

    world.run(scenario)


@pytest.mark.parametrize(
    "bad",
    [
        Behaviour(exits_after_s=0.05, exit=Exit(code=7), last_words=("boom",)),
        Behaviour(ready_s=None, output=("boom",)),
        Behaviour(ready_s=0.1, exits_after_s=0.5, exit=Exit(code=9), output=("boom",)),
        Behaviour(cannot_start="no such file: serve"),
        Behaviour(listener="stranger", output=("boom",)),
    ],
    ids=["crashes", "never-ready", "ready-then-dead", "cannot-start", "stranger-on-its-port"],
)
def test_a_bad_candidate_is_undone_and_stable_untouched(bad: Behaviour) -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        stable = world.host.running("orders", 1)
        world.host.script("orders", bad, release=2)
        done = await world.ended(await world.deploy(spec(version="v2")))
        assert done.phase == "undone", done
        assert done.text
        assert world.host.running("orders") == stable
        await world.clock.sleep(1)
        entry = world.traffic.entry("orders")
        assert entry is not None
        assert dict(entry.weights) == {1: 100}
        assert all(
            not applied.asked.services["orders"].weights.get(2)
            for applied in world.traffic.history
            if "orders" in applied.asked.services
        )
        view = await world.of()
        assert view.state == "up"
        assert view.release == "r1"
        with pytest.raises(NotFound, match="nothing had the traffic before orders r1") as refused:
            await world.environment.rollback("orders", RollbackRequest())
        assert refused.value.why.startswith("orders r2 was undone already: ")

    world.run(scenario)


class AnswersLate(FakeHost):
    """A busy machine: the answer to a start comes after what the replica did meanwhile."""

    async def start(self, launch: Launch) -> Hosted:
        hosted = await super().start(launch)
        await asyncio.sleep(0.3)
        return hosted


def test_a_worker_that_ends_before_its_start_is_answered_is_not_taken_for_alive() -> None:
    world = World()
    world.host = AnswersLate(world.clock)

    async def scenario() -> None:
        world.host.script("mailer", Behaviour(exits_after_s=0.01, exit=Exit(code=2), last_words=("no such file",)))
        worker = spec("mailer", ports=(), routes=(), health=Health(ready=Probe(kind="process"), stable_for_s=1.0))
        done = await world.ended(await world.deploy(worker))
        assert done.phase == "undone", done
        assert "exit code 2" in done.text

    world.run(scenario)


class Unkillable(FakeHost):
    """A replica in uninterruptible sleep: SIGKILL has no effect yet."""

    async def signal(self, replica: str, signal: str) -> bool:
        self.signalled.append((replica, signal))
        return True


def test_what_cannot_be_killed_is_told_once_and_killed_again_at_a_pace() -> None:
    world = World()
    world.host = Unkillable(world.clock)

    async def scenario() -> None:
        await world.live(spec())
        await world.environment.stop("orders", StopRequest())
        await world.clock.sleep(60)
        kills = [signal for _, signal in world.host.signalled if signal == "SIGKILL"]
        told = [event async for event in world.environment.events() if event.kind == "replica.killed"]
        assert 10 <= len(kills) <= 60
        assert len(told) == 1

    world.run(scenario)


def test_a_first_deploy_that_fails_leaves_nothing_running() -> None:
    world = World()

    async def scenario() -> None:
        world.host.script("orders", Behaviour(exits_after_s=0.05, last_words=("boom",)))
        done = await world.ended(await world.deploy(spec()))
        assert done.phase == "undone"
        assert "boom" in done.output
        assert world.host.running() == []
        assert (await world.of()).state == "down"

    world.run(scenario)


@pytest.mark.parametrize("overlap", [True, False])
def test_a_deploy_ends_live_or_undone_when_the_daemon_is_killed_at_every_commit(overlap: bool) -> None:
    """The daemon dies after its n-th commit of the deploy, for every n; the next ones finish the work."""

    async def play(world: World, n: int) -> bool:
        await world.live(spec(overlap=overlap))
        start = world.disk.commits
        operation = await world.deploy(spec(version="v2", overlap=overlap))
        finished = await world.killed_after(start + n, lambda: world.has_moved_to(2))
        view = await world.ended(operation)
        assert view.phase in {"live", "certified"}, (n, view)
        assert [applied.dead for applied in world.traffic.history if applied.dead] == [], n
        await world.clock.sleep(700)
        assert len(world.host.running("orders")) == 1, n
        return finished

    assert at_every_commit(play) > 5


def test_releases_that_may_not_overlap_never_run_together_and_requests_are_held_meanwhile() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec(overlap=False))
        operation = await world.deploy(spec(version="v2", overlap=False))
        held_while_down = True
        while not (await world.environment.operation(operation.id)).ended:
            running = {replica.split("-")[1] for replica in world.host.running("orders")}
            assert len(running) <= 1
            entry = world.traffic.entry("orders")
            if not running:
                held_while_down = held_while_down and entry is not None and entry.hold
            await world.clock.sleep(0.005)
        assert held_while_down
        entry = world.traffic.entry("orders")
        assert entry is not None
        assert not entry.hold

    world.run(scenario)


def test_the_old_release_is_drained_before_it_is_stopped() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec(rollout=RolloutSpec(bake_s=0.0)))
        view = await world.of()
        address = Address("127.0.0.1", next(iter(view.replicas[0].ports.values())))
        world.traffic.set_inflight(address, 3)
        operation = await world.deploy(spec(version="v2", rollout=RolloutSpec(bake_s=0.0)))
        await world.clock.sleep(4)
        assert (await world.environment.operation(operation.id)).phase == "draining"
        assert world.host.running("orders", 1)
        world.traffic.set_inflight(address, 0)
        done = await world.ended(operation)
        assert done.phase in {"live", "certified"}
        await world.clock.sleep(3)
        assert not world.host.running("orders", 1)

    world.run(scenario)


def test_a_crashed_replica_is_replaced_at_once_and_a_crash_loop_slows_down() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        await world.clock.sleep(20)
        [first] = world.host.running("orders")
        started = world.clock.now().boot_s
        world.host.kill(first)
        await world.clock.until(lambda: world.host.running("orders"), every_s=0.001)
        assert world.clock.now().boot_s - started < 0.1
        before = len(world.host.launches)
        world.host.script("orders", Behaviour(exits_after_s=0.01))
        world.host.kill(world.host.running("orders")[0])
        await world.clock.sleep(60)
        assert 3 <= len(world.host.launches) - before <= 12
        view = await world.of()
        assert view.state == "failing"
        assert "crash loop" in view.reason

    world.run(scenario)


def test_a_service_without_a_network_keeps_nobody_else_from_traffic() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        await world.live(spec("web"))
        world.traffic.connect(restarted=True)
        world.host.reaches["orders"] = None
        await world.restart()
        await world.clock.until(lambda: world.traffic.serving("web") != {})
        assert (await world.of()).reason == "no network is left for orders"
        assert world.traffic.serving("orders") != {}  # whoever serves goes on
        world.host.reaches["orders"] = Reach(edges="10.201.3.1", network="10.201.3.0/24")
        await world.clock.sleep(5)
        assert (await world.of()).reason == ""

    world.run(scenario)


def test_a_stopped_service_gives_its_network_back_once_nothing_of_it_runs() -> None:
    world = World()
    world.host.reaches["orders"] = Reach(edges="10.201.3.1", network="10.201.3.0/24")

    async def scenario() -> None:
        await world.live(spec())
        await world.environment.stop("orders", StopRequest())
        while world.host.running("orders"):
            assert world.host.given_back == []
            await world.clock.sleep(0.05)
        await world.clock.sleep(5)
        assert world.host.given_back == ["orders"]
        await world.live(spec())
        assert world.host.given_back == ["orders"]

    world.run(scenario)


def test_a_restarted_daemon_touches_nothing_that_runs() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec(replicas=2))
        before, launched = world.host.running("orders"), len(world.host.launches)
        for _ in range(3):
            await world.restart()
            await world.clock.sleep(5)
        assert world.host.running("orders") == before
        assert len(world.host.launches) == launched
        for applied in world.traffic.history[-5:]:
            entry = applied.asked.services["orders"]
            assert sum(len(upstream.endpoints) for upstream in entry.upstreams) == 2

    world.run(scenario)


def test_everything_comes_back_after_a_reboot() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec(replicas=2))
        world.kill()
        world.host.reboot()
        world.clock.reboot()
        await world.start()
        await world.clock.until(lambda: len(world.host.running("orders")) == 2)
        await world.clock.sleep(5)
        assert (await world.of()).state == "up"

    world.run(scenario)


def test_a_refused_switch_is_undone_with_the_proxys_words() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        operation = await world.deploy(spec(version="v2"))
        world.traffic.refuse("orders", "bad regex in route")
        await world.clock.sleep(15)
        world.traffic.accept("orders")
        done = await world.ended(operation)
        assert done.phase == "undone"
        assert "bad regex in route" in done.text

    world.run(scenario)


def test_a_proxy_that_was_away_gets_everything_when_it_is_back() -> None:
    world = World()

    async def scenario() -> None:
        world.traffic.disconnect()
        operation = await world.deploy(spec())
        await world.clock.sleep(8)
        world.traffic.connect()
        done = await world.ended(operation)
        assert done.phase in {"live", "certified"}

    world.run(scenario)


def test_a_host_that_is_away_is_told_while_what_runs_goes_on() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        told = await world.environment.status()
        assert told.notices == ()
        world.host.disconnect()
        await world.clock.sleep(15)
        told = await world.environment.status()
        assert [service.state for service in told.services] == ["up"]
        assert told.notices == ("the host is away; what runs goes on, and nothing is started or stopped meanwhile",)
        world.host.connect()
        await world.clock.sleep(15)
        assert (await world.environment.status()).notices == ()

    world.run(scenario)


def test_a_slow_failing_service_delays_nobody_else() -> None:
    world = World()

    async def scenario() -> None:
        world.host.script("slow", Behaviour(start_s=30.0, ready_s=None))
        world.traffic.refuse("slow")
        await world.deploy(spec("slow"))
        started = world.clock.now().boot_s
        await world.live(spec("web"))
        assert world.clock.now().boot_s - started < 5

    world.run(scenario)


def test_a_full_disk_stops_decisions_and_they_go_on_when_there_is_space() -> None:
    from atoll.model.errors import Retryable

    world = World()

    async def scenario() -> None:
        await world.live(spec())
        world.disk.trouble = Retryable("no space left on device", id="disk-full")
        [replica] = world.host.running("orders")
        world.host.kill(replica)
        await world.clock.sleep(5)
        assert world.host.running("orders") == []
        world.disk.trouble = None
        await world.clock.until(lambda: world.host.running("orders"))

    world.run(scenario)


def test_an_idle_environment_writes_nothing() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        await world.clock.sleep(700)
        before = world.disk.commits
        await world.clock.sleep(3600)
        assert world.disk.commits == before

    world.run(scenario)
