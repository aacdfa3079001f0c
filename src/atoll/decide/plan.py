"""What would happen, in the order in which it would, as sentences: for `--plan`, before anybody decides to do it.

The daemon calls it with the release that a request would make. Pure; it follows `decide.rollout` and `decide.compose`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from atoll.decide.changes import changes
from atoll.decide.compose import replicas
from atoll.decide.facts import exclusive, held, warm_s
from atoll.decide.strategies import Choice
from atoll.model.spec import Job, ServiceSpec
from atoll.model.state import Intent, JobRun, Release, Rollout, Step
from atoll.model.wire import PlanView


def rollout(
    kind: Literal["deploy", "rollback", "restart"],
    intent: Intent,
    candidate: Release,
    stable: Release | None,
    *,
    warm: bool,
    warnings: Sequence[str],
    free_bytes: int | None,
    gateway: str,
    prepares: bool = False,
    choice: Choice | None = None,
) -> PlanView:
    """A deploy, rollback or restart. `warm`: the candidate's replicas run already. `prepares`: as for `rollout.begin`.
    `choice` is a deploy's strategy.
    """
    count = replicas(intent, candidate)
    limit = candidate.spec.limits.memory_bytes
    first = list(_preparing(candidate)) if prepares else []
    if exclusive(candidate, stable):
        assert stable is not None
        steps = [*_one_after_the_other(candidate, stable, count, first)]
    else:
        steps = [*first, *_side_by_side(kind, candidate, stable, count, warm, choice)]
    return PlanView(
        service=candidate.service,
        kind=kind,
        release=f"r{candidate.n}",
        previous="" if stable is None else f"r{stable.n}",
        steps=tuple(steps),
        changed=changes(stable, candidate),
        routes=routes(candidate.spec, gateway),
        replicas=count,
        memory_bytes=0 if warm else None if limit is None else limit * count,
        free_bytes=free_bytes,
        holds=held(candidate, stable),
        warnings=tuple(warnings),
        generation=intent.generation,
    )


def scale(before: Intent, after: Intent, release: Release | None, free_bytes: int | None) -> PlanView:
    """Another number of replicas. `release` is the one with the traffic; None: it is down."""
    steps: list[str] = []
    more = memory = 0
    limit = None if release is None else release.spec.limits.memory_bytes
    if release is None:
        steps.append("it is down: the number holds from its next start on")
    else:
        old, new = replicas(before, release), replicas(after, release)
        more = max(0, new - old)
        memory = more * (limit or 0)
        if new > old:
            steps.append(f"start {_replicas(more)} of r{release.n} beside the {old} that run")
        elif new < old:
            steps += _finish(release, f"{old - new} of {_replicas(old)}")
            steps.append(f"stop {_replicas(old - new)}")
        if new == 0:
            steps.append("nothing of it runs from then on" + ("; requests get 503" if release.spec.ports else ""))
    name = "" if release is None else f"r{release.n}"
    return PlanView(
        service=before.service,
        kind="scale",
        release=name,
        previous=name,
        unchanged=before == after,
        steps=tuple(steps),
        replicas=0 if release is None else replicas(after, release),
        memory_bytes=None if limit is None and more else memory,
        free_bytes=free_bytes,
        generation=before.generation,
    )


def run(run: JobRun, job: Job, release: Release, intent: Intent) -> PlanView:
    """A run of a job, by hand."""
    begins = "when the run before it has ended" if run.state == "queued" else "at once"
    steps = [f"run `{run.command.text}` {begins}, in r{release.n}, at most {_time(job.timeout_s)}"]
    if run.state == "queued" and run.replaces:
        steps.insert(0, f"stop the run of {job.name} that has not ended")
    if job.retries:
        steps.append(f"try it again when it fails, at most {job.retries} time{'' if job.retries == 1 else 's'}")
    name = f"r{release.n}"
    return PlanView(
        service=release.service,
        kind="run",
        release=name,
        previous=name,
        steps=tuple(steps),
        generation=intent.generation,
    )


def stop(
    intent: Intent, release: Release | None, moving: str, live: Mapping[str, Sequence[Release]], gateway: str
) -> PlanView:
    """Taking it down. `moving` is a candidate that is being rolled out, such as "r8"."""
    steps: list[str] = [f"end the rollout of {moving}"] if moving else []
    if release is not None:
        count = replicas(intent, release)
        steps += _finish(release, f"r{release.n}")
        steps.append(f"stop {_replicas(count)} of r{release.n}")
        if release.spec.jobs:
            steps.append("stop the jobs of it that run, and start no more")
        steps.append("keep its releases: `atoll up` starts it again")
    callers = {
        other.service
        for releases in live.values()
        for other in releases
        for call in other.spec.calls
        if call.callee == intent.service and call.url is None and not call.optional
    } - {intent.service}
    after = "its connections end, and none is taken" if release and release.spec.store else "its calls get 503"
    told = [f"{caller} calls it: {after} from then on" for caller in sorted(callers)]
    name = "" if release is None else f"r{release.n}"
    return PlanView(
        service=intent.service,
        kind="stop",
        previous=name,
        unchanged=release is None and not moving,
        steps=tuple(steps),
        routes=() if release is None else routes(release.spec, gateway),
        memory_bytes=0,
        warnings=tuple(told),
        generation=intent.generation,
    )


def steered(before: Rollout, after: Rollout, candidate: Release, generation: int) -> PlanView:
    """A word to the rollout under way."""
    name, stable = f"r{before.candidate}", f"r{before.stable}"
    at = f"step {before.step + 1} of {len(before.steps)}" if before.steps else "its first step"
    if after == before:
        steps = ["nothing: it is so already"]
    elif after.phase == "undoing":
        steps = [f"move all requests back to {stable}", *_finish(candidate, name), f"stop {name}"]
    elif after.kept and not before.kept:
        steps = [f"keep {name} although its verdict fails; crashes and lost readiness still undo it"]
    elif after.asked == "promote":
        steps = [f"start the replicas that {name} lacks", f"move all requests to {name} when they are ready"]
    elif after.paused:
        steps = [f"stay at {at} until somebody resumes it; a bad {name} is undone all the same"]
    elif after.asked == "step":
        steps = [f"go on from {at} to the next"]
    else:
        steps = [f"go on measuring at {at}, with a new deadline"]
    return PlanView(
        service=before.service,
        kind="steer",
        release=name,
        previous=stable if before.stable is not None else "",
        unchanged=after == before,
        steps=tuple(steps),
        generation=generation,
    )


def routes(spec: ServiceSpec, gateway: str) -> tuple[str, ...]:
    """Where the gateway takes requests for a service."""
    port = gateway[gateway.rfind(":") :]
    return tuple(f"http://{r.host}{port}{r.path}" if r.host else f"{gateway}{r.path}" for r in spec.routes)


# --- sentences ----------------------------------------------------------------------------------------------------


def _preparing(new: Release) -> Iterator[str]:
    """What runs once before the release."""
    before = new.spec.rollout.before
    if before is not None:
        yield f"run `{before.run.text}`, at most {_time(before.timeout_s)}; r{new.n} starts only when it succeeds"


def _side_by_side(
    kind: str, new: Release, old: Release | None, count: int, warm: bool, choice: Choice | None
) -> Iterator[str]:
    if new.spec.run is None:
        yield f"start nothing: r{new.n} has jobs only, and they run as they are due"
        return
    ready = f"when they have been ready for {_time(new.spec.health.stable_for_s)}"
    if warm:
        yield f"start nothing: the {_replicas(count)} of r{new.n} still run"
    else:
        yield f"start {_replicas(count)} of r{new.n}" + (f" beside r{old.n}" if old else "")
    if not new.spec.ports:
        yield f"wait until they have been ready for {_time(new.spec.health.stable_for_s)}"
    elif old is None:
        yield f"send it requests {ready}"
    else:
        if choice is not None and choice.steps:
            yield f"move requests by steps {ready}; {choice.strategy}: {choice.why}"
            yield from (_step(step, new) for step in choice.steps[:-1])
            ready = "at last"
        yield f"move all requests from r{old.n} to r{new.n} {ready}"
    if old is not None:
        yield from _finish(old, f"r{old.n}")
        warm_for_s = warm_s(kind, new, old)
        yield f"keep r{old.n} warm for {_time(warm_for_s)}, then stop it" if warm_for_s else f"stop r{old.n}"


def _step(step: Step, new: Release) -> str:
    share = f"the requests with {step.header}" if step.header else f"{step.weight_pct} % of the requests"
    until = [f"for at least {_time(step.hold_s)}"] if step.hold_s else []
    until += ["until its verdict passes"] if step.judged else []
    until += [f"until somebody says `atoll rollout resume {new.service}`"] if step.approve else []
    return f"send r{new.n} {share} {' and '.join(until)}".rstrip()


def _one_after_the_other(new: Release, old: Release, count: int, first: Sequence[str]) -> Iterator[str]:
    """Two releases never run at once."""
    holds = held(new, old)
    if holds:
        yield "hold requests at the proxy"
    yield from _finish(old, f"r{old.n}")
    yield f"stop r{old.n}: two releases of it never run at once"
    yield from first
    ready = f"wait until it has been ready for {_time(new.spec.health.stable_for_s)}"
    yield f"start {_replicas(count)} of r{new.n} and {ready}"
    if holds:
        yield "let the requests that waited go"


def _finish(release: Release, of: str) -> list[str]:
    """Nothing for a worker, which has no requests."""
    return [f"let requests at {of} finish, at most {_time(release.spec.stop.drain_s)}"] if release.spec.ports else []


def _replicas(count: int) -> str:
    return f"{count} replica{'' if count == 1 else 's'}"


def _time(seconds: float) -> str:
    """`250 ms`, `2 s`, `10 min`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds else "0 s"
    if seconds < 120:
        return f"{seconds:g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
