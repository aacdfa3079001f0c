"""What a service shall look like now: the only place that decides replicas, weights and the hold.

The daemon composes after every change of intent or rollout and hands the result to the engine. Pure.
"""

from collections.abc import Mapping

from atoll.decide.facts import exclusive, held, warm_s
from atoll.decide.rollout import LET_GO
from atoll.decide.stepping import current, weight_pct
from atoll.model.state import ENDED, Intent, Release, Revision, Rollout, ServiceDesired


def compose(
    intent: Intent, rollout: Rollout | None, releases: Mapping[int, Release], *, ready: bool = True
) -> ServiceDesired:
    """Replicas and weights per release for one service.

    `releases` holds at least the intent's target and the rollout's two releases. A rollout that has not ended decides,
    unless the service was taken down meanwhile (its target is None, and not since this is its first deploy). A replica
    count set by hand wins over the release's. `ready` is whether any replica of the candidate is: a step sends nothing to
    a candidate that has none.
    """
    revisions: tuple[Revision, ...] = ()
    hold, header = False, ""
    if rollout is not None and rollout.phase not in ENDED and not _taken_down(intent, rollout):
        candidate = releases[rollout.candidate]
        stable = releases[rollout.stable] if rollout.stable is not None else None
        ready = ready or not replicas(intent, candidate)  # scaled to none, there is nothing to wait for
        revisions = _moving(intent, rollout, candidate, stable, ready)
        hold = _hold(rollout, candidate, stable)
        if rollout.phase == "stepping" and rollout.stage != "filling" and ready:
            header = current(rollout).header
    elif intent.target is not None and (target := _target(intent, rollout)) is not None:
        revisions = (_revision(intent, releases[target], 100),)
    return ServiceDesired(
        service=intent.service, generation=intent.generation, revisions=revisions, hold=hold, header=header
    )


def replicas(intent: Intent, release: Release) -> int:
    """How many replicas a release of this service gets; one with jobs only has none, whatever a hand said before."""
    if release.spec.run is None:
        return 0
    return release.spec.replicas if intent.replicas is None else intent.replicas


def _taken_down(intent: Intent, rollout: Rollout) -> bool:
    """The target of a first deploy is None until it is live; any other None was somebody's wish."""
    return intent.target is None and (rollout.stable is not None or rollout.phase == "live")


def _target(intent: Intent, rollout: Rollout | None) -> int | None:
    undone = rollout is not None and rollout.phase == "undone" and rollout.candidate == intent.target
    # An intent that still names an undone candidate must not bring it back with all traffic.
    return rollout.stable if undone and rollout is not None else intent.target


def _moving(
    intent: Intent, rollout: Rollout, candidate: Release, stable: Release | None, ready: bool
) -> tuple[Revision, ...]:
    new = _revision(intent, candidate, 100)
    if stable is None:
        if rollout.phase in ("stopping", "preparing", "undoing"):
            return ()
        return (_revision(intent, candidate, 0),) if rollout.phase == "starting" else (new,)
    old = _revision(intent, stable, 100)
    phase = rollout.phase
    if phase in ("holding", "undoing"):
        return (old,)
    apart = exclusive(candidate, stable)
    if phase == "stopping" or (phase == "preparing" and apart):
        return (Revision(release=stable.n, replicas=0, weight_pct=100),)
    if phase == "preparing":
        return (old,)
    if apart:
        return (new,)  # held until it is ready: nothing else could serve
    if phase == "starting":
        return (old, _revision(intent, candidate, 0, rollout.steps[0].replicas if rollout.steps else None))
    if phase == "stepping":
        weight = weight_pct(rollout) if ready else 0
        stepping = _revision(intent, candidate, weight, _most(intent, rollout, candidate))
        return (_revision(intent, stable, 100 - weight), stepping)
    if phase in ("shifting", "draining") or warm_s(rollout.kind, candidate, stable, quick=rollout.quick) > 0:
        return (_revision(intent, stable, 0), new)
    return (new,)


def _most(intent: Intent, rollout: Rollout, candidate: Release) -> int | None:
    """The step's replicas; more where somebody scaled up meanwhile, since its share of the requests grew as well."""
    step = current(rollout)
    if step.replicas is None:
        return None
    return max(step.replicas, round(replicas(intent, candidate) * step.weight_pct / 100))


def _hold(rollout: Rollout, candidate: Release, stable: Release | None) -> bool:
    if not held(candidate, stable):
        return False
    if rollout.phase == "undoing":
        return LET_GO not in rollout.entered_s
    return rollout.phase in ("holding", "stopping", "preparing", "starting", "shifting")


def _revision(intent: Intent, release: Release, weight_pct: int, most: int | None = None) -> Revision:
    count = replicas(intent, release)
    return Revision(release=release.n, replicas=count if most is None else min(most, count), weight_pct=weight_pct)
