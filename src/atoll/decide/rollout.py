"""Moving one service from its stable release to a candidate: a state machine over what is observed.

The daemon's service loop calls `advance` until nothing changes, stores the rollout with its events in one transaction,
and lets `decide.compose` turn the phase into replicas and weights. Nothing here touches traffic or replicas.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Literal, get_args

import msgspec
from msgspec.structs import replace

from atoll.decide import before
from atoll.decide.facts import Facts, bake_s, is_ready, sending, slots
from atoll.decide.stepping import RESUMED, stepping, weight_pct
from atoll.decide.undo import BOOTED, READY, deadline_s, failure, marks, patience_s, why_not_ready
from atoll.model.analysis import Verdict
from atoll.model.state import (
    ENDED,
    LIVE,
    Author,
    Event,
    JobRun,
    Now,
    Observation,
    Release,
    Rollout,
    RolloutPhase,
    ServiceDesired,
)
from atoll.model.state import Step as Planned

_NAMES = frozenset(get_args(RolloutPhase))
STEERABLE: frozenset[RolloutPhase] = frozenset({"starting", "stepping"})  # not all of the traffic is on its way yet
AWAITING = "awaiting"  # mark: since when it waits for a store; what it waited is not its fault
_LOOK_S = 1.0  # how soon to look again whether the store is there
LET_GO = "undoing.release"  # mark in `Rollout.entered_s`: an undoing that lets held requests go again
SETTLE_S = 5.0  # of slack past all deadlines of a candidate's stop, as in `decide.reconcile`


class Step(msgspec.Struct, frozen=True):
    """A rollout after one decision, the events that tell of it, and when to ask again at the latest (boot seconds)."""

    rollout: Rollout
    events: tuple[Event, ...] = ()
    wake_at_s: float | None = None


def begin(
    kind: Literal["deploy", "rollback", "restart"],
    service: str,
    rollout_id: str,
    candidate: int,
    stable: int | None,
    overlap: bool,
    now: Now,
    author: Author,
    prepares: bool = False,
    strategy: str = "",
    why: str = "",
    steps: tuple[Planned, ...] = (),
) -> Rollout:
    """A new rollout of `service` to release `candidate`.

    `overlap` is whether both releases allow it (`not facts.exclusive(...)`); `stable` is None when the service is down.
    `prepares` is whether something must run once before the candidate starts (`before.needed`).
    `strategy`, `why` it and its `steps` are what `decide.strategies.choose` came to; without steps all traffic moves at once.
    """
    phase: RolloutPhase = "preparing" if prepares else "starting"
    if not overlap:
        # Down is not gone: replicas of an earlier release may still be ending, and may not overlap either.
        phase = "stopping" if stable is None else "holding"
    return Rollout(
        id=rollout_id,
        service=service,
        kind=kind,
        candidate=candidate,
        stable=stable,
        phase=phase,
        boot_id=now.boot_id,
        phase_since_s=now.boot_s,
        entered_s={phase: now.boot_s},
        started_wall=now.wall,
        author=author,
        before=before.run_id(service, rollout_id) if prepares else "",
        strategy=strategy,
        why=why,
        steps=steps,
    )


def advance(
    rollout: Rollout,
    seen: Observation,
    want: ServiceDesired | None,
    candidate: Release,
    stable: Release | None,
    wanted: int,
    now: Now,
    run: JobRun | None = None,
    verdict: Verdict | None = None,
) -> Step:
    """The rollout's next phase, or the same rollout when it has to wait; at most one change a call.

    `want` is the last composed state, `wanted` the number of candidate replicas, `run` what `Rollout.before` names. A
    candidate that fails sends the rollout to `undoing` with the reason. `verdict` is what its analysis says now. After a
    reboot the current phase (and stage) starts anew.
    """
    if rollout.phase in ENDED:
        return Step(rollout)
    if rollout.boot_id != now.boot_id:
        anew = replace(
            rollout,
            boot_id=now.boot_id,
            phase_since_s=now.boot_s,
            entered_s={rollout.phase: now.boot_s, BOOTED: now.boot_s},
        )
        if rollout.phase == "stepping":  # it keeps the share that it had, once it is there again
            anew = replace(anew, stage="filling", filled_pct=weight_pct(rollout), stage_since_s=now.boot_s)
        return Step(anew, wake_at_s=now.boot_s)
    facts = Facts(rollout, seen, want, candidate, stable, wanted, now, run, verdict)
    if (waiting := _awaiting(facts)) is not None:
        return waiting
    if reason := failure(facts):
        text = reason.text + before.stays(candidate, run)
        undone = replace(rollout, reason=text, reason_id=reason.id, verdict=verdict)
        return _enter(undone, "undoing", now, text)
    if (changed := _remarked(facts)) is not None:
        return changed
    if (until_s := patience_s(facts)) is not None:
        return Step(rollout, wake_at_s=until_s)
    if rollout.phase == "starting" and READY not in rollout.entered_s and any(is_ready(one) for one in facts.mine):
        return Step(_marked(rollout, READY, now), wake_at_s=now.boot_s)
    return _PHASES[rollout.phase](facts)


def abort(rollout: Rollout, reason: str, now: Now) -> Rollout:
    """Go back to the stable release, for `reason`; nothing changes when it ended or is going back already."""
    if rollout.phase in ENDED or rollout.phase == "undoing":
        return rollout
    return _enter(replace(rollout, reason=reason), "undoing", now, reason).rollout


def supersede(rollout: Rollout, now: Now, reason: str = "") -> Rollout:
    """End a rollout because a newer intent of the same service takes its place; `reason` for one that was not live."""
    if rollout.phase in ENDED:
        return rollout
    because = rollout.reason or ("" if rollout.phase in LIVE else reason)
    return _enter(replace(rollout, reason=because), "superseded", now, "superseded").rollout


def seconds(rollout: Rollout, now: Now | None = None) -> dict[str, float]:
    """How long each phase up to live (or undone) lasted on the rollout's present boot, and their `total`.

    With `now` the phase that it is in counts so far, unless the rollout is live or has ended.
    """
    entered = [(name, at_s) for name, at_s in rollout.entered_s.items() if name in _NAMES]
    entered.sort(key=lambda entry: entry[1])  # stable: phases entered at one instant keep their order
    if "undoing" not in rollout.entered_s:
        after_live = [name for name, _ in entered].index("live") + 1 if "live" in rollout.entered_s else len(entered)
        entered = entered[:after_live]
    if now is not None and now.boot_id == rollout.boot_id and rollout.phase not in ENDED | LIVE:
        entered.append(("", now.boot_s))
    lasted = {name: round(after_s - at_s, 3) for (name, at_s), (_, after_s) in pairwise(entered)}
    lasted["total"] = round(entered[-1][1] - entered[0][1], 3) if entered else 0.0
    return lasted


# --- the phases, in the order of a rollout ------------------------------------------------------------------------


def _holding(facts: Facts) -> Step:
    if not facts.held:
        return _enter(facts.rollout, "stopping", facts.now, "stopping the previous release: the two may not overlap")
    if facts.seen.holding is True:
        return _enter(facts.rollout, "stopping", facts.now, "requests are held; stopping the previous release")
    return Step(facts.rollout, wake_at_s=deadline_s(facts))


def _stopping(facts: Facts) -> Step:
    if facts.others:
        return Step(facts.rollout)
    return _enter(facts.rollout, "preparing" if facts.rollout.before else "starting", facts.now, _beginning(facts))


def _preparing(facts: Facts) -> Step:
    if facts.before is None or facts.before.state != "succeeded":
        return Step(facts.rollout)  # its own timeout ends it
    return _enter(facts.rollout, "starting", facts.now, f"starting {facts.candidate.name}")


def _starting(facts: Facts) -> Step:
    if slots(facts.settled) < facts.wanted:
        return Step(facts.rollout, wake_at_s=min(deadline_s(facts), facts.next_settled_s))
    if facts.rollout.paused and not facts.exclusive:  # while requests are held nobody may dawdle
        return Step(facts.rollout)
    if not facts.rollout.steps:
        return _enter(facts.rollout, "shifting", facts.now, _readiness(facts))
    stepping = replace(facts.rollout, step=0, stage="filling", filled_pct=0, stage_since_s=facts.now.boot_s)
    return _enter(stepping, "stepping", facts.now, _readiness(facts))


def _stepping(facts: Facts) -> Step:
    after = stepping(facts)
    if after.done:
        return _enter(replace(after.rollout, verdict=facts.verdict), "shifting", facts.now, after.message)
    if after.rollout.reason:
        return _enter(replace(after.rollout, verdict=facts.verdict), "undoing", facts.now, after.rollout.reason)
    if after.rollout == facts.rollout:
        return Step(after.rollout, wake_at_s=after.wake_at_s)
    rollout = replace(after.rollout, verdict=facts.verdict)
    kind = "rollout.paused" if rollout.paused and not facts.rollout.paused else "rollout.step"
    events = (_event(rollout, kind, after.message, facts.now),) if after.message else ()
    return Step(rollout, events, facts.now.boot_s)


def _shifting(facts: Facts) -> Step:
    if facts.candidate.spec.ports:
        target = {facts.candidate.n: 100}
        asked = facts.want is None or _weights(facts.want) == target
        if not asked or sending(facts.seen.weights) != target:
            return Step(facts.rollout, wake_at_s=deadline_s(facts))
    if facts.held:
        return _enter(facts.rollout, "releasing", facts.now, "letting the held requests go")
    return _enter(facts.rollout, "draining", facts.now, f"all traffic goes to {facts.candidate.name}")


def _releasing(facts: Facts) -> Step:
    if facts.held and facts.seen.holding is not False:
        return Step(facts.rollout)
    return _enter(facts.rollout, "live", facts.now, f"{facts.candidate.name} is live")


def _draining(facts: Facts) -> Step:
    live = f"{facts.candidate.name} is live"
    if facts.stable is None or not facts.stable.spec.ports or facts.rollout.quick:
        return _enter(facts.rollout, "live", facts.now, live)  # what is in flight still ends with its own replica
    busy = [
        one
        for one in facts.others
        if one.alive is not False and one.exit is None and one.record.phase != "starting" and one.inflight != 0
    ]
    drain_s = facts.stable.spec.stop.drain_s
    until_s = facts.rollout.phase_since_s + drain_s
    if busy and facts.now.boot_s < until_s:
        return Step(facts.rollout, wake_at_s=until_s)
    if busy:
        count = sum(one.inflight or 0 for one in busy)
        live += f"; {count} requests at {facts.stable.name} were still in flight after {drain_s:g} s"
    return _enter(facts.rollout, "live", facts.now, live)


def _live(facts: Facts) -> Step:
    until_s = facts.rollout.phase_since_s + bake_s(
        facts.rollout.kind, facts.candidate, facts.stable, quick=facts.rollout.quick
    )
    if facts.now.boot_s >= until_s:  # the same sum as the wake-up: a difference may round to just below
        measured = f": {facts.verdict.text}" if facts.verdict is not None and facts.verdict.text else ""
        certified = replace(facts.rollout, verdict=facts.verdict)
        return _enter(certified, "certified", facts.now, f"{facts.candidate.name} is certified{measured}")
    return Step(facts.rollout, wake_at_s=until_s)


def _undoing(facts: Facts) -> Step:
    stable = facts.stable
    if facts.mine or (facts.before is not None and not facts.before.ended):
        return Step(facts.rollout)
    if stable is None:
        return _enter(facts.rollout, "undone", facts.now, f"{facts.candidate.name} was undone: {facts.rollout.reason}")
    back = f"back on {stable.name}: {facts.rollout.reason}"
    rollout = facts.rollout
    if facts.exclusive and LET_GO not in rollout.entered_s:
        until_s = _back_by_s(facts, stable)
        if not _stands(facts, stable):
            if facts.now.boot_s < until_s:
                return Step(rollout, wake_at_s=until_s)
            missing = f"{stable.name} did not become ready again{why_not_ready(facts, stable).text}"
            rollout = replace(rollout, reason=f"{rollout.reason}; {missing}")
        return Step(_marked(rollout, LET_GO, facts.now), wake_at_s=facts.now.boot_s)
    if stable.spec.ports and sending(facts.seen.weights) != {stable.n: 100}:
        return Step(rollout)
    if facts.seen.holding is True or (facts.held and facts.seen.holding is None):
        return Step(rollout)
    return _enter(rollout, "undone", facts.now, back)


_PHASES: Mapping[RolloutPhase, Callable[[Facts], Step]] = {
    "holding": _holding,
    "stopping": _stopping,
    "preparing": _preparing,
    "starting": _starting,
    "stepping": _stepping,
    "shifting": _shifting,
    "releasing": _releasing,
    "draining": _draining,
    "live": _live,
    "undoing": _undoing,
}


# --- small steps --------------------------------------------------------------------------------------------------


def _enter(rollout: Rollout, phase: RolloutPhase, now: Now, message: str) -> Step:
    entered = {**rollout.entered_s}
    if phase == "undoing":
        entered.pop(LET_GO, None)
    entered.setdefault(phase, now.boot_s)
    after = replace(rollout, phase=phase, boot_id=now.boot_id, phase_since_s=now.boot_s, entered_s=entered)
    if phase not in STEERABLE:
        after = replace(after, paused="", waits="", asked="")
    event = _event(after, f"rollout.{phase}", message, now, rollout.phase)
    return Step(after, (event,), None if phase in ENDED else now.boot_s)


def _event(rollout: Rollout, kind: str, message: str, now: Now, before: str = "") -> Event:
    data: dict[str, Any] = {"rollout": rollout.id, "from": before or rollout.phase, "stable": rollout.stable}
    if rollout.reason:
        data["reason"], data["reason_id"] = rollout.reason, rollout.reason_id
    if rollout.verdict is not None:
        data["verdict"] = msgspec.to_builtins(rollout.verdict)
    return Event(
        kind=kind,
        service=rollout.service,
        release=rollout.candidate,
        message=message,
        author=rollout.author,
        data=data,
        wall=now.wall,
    )


def _remarked(facts: Facts) -> Step | None:
    """With the instant since when something is amiss written down, or forgotten when it is well again."""
    rollout, now = facts.rollout, facts.now
    for mark, reason in marks(facts).items():
        if reason and mark not in rollout.entered_s:
            marked = replace(_marked(rollout, mark, now), verdict=facts.verdict)
            return Step(marked, (_event(marked, f"rollout.{mark}", reason.text, now),), now.boot_s)
        if not reason and mark in rollout.entered_s:
            rest = {name: at_s for name, at_s in rollout.entered_s.items() if name != mark}
            return Step(replace(rollout, entered_s=rest), wake_at_s=now.boot_s)
    return None


def _awaiting(facts: Facts) -> Step | None:
    """While a store of the candidate's is on its way nothing of it starts, and its start budget does not begin."""
    rollout, now = facts.rollout, facts.now
    if rollout.phase != "starting":
        return None
    if facts.candidate.n in facts.seen.awaits:
        if AWAITING in rollout.entered_s:
            return Step(rollout, wake_at_s=now.boot_s + _LOOK_S)  # the store's own budget ends this
        return Step(_marked(rollout, AWAITING, now), wake_at_s=now.boot_s)
    if AWAITING not in rollout.entered_s:
        return None
    rest = {name: at_s for name, at_s in rollout.entered_s.items() if name != AWAITING}
    return Step(replace(rollout, entered_s={**rest, RESUMED: now.boot_s}), wake_at_s=now.boot_s)


def _beginning(facts: Facts) -> str:
    policy = facts.candidate.spec.rollout.before
    if facts.rollout.before and policy is not None:
        return f"running {policy.job or policy.run.text} before {facts.candidate.name}"
    return f"starting {facts.candidate.name}"


def _marked(rollout: Rollout, mark: str, now: Now) -> Rollout:
    return replace(rollout, entered_s={**rollout.entered_s, mark: now.boot_s})


def _readiness(facts: Facts) -> str:
    count = f"{facts.wanted} replica{'' if facts.wanted == 1 else 's'}"
    return f"{facts.candidate.name} is ready ({count}) and stayed so; sending traffic to it"


def _weights(want: ServiceDesired) -> dict[int, int]:
    return {revision.release: revision.weight_pct for revision in want.revisions if revision.weight_pct > 0}


def _stands(facts: Facts, stable: Release) -> bool:
    """Whether the stable release runs again as it did before."""
    ready = [
        one
        for one in facts.others
        if one.record.release == stable.n and is_ready(one) and (not stable.spec.ports or one.in_proxy == "serving")
    ]
    asked = [one.replicas for one in facts.want.revisions if one.release == stable.n] if facts.want else []
    return slots(ready) >= (asked[0] if asked else stable.spec.replicas)


def _back_by_s(facts: Facts, stable: Release) -> float:
    """Until when the stable release may take to be back: the candidate's whole stop, then its own start."""
    stop = facts.candidate.spec.stop
    start_s = stable.spec.health.start_budget_s + stable.spec.health.stable_for_s
    return facts.rollout.phase_since_s + stop.drain_s + stop.grace_s + SETTLE_S + start_s
