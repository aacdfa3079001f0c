"""What people say to a rollout of which traffic moves in steps, said once or again, in time or too late; in virtual time."""

import pytest
from crowd import QUICK, crowded, ledger
from world import World, spec

from atoll.model.environment import Freeze
from atoll.model.errors import Conflict, Refused
from atoll.model.spec import RolloutSpec, RolloutStep
from atoll.model.wire import RollbackRequest, SteerRequest


def test_people_steer_and_each_word_is_in_the_ledger() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec(rollout=QUICK))
        async with crowded(world):
            operation = await world.deploy(spec(version="v2", rollout=QUICK))
            await world.clock.sleep(3)
            paused = await world.environment.steer("orders", SteerRequest(word="pause"))
            assert paused.stepping is not None
            assert paused.stepping.paused == "by hand"
            await world.clock.sleep(200)
            still = await world.environment.operation(operation.id)
            assert still.stepping is not None
            assert still.stepping.step == 0
            await world.environment.steer("orders", SteerRequest(word="resume"))
            assert (await world.ended(operation, 600)).phase == "live"
        kinds = [event.kind for event in await ledger(world)]
        assert {"rollout.paused", "rollout.resumed"} <= set(kinds)
        await world.clock.sleep(100)
        with pytest.raises(Conflict):
            await world.environment.steer("orders", SteerRequest(word="pause"))

    world.run(scenario)


def test_a_word_that_comes_again_after_its_answer_was_lost_is_said_once() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec(rollout=QUICK))
        async with crowded(world):
            await world.deploy(spec(version="v2", rollout=QUICK))
            await world.clock.sleep(3)
            say = world.environment.steer
            await say("orders", SteerRequest(word="pause", key="a"))
            await say("orders", SteerRequest(word="resume", key="b"))
            await world.restart()  # what was heard outlives the daemon
            again = await world.environment.steer("orders", SteerRequest(word="pause", key="a"))
            assert again.stepping is not None
            assert again.stepping.paused == ""
        said = [event.kind for event in await ledger(world) if event.kind in {"rollout.paused", "rollout.resumed"}]
        assert said == ["rollout.paused", "rollout.resumed"]

    world.run(scenario)


def test_a_rollback_that_comes_again_goes_back_once() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        await world.live(spec(version="v2"))
        async with crowded(world):
            operation = await world.deploy(spec(version="v3", rollout=QUICK))
            await world.clock.sleep(3)
            await world.environment.rollback("orders", RollbackRequest(key="a"))
            assert (await world.ended(operation)).phase == "undone"
            again = await world.environment.rollback("orders", RollbackRequest(key="a"))
            assert (again.id, again.phase) == (operation.id, "undone")
            assert (await world.of()).release == "r2"

    world.run(scenario)


def test_a_rollback_at_a_step_ends_the_rollout_at_once() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec(rollout=QUICK))
        async with crowded(world):
            operation = await world.deploy(spec(version="v2", rollout=QUICK))
            await world.clock.sleep(3)
            await world.environment.rollback("orders", RollbackRequest())
            await world.clock.sleep(1)
            entry = world.traffic.entry("orders")
            assert entry is not None
            assert entry.weights.get(2, 0) == 0
            assert (await world.ended(operation)).phase == "undone"
            retried = await world.environment.steer("orders", SteerRequest(word="retry"))
            assert retried.release == "r2"
            assert (await world.ended(retried, 600)).phase == "live"

    world.run(scenario)


def test_the_same_deploy_again_is_the_one_that_is_under_way() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec(rollout=QUICK))
        first = await world.deploy(spec(version="v2", rollout=QUICK))
        await world.clock.sleep(3)
        assert (await world.deploy(spec(version="v2", rollout=QUICK))).id == first.id

    world.run(scenario)


def test_a_newer_deploy_takes_the_place_of_one_at_its_first_step() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec(rollout=QUICK))
        first = await world.deploy(spec(version="v2", rollout=QUICK))
        await world.clock.sleep(3)
        done = await world.ended(await world.deploy(spec(version="v3", rollout=RolloutSpec(strategy="blue-green"))))
        assert (done.phase, done.release) == ("live", "r3")
        assert (await world.environment.operation(first.id)).phase == "superseded"
        assert world.traffic.serving("orders").keys() == {1, 3}

    world.run(scenario)


def test_a_freeze_holds_for_another_try_too_and_going_back_is_never_frozen() -> None:
    world = World()
    waiting = RolloutSpec(steps=(RolloutStep(weight_pct=10, hold_s=1000.0),))

    async def scenario() -> None:
        await world.live(spec())
        await world.deploy(spec(version="v2", rollout=waiting))
        await world.clock.sleep(5)
        world.freezes = (Freeze(first="2020-01-01", last="2099-12-31"),)
        await world.restart()
        await world.environment.rollback("orders", RollbackRequest())
        await world.clock.sleep(20)
        for refused in (
            world.environment.steer("orders", SteerRequest(word="retry")),
            world.environment.plan(SteerRequest(word="retry"), "orders"),
            world.deploy(spec(version="v3")),
        ):
            with pytest.raises(Refused, match="is not deployed now"):
                await refused
        assert (await world.ended(await world.deploy(spec(version="v3"), override_freeze="an outage"))).phase == "live"

    world.run(scenario)
