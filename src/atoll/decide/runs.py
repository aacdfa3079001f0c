"""One run of a job from its row to its end: what to do next, seen from what the host says of its process. Pure.

A cell of `realise` calls `advance` after every change and at `wake_at_s`, writes the step down, then does `effect`. A
process is started under an id of its own once, so a daemon killed at any instant goes on with the same run.
"""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from atoll.decide.jobs import event
from atoll.model.state import Event, Exit, Intent, JobRun, Now, Rollout

FIRST_RETRY_S: Final = 10.0  # doubled with each further one; Kubernetes' numbers for jobs
LONGEST_RETRY_S: Final = 360.0
KILL_AGAIN_S: Final = 1.0
_CLOCK_SET_S: Final = 1.0  # by more than a clock is slewed while a job runs

Process = Literal["unknown", "absent", "running"] | Exit
Effect = Literal["", "start", "signal", "kill"]


class RunStep(msgspec.Struct, frozen=True):
    """A run after one decision, its events, what to do once they are written, and when to ask again (boot seconds)."""

    run: JobRun
    events: tuple[Event, ...] = ()
    effect: Effect = ""
    wake_at_s: float | None = None


def unwanted(run: JobRun, runs: Iterable[JobRun], intent: Intent, rollout: Rollout | None) -> str:
    """Why a run shall end before its time; "" when it may go on. `runs` are all of its service."""
    if run.trigger == "before":
        mine = rollout is not None and rollout.before == run.id and rollout.phase == "preparing"
        return "" if mine else "its rollout ended"
    if intent.target is None:
        return f"{run.service} was told to go down"
    newer = (one for one in runs if one.job == run.job and one.replaces and not one.ended)
    replaced = any(one.created_wall > run.created_wall and not one.stop for one in newer)
    return "a newer run takes its place" if replaced else ""


def advance(run: JobRun, process: Process, runs: Iterable[JobRun], why_not: str, grace_s: float, now: Now) -> RunStep:
    """The run's next step; the same run when it has to wait. `process` is that of its present attempt.

    `runs` are all of its service; `why_not` is `unwanted`'s word, `grace_s` how long after the stop signal SIGKILL waits.
    """
    if run.ended:
        return RunStep(run)
    run = run if run.stop or not why_not else msgspec.structs.replace(run, stop=why_not)
    if run.state == "queued":
        return _queued(run, runs, now)
    if run.boot_id != now.boot_id:
        return _over(run, Exit(error="interrupted by a restart of the machine"), now)
    if process == "unknown":
        return RunStep(run, wake_at_s=None)
    if isinstance(process, Exit):
        return _over(run, process, now)
    if run.state == "starting":
        return _starting(run, process, runs, now)
    if process == "absent":
        return _over(run, Exit(error="its process is gone, and nobody knows how it ended"), now)
    return _running(run, now) if run.state == "running" else _stopping(run, grace_s, now)


def took(run: JobRun, now: Now) -> float:
    """For how many seconds it has gone on, or went on, whatever was done to the clock of the wall."""
    if run.ended_wall is None and run.begun_s and run.boot_id == now.boot_id:
        return now.boot_s - run.begun_s
    until_wall = now.wall if run.ended_wall is None else run.ended_wall
    return 0.0 if run.started_wall is None else max(0.0, until_wall - run.started_wall)


def _queued(run: JobRun, runs: Iterable[JobRun], now: Now) -> RunStep:
    if run.stop:
        return _ended(run, "stopped", run.stop, now)
    if run.attempt == 1:
        earlier = (one for one in runs if one.job == run.job and not one.ended and one.trigger != "before")
        if any((one.created_wall, one.id) < (run.created_wall, run.id) for one in earlier):
            return RunStep(run)
    elif run.boot_id == now.boot_id and now.boot_s < run.until_s:
        return RunStep(run, wake_at_s=run.until_s)
    begun = _entered(run, "starting", now)
    if run.started_wall is None:
        begun = msgspec.structs.replace(begun, started_wall=now.wall, begun_s=now.boot_s)
    return RunStep(begun, (event("job.started", begun, f"{_name(run)} is starting{_attempt(run)}", now),))


def _starting(run: JobRun, process: Process, runs: Iterable[JobRun], now: Now) -> RunStep:
    if process == "running":
        running = msgspec.structs.replace(_entered(run, "running", now), started_s=now.boot_s)
        return RunStep(running, wake_at_s=now.boot_s)
    if run.stop:
        return _ended(run, "stopped", run.stop, now)
    if run.trigger == "before" and any(one.trigger == "before" and not one.ended and one.id != run.id for one in runs):
        return RunStep(run)  # that of a rollout that was given up is still being stopped
    return RunStep(run, effect="start")


def _running(run: JobRun, now: Now) -> RunStep:
    over_s = run.started_s + run.timeout_s
    if not run.stop and now.boot_s < over_s:
        return RunStep(run, wake_at_s=over_s)
    late = "" if run.stop else f"not done within {run.timeout_s:g} s"
    stopping = msgspec.structs.replace(_entered(run, "stopping", now), reason=late)
    told = event("job.stopping", stopping, f"{_name(run)} is being stopped: {run.stop or late}", now)
    return RunStep(stopping, (told,), "signal", now.boot_s)


def _stopping(run: JobRun, grace_s: float, now: Now) -> RunStep:
    over_s = run.state_since_s + grace_s
    if now.boot_s < over_s:
        return RunStep(run, effect="signal", wake_at_s=over_s)
    return RunStep(run, effect="kill", wake_at_s=now.boot_s + KILL_AGAIN_S)


def _over(run: JobRun, exit_: Exit, now: Now) -> RunStep:
    """Its attempt ended."""
    run = msgspec.structs.replace(run, exit=exit_)
    if run.stop:
        return _ended(run, "stopped", run.stop, now)
    if exit_.code == 0 and not run.reason:
        return _ended(run, "succeeded", "", now)
    why = run.reason or exit_.text
    if run.attempt > run.retries:
        return _ended(run, "failed", why, now)
    wait_s = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(run.attempt - 1, 16))
    again = msgspec.structs.replace(
        _entered(run, "queued", now), attempt=run.attempt + 1, until_s=now.boot_s + wait_s, reason=""
    )
    text = f"{_name(run)} failed{_attempt(run)}: {why}; again in {wait_s:g} s"
    return RunStep(again, (event("job.retrying", again, text, now, exit=msgspec.to_builtins(exit_)),))


def _ended(run: JobRun, state: Literal["succeeded", "failed", "stopped"], why: str, now: Now) -> RunStep:
    took_s, started_wall = took(run, now), run.started_wall
    if started_wall is not None and abs(now.wall - took_s - started_wall) > _CLOCK_SET_S:
        started_wall = now.wall - took_s  # by the clock as it is now: both ends are shown, and what is between
    ended = msgspec.structs.replace(
        _entered(run, state, now), reason=why, started_wall=started_wall, ended_wall=now.wall
    )
    text = f"{_name(run)} {state}{_attempt(run)}" + (f": {why}" if why else f" in {took_s:.1f} s")
    data = {} if run.exit is None else {"exit": msgspec.to_builtins(run.exit)}
    return RunStep(ended, (event(f"job.{state}", ended, text, now, **data),))


def _entered(run: JobRun, state: str, now: Now) -> JobRun:
    begun_s = run.begun_s if run.boot_id == now.boot_id else 0.0
    return msgspec.structs.replace(run, state=state, boot_id=now.boot_id, state_since_s=now.boot_s, begun_s=begun_s)


def _name(run: JobRun) -> str:
    what = f"what runs before {run.service} r{run.release}" if run.trigger == "before" else ""
    return what or f"{run.job} of {run.service} r{run.release}"


def _attempt(run: JobRun) -> str:
    return f" (attempt {run.attempt} of {run.retries + 1})" if run.retries else ""
