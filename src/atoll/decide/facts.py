"""What a rollout is judged by at one instant, and the few questions that several decisions ask of it.

`decide.rollout`, `decide.undo` and `decide.compose` use these. Nothing here decides; it only reads.
"""

from collections.abc import Iterable, Mapping

import msgspec

from atoll.model.analysis import Verdict
from atoll.model.state import JobRun, Now, Observation, Release, Replica, Rollout, ServiceDesired


def exclusive(candidate: Release, stable: Release | None) -> bool:
    """Whether the two must never run at once: either of them says `overlap = false`."""
    return stable is not None and not (candidate.spec.overlap and stable.spec.overlap)


def held(candidate: Release, stable: Release | None) -> bool:
    """Whether requests are held at the proxy while the two change places."""
    if stable is None or not exclusive(candidate, stable):
        return False
    return bool(candidate.spec.ports or stable.spec.ports)


QUICK_STABLE_S = 0.2  # what a program needs that opens its port, then reads its configuration and dies


def bake_s(kind: str, candidate: Release, stable: Release | None, *, quick: bool = False) -> float:
    """How long the candidate of a deploy is watched once it is live; 0 when there is nothing to go back to."""
    return candidate.spec.rollout.bake_s if kind == "deploy" and stable is not None and not quick else 0.0


def warm_s(kind: str, candidate: Release, stable: Release | None, *, quick: bool = False) -> float:
    """How long the stable release idles after the switch; 0 when keeping it has no use or is forbidden."""
    if stable is None or exclusive(candidate, stable):
        return 0.0
    if not candidate.spec.ports or not stable.spec.ports:
        return 0.0  # a worker takes work by itself: the old one would not idle
    return bake_s(kind, candidate, stable, quick=quick)


def is_ready(replica: Replica) -> bool:
    """Whether it is published, runs, and passed its last readiness probe."""
    return replica.record.phase == "serving" and replica.alive is True and replica.exit is None and replica.ready


def sending(weights: Mapping[int, int] | None) -> dict[int, int] | None:
    """Release -> pct of those that get traffic; None when the acknowledged weights are not known."""
    return None if weights is None else {release: pct for release, pct in weights.items() if pct > 0}


def slots(replicas: Iterable[Replica]) -> int:
    """How many different slots these replicas fill."""
    return len({replica.record.slot for replica in replicas})


class Facts(msgspec.Struct, frozen=True):
    """The arguments of `decide.rollout.advance`, and what follows from them."""

    rollout: Rollout
    seen: Observation
    want: ServiceDesired | None
    candidate: Release
    stable: Release | None
    wanted: int
    now: Now
    before: JobRun | None = None
    verdict: Verdict | None = None  # what is known of the candidate now

    @property
    def exclusive(self) -> bool:
        return exclusive(self.candidate, self.stable)

    @property
    def held(self) -> bool:
        return held(self.candidate, self.stable)

    @property
    def mine(self) -> tuple[Replica, ...]:
        """The candidate's replicas."""
        return tuple(one for one in self.seen.replicas if one.record.release == self.candidate.n)

    @property
    def others(self) -> tuple[Replica, ...]:
        """Replicas of every other release."""
        return tuple(one for one in self.seen.replicas if one.record.release != self.candidate.n)

    @property
    def reachable(self) -> tuple[Replica, ...]:
        """The candidate's ready replicas that the proxy has acknowledged (all ready ones of a worker)."""
        ports = bool(self.candidate.spec.ports)
        return tuple(one for one in self.mine if is_ready(one) and (not ports or one.in_proxy == "serving"))

    @property
    def settled(self) -> tuple[Replica, ...]:
        """Those of them that stayed ready through the stability window."""
        return tuple(one for one in self.reachable if self.settled_at_s(one) <= self.now.boot_s)

    def settled_at_s(self, replica: Replica) -> float:
        """Boot seconds at which a ready replica's stability window ends; infinite for one that is not ready."""
        since_s, stable_for_s = replica.ready_since_s, self.candidate.spec.health.stable_for_s
        if self.rollout.quick:
            stable_for_s = min(stable_for_s, QUICK_STABLE_S)
        return float("inf") if since_s is None else since_s + stable_for_s

    @property
    def next_settled_s(self) -> float:
        """When the next stability window ends; infinite when none is open."""
        later = (self.settled_at_s(one) for one in self.reachable)
        return min((at_s for at_s in later if at_s > self.now.boot_s), default=float("inf"))
