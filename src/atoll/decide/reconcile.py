"""From what is wanted of one service and what is seen of it to the next actions on its replicas.

`realise` calls `reconcile` after every change and at `wake_at_s`, carries the actions out in their order, and keeps the
returned backoff in memory. This module never starts or stops anything, and never acts on a replica it knows nothing of.
"""

import zlib
from collections.abc import Callable, Mapping

import msgspec

from atoll.model.actions import Action, Drain, Forget, Kill, Publish, Signal, Start
from atoll.model.spec import Health, Stop
from atoll.model.state import Backoff, Now, Observation, Release, Replica, Revision, ServiceDesired

HEALTHY_S = 10.0  # ready for so long: earlier crashes are forgiven, the next one is restarted at once (Nomad's default)
FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 30.0
JITTER = 0.25  # a delay is up to this share shorter, so that replicas that died together do not return together
UNACKNOWLEDGED_S = 5.0  # past the drain deadline: a proxy that never acknowledges must not keep a replica for ever
KILL_AGAIN_S = 1.0

Slot = tuple[int, int]  # (release, slot)


class Plan(msgspec.Struct, frozen=True):
    """What to do now, the memory of crashes to pass in next time, and when to ask again at the latest (boot s)."""

    actions: tuple[Action, ...] = ()
    backoff: Mapping[Slot, Backoff] = {}
    wake_at_s: float | None = None


def reconcile(
    want: ServiceDesired,
    seen: Observation,
    releases: Mapping[int, Release],
    backoff: Mapping[Slot, Backoff],
    now: Now,
    fresh: Callable[[int, int], str],
) -> Plan:
    """The next actions that bring one service's replicas to `want`.

    `releases` holds the service's releases that are wanted or have replicas; `backoff` is the last plan's; `fresh`
    makes a new unique id for (release, slot). Carried out and asked again with the same facts, it wants nothing more,
    except that Kill is repeated until the process is gone.
    """
    draft = _Draft(want, seen, releases, backoff, now)
    draft.forget_the_gone()
    draft.judge_the_kept()
    draft.retire_the_surplus()
    draft.end_the_condemned()
    draft.fill_the_slots(fresh)
    return draft.plan()


def crashes(backoff: Mapping[Slot, Backoff]) -> dict[int, int]:
    """Release -> crashes in a row of its worst slot, for `Observation.backoff`."""
    worst: dict[int, int] = {}
    for (release, _), entry in backoff.items():
        worst[release] = max(worst.get(release, 0), entry.crashes)
    return worst


class _Draft:
    """A plan in the making. Each method is one paragraph of the runbook in `reconcile`."""

    def __init__(
        self,
        want: ServiceDesired,
        seen: Observation,
        releases: Mapping[int, Release],
        backoff: Mapping[Slot, Backoff],
        now: Now,
    ) -> None:
        self.want, self.seen, self.releases, self.now = want, seen, releases, now
        self.wanted: dict[int, Revision] = {rev.release: rev for rev in want.revisions if rev.replicas > 0}
        self.backoff = {key: entry for key, entry in backoff.items() if self._is_wanted(key)}
        self.actions: list[Action] = []
        self.wake: float | None = None
        self.present: list[Replica] = []  # all that may have a process
        self.kept: dict[Slot, Replica] = {}  # the live replica of each wanted slot
        self.surplus: list[Replica] = []

    def plan(self) -> Plan:
        return Plan(tuple(self.actions), self.backoff, self.wake)

    # --- the runbook ---

    def forget_the_gone(self) -> None:
        for replica in sorted(self.seen.replicas, key=lambda one: one.id):
            same_boot = replica.record.boot_id == self.now.boot_id
            if same_boot and replica.exit is None and replica.alive is not False:
                self.present.append(replica)
                continue
            # Without an exit nobody saw it die (a reboot, a daemon that died before the start): not its fault.
            unasked = replica.record.phase in ("starting", "serving")
            crashed = same_boot and replica.exit is not None and unasked
            if crashed and replica.exit is not None:
                self._count_crash(replica, replica.exit.at_s or self.now.boot_s)
            self.actions.append(Forget(replica.id, crashed))

    def judge_the_kept(self) -> None:
        holders: dict[Slot, list[Replica]] = {}
        for replica in self.present:
            if replica.record.phase in ("starting", "serving"):
                holders.setdefault(_slot(replica), []).append(replica)
        for key, replicas in holders.items():
            if any(replica.alive is None for replica in replicas):
                self.kept[key] = replicas[0]  # not known yet: the slot counts as taken and nobody is touched
            elif not self._is_wanted(key):
                self.surplus.extend(replicas)
            else:
                keep = max(replicas, key=_worth)
                self.surplus.extend(replica for replica in replicas if replica is not keep)
                if self._judge(keep):
                    self.kept[key] = keep

    def retire_the_surplus(self) -> None:
        ready: dict[int, int] = {}
        for replica in self.present:
            if replica.alive and replica.ready and replica.record.phase in ("starting", "serving"):
                ready[replica.record.release] = ready.get(replica.record.release, 0) + 1
        for replica in sorted(self.surplus, key=lambda one: (one.ready, -one.record.slot, one.id)):
            release = replica.record.release
            revision = self.wanted.get(release)
            if revision is None:
                if self._may_still_get_traffic(replica):
                    continue
                self._retire(replica, "its release is no longer wanted")
                continue
            if replica.ready:
                if ready[release] <= revision.replicas:
                    continue  # the replicas that shall stay are not ready yet: this one fills in
                ready[release] -= 1
            count = "1 replica is" if revision.replicas == 1 else f"{revision.replicas} replicas are"
            self._retire(replica, f"only {count} wanted")

    def end_the_condemned(self) -> None:
        for replica in self.present:
            if replica.alive and replica.record.phase == "draining":
                self._end_drain(replica)
            elif replica.alive and replica.record.phase == "stopping":
                over_s = replica.record.phase_since_s + self._stop(replica).grace_s
                if self.now.boot_s >= over_s:
                    self.actions.append(Kill(replica.id))
                    self._wake_at(self.now.boot_s + KILL_AGAIN_S)
                else:
                    self._wake_at(over_s)

    def fill_the_slots(self, fresh: Callable[[int, int], str]) -> None:
        for revision in self.want.revisions:
            for slot in range(revision.replicas):
                key = (revision.release, slot)
                if key in self.kept or self._excluded(key):
                    continue
                until_s = self.backoff.get(key, Backoff()).until_s
                if until_s > self.now.boot_s:
                    self._wake_at(until_s)
                else:
                    self.actions.append(Start(fresh(revision.release, slot), revision.release, slot))

    # --- one replica ---

    def _judge(self, replica: Replica) -> bool:
        """Publish, forgive or condemn the replica of a wanted slot; False frees the slot."""
        record = replica.record
        if replica.failing_live:
            self._count_crash(replica, self.now.boot_s)
            self._retire(replica, f"liveness lost: {replica.reason}" if replica.reason else "liveness lost")
            return False
        if record.phase == "starting" and replica.ready:
            self.actions.append(Publish(replica.id))
        elif record.phase == "starting":
            budget_s = self._health(replica).start_budget_s
            if self.now.boot_s >= record.created_s + budget_s:
                self._count_crash(replica, self.now.boot_s)
                because = f": {replica.reason}" if replica.reason else ""
                page = replica.reason_id or "not-ready-in-time"
                self.actions.append(Signal(replica.id, f"not ready within {budget_s:g} s{because}", page))
                return False
            self._wake_at(record.created_s + budget_s)
        self._forgive(replica)
        return True

    def _forgive(self, replica: Replica) -> None:
        key = _slot(replica)
        if key not in self.backoff or not replica.ready or replica.ready_since_s is None:
            return
        if self.now.boot_s >= replica.ready_since_s + HEALTHY_S:
            del self.backoff[key]
        else:
            self._wake_at(replica.ready_since_s + HEALTHY_S)

    def _retire(self, replica: Replica, why: str) -> None:
        never_published = replica.record.phase == "starting" and replica.in_proxy == "absent"
        if never_published or not self._has_ports(replica):
            self.actions.append(Signal(replica.id, why))
        else:
            self.actions.append(Drain(replica.id, why))

    def _end_drain(self, replica: Replica) -> None:
        record = replica.record
        if not self._has_ports(replica):
            self.actions.append(Signal(replica.id, record.why))
            return
        # "absent" is no acknowledgement: the table with this replica may still be on its way to the proxy.
        acknowledged = replica.in_proxy == "draining"
        over_s = record.phase_since_s + self._stop(replica).drain_s + (0.0 if acknowledged else UNACKNOWLEDGED_S)
        if acknowledged and replica.inflight == 0:
            self.actions.append(Signal(replica.id, record.why))
        elif self.now.boot_s < over_s:
            self._wake_at(over_s)
        elif acknowledged:
            cut = "an unknown number of" if replica.inflight is None else str(replica.inflight)
            self.actions.append(Signal(replica.id, f"{record.why}; {cut} requests in flight at the drain deadline"))
        else:
            self.actions.append(Signal(replica.id, f"{record.why}; the proxy never acknowledged that it is drained"))

    def _count_crash(self, replica: Replica, at_s: float) -> None:
        key = _slot(replica)
        if not self._is_wanted(key):
            return
        since_s = replica.record.phase_since_s if replica.ready_since_s is None else replica.ready_since_s
        healthy = replica.record.phase == "serving" and at_s - since_s >= HEALTHY_S
        before = 0 if healthy else self.backoff.get(key, Backoff()).crashes
        delay_s = 0.0
        if not healthy:
            delay_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(max(before - 1, 0), 16))
        jitter = zlib.crc32(replica.id.encode()) / 2**32  # of the id, not random: the same facts give the same plan
        self.backoff[key] = Backoff(crashes=before + 1, until_s=at_s + delay_s * (1 - JITTER * jitter))

    # --- questions ---

    def _is_wanted(self, key: Slot) -> bool:
        revision = self.wanted.get(key[0])
        return revision is not None and key[1] < revision.replicas

    def _may_still_get_traffic(self, replica: Replica) -> bool:
        """Whether draining it now could fail requests: its release moves by weights (or a hold), acknowledged first."""
        if replica.record.phase != "serving" or not self._has_ports(replica):
            return False
        if self.want.hold:
            return self.seen.holding is not True
        if all(revision.weight_pct == 0 or not revision.replicas for revision in self.want.revisions):
            return False  # the service goes down, or has no replicas by a hand: nothing to move to
        return self.seen.weights is None or self.seen.weights.get(replica.record.release, 0) > 0

    def _excluded(self, key: Slot) -> bool:
        """Whether `overlap = false` of any release concerned forbids to start this slot now."""
        mine = self._overlaps(key[0])
        for replica in self.present:
            if replica.record.release != key[0]:
                if not (mine and self._overlaps(replica.record.release)):
                    return True
            elif not mine and replica.record.slot == key[1]:
                return True
        return False

    def _overlaps(self, release: int) -> bool:
        known = self.releases.get(release)
        return known is None or known.spec.overlap

    def _has_ports(self, replica: Replica) -> bool:
        known = self.releases.get(replica.record.release)
        return bool(known.spec.ports if known else replica.record.ports)

    def _stop(self, replica: Replica) -> Stop:
        known = self.releases.get(replica.record.release)
        return known.spec.stop if known else Stop()

    def _health(self, replica: Replica) -> Health:
        known = self.releases.get(replica.record.release)
        return known.spec.health if known else Health()

    def _wake_at(self, at_s: float) -> None:
        self.wake = at_s if self.wake is None else min(self.wake, at_s)


def _slot(replica: Replica) -> Slot:
    return (replica.record.release, replica.record.slot)


def _worth(replica: Replica) -> tuple[bool, bool, bool, float, str]:
    """Which of several replicas in one slot stays: the ready one, else the one that served, else the oldest."""
    served = replica.record.phase == "serving"
    return (not replica.failing_live, replica.ready, served, -replica.record.created_s, replica.id)
