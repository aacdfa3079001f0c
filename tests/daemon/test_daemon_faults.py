"""Faults, and what else people move in the proxy, come back when the proxy has acknowledged them; in virtual time."""

import asyncio

import pytest
from crowd import QUICK, crowded
from world import World, spec

from atoll.model.wire import FaultRequest, Mutation, ScaleRequest, SteerRequest

ABORT = FaultRequest(kind="abort", status=503, seconds=60.0)


def made(world: World) -> int:
    """How many faults the proxy makes for `orders` now."""
    entry = world.traffic.entry("orders")
    return len(entry.faults) if entry else 0


@pytest.mark.parametrize("ack_s", [0.0, 0.01, 3.0])
def test_a_fault_is_there_and_gone_when_its_command_is_answered(ack_s: float) -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        world.traffic.ack_s = ack_s
        view = await world.environment.inject("orders", ABORT)
        assert (made(world), view.waits, view.left_s > 50) == (1, "", True)
        [ended] = await world.environment.clear("orders", Mutation())
        assert (made(world), ended.waits, ended.left_s) == (0, "", 0.0)
        assert await world.environment.faults() == ()

    world.run(scenario)


def test_a_fault_that_waits_for_the_proxy_is_told_so_and_there_when_the_proxy_is() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        world.traffic.disconnect("it is away")
        began = world.clock.now().boot_s
        view = await world.environment.inject("orders", ABORT)
        assert 4.9 < world.clock.now().boot_s - began < 5.5
        assert (made(world), view.waits) == (0, "it is away")
        assert [one.waits for one in await world.environment.faults()] == ["it is away"]
        world.traffic.connect(restarted=False)
        await world.clock.until(lambda: made(world) == 1)
        assert [one.waits for one in await world.environment.faults()] == [""]

        world.traffic.disconnect("it is away")
        [ended] = await world.environment.clear("orders", Mutation())
        assert (made(world), ended.waits) == (1, "it is away")
        [seen] = await world.environment.faults()
        assert (seen.left_s, seen.waits) == (0.0, "it is away")  # over, and made all the same
        world.traffic.connect(restarted=False)
        [again] = await world.environment.clear("orders", Mutation())
        assert (made(world), again.waits) == (0, "")

    world.run(scenario)


def test_a_fault_that_the_proxy_refuses_is_told_in_its_words_at_once() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        world.traffic.refuse("orders", "no such status")
        began = world.clock.now().boot_s
        view = await world.environment.inject("orders", ABORT)
        assert world.clock.now().boot_s - began < 1
        assert "no such status" in view.waits

    world.run(scenario)


def test_a_fault_that_is_over_before_the_proxy_comes_is_told_as_that() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        world.traffic.disconnect("it is away")
        view = await world.environment.inject("orders", FaultRequest(kind="abort", status=503, seconds=2.0))
        assert (view.left_s, view.waits) == (0.0, "it was over before the proxy had it: it is away")
        assert await world.environment.faults() == ()

    world.run(scenario)


def test_who_clears_does_not_wait_behind_who_injects() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        world.traffic.disconnect("it is away")
        injecting = asyncio.create_task(world.environment.inject("orders", ABORT))
        await world.clock.sleep(1)
        began = world.clock.now().boot_s
        clearing = asyncio.create_task(world.environment.clear("orders", Mutation()))
        await world.clock.until(lambda: not world.environment._loops.of("orders").intent().faults)
        assert world.clock.now().boot_s - began < 1
        assert "over before" in (await injecting).waits
        assert [one.waits for one in await clearing] == [""]  # the proxy never had it

    world.run(scenario)


def test_a_candidate_that_is_aborted_gets_nothing_more_when_that_is_answered() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec(rollout=QUICK))
        async with crowded(world):
            operation = await world.deploy(spec(version="v2", rollout=QUICK))
            await world.clock.until(lambda: bool(_weights(world).get(2)))
            world.traffic.ack_s = 2.0
            view = await world.environment.steer("orders", SteerRequest(word="abort"))
            assert view.id == operation.id
            assert (_weights(world).get(2, 0), view.warnings) == (0, ())

    world.run(scenario)


def test_an_abort_that_the_proxy_does_not_acknowledge_is_told_with_a_warning() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec(rollout=QUICK))
        async with crowded(world):
            await world.deploy(spec(version="v2", rollout=QUICK))
            await world.clock.until(lambda: bool(_weights(world).get(2)))
            world.traffic.disconnect("it is away")
            view = await world.environment.steer("orders", SteerRequest(word="abort"))
            assert view.phase == "undoing"
            assert view.warnings == ("the proxy may still send requests to r2: it is away",)

    world.run(scenario)


@pytest.mark.parametrize("replicas", [0, 3])
def test_a_scaled_service_is_not_told_as_settled_before_the_proxy_knows(replicas: int) -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        world.traffic.ack_s = 2.0
        await world.environment.scale("orders", ScaleRequest(replicas=replicas))

        async def settled() -> None:
            while (view := await world.of()).ready != replicas or view.unheard:
                await world.clock.sleep(0.05)

        await asyncio.wait_for(settled(), 60)
        assert len(world.traffic.serving("orders").get(1, [])) == replicas

    world.run(scenario)


def _weights(world: World) -> dict[int, int]:
    entry = world.traffic.entry("orders")
    return dict(entry.weights) if entry else {}
