"""An environment that requires green tasks: who is let in, by which records, and what is never asked."""

import pytest
from msgspec.structs import replace
from tests.daemon.world import ARTIFACT, World, spec

from atoll.model.environment import Freeze
from atoll.model.errors import Refused
from atoll.model.records import TaskRecord
from atoll.model.state import Author
from atoll.model.wire import DeployRequest, Draft, RecordsRequest, RollbackRequest, StopRequest, UpRequest

ADA = Author(actor="ada")
KEYS = {"build": "k1", "test": "t1"}


def green(key: str = "t1", wall: float = 1.0, namespace: str = "trusted") -> TaskRecord:
    author = Author(actor="ci", commit="c0ffee", commit_wall=0.5)
    return TaskRecord(
        task="orders.test", key=key, outcome="passed", seconds=1.0, wall=wall, author=author, namespace=namespace
    )


def guarded() -> World:
    world = World()
    world.require = ("test",)
    return world


def test_a_deploy_waits_for_a_green_record_of_its_very_files_over_a_restart_too() -> None:
    world = guarded()

    async def scenario() -> None:
        with pytest.raises(Refused, match=r"orders\.test has no green record") as refused:
            await world.deploy(spec(), tasks=KEYS)
        assert (refused.value.id, refused.value.exit_code) == ("gate-shut", 4)
        with pytest.raises(Refused, match="nobody said which tasks"):
            await world.deploy(spec())  # a client that knows of no gate
        asked = RecordsRequest(records=(green("old"), green("t1", namespace="pr-1")), author=ADA)
        view = await world.environment.import_records(asked)
        assert (view.added, view.known, view.left_out) == (1, 0, 1)
        with pytest.raises(Refused):
            await world.deploy(spec(), tasks=KEYS)
        await world.environment.import_records(RecordsRequest(records=(green(),), author=ADA))
        await world.restart()
        assert (await world.ended(await world.deploy(spec(), tasks=KEYS))).good

    world.run(scenario)


def test_the_same_records_twice_are_one_and_one_event() -> None:
    world = guarded()

    async def scenario() -> None:
        asked = RecordsRequest(records=(green(), green("t2", 2.0)), author=ADA)
        await world.environment.import_records(asked)
        again = await world.environment.import_records(asked)
        assert (again.added, again.known) == (0, 2)
        assert [each.key for each in await world.environment.records("orders")] == ["t2", "t1"]
        assert await world.environment.records("catalog") == []
        events = [event async for event in world.environment.events() if event.kind == "records.imported"]
        assert [(event.message, event.author.actor) for event in events] == [
            ("2 records of tasks handed over by ada", "ada")
        ]
        assert events[0].data["commits"]["c0ffee"]["commit_wall"] == 0.5

    world.run(scenario)


def test_a_deploy_brings_its_records_and_a_plan_with_them_keeps_nothing() -> None:
    world = guarded()

    async def scenario() -> None:
        request = DeployRequest(spec=spec(), artifact=ARTIFACT, author=ADA, tasks=KEYS, records=(green(),))
        (plan,) = await world.environment.plan(request, "orders")
        assert (plan.release, list(await world.environment.records())) == ("r1", [])
        await world.ended(await world.environment.deploy(request))
        assert await world.environment.records() == [green()]
        kinds = [event.kind async for event in world.environment.events()]
        assert kinds.index("records.imported") < kinds.index("rollout.started")

    world.run(scenario)


def test_somebody_may_go_ahead_with_a_reason_that_the_ledger_keeps() -> None:
    world = guarded()

    async def scenario() -> None:
        await world.ended(await world.deploy(spec(), tasks=KEYS, override_gate="the test server is down"))
        started = [event async for event in world.environment.events() if event.kind == "rollout.started"]
        assert started[0].data["override_gate"] == "the test server is down"
        assert started[0].data["tasks"] == KEYS

    world.run(scenario)


def test_going_back_is_never_asked_nor_is_starting_again_what_was_let_in() -> None:
    world = guarded()

    async def scenario() -> None:
        for version in ("v1", "v2"):
            await world.ended(await world.deploy(spec(version=version), tasks=KEYS, override_gate="a try"))
        await world.ended(await world.environment.rollback("orders", RollbackRequest(author=ADA)))
        await world.environment.stop("orders", StopRequest(author=ADA))
        await world.clock.sleep(20)
        drafts = (
            Draft(spec=spec(version="v2"), artifact=ARTIFACT, tasks=KEYS),
            Draft(spec=spec("catalog"), artifact=ARTIFACT, tasks=KEYS),
        )
        begun = await world.environment.up(UpRequest(drafts=drafts, author=ADA))
        assert [operation.service for operation in begun.operations] == ["orders"]
        assert begun.refused["catalog"].id == "gate-shut"

    world.run(scenario)


def test_up_is_never_frozen_and_what_changes_nothing_needs_no_leave() -> None:
    world = World()
    world.freezes = (Freeze(first="2020-01-01", last="2099-12-31"),)

    async def scenario() -> None:
        request = UpRequest(drafts=(Draft(spec=spec(), artifact=ARTIFACT),), author=ADA)
        assert [plan.refused for plan in await world.environment.plan(request)] == [None]
        begun = await world.environment.up(request)
        assert begun.refused == {}
        await world.ended(begun.operations[0])
        assert (await world.deploy(spec())).phase == "unchanged"

    world.run(scenario)


def test_what_runs_already_needs_no_gate_and_another_key_with_the_same_result_is_what_runs() -> None:
    world = guarded()

    async def scenario() -> None:
        await world.ended(await world.deploy(spec(), tasks=KEYS, override_gate="a try"))
        rebuilt = DeployRequest(spec=spec(), artifact=replace(ARTIFACT, key="k2", path="/artifacts/k2"), author=ADA)
        view = await world.environment.deploy(rebuilt)
        assert (view.phase, view.text) == ("unchanged", "orders r1 already runs exactly this: built again, same result")
        (plan,) = await world.environment.plan(rebuilt, "orders")
        assert (plan.unchanged, plan.steps) == (True, ("r1 already runs exactly this: built again, same result",))

    world.run(scenario)
