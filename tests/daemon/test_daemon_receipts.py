"""What receipts, `why`, `exec` and rollbacks say and choose, after several releases of several services."""

import asyncio

import msgspec
import pytest
from world import ARTIFACT, World, spec

from atoll.model.errors import NotFound
from atoll.model.spec import Call, Plain, RolloutSpec, SecretRef, Store
from atoll.model.state import Author, Exit
from atoll.model.wire import Draft, ExecRequest, RestartRequest, RollbackRequest, StopRequest, UpRequest
from atoll.model.wire_access import SecretRequest
from atoll.model.wire_operations import OperationView
from atoll.testing.fake_host import Behaviour


async def rolled_back(world: World, to: int | None = None) -> OperationView:
    """Roll orders back and wait."""
    return await world.ended(await world.environment.rollback("orders", RollbackRequest(to=to)))


async def restarted(world: World) -> OperationView:
    """Restart orders and wait."""
    return await world.ended(await world.environment.restart("orders", RestartRequest()))


def test_services_deployed_at_the_same_time_do_not_blame_each_other() -> None:
    world = World()

    async def scenario() -> None:
        for name in ("orders", "web"):
            await world.live(spec(name))
        both = [await world.deploy(spec(name, "v2")) for name in ("orders", "web")]
        ended = await asyncio.gather(*(world.ended(one) for one in both))
        assert [one.receipt.touched for one in ended if one.receipt] == [(), ()]

    world.run(scenario)


def test_a_warm_release_that_ends_meanwhile_is_nobodys_doing() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec("web", rollout=RolloutSpec(bake_s=20.0)))
        await world.live(spec("web", "v2", rollout=RolloutSpec(bake_s=20.0)))
        await world.live(spec())
        world.host.script("orders", Behaviour(ready_s=9.0), release=2)
        await world.clock.sleep(15)
        done = await world.live(spec(version="v2"))
        assert world.host.running("web", 1) == []
        assert done.receipt is not None
        assert done.receipt.touched == ()

    world.run(scenario)


def test_a_crash_of_another_service_meanwhile_is_told() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec("web"))
        await world.live(spec())
        begun = await world.deploy(spec(version="v2"))
        world.host.kill(world.host.running("web", 1)[0])
        done = await world.ended(begun)
        assert done.receipt is not None
        assert done.receipt.touched == ("web",)

    world.run(scenario)


def test_the_undo_of_a_receipt_works() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        second = await world.live(spec(version="v2"))
        assert second.receipt is not None
        assert second.receipt.undo == "atoll rollback orders"
        back = await rolled_back(world)
        assert back.release == "r1"
        assert back.receipt is not None
        assert back.receipt.undo == "atoll rollback orders --to r2"
        with pytest.raises(NotFound) as error:
            await rolled_back(world)
        assert "--to r2" in error.value.fix
        again = await rolled_back(world, to=2)
        assert again.release == "r2"

    world.run(scenario)


def test_a_rollback_after_a_restart_goes_to_the_content_before() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        await world.live(spec(version="v2"))
        again = await restarted(world)
        assert (again.release, again.receipt.undo if again.receipt else None) == ("r3", "")
        assert (await rolled_back(world)).release == "r1"

    world.run(scenario)


def test_coming_back_up_is_no_first_release() -> None:
    world = World()

    async def scenario() -> None:
        first = await world.live(spec())
        assert first.receipt is not None
        assert "first release" in first.receipt.changed[0]
        await world.environment.stop("orders", StopRequest())
        await world.clock.sleep(10)
        again = await world.live(spec(version="v2"))
        assert again.receipt is not None
        assert list(again.receipt.changed) == ["env VERSION: v1 -> v2"]

    world.run(scenario)


def test_a_command_runs_in_the_release_that_has_the_traffic_not_in_the_warm_one() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        await world.live(spec(version="v2"))
        assert len(world.host.running("orders", 1)) == 1
        view = await world.environment.exec("orders", ExecRequest(argv=("env",)))
        assert view.replica in world.host.running("orders", 2)

    world.run(scenario)


def test_who_was_inside_a_replica_is_in_the_ledger_without_what_they_typed() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        request = ExecRequest(argv=("psql", "-c", "ALTER USER a PASSWORD 'hunter2'"), author=Author(actor="ada"))
        view = await world.environment.exec("orders", request)
        *_, last = [event async for event in world.environment.events(service="orders")]
        assert (last.kind, last.author.actor) == ("exec.begun", "ada")
        assert last.message == f"psql is run in {view.replica}, with 2 arguments"

    world.run(scenario)


def test_a_first_deploy_of_a_command_that_does_not_exist_is_undone_at_once() -> None:
    world = World()

    async def scenario() -> None:
        world.host.script("orders", Behaviour(exits_after_s=0.01, exit=Exit(code=127), last_words=("sh: not found",)))
        done = await world.ended(await world.deploy(spec()), within_s=5)
        assert done.phase == "undone"
        assert "did not find the command" in done.text

    world.run(scenario)


def test_events_of_a_service_that_was_never_deployed_are_an_error() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        with pytest.raises(NotFound):
            _ = [event async for event in world.environment.events(service="ordres")]

    world.run(scenario)


def test_why_says_each_thing_once() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        world.host.script("orders", Behaviour(exits_after_s=0.05, exit=Exit(code=7)), release=2)
        await world.ended(await world.deploy(spec(version="v2")))
        told = (await world.environment.why("orders")).because
        assert told[0] == "1 of 1 replicas of r1 are ready"
        assert len([sentence for sentence in told if "exit code 7" in sentence]) == 1
        assert (await world.environment.why("orders r2")).state == "failed"
        assert (await world.environment.why("orders/r1")).state == "current"

    world.run(scenario)


def test_why_names_the_store_that_a_service_that_is_not_well_cannot_reach() -> None:
    world = World()
    stores = (
        Store(name="orders-db", type="postgres", url=Plain("postgres://u:pw@db:5432/x")),
        Store(name="cache", type="redis", url=SecretRef("cache")),
        Store(name="fine", type="nats", url=Plain("nats://gone,there")),
        Store(name="file", type="sqlite", url=Plain("sqlite:{data}/x")),
    )

    async def scenario() -> None:
        await world.environment.set_secret("cache", SecretRequest(value="redis://:pw@hidden:6379"))
        world.unreachable = dict.fromkeys(("db", "hidden", "gone"), "refuses connections")
        wanted = spec(stores=stores, env={"CACHE": SecretRef("cache")})
        await world.live(wanted)
        assert not any("store" in sentence for sentence in (await world.environment.why("orders")).because)
        world.host.script("orders", Behaviour(exits_after_s=0.05, exit=Exit(code=7)), release=2)
        await world.ended(await world.deploy(msgspec.structs.replace(wanted, owner="x")))
        told = [sentence for sentence in (await world.environment.why("orders")).because if "store" in sentence]
        assert told == [
            "its store orders-db at db:5432 refuses connections",
            "its store cache refuses connections",
        ]

    world.run(scenario)


def test_a_deploy_tells_of_a_callee_that_does_not_run_and_up_does_not() -> None:
    world = World()
    calling = spec(calls=(Call(callee="catalog", env={"CATALOG_URL": "{url}"}),))

    async def scenario() -> None:
        up = await world.environment.up(UpRequest(drafts=(Draft(spec=calling, artifact=ARTIFACT),)))
        assert [one.warnings for one in up.operations] == [()]
        await world.ended(up.operations[0])
        begun = await world.deploy(msgspec.structs.replace(calling, env={}))
        assert "calls catalog, which does not run" in begun.warnings[0]

    world.run(scenario)
