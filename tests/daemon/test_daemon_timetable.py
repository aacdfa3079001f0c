"""Scheduled jobs in a running environment: each occurrence once, whatever the clock, the daemon and the releases do."""

import asyncio
import re

import pytest
from job_world import EVERY_MINUTE, MINUTE_S, REINDEX, ended, kinds, run, runs, started, with_jobs
from world import World, spec

from atoll.model.spec import Command, Job, Plain
from atoll.model.state import Exit
from atoll.model.wire import StopRequest
from atoll.testing.fake_host import Behaviour


def test_a_schedule_runs_each_occurrence_once() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(with_jobs(EVERY_MINUTE))
        await world.clock.sleep(5 * MINUTE_S)
        found = await runs(world, "tick")
        assert len(found) == 5
        assert [run.state for run in found] == ["succeeded"] * 5
        dues = [run.due_wall for run in found]
        assert all(due is not None and due % 60 == 0 for due in dues)
        assert dues == sorted(set(dues), key=lambda due: due or 0)
        assert len(started(world, "tick")) == 5

    world.run(scenario)


@pytest.mark.parametrize(
    ("overlap", "states"),
    [
        ("skip", ["succeeded", "skipped", "skipped", "running"]),
        ("queue", ["succeeded", "running", "skipped", "queued"]),
        ("replace", ["stopped", "stopped", "stopped", "running"]),
        ("allow", ["succeeded", "running", "running", "running"]),
    ],
)
def test_what_is_due_while_the_job_runs_follows_its_overlap(overlap: str, states: list[str]) -> None:
    world = World()
    world.host.script_job("orders", "tick", Behaviour(ready_s=None, exits_after_s=150.0, exit=Exit(code=0)))

    async def scenario() -> None:
        job = Job(name="tick", run=Command(argv=("tick",)), schedule="* * * * *", overlap=overlap)  # type: ignore[arg-type]
        await world.live(with_jobs(job))
        most = 0
        until_s = world.clock.now().boot_s + 4 * MINUTE_S + 5
        while world.clock.now().boot_s < until_s:
            most = max(most, sum(1 for id in world.host.running("orders") if "." in id))
            await world.clock.sleep(0.5)
        found = [run.state for run in await runs(world, "tick")]
        assert found == states
        assert most == (3 if overlap == "allow" else 1)

    world.run(scenario)


def test_what_passed_while_the_daemon_was_away_runs_once_and_the_rest_is_told() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(with_jobs(EVERY_MINUTE))
        await world.clock.sleep(2 * MINUTE_S)
        before = len(started(world, "tick"))
        world.kill()
        await asyncio.sleep(10 * MINUTE_S)
        await world.start()
        await world.clock.sleep(1)
        assert len(started(world, "tick")) == before + 1
        told = [event async for event in world.environment.events() if event.kind == "job.missed"]
        assert [event.data["count"] for event in told] == [9]

    world.run(scenario)


def test_what_passed_beyond_its_starting_deadline_was_missed_and_is_told() -> None:
    world = World()

    async def scenario() -> None:
        nightly = Job(name="nightly", run=Command(shell="x"), schedule="0 9,15 * * *", starting_deadline_s=600.0)
        await world.live(with_jobs(nightly))
        world.kill()
        await asyncio.sleep(3 * 3600.0)
        await world.start()
        await world.clock.sleep(1)
        [missed] = await runs(world, "nightly")
        assert (missed.state, missed.count) == ("missed", 1)
        assert started(world, "nightly") == []
        [sentence] = (await world.of()).failing_jobs
        assert sentence.startswith("job nightly was missed")
        await world.clock.sleep(5 * 3600.0)
        assert len(started(world, "nightly")) == 1  # the next one as ever
        assert (await world.of()).failing_jobs == ()

    world.run(scenario)


def test_a_clock_set_back_runs_nothing_twice_and_one_set_forward_runs_the_newest_once() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(with_jobs(EVERY_MINUTE))
        await world.clock.sleep(5 * MINUTE_S)
        world.clock.shift_wall(-4 * MINUTE_S)
        await world.clock.sleep(3 * MINUTE_S)
        assert len(started(world, "tick")) == 5
        await world.clock.sleep(2 * MINUTE_S)
        assert len(started(world, "tick")) == 6
        world.clock.shift_wall(30 * MINUTE_S)
        await world.clock.sleep(40)
        assert len(started(world, "tick")) in {7, 8}
        assert len(started(world, "tick")) == len(set(started(world, "tick")))

    world.run(scenario)


@pytest.mark.parametrize("by_s", [5 * 3600.0, -5 * 3600.0])
def test_a_run_is_told_by_its_own_length_though_the_clock_is_set_meanwhile(by_s: float) -> None:
    world = World()
    world.host.script_job("orders", "reindex", Behaviour(ready_s=None, exits_after_s=100.0, exit=Exit(code=0)))

    async def scenario() -> None:
        await world.live(with_jobs(REINDEX))
        begun = await run(world)
        await world.clock.sleep(40.0)
        world.clock.shift_wall(by_s)
        assert (await world.environment.job_run(begun.id)).seconds == pytest.approx(40.0, abs=2.0)
        view = await ended(world, begun.id)
        assert view.seconds == pytest.approx(100.0, abs=2.0)
        assert view.ended_wall == pytest.approx(world.clock.now().wall, abs=2.0)
        told = [event.message async for event in world.environment.events() if event.kind == "job.succeeded"]
        assert re.search(r"succeeded in (99|100|101)\.\d s", told[0])

    world.run(scenario)


def test_the_next_run_that_is_told_is_the_one_that_comes_after_a_clock_was_far_ahead() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(with_jobs(EVERY_MINUTE))
        world.clock.shift_wall(5 * 3600.0)
        await world.clock.sleep(2 * MINUTE_S)
        world.clock.shift_wall(-5 * 3600.0)
        await world.clock.sleep(MINUTE_S)
        [view] = await world.environment.jobs("orders", "tick")
        assert view.next_wall is not None
        assert 0 < view.next_wall - world.clock.now().wall <= MINUTE_S

    world.run(scenario)


@pytest.mark.parametrize("restart", [False, True])
def test_a_clock_that_was_far_ahead_and_is_set_right_does_not_silence_schedules(restart: bool) -> None:
    world = World()

    async def scenario() -> None:
        world.clock.shift_wall(400 * 86_400.0)
        await world.live(with_jobs(EVERY_MINUTE))
        await world.clock.sleep(2 * MINUTE_S)
        before = len(started(world, "tick"))
        world.clock.shift_wall(-400 * 86_400.0)
        if restart:
            await world.restart()
        await world.clock.sleep(3 * MINUTE_S + 31)
        assert before + 3 <= len(started(world, "tick")) <= before + 4
        assert "job.missed" not in await kinds(world)

    world.run(scenario)


def test_a_new_schedule_counts_from_its_release_on() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        await world.clock.sleep(3600)
        await world.live(with_jobs(EVERY_MINUTE, env={"VERSION": Plain("v2")}))
        await world.clock.sleep(1)
        assert "job.missed" not in await kinds(world)
        await world.clock.sleep(MINUTE_S)
        assert len(started(world, "tick")) == 1
        [run_] = await runs(world, "tick")
        assert run_.release == "r2"

    world.run(scenario)


def test_a_job_goes_on_with_its_release_when_a_deploy_replaces_that_and_the_release_is_kept() -> None:
    world = World()
    world.host.script_job("orders", "reindex", Behaviour(ready_s=None, exits_after_s=3000.0, exit=Exit(code=0)))

    async def scenario() -> None:
        await world.live(with_jobs(REINDEX))
        view = await run(world)
        for n in range(2, 10):
            await world.live(with_jobs(REINDEX, env={"VERSION": Plain(f"v{n}")}))
        view = await ended(world, view.id, 4000.0)
        assert (view.state, view.release) == ("succeeded", "r1")

    world.run(scenario)


def test_old_runs_go_and_an_idle_environment_with_a_schedule_writes_nothing() -> None:
    world = World()

    async def scenario() -> None:
        nightly = Job(name="nightly", run=Command(shell="x"), schedule="0 3 1 1 *")
        await world.live(with_jobs(EVERY_MINUTE, nightly))
        await world.clock.sleep(40 * MINUTE_S)
        assert len(await runs(world, "tick")) == 20
        await world.environment.stop("orders", StopRequest())
        await world.live(with_jobs(nightly))
        await world.clock.sleep(700)
        commits = world.disk.commits
        await world.clock.sleep(3600)
        assert world.disk.commits == commits

    world.run(scenario)
