"""Jobs in a running environment: by hand, over crashes of the daemon and of the machine."""

import asyncio
from collections.abc import Sequence

import pytest
from job_world import EVERY_MINUTE, MINUTE_S, REINDEX, ended, jobs_only, kinds, run, started, with_jobs
from world import World, at_every_commit

from atoll.model.errors import Conflict, NotFound, Refused
from atoll.model.spec import Call, Command, Job, Plain, SecretRef, ServiceSpec
from atoll.model.state import Author, Exit
from atoll.model.wire import StopRequest
from atoll.model.wire_jobs import StopRunRequest
from atoll.testing.fake_host import Behaviour


def test_a_job_runs_in_the_release_that_has_the_traffic_with_its_variables_secrets_and_calls() -> None:
    world = World()

    async def scenario() -> None:
        await world.vault.set("db", "s3cret")
        env = {"VERSION": Plain("v1"), "DB": SecretRef("db"), "SELF": Plain("http://127.0.0.1:{port}")}
        calls = (Call(callee="catalog", env={"CATALOG": "{url}"}, optional=True),)
        job = Job(name="reindex", run=Command(shell="reindex --into {data}"), env={"VERSION": Plain("job")})
        await world.live(with_jobs(job, env=env, calls=calls))
        view = await ended(world, (await run(world, "reindex", "--since", "it's {port}")).id)
        assert (view.state, view.good, view.release, view.attempt) == ("succeeded", True, "r1", 1)
        launch = world.host.launches[-1]
        assert launch.id == f"{view.id}.1"
        assert launch.command.shell == "reindex --into /data/orders --since 'it'\"'\"'s {port}'"
        assert launch.env["VERSION"] == "job"
        assert launch.env["CATALOG"].startswith("http://127.0.0.1:2")
        assert "SELF" not in launch.env  # nothing of a job listens there
        assert "PORT" not in launch.env
        assert launch.secrets == {"DB": "s3cret"}
        assert launch.writable == ("/data/orders",)
        assert await kinds(world) == ["job.started", "job.succeeded"]

    world.run(scenario)


def test_a_failed_job_keeps_its_exit_and_last_output_and_is_no_trouble_of_the_service() -> None:
    world = World()
    world.host.script_job(
        "orders", "reindex", Behaviour(exits_after_s=1.0, exit=Exit(code=4), last_words=("no index",))
    )

    async def scenario() -> None:
        await world.live(with_jobs(REINDEX))
        view = await ended(world, (await run(world)).id)
        assert (view.state, view.reason, view.exit and view.exit.code) == ("failed", "exit code 4", 4)
        assert view.output == "no index"
        assert (await world.of()).state == "up"
        assert (await world.of()).failing_jobs == ()  # by hand: whoever asked for it saw it
        assert await kinds(world) == ["job.started", "job.failed"]

    world.run(scenario)


def test_a_job_is_tried_again_as_often_as_it_says_and_later_each_time() -> None:
    world = World()
    world.host.script_job("orders", "reindex", Behaviour(exits_after_s=0.5, exit=Exit(code=1)))

    async def scenario() -> None:
        await world.live(with_jobs(Job(name="reindex", run=Command(shell="x"), retries=2)))
        begun_s = world.clock.now().boot_s
        view = await ended(world, (await run(world)).id)
        assert (view.state, view.attempt, view.attempts) == ("failed", 3, 3)
        assert started(world, "reindex") == [f"{view.id}.{n}" for n in (1, 2, 3)]
        assert 30.0 <= world.clock.now().boot_s - begun_s < 35.0
        assert await kinds(world) == [
            "job.started", "job.retrying", "job.started", "job.retrying", "job.started", "job.failed",
        ]  # fmt: skip

    world.run(scenario)


def test_a_job_over_its_time_is_stopped_then_killed_and_has_failed() -> None:
    world = World()
    world.host.script_job("orders", "reindex", Behaviour(ready_s=None, ignores_signals=True))

    async def scenario() -> None:
        await world.live(with_jobs(Job(name="reindex", run=Command(shell="x"), timeout_s=5.0)))
        view = await ended(world, (await run(world)).id)
        assert (view.state, view.reason) == ("failed", "not done within 5 s")
        assert [signal for _, signal in world.host.signalled] == ["SIGTERM", "SIGKILL"]

    world.run(scenario)


def test_a_run_can_be_stopped_by_hand_and_a_second_one_is_a_conflict_meanwhile() -> None:
    world = World()
    world.host.script_job("orders", "reindex", Behaviour(ready_s=None))

    async def scenario() -> None:
        await world.live(with_jobs(REINDEX))
        view = await run(world)
        with pytest.raises(Conflict, match="running already"):
            await run(world)
        await world.clock.until(lambda: bool(world.host.running("orders", 1)[1:]))
        await world.environment.stop_run(view.id, StopRunRequest(author=Author(actor="bob")))
        view = await ended(world, view.id)
        assert (view.state, view.reason) == ("stopped", "stopped by bob")
        assert (await world.environment.stop_run(view.id, StopRunRequest())).state == "stopped"  # twice is fine

    world.run(scenario)


def test_a_repeated_request_with_the_same_key_is_one_run() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(with_jobs(REINDEX))
        first, second = await run(world, key="k"), await run(world, key="k")
        assert first.id == second.id
        await ended(world, first.id)
        assert (await run(world, key="k")).state == "succeeded"
        assert len(started(world, "reindex")) == 1

    world.run(scenario)


def test_jobs_of_a_service_that_is_down_do_not_run_and_down_stops_those_that_do() -> None:
    world = World()
    world.host.script_job("orders", "reindex", Behaviour(ready_s=None))

    async def scenario() -> None:
        await world.live(with_jobs(REINDEX, EVERY_MINUTE))
        view = await run(world)
        await world.clock.sleep(1)
        await world.environment.stop("orders", StopRequest())
        view = await ended(world, view.id)
        assert (view.state, view.reason) == ("stopped", "orders was told to go down")
        with pytest.raises(Refused, match="is down"):
            await run(world)
        await world.clock.sleep(10 * MINUTE_S)
        assert started(world, "tick") == []
        [first, *_] = await world.environment.jobs("orders")
        assert (first.next_wall, first.text) == (None, "orders is down: its jobs do not run")
        assert world.host.running() == []

    world.run(scenario)


def test_a_name_that_is_no_job_is_answered_with_the_nearest() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(with_jobs(REINDEX))
        with pytest.raises(NotFound) as error:
            await run(world, "reindx")
        assert error.value.fix == "did you mean 'reindex'?"

    world.run(scenario)


def test_a_service_may_be_its_jobs_only() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(jobs_only(EVERY_MINUTE))
        view = await world.of()
        assert (view.state, view.wanted, view.jobs) == ("up", 0, ("tick",))
        await world.clock.sleep(3 * MINUTE_S)
        assert len(started(world, "tick")) == 3
        assert "tick" in (await world.environment.why("orders")).because[0]

    world.run(scenario)


def test_the_calls_of_a_job_are_there_although_no_replica_runs() -> None:
    world = World()
    world.host.script_job("orders", "tick", Behaviour(ready_s=None, exits_after_s=5.0, exit=Exit(code=0)))

    async def scenario() -> None:
        calls = (Call(callee="catalog", env={"CATALOG": "{address}"}, optional=True),)
        await world.live(ServiceSpec(name="orders", jobs=(EVERY_MINUTE,), replicas=0, calls=calls))
        await world.clock.until(lambda: bool(world.host.running("orders")), within_s=90)
        address = world.host.launches[-1].env["CATALOG"]
        entry = world.traffic.entry("orders")
        assert entry is not None
        assert [str(edge.listen) for edge in entry.edges] == [address]

    world.run(scenario)


# --- crashes ------------------------------------------------------------------------------------------------------


def test_a_run_is_started_once_and_its_end_is_known_when_the_daemon_is_killed_at_every_commit() -> None:
    async def play(world: World, n: int) -> bool:
        world.host.script_job("orders", "reindex", Behaviour(ready_s=None, exits_after_s=1.0, exit=Exit(code=7)))
        await world.live(with_jobs(Job(name="reindex", run=Command(shell="x"), retries=1)))
        start = world.disk.commits
        view = await run(world, key="k")
        finished = await world.killed_after(start + n, lambda: world.environment._records.runs[view.id].ended)
        view = await ended(world, view.id)
        assert (view.state, view.attempt, view.reason) == ("failed", 2, "exit code 7"), n
        assert started(world, "reindex") == [f"{view.id}.1", f"{view.id}.2"], n
        assert (await kinds(world)).count("job.failed") == 1
        await world.clock.sleep(20)
        assert len(world.host.running("orders")) == 1
        assert [hosted.id for hosted in await world.host.list() if "." in hosted.id] == []
        return finished

    assert at_every_commit(play) > 4


def test_a_run_goes_on_while_the_daemon_is_away_and_is_adopted() -> None:
    world = World()
    world.host.script_job("orders", "reindex", Behaviour(ready_s=None, exits_after_s=30.0, exit=Exit(code=0)))

    async def scenario() -> None:
        await world.live(with_jobs(REINDEX))
        view = await run(world)
        await world.clock.sleep(2)
        world.kill()
        await asyncio.sleep(40)
        await world.start()
        view = await ended(world, view.id)
        assert view.state == "succeeded"
        assert len(started(world, "reindex")) == 1

    world.run(scenario)


def test_a_reboot_interrupts_a_run_which_is_told_and_not_repeated_unless_it_says_so() -> None:
    world = World()
    world.host.script_job("orders", "reindex", Behaviour(ready_s=None))

    async def scenario() -> None:
        await world.live(with_jobs(REINDEX))
        view = await run(world)
        await world.clock.sleep(2)
        world.kill()
        world.host.reboot()
        world.clock.reboot()
        await world.start()
        view = await ended(world, view.id)
        assert (view.state, view.reason) == ("failed", "interrupted by a restart of the machine")
        assert len(started(world, "reindex")) == 1

    world.run(scenario)


def test_a_missing_secret_is_the_runs_failure_in_words() -> None:
    world = World()

    async def scenario() -> None:
        await world.vault.set("db", "x")
        await world.live(with_jobs(Job(name="reindex", run=Command(shell="x"), env={"DB": SecretRef("db")})))
        await world.vault.remove("db")
        view = await ended(world, (await run(world)).id)
        assert view.state == "failed"
        assert "db" in view.reason

    world.run(scenario)


def test_watching_a_run_tells_each_change_to_its_end() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(with_jobs(REINDEX))
        view = await run(world)
        seen: Sequence[str] = [each.state async for each in world.environment.watch_run(view.id)]
        assert seen[-1] == "succeeded"
        assert "running" in seen
        with pytest.raises(NotFound):
            await world.environment.job_run("orders.reindex.nope")

    world.run(scenario)
