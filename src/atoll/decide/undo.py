"""Why a rollout must go back, in a sentence that a person understands at three in the morning.

`decide.rollout` asks `failure` before it goes on. Nothing here changes a rollout.
"""

from atoll.decide import before
from atoll.decide.facts import Facts, exclusive, is_ready
from atoll.decide.stepping import going_since_s, stage_deadline_s
from atoll.model.state import Reason, Release

CRASHES = 2  # in a row on one slot: a crash loop, not an accident (PaaSTA's number)
NO_PROGRAM = (126, 127)  # a shell's exit codes for a command that is not executable, or does not exist
READY = "ready"  # mark in `Rollout.entered_s`: when the first candidate replica was published
BOOTED = "booted"  # mark: when it was found on a new boot, on which everything starts again
UNWELL = "unwell"  # mark: since when no candidate replica is ready although it has traffic
CONDEMNED = "condemned"  # mark: when a verdict failed, while the countdown runs
UNWELL_S = 10.0  # for so long: longer than the restart of one replica after an accident


def deadline_s(facts: Facts) -> float:
    """Boot seconds at which the current phase has taken too long; infinite for phases that wait for others' ends."""
    health = facts.candidate.spec.health
    rests = facts.rollout.paused == "by hand"  # a person's time, not its own; crashes undo it all the same
    if facts.rollout.phase == "starting":
        since_s = going_since_s(facts.rollout, facts.rollout.phase_since_s)
        return float("inf") if rests else since_s + health.start_budget_s + health.stable_for_s
    if facts.rollout.phase == "stepping":
        return float("inf") if rests and facts.rollout.stage == "filling" else stage_deadline_s(facts)
    if facts.rollout.phase in ("holding", "shifting"):
        return facts.rollout.phase_since_s + health.start_budget_s
    return float("inf")


def failure(facts: Facts) -> Reason | None:
    """The reason to undo the rollout now, or None."""
    phase = facts.rollout.phase
    if phase == "preparing":
        failed = before.failure(facts.candidate.spec.rollout.before, facts.before, facts.candidate.name)
        return Reason(failed, "before-failed") if failed else None
    watched = ("starting", "stepping", "shifting", "releasing", "draining", "live")
    if phase in watched and (reason := _crash_loop(facts) or _out_of_patience(facts)):
        return reason
    if phase == "shifting" and facts.candidate.spec.ports and facts.seen.problem:
        return _proxy(f"the proxy did not take the switch to {facts.candidate.name}: {facts.seen.problem}")
    if facts.now.boot_s < deadline_s(facts):
        return None
    if phase == "starting" or (phase == "stepping" and facts.rollout.stage == "filling"):
        return _too_slow(facts)
    waited = f"within {facts.candidate.spec.health.start_budget_s:g} s"
    if phase == "holding":
        return _proxy(f"the proxy did not acknowledge {waited} that it holds the requests to {facts.candidate.service}")
    return _proxy(f"the proxy did not acknowledge the switch to {facts.candidate.name} {waited}")


def _proxy(text: str) -> Reason:
    return Reason(text, "proxy-not-acknowledged")


def _crash_loop(facts: Facts) -> Reason | None:
    name = facts.candidate.name
    count = facts.seen.backoff.get(facts.candidate.n, 0)
    if count < CRASHES or (facts.stable is None and not _hopeless(facts)):
        return None  # on a first deploy services wait for each other: the start budget decides
    how = last_end(facts, facts.candidate)
    if facts.rollout.phase == "live":
        if facts.stable is None:
            return None
        # Going back helps when the previous release stands by; a worker's, or one that may not overlap, never does.
        cold = exclusive(facts.candidate, facts.stable) or not facts.candidate.spec.ports
        stands_by = any(is_ready(one) and one.record.release == facts.stable.n for one in facts.others)
        if not (stands_by or cold) or any(is_ready(one) for one in facts.mine):
            return None
        return Reason(f"{name} was live, then crashed {_times(count)} in a row{how.text}", how.id)
    if READY in facts.rollout.entered_s or facts.rollout.phase != "starting":
        return Reason(f"{name} was ready, then died {_times(count)} in a row{how.text}", how.id)
    return Reason(f"{name} crashed {_times(count)} before it was ready{how.text}", how.id)


def marks(facts: Facts) -> dict[str, Reason | None]:
    """What is amiss with a candidate that has traffic, by mark; None where all is well."""
    watched = facts.rollout.phase in ("stepping", "live") and facts.stable is not None
    policy = facts.candidate.spec.rollout.analysis
    return {
        UNWELL: _unwell(facts) if watched else None,
        CONDEMNED: _worse(facts) if watched and not (facts.rollout.kept or policy.dry_run) else None,
    }


def patience_s(facts: Facts) -> float | None:
    """Boot seconds at which what is amiss undoes the rollout; None when nothing is."""
    limits = {UNWELL: UNWELL_S, CONDEMNED: facts.candidate.spec.rollout.countdown_s}
    return min(
        (
            facts.rollout.entered_s[mark] + limit_s
            for mark, limit_s in limits.items()
            if mark in facts.rollout.entered_s
        ),
        default=None,
    )


def _out_of_patience(facts: Facts) -> Reason | None:
    for mark, reason in marks(facts).items():
        since_s = facts.rollout.entered_s.get(mark)
        limit_s = facts.candidate.spec.rollout.countdown_s if mark == CONDEMNED else UNWELL_S
        if reason and (not limit_s or (since_s is not None and facts.now.boot_s >= since_s + limit_s)):
            return reason
    return None


def _unwell(facts: Facts) -> Reason | None:
    """Nothing of the candidate is ready any more, and the previous release could take its traffic back."""
    health, booted_s = facts.candidate.spec.health, facts.rollout.entered_s.get(BOOTED)
    if booted_s is not None and facts.now.boot_s < booted_s + health.start_budget_s + health.stable_for_s:
        return None  # which of the two starts faster says nothing
    stands_by = any(is_ready(one) and one.record.release == facts.rollout.stable for one in facts.others)
    if not facts.candidate.spec.ports or not stands_by or any(is_ready(one) for one in facts.mine):
        return None
    because = why_not_ready(facts, facts.candidate)
    return Reason(f"no replica of {facts.candidate.name} is ready any more{because.text}", because.id)


def _worse(facts: Facts) -> Reason | None:
    """A verdict that failed."""
    if facts.verdict is None or facts.verdict.outcome != "fail":
        return None
    other = facts.stable.name if facts.stable is not None else "its objectives"
    return Reason(f"{facts.candidate.name} is worse than {other}: {facts.verdict.text}", "candidate-worse")


def _hopeless(facts: Facts) -> bool:
    """Whether the newest crash is one that no waiting helps: there is no such program."""
    end = facts.seen.last_exit.get(facts.candidate.n)
    return end is not None and (bool(end.error) or end.code in NO_PROGRAM)


def _too_slow(facts: Facts) -> Reason:
    name, health, mine = facts.candidate.name, facts.candidate.spec.health, facts.mine
    count = facts.seen.backoff.get(facts.candidate.n, 0)
    ready = [one for one in mine if is_ready(one)]
    if len(ready) >= facts.wanted and len(facts.reachable) < facts.wanted:
        problem = f": {facts.seen.problem}" if facts.seen.problem else ""
        return _proxy(
            f"{name} is ready, but the proxy did not acknowledge its replicas within its start budget{problem}"
        )
    because = why_not_ready(facts, facts.candidate)
    if READY in facts.rollout.entered_s:
        if 0 < len(ready) < facts.wanted:
            few = f"only {len(ready)} of {facts.wanted} replicas of {name} stayed ready"
            return Reason(f"{few} within {health.start_budget_s:g} s{because.text}", because.id)
        text = f"{name} was ready, but not for {health.stable_for_s:g} s without a break{because.text}"
        end = facts.seen.last_exit.get(facts.candidate.n)
        return Reason(text, end.id if end is not None and because.id == end.id else "not-stable")
    crashed = f"; it crashed {_times(count)}" if count and facts.candidate.n in facts.seen.last_exit else ""
    return Reason(f"{name} was not ready within {health.start_budget_s:g} s{crashed}{because.text}", because.id)


def why_not_ready(facts: Facts, release: Release) -> Reason:
    """`: what stands in the way` of a release's replicas: a probe's words, what keeps them from starting, else its last end.

    "" when not known.
    """
    given_up = facts.seen.given_up.get(release.n)  # first: one that has just taken its place has seen nothing yet
    said, page = (given_up.text, given_up.id) if given_up else ("", "")
    for replica in facts.seen.replicas:
        text = replica.reason or replica.record.why
        if text and not said and replica.record.release == release.n and not is_ready(replica):
            said, page = text, replica.reason_id
    if not said and facts.seen.problem:  # the host starts none
        said, page = facts.seen.problem, facts.seen.problem_id
    too_slow = f"not ready within {release.spec.health.start_budget_s:g} s"  # in the caller's sentence already
    said = said.removeprefix(too_slow).removeprefix(": ")
    return Reason(f": {said}", page or "not-ready-in-time") if said else last_end(facts, release)


def last_end(facts: Facts, release: Release) -> Reason:
    """`: exit code 1`, how its newest crash ended, or ""."""
    end = facts.seen.last_exit.get(release.n)
    return Reason(f": {end.text}", end.id) if end else Reason("", "not-ready-in-time")


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
