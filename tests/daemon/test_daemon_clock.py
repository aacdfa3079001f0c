"""Somebody sets the machine's clock: durations do not care, and nothing is deployed, restarted or certified for it."""

import pytest
from world import World, spec

from atoll.model.wire import RollbackRequest
from atoll.testing.fake_host import Behaviour


@pytest.mark.parametrize("jump_s", [-86_400.0 * 365, -5.0, 5.0, 86_400.0 * 365])
def test_a_jump_of_the_clock_during_a_deploy_changes_nothing(jump_s: float) -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        stable = world.host.running("orders", 1)
        world.host.script("orders", Behaviour(ready_s=3.0), release=2)
        operation = await world.deploy(spec(version="v2"))
        await world.clock.sleep(1.0)
        world.clock.shift_wall(jump_s)
        assert (await world.environment.operation(operation.id)).phase == "starting"
        done = await world.ended(operation)
        assert done.phase in {"live", "certified"}, done
        assert done.receipt is not None
        assert 3.0 <= done.receipt.seconds["total"] < 30.0
        assert world.host.running("orders", 1) == stable  # warm as long as ever
        world.clock.shift_wall(-2 * jump_s)
        await world.restart()
        await world.clock.sleep(5.0)
        view = await world.of()
        assert (view.state, view.release) == ("up", "r2")
        assert world.host.running("orders", 1) == stable
        events = [event.seq async for event in world.environment.events()]
        assert events == sorted(events)
        newest = (await world.environment.releases("orders"))[0]
        assert newest.release == "r2"

    world.run(scenario)


def test_going_back_finds_the_release_before_although_the_clock_went_back_too() -> None:
    world = World()

    async def scenario() -> None:
        for n in (1, 2, 3):
            await world.live(spec(version=f"v{n}"))
            world.clock.shift_wall(-3600.0)
        await world.ended(await world.environment.rollback("orders", RollbackRequest()))
        assert (await world.of()).release == "r2"

    world.run(scenario)
