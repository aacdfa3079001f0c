"""Which runs of a service's jobs shall begin: by schedule, by hand; which are skipped or missed, which rows may go.

The daemon asks after every change and at `Due.wake_wall`, and writes the rows before anything starts; one run is carried
by `decide.runs`. Occurrences are told apart by their own time, so that none runs twice whatever becomes of the daemon.
"""

import shlex
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from hashlib import blake2s
from typing import Final

import msgspec

from atoll.decide.schedule import last_due, next_due
from atoll.model.errors import Conflict
from atoll.model.spec import Command, Job, ServiceSpec
from atoll.model.state import ENDED, LIVE, Author, Event, Intent, JobRun, JobState, Now, Release, Rollout
from atoll.model.templates import literal

CLOCK_BACK_S: Final = (
    3 * 3600.0
)  # a clock set back by more was wrong before: schedules follow the new one (Debian's cron)
KEPT_RUNS: Final = 20  # ended ones of each job
_MOST_COUNTED: Final = 1000  # "a thousand or more" is enough to know of what was missed


class Due(msgspec.Struct, frozen=True):
    """New rows of one job with their events, and when to ask again at the latest (wall time)."""

    runs: tuple[JobRun, ...] = ()
    events: tuple[Event, ...] = ()
    wake_wall: float | None = None


def live_release(intent: Intent, rollout: Rollout | None) -> int | None:
    """The release in which jobs run; None while the service is down, or was never live yet."""
    first = rollout is not None and rollout.phase not in ENDED | LIVE and rollout.stable is None
    return None if first else intent.target


def counted_from(runs: Iterable[JobRun], since_wall: float, now_wall: float, noticed_wall: float) -> float:
    """After which time an occurrence of a job is new.

    `since_wall` is since when its release has the traffic. Where either of the two lies too far ahead, the clock was wrong
    and occurrences count from `noticed_wall`, when that was noticed.
    """
    marks = [since_wall, *(run.due_wall for run in runs if run.due_wall is not None)]
    sane = [mark for mark in marks if mark <= now_wall + CLOCK_BACK_S]
    return max(sane if len(sane) == len(marks) else [*sane, noticed_wall])


def due(job: Job, release: Release, runs: Collection[JobRun], after_wall: float, now: Now) -> Due:
    """What the job's schedule asks for now. `runs` are the kept ones of this job; occurrences up to `after_wall` are old.

    Of several that passed only the newest runs, and only within the job's starting deadline; the others are told.
    """
    wake_wall = next_due(job, max(after_wall, now.wall))
    found = last_due(job, after_wall, now.wall, _MOST_COUNTED)
    if found is None:
        return Due(wake_wall=wake_wall)
    at_wall, count = found
    run = _run(release, job, f"{release.service}.{job.name}.{_stamp(at_wall)}", runs, now)
    run = msgspec.structs.replace(run, trigger="schedule", due_wall=at_wall)
    if any(known.id == run.id for known in runs):
        return Due(wake_wall=wake_wall)  # the clock was set back: it ran
    late_s = now.wall - at_wall
    if late_s > job.starting_deadline_s:
        return Due(*_missed(run, count, now), wake_wall)
    told = _missed(run, count - 1, now)[1] if count > 1 else ()
    state, why = _place(job, runs)
    run = _placed(run, state, job, now)
    if state == "skipped":
        run = msgspec.structs.replace(run, reason=why, ended_wall=now.wall)
    late = f", {late_s:.0f} s late" if late_s > 1 else ""
    return Due(
        (run,),
        (*told, begun(run, now, f", due at {datetime.fromtimestamp(at_wall, UTC):%Y-%m-%d %H:%M:%S} UTC{late}")),
        wake_wall,
    )


def by_hand(
    job: Job, release: Release, args: Sequence[str], runs: Collection[JobRun], key: str, now: Now, author: Author
) -> tuple[JobRun, Event]:
    """A run that somebody asked for, with further arguments. `key` makes its id. Raises Conflict when it may not begin now."""
    run = _run(release, job, hand_id(release.service, job.name, key), runs, now)
    state, why = _place(job, runs)
    if state == "skipped":
        raise Conflict(
            f"{job.name} of {release.service} is running already",
            why,
            f"wait for it, or stop it: `atoll run {release.service} {job.name} --stop`",
            id="job-running",
        )
    run = _placed(msgspec.structs.replace(run, command=_with(job.run, args), author=author), state, job, now)
    return run, begun(run, now, "")


def hand_id(service: str, job: str, key: str) -> str:
    """The id of the run that a request with this key begins."""
    return f"{service}.{job}.{blake2s(key.encode(), digest_size=5).hexdigest()}"


def begun(run: JobRun, now: Now, when: str) -> Event:
    """The event of a new run."""
    kinds: dict[JobState, tuple[str, str]] = {
        "starting": ("job.started", "is starting"),
        "queued": ("job.queued", "waits for the run before it"),
        "skipped": ("job.skipped", f"is skipped: {run.reason}"),
    }
    kind, text = kinds[run.state]
    return event(kind, run, f"{run.job} of {run.service} r{run.release} {text}{when}", now)


def event(kind: str, run: JobRun, message: str, now: Now, **data: object) -> Event:
    """An event of a run."""
    return Event(
        kind=kind,
        service=run.service,
        release=run.release,
        message=message,
        author=run.author,
        data={"run": run.id, "job": run.job, **data},
        wall=now.wall,
    )


def expired(runs: Iterable[JobRun], releases: Collection[int]) -> list[str]:
    """The ids of one service's runs past their keeping. `releases` are its kept ones.

    What ran before a release is kept as long as a release is to which somebody may go back over it.
    """
    oldest = min(releases, default=0)
    kept: dict[str, int] = {}
    gone = []
    for run in sorted(runs, key=lambda run: (run.created_wall, run.id), reverse=True):
        if not run.ended or (run.trigger == "before" and run.state == "succeeded" and run.release >= oldest):
            continue
        kept[run.job] = kept.get(run.job, 0) + 1
        if kept[run.job] > KEPT_RUNS:
            gone.append(run.id)
    return gone


def failing(spec: ServiceSpec, runs: Collection[JobRun]) -> list[tuple[Job, JobRun]]:
    """The scheduled jobs whose newest ended run did not succeed, with it. One that was skipped says nothing."""
    found = []
    for job in spec.jobs:
        ended = [run for run in runs if run.job == job.name and run.state in {"succeeded", "failed", "missed"}]
        newest = max(ended, key=lambda run: run.created_wall, default=None)
        if job.schedule is not None and newest is not None and newest.state != "succeeded":
            found.append((job, newest))
    return found


# --- small parts --------------------------------------------------------------------------------------------------


def _run(release: Release, job: Job, id: str, runs: Iterable[JobRun], now: Now) -> JobRun:
    """Runs are told apart by when they were made: later than all, also when the clock was set back."""
    later_wall = max([now.wall, *(run.created_wall + 0.001 for run in runs)])
    return JobRun(
        id=id, service=release.service, job=job.name, release=release.n, trigger="manual", command=job.run, env=job.env,
        timeout_s=job.timeout_s, retries=job.retries, boot_id=now.boot_id, state_since_s=now.boot_s,
        created_wall=later_wall,
    )  # fmt: skip


def _placed(run: JobRun, state: JobState, job: Job, now: Now) -> JobRun:
    run = msgspec.structs.replace(run, state=state, replaces=job.overlap == "replace")
    return msgspec.structs.replace(run, started_wall=now.wall, begun_s=now.boot_s) if state == "starting" else run


def _place(job: Job, runs: Iterable[JobRun]) -> tuple[JobState, str]:
    """The state in which a new run of the job begins, and why when it does not begin at once."""
    active = [run for run in runs if not run.ended and run.trigger != "before"]
    if not active or job.overlap == "allow":
        return "starting", ""
    oldest = min(active, key=lambda run: run.created_wall)
    if job.overlap == "skip":
        return "skipped", f"{oldest.id} has not ended"
    waiting = [run for run in active if run.state == "queued" and run.attempt == 1]
    if job.overlap == "queue" and waiting:
        return "skipped", f"{waiting[0].id} waits already"
    return "queued", ""


def _missed(run: JobRun, count: int, now: Now) -> tuple[tuple[JobRun, ...], tuple[Event, ...]]:
    times = "an occurrence" if count == 1 else f"{count if count < _MOST_COUNTED else 'a thousand or more'} occurrences"
    text = f"{times} passed while nobody was there to start it"
    row = msgspec.structs.replace(run, state="missed", count=count, reason=text, ended_wall=now.wall)
    return (row,), (event("job.missed", row, f"{run.job} of {run.service}: {text}", now, count=count),)


def _stamp(wall: float) -> str:
    return f"{datetime.fromtimestamp(wall, UTC):%Y%m%dT%H%M%S}"


def _with(command: Command, args: Sequence[str]) -> Command:
    """The command with further arguments, in which nothing is a placeholder."""
    if command.shell is None:
        return Command(argv=(*command.argv, *map(literal, args)))
    return Command(shell=f"{command.shell} {literal(shlex.join(args))}" if args else command.shell)
