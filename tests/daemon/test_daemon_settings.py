"""What atoll.toml says of an environment on another machine: told to its daemon, kept, taken up by a restart."""

import pytest
from world import World, spec

from atoll.model.environment import EnvironmentSpec, Gateway
from atoll.model.errors import Conflict, Refused, UserError
from atoll.model.state import Author
from atoll.model.wire import EnvironmentRequest, StopRequest

TOLD = EnvironmentSpec(host="ssh://vm1", gateway=Gateway(port=80))
ADA = Author(actor="ada")


def test_what_differs_is_kept_and_the_daemon_asks_for_a_restart_after_its_answer() -> None:
    world = World()

    async def scenario() -> None:
        answer = await world.environment.set_environment(EnvironmentRequest(environment=TOLD, author=ADA))
        assert answer.environment == EnvironmentSpec()  # as it runs, until its successor does
        assert world.restarts == []
        await world.clock.sleep(1)
        assert world.kept == [EnvironmentSpec(gateway=Gateway(port=80))]
        assert len(world.restarts) == 1
        [event] = [event async for event in world.environment.events() if event.kind == "environment.changed"]
        assert event.author.actor == "ada"
        assert "gateway" in event.message

    world.run(scenario)


def test_a_restart_that_fails_is_told_and_tried_again_by_who_tells_it_again(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.restarts_fail = True

    async def scenario() -> None:
        for attempts in (1, 2):
            await world.environment.set_environment(EnvironmentRequest(environment=TOLD, author=ADA))
            await world.clock.sleep(1)
            assert len(world.restarts) == attempts

    world.run(scenario)
    assert "could not start anew with it: the keeper is away" in caplog.text


def test_the_same_changes_nothing() -> None:
    world = World()

    async def scenario() -> None:
        told = EnvironmentSpec(host="ssh://vm1")
        await world.environment.set_environment(EnvironmentRequest(environment=told, author=ADA))
        await world.clock.sleep(1)
        assert (world.kept, world.restarts) == ([], [])

    world.run(scenario)


def test_another_environments_settings_are_refused() -> None:
    world = World()

    async def scenario() -> None:
        told = EnvironmentSpec(name="production")
        with pytest.raises(Conflict, match="this is the environment 'local'"):
            await world.environment.set_environment(EnvironmentRequest(environment=told, author=ADA))
        assert world.kept == []

    world.run(scenario)


def test_another_engine_is_taken_over_only_when_nothing_shall_run() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        told = EnvironmentRequest(environment=EnvironmentSpec(host="ssh://vm1", engine="docker"), author=ADA)
        with pytest.raises(Refused, match="runs on the engine 'process'") as caught:
            await world.environment.set_environment(told)
        assert caught.value.id == "engine-changed"
        with pytest.raises(Refused, match="runs on the engine 'process'"):
            await world.environment.check_environment(told)
        assert world.kept == []
        await world.environment.stop("orders", StopRequest())
        await world.environment.set_environment(told)
        assert [each.engine for each in world.kept] == ["docker"]

    world.run(scenario)


def test_a_check_refuses_what_the_machine_cannot_give_and_keeps_nothing() -> None:
    world = World()
    world.refused = UserError("the gateway cannot listen", "", "", id="gateway-port-taken")
    told = EnvironmentRequest(environment=TOLD, author=ADA)

    async def scenario() -> None:
        for ask in (world.environment.check_environment, world.environment.set_environment):
            with pytest.raises(UserError, match="the gateway cannot listen"):
                await ask(told)
        world.refused = None
        await world.environment.check_environment(told)
        await world.clock.sleep(1)
        assert (world.kept, world.restarts) == ([], [])

    world.run(scenario)
