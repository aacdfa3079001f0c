"""What runs once before a release: whether it must, under which id, and what it means for going back. Pure.

`daemon.mutations` asks when a rollout begins, `decide.rollout` carries its result, `daemon.candidates` asks before a
rollback by hand.
"""

from collections.abc import Iterable
from hashlib import blake2s

from atoll.decide.jobs import begun
from atoll.model.spec import Before
from atoll.model.state import Event, JobRun, Now, Release, Rollout

BEFORE = "before"  # the job's name of a run that is none of the service's jobs


def needed(kind: str, candidate: Release, runs: Iterable[JobRun]) -> bool:
    """Whether a rollout of the candidate must run it first: only a deploy, and not when it succeeded already."""
    return (
        kind == "deploy"
        and candidate.spec.rollout.before is not None
        and not any(run.release == candidate.n and _ran(run) for run in runs)
    )


def run_id(service: str, rollout_id: str) -> str:
    """The id of the run that belongs to a rollout."""
    return f"{service}.{BEFORE}.{blake2s(rollout_id.encode(), digest_size=5).hexdigest()}"


def run_of(rollout: Rollout, candidate: Release, now: Now) -> tuple[JobRun, Event]:
    """The row of the run that a rollout's `preparing` needs, and its event."""
    before = candidate.spec.rollout.before
    assert before is not None
    run = JobRun(
        id=rollout.before, service=rollout.service, job=BEFORE, release=candidate.n, trigger="before",
        command=before.run, env=before.env, timeout_s=before.timeout_s, boot_id=now.boot_id, state_since_s=now.boot_s,
        created_wall=now.wall, started_wall=now.wall, author=rollout.author,
        backward_compatible=before.backward_compatible,
    )  # fmt: skip
    return run, begun(run, now, "")


def failure(before: Before | None, run: JobRun | None, name: str) -> str:
    """Why a release cannot start, once what runs before it has ended badly; "" while it has not."""
    if run is None or not run.ended or run.state == "succeeded":
        return ""
    what = f"`{before.job or before.run.text}`" if before else "what runs before it"
    return f"{what} before {name} {run.state}: {run.reason}"


def stays(candidate: Release, run: JobRun | None) -> str:
    """What to say when a release is undone after its `before` ran: that what it did is not taken back; or ""."""
    before = candidate.spec.rollout.before
    if before is None or run is None:
        return ""
    if run.state != "succeeded":
        return "; what it did until then stays"
    return f"; what `{before.job or before.run.text}` did before stays"


def in_the_way(to: Release, runs: Iterable[JobRun]) -> JobRun | None:
    """The oldest run after release `to` was made with which its code may not work; None when going back is safe."""
    found = [run for run in runs if _ran(run) and run.release > to.made and not run.backward_compatible]
    return min(found, key=lambda run: run.release, default=None)


def _ran(run: JobRun) -> bool:
    return run.trigger == "before" and run.state == "succeeded"
