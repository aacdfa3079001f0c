"""Quick deploys in virtual time: what `atoll dev` asks for, and where it is refused."""

import pytest
from msgspec.structs import replace
from world import ARTIFACT, World, spec

from atoll.model.errors import Refused
from atoll.model.spec import RolloutSpec, RolloutStep
from atoll.model.wire import DeployRequest

SLOW = RolloutSpec(strategy="canary", steps=(RolloutStep(weight_pct=10, hold_s=60.0),), bake_s=600.0)


def test_a_quick_deploy_moves_all_traffic_at_once_whatever_the_file_says_and_keeps_nothing_warm() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec(rollout=SLOW))
        done = await world.ended(await world.deploy(spec(version="v2", rollout=SLOW), quick=True))
        assert done.receipt is not None
        assert (done.phase, done.stepping.strategy if done.stepping else "") == ("certified", "all-at-once")
        assert done.receipt.seconds["total"] < 1.0, "it did not wait for `stable_for`, which is 1 s"
        await world.clock.sleep(5)
        assert [one.release for one in (await world.of()).replicas] == ["r2"]

    world.run(scenario)


def test_the_release_of_a_quick_deploy_is_what_the_files_say() -> None:
    """So that `up` and `deploy` find nothing to do after a day of `atoll dev`."""
    world = World()

    async def scenario() -> None:
        await world.live(spec(rollout=SLOW))
        await world.ended(await world.deploy(spec(version="v2", rollout=SLOW), quick=True))
        assert (await world.deploy(spec(version="v2", rollout=SLOW))).phase == "unchanged"

    world.run(scenario)


def test_a_newer_quick_deploy_takes_the_place_of_one_that_is_not_live() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        first = await world.deploy(spec(version="v2"), quick=True)
        second = await world.ended(await world.deploy(spec(version="v3"), quick=True))
        assert (await world.environment.operation(first.id)).phase == "superseded"
        assert (second.phase, second.release) == ("certified", "r3")

    world.run(scenario)


def test_neither_an_unwatched_deploy_nor_an_unbuilt_one_goes_where_people_depend_on_what_runs() -> None:
    world = World()
    world.dev = False

    async def scenario() -> None:
        await world.live(spec())
        with pytest.raises(Refused, match="not moved unwatched here") as refused:
            await world.deploy(spec(version="v2"), quick=True)
        assert refused.value.id == "not-for-development"
        request = {"artifact": replace(ARTIFACT, in_place=True)}
        with pytest.raises(Refused, match="not moved unwatched here"):
            await world.deploy(spec(version="v2"), **request)
        with pytest.raises(Refused, match="not moved unwatched here"):
            await world.environment.plan(DeployRequest(spec=spec(version="v2"), **request), "orders")
        assert (await world.of()).release == "r1"

    world.run(scenario)
