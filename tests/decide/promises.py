"""What must hold of each turn of the play: of a step of a rollout, and of a plan before it is carried out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from atoll.decide.reconcile import Plan
from atoll.model.actions import Drain, Publish, Signal, Start
from atoll.model.state import (
    Replica,
    Rollout,
    ServiceDesired,
)
from atoll.model.traffic import ServiceTraffic

if TYPE_CHECKING:
    from stage import World


def check_step(stage: World, before: Rollout, after: Rollout) -> None:
    """No step is skipped or taken twice, none is left without what its file asks for."""
    if before.phase != "stepping" or before.boot_id != after.boot_id:
        return
    step, order = before.steps[before.step], ("filling", "moving", "watching")
    if after.asked == before.asked == "promote" and after.step == before.step:
        return
    if before.asked == "promote" and before.step < len(before.steps) - 1:
        assert (after.phase, after.step) in (("stepping", len(before.steps) - 1), ("undoing", before.step))
        return
    if after.phase == "stepping" and after.step == before.step:
        assert order.index(after.stage) - order.index(before.stage) in (0, 1)
        return
    if after.phase == "undoing":
        return
    assert before.stage == "watching"
    assert after.step == before.step + 1 if after.phase == "stepping" else after.phase == "shifting"
    if after.phase == "shifting":
        assert before.step + 1 == len(before.steps)
    if not before.asked:
        policy = stage.releases[after.candidate].spec.rollout
        unmeasured = policy.on_inconclusive if stage.outcome == "inconclusive" else policy.on_no_data
        assert not step.judged or stage.outcome == "pass" or unmeasured == "promote", "goes on unmeasured"
        assert not step.approve


def check_plan(stage: World, plan: Plan, want: ServiceDesired) -> None:
    seen = {one.id: one for one in stage.observe().replicas}
    wanted = {rev.release: rev for rev in want.revisions}
    ready = {n: sum(1 for one in seen.values() if one.record.release == n and one.ready) for n in stage.releases}
    for action in plan.actions:
        if isinstance(action, Start):
            continue
        one = seen[action.replica]
        assert one.alive is not None or one.record.boot_id != stage.now.boot_id, "acts on the unknown"
        if isinstance(action, Publish):
            assert one.ready
        if isinstance(action, Signal) and stage.releases[one.record.release].spec.ports:
            _check_signal(stage, one)
        retired = isinstance(action, Drain | Signal) and one.record.phase in ("starting", "serving")
        if retired and one.ready and not one.failing_live:
            n = one.record.release
            ready[n] -= 1
            revision = wanted.get(n)
            if revision is not None and revision.replicas > 0:
                assert ready[n] >= revision.replicas, "takes away a ready replica that is still needed"
            elif one.record.phase == "serving" and stage.releases[n].spec.ports:
                down = not any(rev.weight_pct for rev in want.revisions)
                moved = stage.acked is not None and not stage.acked.weights.get(n)
                held = want.hold and stage.acked is not None and stage.acked.hold
                assert down or moved or held, "drains what still gets traffic"


def _check_signal(stage: World, one: Replica) -> None:
    tables = [table for table in (stage.proxy, stage.sent) if table is not None]
    busy = stage.processes[one.id].requests > 0 and one.record.phase in ("serving", "draining")
    if busy or any(place(one.id, table) == "serving" for table in tables):
        spec = stage.releases[one.record.release].spec
        assert one.record.phase == "draining", "signals what the proxy still sends to"
        assert stage.now_s >= one.record.phase_since_s + spec.stop.drain_s, "signals before the drain deadline"


def place(replica: str, table: ServiceTraffic) -> Literal["absent", "serving", "draining"]:
    for upstream in table.upstreams:
        for endpoint in upstream.endpoints:
            if endpoint.replica == replica:
                return endpoint.state
    return "absent"
