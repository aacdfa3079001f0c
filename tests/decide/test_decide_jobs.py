"""Which runs begin, how one goes on, and what must never happen: an occurrence twice, or two at once with `skip`."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.decide.jobs import CLOCK_BACK_S, KEPT_RUNS, by_hand, counted_from, due, expired, failing, live_release
from atoll.decide.runs import Process, advance, unwanted
from atoll.model.errors import Conflict
from atoll.model.spec import Command, Job, Overlap, ServiceSpec
from atoll.model.state import Artifact, Author, Exit, Intent, JobRun, JobState, Now, Release, Rollout

JOB = Job(name="tick", run=Command(argv=("tick",)), schedule="* * * * *")
SPEC = ServiceSpec(name="orders", run=Command(shell="x"), jobs=(JOB,))
RELEASE = Release(
    service="orders", n=7, spec=SPEC, artifact=Artifact(key="k", digest="d", builder="b", platform="p", path="/a")
)
START = 1_800_000_000.0  # a full minute


def at(seconds: float, boot: str = "b1") -> Now:
    return Now(boot_id=boot, boot_s=1000.0 + seconds, wall=START + seconds)


def a_run(state: JobState = "running", id: str = "orders.tick.x", **facts: Any) -> JobRun:
    usual = {"boot_id": "b1", "state_since_s": 1000.0, "started_s": 1000.0, "created_wall": START, "timeout_s": 60.0}
    return JobRun(
        id=id, service="orders", job="tick", release=7, trigger="manual", command=JOB.run, state=state,
        **{**usual, **facts},
    )  # fmt: skip


def begin(seconds: float, *runs: JobRun, job: Job = JOB, after: float = START) -> list[tuple[str, str]]:
    """(id's last part, state) of what begins."""
    return [(run.id.rpartition(".")[2], run.state) for run in due(job, RELEASE, runs, after, at(seconds)).runs]


# --- what begins --------------------------------------------------------------------------------------------------


def test_an_occurrence_begins_when_it_is_due_under_its_own_name_and_not_before() -> None:
    assert begin(59.9) == []
    assert begin(60.0) == [("20270115T080100", "starting")]
    assert due(JOB, RELEASE, (), START, at(59.9)).wake_wall == START + 60


@pytest.mark.parametrize(
    ("overlap", "states", "then"),
    [
        ("skip", (), "starting"),
        ("skip", ("succeeded", "failed", "missed", "skipped", "stopped"), "starting"),
        ("skip", ("running",), "skipped"),
        ("skip", ("queued",), "skipped"),
        ("skip", ("stopping",), "skipped"),
        ("queue", ("running",), "queued"),
        ("queue", ("running", "queued"), "skipped"),
        ("replace", ("running",), "queued"),
        ("replace", ("running", "queued"), "queued"),
        ("allow", ("running", "starting"), "starting"),
    ],
)
def test_overlap_decides_what_becomes_of_one_that_is_due_while_another_runs(
    overlap: Overlap, states: tuple[JobState, ...], then: str
) -> None:
    runs = [a_run(state, f"orders.tick.{index}") for index, state in enumerate(states)]
    assert [state for _, state in begin(60, *runs, job=msgspec.structs.replace(JOB, overlap=overlap))] == [then]


def test_of_several_that_passed_the_newest_runs_and_the_rest_is_told() -> None:
    found = due(JOB, RELEASE, (), START, at(10 * 60 + 5))
    assert [run.due_wall for run in found.runs] == [START + 600]
    assert [(event.kind, event.data.get("count")) for event in found.events] == [
        ("job.missed", 9),
        ("job.started", None),
    ]


def test_too_late_is_missed() -> None:
    late = msgspec.structs.replace(JOB, schedule="0 8 * * *", starting_deadline_s=600.0)
    [run] = due(late, RELEASE, (), START - 1, at(601)).runs
    assert (run.state, run.count, run.ended_wall) == ("missed", 1, START + 601)
    [run] = due(late, RELEASE, (), START - 1, at(600)).runs
    assert run.state == "starting"


def test_an_occurrence_that_has_a_row_does_not_begin_again_whatever_its_end() -> None:
    for state in ("succeeded", "failed", "missed", "skipped", "running"):
        known = a_run(state, "orders.tick.20270115T080100", due_wall=START + 60)  # type: ignore[arg-type]
        assert begin(60, known) == []


def test_counting_begins_where_the_last_occurrence_or_the_release_began() -> None:
    runs = [a_run(due_wall=START + 60), a_run(due_wall=START + 120), a_run()]
    assert counted_from(runs, START, START + 130, 0.0) == START + 120
    assert counted_from(runs, START + 125, START + 130, 0.0) == START + 125
    assert counted_from((), START, START + 130, 0.0) == START


def test_a_clock_set_back_a_little_is_waited_for_and_one_set_back_far_is_followed() -> None:
    runs = [a_run(due_wall=START)]
    assert counted_from(runs, START - 500, START - CLOCK_BACK_S, 42.0) == START
    assert counted_from(runs, START - CLOCK_BACK_S - 700, START - CLOCK_BACK_S - 600, START - CLOCK_BACK_S - 650) == (
        START - CLOCK_BACK_S - 650
    )


def test_by_hand_it_gets_its_arguments_as_they_are() -> None:
    run, event = by_hand(JOB, RELEASE, ("--x", "{port}"), (), "key", at(0), Author(actor="ann"))
    assert run.command.argv == ("tick", "--x", "{{port}}")
    assert (run.state, event.kind, event.author.actor) == ("starting", "job.started", "ann")
    shell = msgspec.structs.replace(JOB, run=Command(shell="tick"))
    assert by_hand(shell, RELEASE, ("a b", "$HOME"), (), "k", at(0), Author())[0].command.shell == "tick 'a b' '$HOME'"
    assert by_hand(shell, RELEASE, (), (), "k", at(0), Author())[0].command.shell == "tick"


def test_by_hand_a_second_one_is_refused_in_words() -> None:
    with pytest.raises(Conflict) as error:
        by_hand(JOB, RELEASE, (), [a_run()], "key", at(0), Author())
    assert error.value.fix == "wait for it, or stop it: `atoll run orders tick --stop`"


def test_the_newest_rows_of_each_job_are_kept_and_what_has_not_ended() -> None:
    ended = [a_run("succeeded", f"orders.tick.{n}", created_wall=START + n) for n in range(KEPT_RUNS + 3)]
    active = [a_run("running", "orders.tick.old", created_wall=0.0)]
    assert sorted(expired([*ended, *active], {1})) == ["orders.tick.0", "orders.tick.1", "orders.tick.2"]


def test_what_ran_before_a_release_is_kept_while_somebody_may_go_back_over_it() -> None:
    def ran(n: int, state: JobState = "succeeded") -> JobRun:
        run = a_run(state, f"orders.before.{state}{n}", created_wall=START + n)
        return msgspec.structs.replace(run, release=n, trigger="before", job="before")

    numbers = range(1, KEPT_RUNS + 10)
    assert expired(map(ran, numbers), {1, 9}) == []
    old = expired(map(ran, numbers), {numbers[-1] + 1})
    assert sorted(old) == sorted(f"orders.before.succeeded{n}" for n in range(1, 10))
    assert len(expired([ran(n, "failed") for n in numbers], {1})) == 9


@pytest.mark.parametrize(
    ("states", "fails"),
    [
        (["succeeded"], False),
        (["succeeded", "failed"], True),
        (["failed", "succeeded"], False),
        (["failed", "skipped"], True),
        (["failed", "running"], True),
        (["missed"], True),
        (["stopped"], False),
        ([], False),
    ],
)
def test_a_scheduled_job_fails_when_its_newest_end_was_no_success(states: list[JobState], fails: bool) -> None:
    runs = [a_run(state, f"orders.tick.{n}", created_wall=START + n) for n, state in enumerate(states)]
    assert bool(failing(SPEC, runs)) == fails


def test_jobs_run_in_what_is_live() -> None:
    def rollout(phase: Any, stable: int | None) -> Rollout:
        return Rollout(
            id="o",
            service="orders",
            kind="deploy",
            candidate=8,
            stable=stable,
            phase=phase,
            boot_id="b",
            phase_since_s=0,
        )

    assert live_release(Intent(service="orders"), None) is None
    assert live_release(Intent(service="orders", target=8), rollout("starting", None)) is None
    assert live_release(Intent(service="orders", target=7), rollout("starting", 7)) == 7
    assert live_release(Intent(service="orders", target=8), rollout("live", None)) == 8


# --- how one goes on ----------------------------------------------------------------------------------------------

GONE = Exit(code=1)


@pytest.mark.parametrize(
    ("run", "process", "seconds", "state", "effect"),
    [
        (a_run("starting"), "unknown", 0, "starting", ""),
        (a_run("starting"), "absent", 0, "starting", "start"),
        (a_run("starting"), "running", 0, "running", ""),
        (a_run("starting"), Exit(code=0), 0, "succeeded", ""),
        (a_run("starting"), Exit(error="no such file"), 0, "failed", ""),
        (a_run("starting", stop="by hand"), "absent", 0, "stopped", ""),
        (a_run("running"), "running", 59, "running", ""),
        (a_run("running"), "running", 60, "stopping", "signal"),
        (a_run("running"), "unknown", 99, "running", ""),
        (a_run("running"), "absent", 0, "failed", ""),
        (a_run("running"), Exit(code=0), 99, "succeeded", ""),
        (a_run("running"), GONE, 0, "failed", ""),
        (a_run("running", retries=1), GONE, 0, "queued", ""),
        (a_run("running", retries=1, attempt=2), GONE, 0, "failed", ""),
        (a_run("running", stop="by hand"), "running", 0, "stopping", "signal"),
        (a_run("stopping"), "running", 9, "stopping", "signal"),
        (a_run("stopping"), "running", 10, "stopping", "kill"),
        (a_run("stopping", stop="by hand"), Exit(code=0), 1, "stopped", ""),
        (a_run("stopping", reason="not done within 60 s"), Exit(code=0), 1, "failed", ""),
        (a_run("stopping", stop="by hand", retries=3), Exit(signal=15), 1, "stopped", ""),
        (a_run("queued", attempt=2, until_s=1010.0), "absent", 9, "queued", ""),
        (a_run("queued", attempt=2, until_s=1010.0), "absent", 10, "starting", ""),
        (a_run("queued", stop="by hand"), "absent", 0, "stopped", ""),
        (a_run("succeeded"), "absent", 0, "succeeded", ""),
    ],
)
def test_steps_of_one_run(run: JobRun, process: Process, seconds: float, state: str, effect: str) -> None:
    step = advance(run, process, [run], "", 10.0, at(seconds))
    assert (step.run.state, step.effect) == (state, effect)


@pytest.mark.parametrize("state", ["starting", "running", "stopping"])
@pytest.mark.parametrize("process", ["absent", "unknown"])
def test_after_a_reboot_a_run_was_interrupted(state: JobState, process: Process) -> None:
    step = advance(a_run(state), process, (), "", 10.0, at(5, boot="b2"))
    assert (step.run.state, step.run.reason) == ("failed", "interrupted by a restart of the machine")
    again = advance(a_run(state, retries=1), process, (), "", 10.0, at(5, boot="b2"))
    assert (again.run.state, again.run.attempt) == ("queued", 2)


def test_a_queued_run_waits_for_every_earlier_one_of_its_job() -> None:
    first, second = a_run("running", "orders.tick.a"), a_run("queued", "orders.tick.b", created_wall=START + 1)
    other = msgspec.structs.replace(first, job="else")
    assert advance(second, "absent", [first, second], "", 10.0, at(9)).run.state == "queued"
    assert advance(second, "absent", [other, second], "", 10.0, at(9)).run.state == "starting"


def test_what_runs_before_a_release_waits_for_that_of_a_rollout_that_was_given_up() -> None:
    old = msgspec.structs.replace(a_run("stopping", "orders.before.a"), trigger="before")
    new = msgspec.structs.replace(a_run("starting", "orders.before.b"), trigger="before")
    assert advance(new, "absent", [old, new], "", 10.0, at(0)).effect == ""
    ended = msgspec.structs.replace(old, state="stopped")
    assert advance(new, "absent", [ended, new], "", 10.0, at(0)).effect == "start"


def test_why_a_run_shall_end() -> None:
    up, down = Intent(service="orders", target=7), Intent(service="orders")
    run = a_run()
    newer = a_run("queued", "orders.tick.y", created_wall=START + 1, replaces=True)
    assert unwanted(run, [run], up, None) == ""
    assert unwanted(run, [run], down, None) == "orders was told to go down"
    assert unwanted(run, [run, newer], up, None) == "a newer run takes its place"
    assert unwanted(newer, [run, newer], up, None) == ""
    before = msgspec.structs.replace(run, trigger="before")
    rollout = Rollout(
        id="o", service="orders", kind="deploy", candidate=8, stable=7, phase="preparing", boot_id="b",
        phase_since_s=0, before=run.id,
    )  # fmt: skip
    assert unwanted(before, [before], up, rollout) == ""
    assert unwanted(before, [before], up, msgspec.structs.replace(rollout, phase="undone")) == "its rollout ended"


# --- what must never happen ---------------------------------------------------------------------------------------


class Machine:
    """A daemon, its store, its host and a clock that somebody plays with."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.rows: dict[str, JobRun] = {}
        self.processes: dict[str, Process] = {}
        self.begun: list[float] = []  # occurrences whose process was ever started
        self.most = 0
        self.boot_s, self.wall = 1000.0, START
        self.noticed: float | None = None
        self.looked = START

    def look(self, crash: bool) -> None:
        """One look of the daemon; with `crash` it dies between the row and the effect."""
        now = Now(boot_id="b1", boot_s=self.boot_s, wall=self.wall)
        if self.noticed is None or self.wall < self.looked - CLOCK_BACK_S:
            self.noticed = self.wall
        self.looked = self.wall
        after = counted_from(self.rows.values(), START, self.wall, self.noticed)
        for run in due(self.job, RELEASE, list(self.rows.values()), after, now).runs:
            assert run.id not in self.rows
            self.rows[run.id] = run
        if crash:
            self.noticed = None
            return
        for id in list(self.rows):
            for _ in range(4):
                run = self.rows[id]
                rows = list(self.rows.values())
                why = unwanted(run, rows, Intent(service="orders", target=7), None)
                step = advance(run, self.processes.get(run.process, "absent"), rows, why, 10.0, now)
                self.rows[id] = step.run
                if step.effect == "start" and run.process not in self.processes:
                    self.processes[run.process] = "running"
                    assert run.due_wall is not None
                    if run.attempt == 1:
                        self.begun.append(run.due_wall)
                elif step.effect in ("signal", "kill"):
                    self.processes[run.process] = Exit(signal=15)
        self.most = max(self.most, sum(1 for process in self.processes.values() if process == "running"))

    def end(self, code: int) -> None:
        """What runs longest ends."""
        for id, process in self.processes.items():
            if process == "running":
                self.processes[id] = Exit(code=code)
                return


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.integers(1, 400)),
        st.tuples(st.just("crash"), st.integers(1, 400)),
        st.tuples(st.just("set"), st.integers(-1800, 7200)),
        st.tuples(st.just("end"), st.integers(0, 1)),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["skip", "queue", "replace", "allow"]), st.integers(0, 2), MOVES)
def test_no_occurrence_begins_twice_and_no_two_run_at_once(
    overlap: Overlap, retries: int, moves: list[tuple[str, int]]
) -> None:
    machine = Machine(msgspec.structs.replace(JOB, overlap=overlap, retries=retries, timeout_s=500.0))
    back = 0
    for move, value in moves:
        if move == "set":
            back -= min(0, value)
            if back > CLOCK_BACK_S:
                continue  # then the clock was wrong before, and its minutes are new ones
            machine.wall += value
        elif move == "end":
            machine.end(value)
        else:
            machine.boot_s += value
            machine.wall += value
        machine.look(crash=move == "crash")
    assert len(machine.begun) == len(set(machine.begun))
    assert machine.begun == sorted(machine.begun)
    if overlap != "allow":
        assert machine.most <= 1
