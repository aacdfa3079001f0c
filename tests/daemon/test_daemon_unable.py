"""What a host cannot provide is refused before anything is touched, whoever asks for it and however."""

import pytest
from msgspec.structs import replace
from world import ARTIFACT, World, spec

from atoll.model.errors import Refused, UserError
from atoll.model.hosted import Unable
from atoll.model.spec import Port
from atoll.model.wire import (
    DeployRequest,
    Draft,
    RestartRequest,
    RollbackRequest,
    ScaleRequest,
    SteerRequest,
    UpRequest,
)
from atoll.testing.fake_host import Behaviour

FIXED = replace(spec(), ports=(Port(number=8080, env="PORT"),))
UNABLE = Unable(what="ports.http.number needs a network of its own", fix="install pasta")


def test_a_release_that_this_machine_cannot_run_is_refused_and_nothing_is_touched() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        await world.live(FIXED)
        started = len(world.host.launches)
        world.host.unable["orders"] = (UNABLE,)
        for ask in (
            lambda: world.environment.deploy(DeployRequest(spec=replace(FIXED, replicas=2), artifact=ARTIFACT)),
            lambda: world.environment.plan(DeployRequest(spec=replace(FIXED, replicas=2), artifact=ARTIFACT)),
            lambda: world.environment.restart("orders", RestartRequest()),
            lambda: world.environment.rollback("orders", RollbackRequest(to=1)),
        ):
            with pytest.raises(Refused) as caught:
                await ask()
            assert (caught.value.why, caught.value.fix) == (UNABLE.what, UNABLE.fix)
        assert len(world.host.launches) == started
        assert len(world.host.running("orders", 2)) == 1
        world.host.unable.clear()
        await world.live(replace(FIXED, replicas=2))

    world.run(scenario)


def test_more_replicas_of_what_this_machine_cannot_run_are_refused_and_fewer_are_not() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(replace(FIXED, replicas=2))
        world.host.unable["orders"] = (UNABLE,)
        for n in (1, 0):
            await world.environment.scale("orders", ScaleRequest(replicas=n))
        for ask in (
            world.environment.scale("orders", ScaleRequest(replicas=3)),
            world.environment.scale("orders", ScaleRequest(replicas=None)),
            world.environment.plan(ScaleRequest(replicas=1), "orders"),
        ):
            with pytest.raises(Refused, match="orders cannot run here"):
                await ask
        world.host.unable.clear()
        await world.environment.scale("orders", ScaleRequest(replicas=1))

    world.run(scenario)


def test_another_try_of_what_this_machine_cannot_run_is_refused() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        world.host.script("orders", Behaviour(cannot_start="no such file"), release=2)
        assert (await world.ended(await world.deploy(FIXED), 600)).phase == "undone"
        started = len(world.host.launches)
        world.host.unable["orders"] = (UNABLE,)
        retry = SteerRequest(word="retry")
        for ask in (world.environment.steer("orders", retry), world.environment.plan(retry, "orders")):
            with pytest.raises(Refused, match="orders cannot run here"):
                await ask
        assert len(world.host.launches) == started

    world.run(scenario)


def test_replicas_that_insist_on_a_port_are_told_it_and_reached_at_leased_ones() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(replace(FIXED, replicas=2))
        launches = world.host.launches
        assert [launch.env["PORT"] for launch in launches] == ["8080", "8080"]
        leased = {launch.ports["http"] for launch in launches}
        assert len(leased) == 2
        assert {outer for launch in launches for outer in launch.network.inward} == leased

    world.run(scenario)


@pytest.mark.parametrize("name", ["../../etc", "a/b", "", ".", "-rf", "a\nb", "Orders", "x" * 41])
def test_what_is_no_name_of_a_service_leaves_nothing_behind(name: str) -> None:
    world = World()

    async def scenario() -> None:
        with pytest.raises(UserError, match="cannot be a service's name"):
            await world.deploy(spec(name))
        drafts = (Draft(spec=spec(), artifact=ARTIFACT), Draft(spec=spec(name), artifact=ARTIFACT))
        with pytest.raises(UserError, match="cannot be a service's name"):
            await world.environment.up(UpRequest(drafts=drafts))
        assert (await world.environment.status()).services == ()

    world.run(scenario)
