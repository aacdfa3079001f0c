"""One step of a rollout: fill up, move traffic, watch; then on, or wait for the verdict or for a person.

`decide.rollout` asks `stepping` while a rollout is in that phase. A failing candidate is `decide.undo`'s; what weights a
step means is `decide.compose`'s. No step is skipped but by a
person's word: each is left by the one `Next` that its last stage gives. The last step is all of the traffic.
"""

from math import inf
from typing import NamedTuple

from msgspec.structs import replace

from atoll.decide.facts import Facts, sending, slots
from atoll.model.spec import RolloutSpec
from atoll.model.state import Rollout, Step

RESUMED = "resumed"  # mark in `Rollout.entered_s`: when a person let it go on; what it waited is not its fault
EXTENSIONS = 2  # further deadlines before "extend" holds: three times too little traffic is not a matter of patience


class Next(NamedTuple):
    """What comes of one look. `rollout` is the same as before when it has to wait; `done` leads to all of the traffic."""

    rollout: Rollout
    message: str = ""
    done: bool = False
    wake_at_s: float | None = None


def stepping(facts: Facts) -> Next:
    """The next stage, the next step, or the end of all steps."""
    last = len(facts.rollout.steps) - 1
    if facts.rollout.asked == "promote" and facts.rollout.step < last:
        return _enter(facts, last, f"{facts.candidate.name} is promoted by hand")
    match facts.rollout.stage:
        case "filling":
            return _filling(facts)
        case "moving":
            return _moving(facts)
    return _watching(facts)


def current(rollout: Rollout) -> Step:
    """The step that it is in."""
    return rollout.steps[rollout.step]


def weight_pct(rollout: Rollout) -> int:
    """The share that the candidate shall have now: that of the step before while this one is filling."""
    return rollout.filled_pct if rollout.stage == "filling" else current(rollout).weight_pct


def stage_deadline_s(facts: Facts) -> float:
    """Boot seconds at which the present stage has taken too long; infinite while it watches."""
    health = facts.candidate.spec.health
    if facts.rollout.stage == "watching":
        return inf
    more_s = health.stable_for_s if facts.rollout.stage == "filling" else 0.0
    return going_since_s(facts.rollout, facts.rollout.stage_since_s) + health.start_budget_s + more_s


def going_since_s(rollout: Rollout, since_s: float) -> float:
    """`since_s`, or since when a person let it go on after that."""
    return max(since_s, rollout.entered_s.get(RESUMED, since_s))


def verdict_by_s(rollout: Rollout, policy: RolloutSpec) -> float:
    """Boot seconds until which the present step may be watched before its file says what comes of it."""
    step = current(rollout)
    held_s = going_since_s(rollout, rollout.stage_since_s + step.hold_s)
    return held_s + (policy.deadline_s * (1 + rollout.extended) if step.judged else 0.0)


def _filling(facts: Facts) -> Next:
    if slots(facts.settled) < facts.wanted:
        return Next(facts.rollout, wake_at_s=min(stage_deadline_s(facts), facts.next_settled_s))
    if facts.rollout.paused == "by hand":
        return Next(facts.rollout)  # with the traffic that it has
    return Next(_stage(facts, "moving"), wake_at_s=facts.now.boot_s)


def _moving(facts: Facts) -> Next:
    step, stable = current(facts.rollout), facts.rollout.stable
    target = {facts.candidate.n: step.weight_pct, stable: 100 - step.weight_pct}
    arrived = sending(facts.seen.weights) == {n: pct for n, pct in target.items() if pct}
    if not arrived or (facts.seen.header or "") != step.header:
        return Next(facts.rollout, wake_at_s=stage_deadline_s(facts))
    where = f"requests with {step.header}" if step.header else f"{step.weight_pct} % of the requests"
    count = f"step {facts.rollout.step + 1} of {len(facts.rollout.steps)}"
    return Next(
        _stage(facts, "watching"), f"{where} go to {facts.candidate.name} ({count})", wake_at_s=facts.now.boot_s
    )


def _watching(facts: Facts) -> Next:
    rollout, step = facts.rollout, current(facts.rollout)
    over_s = rollout.stage_since_s + step.hold_s
    if rollout.asked == "step":
        return _onward(facts, "a person said so")
    if rollout.paused:
        return Next(rollout)
    if facts.now.boot_s < over_s:
        return Next(rollout, wake_at_s=over_s)
    binding = step.judged and not facts.candidate.spec.rollout.analysis.dry_run
    if binding and (facts.verdict is None or facts.verdict.outcome != "pass"):
        return _undecided(facts)
    if step.approve:
        why = f"{facts.candidate.name} waits for a person's word: `atoll rollout resume {rollout.service}`"
        return Next(replace(rollout, paused="approval", waits=why), why)
    if not step.judged or facts.verdict is None:
        return _onward(facts, f"it held for {step.hold_s:g} s")
    would = "" if binding else f"(dry run) {facts.verdict.outcome}: "
    return _onward(facts, f"{would}{facts.verdict.text}")


def _undecided(facts: Facts) -> Next:
    """No verdict yet: wait, and at the step's deadline do what the policy says."""
    rollout, policy = facts.rollout, facts.candidate.spec.rollout
    until_s = verdict_by_s(rollout, policy)
    if facts.now.boot_s < until_s:
        return Next(rollout, wake_at_s=until_s)
    verdict = facts.verdict
    measured = verdict is not None and verdict.outcome == "inconclusive"
    action = policy.on_inconclusive if measured else policy.on_no_data
    what = verdict.text if verdict is not None and verdict.text else "nothing was measured"
    waited = f"{what}, within {policy.deadline_s * (1 + rollout.extended):g} s"
    match action:
        case "promote":
            return _onward(facts, f"{waited}; its file says to go on")
        case "extend" if rollout.extended < EXTENSIONS:
            return Next(replace(rollout, extended=rollout.extended + 1), f"{waited}: it gets as long again")
        case "fail":
            reason = f"{facts.candidate.name} could not be judged: {waited}"
            return Next(replace(rollout, reason=reason, reason_id="rollout-undecided"))
    why = f"{facts.candidate.name} waits for a person: {waited}"
    return Next(replace(rollout, paused="undecided", waits=why), why)


def _onward(facts: Facts, why: str) -> Next:
    if facts.rollout.step + 1 == len(facts.rollout.steps):
        return Next(_said(facts.rollout), why, done=True)
    return _enter(facts, facts.rollout.step + 1, why)


def _enter(facts: Facts, step: int, why: str) -> Next:
    after = replace(_said(facts.rollout), step=step, stage="filling", stage_since_s=facts.now.boot_s, extended=0)
    after = replace(after, filled_pct=weight_pct(facts.rollout))
    return Next(after, why, wake_at_s=facts.now.boot_s)


def _stage(facts: Facts, stage: str) -> Rollout:
    return replace(facts.rollout, stage=stage, stage_since_s=facts.now.boot_s)


def _said(rollout: Rollout) -> Rollout:
    """With the person's word taken."""
    return replace(rollout, asked="", paused="", waits="")
