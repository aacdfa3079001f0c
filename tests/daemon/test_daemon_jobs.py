"""Jobs in a running environment: by hand, by schedule, over crashes of the daemon and of the machine."""

import asyncio
from collections.abc import Sequence

import pytest
from world import World, spec

from atoll.model.errors import Conflict, NotFound, Refused
from atoll.model.spec import Call, Command, Job, Plain, SecretRef, ServiceSpec
from atoll.model.state import Author, Exit
from atoll.model.wire import StopRequest
from atoll.model.wire_jobs import JobRunView, RunRequest, StopRunRequest
from atoll.testing.fake_host import Behaviour

REINDEX = Job(name="reindex", run=Command(shell="reindex"))
EVERY_MINUTE = Job(name="tick", run=Command(argv=("tick",)), schedule="* * * * *", timeout_s=20.0)
MINUTE_S = 60.0


def with_jobs(*jobs: Job, **fields: object) -> ServiceSpec:
    return spec(**{"jobs": jobs, **fields})  # type: ignore[arg-type]


def jobs_only(*jobs: Job) -> ServiceSpec:
    return ServiceSpec(name="orders", run=None, jobs=jobs, replicas=0)


async def run(world: World, job: str = "reindex", *args: str, key: str = "") -> JobRunView:
    request = RunRequest(job=job, args=args, key=key, author=Author(actor="ann"))
    return await world.environment.run_job("orders", request)


async def ended(world: World, run_id: str, within_s: float = 300.0) -> JobRunView:
    async def look() -> JobRunView:
        while not (view := await world.environment.job_run(run_id)).ended:
            await asyncio.sleep(0.05)
        return view

    return await asyncio.wait_for(look(), within_s)


async def runs(world: World, job: str) -> list[JobRunView]:
    [view] = await world.environment.jobs("orders", job)
    return list(reversed(view.runs))


async def kinds(world: World, prefix: str = "job.") -> list[str]:
    return [event.kind async for event in world.environment.events() if event.kind.startswith(prefix)]


def started(world: World, job: str) -> list[str]:
    """The ids of all processes of a job that were ever started."""
    return [launch.id for launch in world.host.launches if launch.id.startswith(f"orders.{job}.")]


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


# --- schedules ----------------------------------------------------------------------------------------------------


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


# --- crashes ------------------------------------------------------------------------------------------------------


def test_a_run_is_started_once_and_its_end_is_known_when_the_daemon_is_killed_at_every_commit() -> None:
    n, last = 0, False
    while not last:
        world = World()
        world.host.script_job("orders", "reindex", Behaviour(ready_s=None, exits_after_s=1.0, exit=Exit(code=7)))

        async def scenario(n: int = n, world: World = world) -> bool:
            await world.live(with_jobs(Job(name="reindex", run=Command(shell="x"), retries=1)))
            start = world.disk.commits
            view = await run(world, key="k")

            def over() -> bool:
                return world.environment._records.runs[view.id].ended

            await world.clock.until(lambda: world.disk.commits - start > n or over(), every_s=0.001)
            finished = over()
            await world.restart()
            view = await ended(world, view.id)
            assert (view.state, view.attempt, view.reason) == ("failed", 2, "exit code 7"), n
            assert started(world, "reindex") == [f"{view.id}.1", f"{view.id}.2"], n
            assert (await kinds(world)).count("job.failed") == 1
            await world.clock.sleep(20)
            assert len(world.host.running("orders")) == 1
            assert [hosted.id for hosted in await world.host.list() if "." in hosted.id] == []
            return finished

        result: list[bool] = []

        async def play(result: list[bool] = result, scenario=scenario) -> None:  # type: ignore[no-untyped-def]
            result.append(await scenario())

        world.run(play)
        last = result[0]
        n += 1
    assert n > 4


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
