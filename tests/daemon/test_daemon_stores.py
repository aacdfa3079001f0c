"""A store's password, its services waiting for it, and its end, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from world import World, spec

from atoll.model.errors import Conflict, NotFound
from atoll.model.spec import Call, Health, Plain, Port, Probe, RolloutSpec, SecretRef, ServiceSpec
from atoll.model.state import Author, Exit
from atoll.model.store_url import password_of
from atoll.model.wire import RollbackRequest, ScaleRequest, SteerRequest, StopRequest
from atoll.testing.fake_host import Behaviour

PASSWORD = password_of("db")
USES = (Call(callee="db", protocol="tcp", store=True),)


def db(version: str = "v1", **fields: object) -> ServiceSpec:
    """A store, as `atoll.servers` makes it."""
    given: dict[str, object] = {
        "store": "postgres",
        "ports": (Port(name="tcp", protocol="tcp"),),
        "routes": (),
        "env": {"PASSWORD": SecretRef(PASSWORD), "VERSION": Plain(version)},
        "health": Health(ready=Probe(kind="tcp"), start_budget_s=60.0, stable_for_s=0.2),
        "rollout": RolloutSpec(strategy="all-at-once", bake_s=0.0),
        "overlap": False,
    }
    return spec("db", **(given | fields))


def uses(version: str = "v1") -> ServiceSpec:
    """A service that uses it."""
    return spec(version=version, calls=USES)


async def down(world: World, service: str) -> None:
    """Told to go down, until it is."""
    await world.environment.stop(service, StopRequest())
    async with asyncio.timeout(120):
        while (await world.of(service)).replicas:
            await asyncio.sleep(0.05)


async def kinds(world: World, service: str) -> list[str]:
    return [event.kind async for event in world.environment.events() if event.service == service]


def play(scenario: Callable[[World], Awaitable[None]]) -> None:
    world = World()
    world.run(lambda: scenario(world))


# --- its password ------------------------------------------------------------------------------------------------


def test_its_password_is_made_once_and_stays_while_it_goes_down_and_is_deployed_again() -> None:
    async def scenario(world: World) -> None:
        await world.live(db())
        first = await world.vault.get(PASSWORD, 1)
        assert len(first) == 48
        assert first.isalnum()
        await down(world, "db")
        await world.live(db())
        await world.live(db(version="v2"))
        assert dict(await world.vault.versions()) == {PASSWORD: 1}
        assert [launch.secrets["PASSWORD"] for launch in world.host.launches] == [first] * 3
        assert (await kinds(world, "db")).count("secret.set") == 1

    play(scenario)


def test_one_that_names_no_password_gets_none_and_neither_does_a_service() -> None:
    async def scenario(world: World) -> None:
        await world.live(db(env={}))
        await world.live(uses())
        assert dict(await world.vault.versions()) == {}

    play(scenario)


# --- waiting for it ----------------------------------------------------------------------------------------------


def test_its_service_starts_when_it_takes_connections() -> None:
    async def scenario(world: World) -> None:
        world.host.script("db", Behaviour(ready_s=50.0))
        began_s = world.clock.now().boot_s
        store = await world.deploy(db())
        service = await world.deploy(uses())
        await asyncio.sleep(40)  # four times the start budget of the service
        assert [launch.service for launch in world.host.launches] == ["db"]
        assert (await world.ended(store)).good
        assert (await world.ended(service)).good
        orders = next(launch for launch in world.host.launches if launch.service == "orders")
        started = next(one for one in await world.host.list() if one.id == orders.id)
        assert started.started_s - began_s >= 50.0

    play(scenario)


def test_one_that_crashes_is_not_waited_for() -> None:
    async def scenario(world: World) -> None:
        world.host.script("db", Behaviour(ready_s=None, exits_after_s=1.0, exit=Exit(code=1)))
        await world.deploy(db())
        service = await world.deploy(uses())
        assert (await world.ended(service)).good

    play(scenario)


def test_one_that_is_down_is_not_waited_for() -> None:
    async def scenario(world: World) -> None:
        await world.live(db())
        await down(world, "db")
        await world.live(uses())

    play(scenario)


def test_a_service_that_is_not_ready_in_time_is_undone_also_when_it_waited() -> None:
    async def scenario(world: World) -> None:
        world.host.script("db", Behaviour(ready_s=30.0))
        world.host.script("orders", Behaviour(ready_s=None))
        await world.deploy(db())
        began_s = world.clock.now().boot_s
        done = await world.ended(await world.deploy(uses()))
        assert "not ready within 10 s" in done.text
        assert 40.0 <= world.clock.now().boot_s - began_s < 60.0

    play(scenario)


def test_why_a_service_is_not_well_names_its_store_that_is_not() -> None:
    async def scenario(world: World) -> None:
        await world.live(db())
        world.host.script("orders", Behaviour(ready_s=None, exits_after_s=0.2, exit=Exit(code=1)))
        await world.ended(await world.deploy(uses()))
        assert "store" not in " ".join((await world.environment.why("orders")).because), "it is up"
        await down(world, "db")
        told = await world.environment.why("orders")
        assert told.because[-1] == "its store db is down: `atoll why db`"
        assert told.fix == "atoll why db"

    play(scenario)


# --- its end -----------------------------------------------------------------------------------------------------


def test_removing_leaves_nothing_of_it_also_for_the_next_daemon() -> None:
    async def scenario(world: World) -> None:
        await world.live(db())
        await world.live(db(version="v2"))
        await down(world, "db")
        await world.environment.remove_store("db", Author(actor="ada"))
        assert world.host.erased == ["db"]
        assert dict(await world.vault.versions()) == {}
        for _ in range(2):
            await asyncio.sleep(900)  # its loop still looks
            assert [view.name for view in (await world.environment.status()).services] == []
            with pytest.raises(NotFound):
                await world.environment.releases("db")
            with pytest.raises(NotFound):
                await world.environment.scale("db", ScaleRequest(replicas=2))
            with pytest.raises(NotFound):
                await world.environment.remove_store("db", Author(actor="ada"))
            await world.restart()
        rows = await world.store.load()
        assert not [*rows.intents, *rows.releases, *rows.rollouts, *rows.receipts, *rows.replicas]
        (last,) = [event async for event in world.environment.events() if event.kind == "store.removed"]
        assert (last.service, last.author.actor) == ("db", "ada")

    play(scenario)


def test_made_anew_it_begins_from_the_beginning_with_another_password() -> None:
    async def scenario(world: World) -> None:
        await world.live(db())
        first = await world.vault.get(PASSWORD, (await world.vault.versions())[PASSWORD])
        await down(world, "db")
        await world.environment.remove_store("db", Author(actor="ada"))
        done = await world.live(db())
        assert done.release == "r1"
        assert await world.vault.get(PASSWORD, (await world.vault.versions())[PASSWORD]) != first

    play(scenario)


def test_one_that_runs_or_is_used_is_not_removed() -> None:
    async def scenario(world: World) -> None:
        await world.live(db())
        await world.live(uses())
        with pytest.raises(Conflict, match="the store db runs"):
            await world.environment.remove_store("db", Author(actor="ada"))
        await down(world, "db")
        with pytest.raises(Conflict, match="in use: by orders"):
            await world.environment.remove_store("db", Author(actor="ada"))
        await world.live(spec(version="v2"))  # without it; the release before is still warm
        with pytest.raises(Conflict, match="in use: by orders"):
            await world.environment.remove_store("db", Author(actor="ada"))
        await world.clock.sleep(700)
        await world.environment.remove_store("db", Author(actor="ada"))

    play(scenario)


def test_a_service_is_not_removed_as_a_store() -> None:
    async def scenario(world: World) -> None:
        await world.live(spec())
        await down(world, "orders")
        with pytest.raises(NotFound, match="there is no store 'orders'"):
            await world.environment.remove_store("orders", Author(actor="ada"))
        assert world.host.erased == []

    play(scenario)


def test_nobody_goes_back_to_a_release_whose_store_was_removed() -> None:
    async def scenario(world: World) -> None:
        await world.live(db())
        await world.live(uses())
        await world.live(spec(version="v2"))
        await down(world, "db")
        await world.clock.sleep(700)
        await world.environment.remove_store("db", Author(actor="ada"))
        with pytest.raises(Conflict, match="uses the store db, which was removed") as refused:
            await world.environment.rollback("orders", RollbackRequest(to=1))
        assert refused.value.id == "store-removed"
        assert (await world.of()).release == "r2"
        await world.live(db())  # there is one again
        assert (await world.ended(await world.environment.rollback("orders", RollbackRequest(to=1)))).good

    play(scenario)


def test_an_undone_release_whose_store_was_removed_is_not_tried_again() -> None:
    async def scenario(world: World) -> None:
        await world.live(db())
        world.host.script("orders", Behaviour(ready_s=None, exits_after_s=0.1, exit=Exit(code=1)))
        assert not (await world.ended(await world.deploy(uses()))).good
        await down(world, "orders")
        await down(world, "db")
        await world.environment.remove_store("db", Author(actor="ada"))
        with pytest.raises(Conflict, match="which was removed"):
            await world.environment.steer("orders", SteerRequest(word="retry"))

    play(scenario)
