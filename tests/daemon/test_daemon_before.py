"""What runs once before a release: it blocks the release when it fails, and going back over it needs a person's word."""

import asyncio

import pytest
from world import World, at_every_commit, spec

from atoll.model.errors import Refused
from atoll.model.spec import Before, Command, Plain, RolloutSpec, ServiceSpec
from atoll.model.state import Exit
from atoll.model.wire import DeployRequest, RestartRequest, RollbackRequest, StopRequest
from atoll.model.wire_operations import OperationView
from atoll.testing.fake_host import Behaviour


def migrating(
    version: str = "v2", *, overlap: bool = True, compatible: bool = False, timeout_s: float = 60.0
) -> ServiceSpec:
    before = Before(run=Command(shell="./migrate"), timeout_s=timeout_s, backward_compatible=compatible)
    return spec(version=version, overlap=overlap, rollout=RolloutSpec(before=before))


def migrations(world: World) -> list[str]:
    """The ids of every process of a `before` that was ever started."""
    return [launch.id for launch in world.host.launches if launch.id.startswith("orders.before.")]


def takes(world: World, seconds: float, code: int = 0) -> None:
    behaviour = Behaviour(ready_s=None, exits_after_s=seconds, exit=Exit(code=code), last_words=("altering orders",))
    world.host.script_job("orders", "before", behaviour)


async def deployed(world: World, wanted: ServiceSpec) -> OperationView:
    return await world.ended(await world.deploy(wanted))


def test_it_runs_in_the_candidate_before_any_replica_of_it_and_is_in_the_receipt() -> None:
    world = World()
    takes(world, 5.0)

    async def scenario() -> None:
        await world.live(spec())
        operation = await world.deploy(migrating())
        assert operation.phase == "preparing"
        await world.clock.sleep(3)
        view = await world.environment.operation(operation.id)
        assert (view.phase, view.text) == ("preparing", "`./migrate` runs")
        assert world.host.running("orders", 2) == migrations(world)
        done = await world.ended(operation)
        assert done.good
        assert done.receipt is not None
        assert 5.0 <= done.receipt.seconds["preparing"] < 6.0
        [launch] = [launch for launch in world.host.launches if launch.id in migrations(world)]
        assert (launch.release, launch.command.shell, launch.env["VERSION"]) == (2, "./migrate", "v2")
        kinds = [event.kind async for event in world.environment.events() if event.release == 2]
        assert kinds.index("job.succeeded") < kinds.index("replica.started")

    world.run(scenario)


@pytest.mark.parametrize("overlap", [True, False])
def test_when_it_fails_the_release_is_undone_with_its_last_output_and_the_old_one_serves(overlap: bool) -> None:
    world = World()
    takes(world, 1.0, code=3)

    async def scenario() -> None:
        await world.live(spec(overlap=overlap))
        stable = world.host.running("orders", 1)
        done = await deployed(world, migrating(overlap=overlap))
        assert (done.phase, done.good) == ("undone", False)
        assert done.text.startswith("`./migrate` before orders r2 failed: exit code 3")
        assert "; what it did until then stays" in done.text
        assert done.output == "altering orders"
        assert done.receipt is not None
        assert done.receipt.output == "altering orders"
        assert [launch.id for launch in world.host.launches if launch.release == 2] == migrations(world)
        view = await world.of()
        assert (view.state, view.release) == ("up", "r1")
        if overlap:
            assert world.host.running("orders") == stable

    world.run(scenario)


def test_it_is_bounded_by_its_time() -> None:
    world = World()
    world.host.script_job("orders", "before", Behaviour(ready_s=None, ignores_signals=True))

    async def scenario() -> None:
        await world.live(spec())
        done = await deployed(world, migrating(timeout_s=10.0))
        assert done.phase == "undone"
        assert "not done within 10 s" in done.text
        assert len(world.host.running("orders")) == 1

    world.run(scenario)


def test_without_overlap_it_runs_when_the_old_release_has_stopped_and_requests_wait() -> None:
    world = World()
    takes(world, 3.0)

    async def scenario() -> None:
        await world.live(spec(overlap=False))
        operation = await world.deploy(migrating(overlap=False))
        seen = False
        while not (view := await world.environment.operation(operation.id)).ended:
            running = world.host.running("orders")
            if running and running == migrations(world):
                seen = True
                entry = world.traffic.entry("orders")
                assert entry is not None
                assert entry.hold
            assert len(running) <= 1
            await world.clock.sleep(0.01)
        assert seen
        assert view.good

    world.run(scenario)


@pytest.mark.parametrize("code", [0, 3])
@pytest.mark.parametrize("overlap", [True, False])
def test_it_runs_once_when_the_daemon_is_killed_at_every_commit(overlap: bool, code: int) -> None:
    async def play(world: World, n: int) -> bool:
        takes(world, 1.0, code)
        await world.live(spec(overlap=overlap))
        start = world.disk.commits
        operation = await world.deploy(migrating(overlap=overlap))

        def over() -> bool:
            rollout = world.environment._records.rollout_of("orders")
            return rollout is not None and rollout.phase in {"live", "certified", "undone"}

        finished = await world.killed_after(start + n, over)
        view = await world.ended(operation)
        assert view.good == (code == 0), (n, view)
        assert len(migrations(world)) == 1, n
        assert [applied.dead for applied in world.traffic.history if applied.dead] == [], n
        assert (await world.of()).release == ("r1" if code else "r2")
        return finished

    assert at_every_commit(play) > 2


def test_one_that_runs_while_the_daemon_is_away_is_adopted() -> None:
    world = World()
    takes(world, 20.0)

    async def scenario() -> None:
        await world.live(spec())
        operation = await world.deploy(migrating())
        await world.clock.sleep(5)
        world.kill()
        await asyncio.sleep(5)
        await world.start()
        done = await world.ended(operation)
        assert done.good
        assert len(migrations(world)) == 1

    world.run(scenario)


def test_a_reboot_in_the_middle_undoes_the_release_and_says_why() -> None:
    world = World()
    takes(world, 20.0)

    async def scenario() -> None:
        await world.live(spec())
        operation = await world.deploy(migrating())
        await world.clock.sleep(5)
        world.kill()
        world.host.reboot()
        world.clock.reboot()
        await world.start()
        done = await world.ended(operation)
        assert done.phase == "undone"
        assert "interrupted by a restart of the machine" in done.text
        await world.clock.until(lambda: len(world.host.running("orders", 1)) == 1)

    world.run(scenario)


def test_a_first_deploy_that_fails_in_it_leaves_nothing() -> None:
    world = World()
    takes(world, 1.0, code=1)

    async def scenario() -> None:
        done = await deployed(world, migrating())
        assert done.phase == "undone"
        assert (await world.of()).state == "down"
        assert world.host.running() == []

    world.run(scenario)


def test_going_down_meanwhile_stops_it() -> None:
    world = World()
    world.host.script_job("orders", "before", Behaviour(ready_s=None))

    async def scenario() -> None:
        await world.live(spec())
        operation = await world.deploy(migrating())
        await world.clock.sleep(2)
        await world.environment.stop("orders", StopRequest())
        assert not (await world.ended(operation)).good
        await world.clock.until(lambda: world.host.running() == [], within_s=30)
        [view] = await world.environment.jobs("orders", "before")
        [run] = view.runs
        assert (run.state, run.reason) == ("stopped", "its rollout ended")

    world.run(scenario)


def test_it_is_tried_again_after_a_failure_but_not_after_a_success() -> None:
    world = World()
    takes(world, 1.0, code=1)

    async def scenario() -> None:
        await world.live(spec())
        assert not (await deployed(world, migrating())).good
        takes(world, 1.0)
        world.host.script("orders", Behaviour(exits_after_s=0.1), release=2)
        failed = await deployed(world, migrating())  # the migration is good now, the code is not
        assert failed.phase == "undone"
        assert "; what `./migrate` did before stays" in failed.text
        assert len(migrations(world)) == 2
        world.host.script("orders", Behaviour(), release=2)
        done = await deployed(world, migrating())
        assert (done.good, done.release) == (True, "r2")
        assert len(migrations(world)) == 2

    world.run(scenario)


def test_restart_and_rollback_do_not_run_it() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(migrating("v1", compatible=True))
        await world.live(migrating("v2", compatible=True))
        assert len(migrations(world)) == 2
        assert (await world.ended(await world.environment.restart("orders", RestartRequest()))).good
        assert (await world.ended(await world.environment.rollback("orders", RollbackRequest()))).good
        assert len(migrations(world)) == 2

    world.run(scenario)


def test_going_back_over_one_that_is_not_compatible_wants_a_persons_word() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        await world.live(migrating("v2"))
        await world.live(migrating("v3", compatible=True))
        await world.ended(await world.environment.rollback("orders", RollbackRequest()))  # r2 works with r3's
        assert (await world.of()).release == "r2"
        with pytest.raises(Refused, match=r"`\./migrate` ran before r2"):
            await world.environment.rollback("orders", RollbackRequest(to=1))
        with pytest.raises(Refused, match=r"`\./migrate` ran before r2"):
            await world.environment.plan(RollbackRequest(to=1), "orders")
        await world.environment.restart("orders", RestartRequest())
        await world.clock.sleep(10)
        with pytest.raises(Refused, match=r"`\./migrate` ran before r2"):
            await world.environment.rollback("orders", RollbackRequest(to=1))
        done = await world.ended(await world.environment.rollback("orders", RollbackRequest(to=1, force=True)))
        assert done.good

    world.run(scenario)


def test_a_restart_of_code_from_before_stays_code_from_before() -> None:
    """A release made later is not newer code: what counts is when its content was released first."""
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        await world.live(migrating("v2"))
        await world.ended(await world.environment.rollback("orders", RollbackRequest(to=1, force=True)))
        await world.ended(await world.environment.restart("orders", RestartRequest()))  # r3, of r1's content
        await world.ended(await world.environment.rollback("orders", RollbackRequest(to=2)))
        with pytest.raises(Refused):
            await world.environment.rollback("orders", RollbackRequest(to=3))

    world.run(scenario)


def test_the_memory_of_it_outlives_many_deploys() -> None:
    world = World()

    async def scenario() -> None:
        for n in range(1, 4):
            await world.live(migrating(f"v{n}"))
        for n in range(4, 30):
            await world.live(spec(version=f"v{n}"))
        kept = await world.environment.releases("orders")
        assert min(view.n for view in kept) > 3
        await world.ended(await world.environment.rollback("orders", RollbackRequest()))

    world.run(scenario)


def test_the_plan_says_what_runs_first() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        operation = migrating()
        from world import ARTIFACT

        [plan] = await world.environment.plan(DeployRequest(spec=operation, artifact=ARTIFACT), "orders")
        assert plan.steps[0] == "run `./migrate`, at most 60 s; r2 starts only when it succeeds"
        assert migrations(world) == []

    world.run(scenario)


def test_the_same_content_with_another_variable_is_another_release_and_runs_it_again() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(migrating("v1"))
        await world.live(spec(version="v2", rollout=migrating().rollout, env={"VERSION": Plain("v2")}))
        assert len(migrations(world)) == 2

    world.run(scenario)
