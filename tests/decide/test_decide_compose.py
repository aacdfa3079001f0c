"""Tables of `compose`: replicas, weights and hold for every phase."""

from typing import Any

import pytest

from atoll.decide.compose import compose
from atoll.decide.rollout import LET_GO
from atoll.model.spec import RolloutSpec
from atoll.model.state import Step


def composed(orders: Any, intent: Any, rollout: Any, **facts: Any) -> tuple[list[tuple[int, int, int]], bool]:
    releases = {
        6: orders.release(6, **{"replicas": 2, **facts.pop("stable", {})}),
        7: orders.release(7, **{"replicas": 3, **facts.pop("candidate", {})}),
    }
    want = compose(intent, rollout, releases)
    assert want.service == "orders"
    assert want.generation == 1
    return [(rev.release, rev.replicas, rev.weight_pct) for rev in want.revisions], want.hold


@pytest.mark.parametrize(
    ("phase", "revisions"),
    [
        ("starting", [(6, 2, 100), (7, 3, 0)]),
        ("shifting", [(6, 2, 0), (7, 3, 100)]),
        ("draining", [(6, 2, 0), (7, 3, 100)]),
        ("live", [(6, 2, 0), (7, 3, 100)]),
        ("undoing", [(6, 2, 100)]),
        ("undone", [(6, 2, 100)]),
        ("superseded", [(6, 2, 100)]),
    ],
)
def test_a_deploy_over_a_stable_release(orders: Any, phase: str, revisions: Any) -> None:
    assert composed(orders, orders.intent(6), orders.rollout(phase)) == (revisions, False)


@pytest.mark.parametrize(("count", "mine"), [(3, 1), (2, 1), (1, 1), (12, 4)])
def test_a_step_has_the_replicas_that_its_share_needs_when_somebody_scales_meanwhile(
    orders: Any, count: int, mine: int
) -> None:
    first = Step(weight_pct=33, replicas=1)
    rollout = orders.rollout("stepping", steps=(first, Step(weight_pct=100)), stage="watching")
    assert composed(orders, orders.intent(replicas=count), rollout)[0] == [(6, count, 67), (7, mine, 33)]


@pytest.mark.parametrize("count", [0, 2])
def test_a_step_moves_its_share_where_somebody_scaled_to_none_and_else_waits_for_a_replica(
    orders: Any, count: int
) -> None:
    rollout = orders.rollout("stepping", steps=(Step(weight_pct=10), Step(weight_pct=100)), stage="moving")
    want = compose(orders.intent(replicas=count), rollout, {6: orders.release(6), 7: orders.release(7)}, ready=False)
    weights = {rev.release: rev.weight_pct for rev in want.revisions}
    assert weights == ({6: 100, 7: 0} if count else {6: 90, 7: 10})


@pytest.mark.parametrize(
    ("phase", "revisions", "hold"),
    [
        ("holding", [(6, 2, 100)], True),
        ("stopping", [(6, 0, 100)], True),
        ("starting", [(7, 3, 100)], True),
        ("shifting", [(7, 3, 100)], True),
        ("releasing", [(7, 3, 100)], False),
        ("live", [(7, 3, 100)], False),
        ("undoing", [(6, 2, 100)], True),
    ],
)
@pytest.mark.parametrize("which", ["stable", "candidate"])
def test_two_releases_that_may_not_overlap(orders: Any, phase: str, revisions: Any, hold: bool, which: str) -> None:
    facts = {which: {"overlap": False}}
    assert composed(orders, orders.intent(6), orders.rollout(phase), **facts) == (revisions, hold)


def test_going_back_lets_the_held_requests_go_at_its_end(orders: Any) -> None:
    rollout = orders.rollout("undoing", entered_s={"undoing": 990.0, LET_GO: 999.0})
    assert composed(orders, orders.intent(6), rollout, candidate={"overlap": False}) == ([(6, 2, 100)], False)


@pytest.mark.parametrize("phase", ["holding", "stopping", "starting", "shifting", "undoing"])
def test_workers_hold_nothing(orders: Any, phase: str) -> None:
    worker = {"overlap": False, "ports": ()}
    assert not composed(orders, orders.intent(6), orders.rollout(phase), candidate=worker, stable=worker)[1]


@pytest.mark.parametrize(
    ("phase", "revisions"),
    [
        ("stopping", []),
        ("starting", [(7, 3, 0)]),
        ("shifting", [(7, 3, 100)]),
        ("draining", [(7, 3, 100)]),
        ("live", []),  # its target was set when it went live: None is down again
        ("undoing", []),
        ("undone", []),
    ],
)
def test_a_first_deploy_whose_target_is_set_when_it_is_live(orders: Any, phase: str, revisions: Any) -> None:
    assert composed(orders, orders.intent(None), orders.rollout(phase, stable=None)) == (revisions, False)


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        ("rollback", {}),
        ("restart", {}),
        ("deploy", {"candidate": {"ports": ()}}),
        ("deploy", {"candidate": {"rollout": RolloutSpec(bake_s=0.0)}}),
    ],
)
def test_nothing_is_kept_warm_where_it_has_no_use(orders: Any, kind: str, facts: dict[str, Any]) -> None:
    rollout = orders.rollout("live", kind=kind)
    assert composed(orders, orders.intent(7), rollout, **facts) == ([(7, 3, 100)], False)


@pytest.mark.parametrize("phase", ["certified", "superseded", None])
def test_without_a_rollout_the_target_has_all(orders: Any, phase: str | None) -> None:
    rollout = orders.rollout(phase) if phase else None
    assert composed(orders, orders.intent(7), rollout) == ([(7, 3, 100)], False)


@pytest.mark.parametrize("phase", ["starting", "shifting", "live", "undoing", "certified", None])
def test_down_is_down_whatever_the_rollout_says(orders: Any, phase: str | None) -> None:
    rollout = orders.rollout(phase) if phase else None
    assert composed(orders, orders.intent(None), rollout) == ([], False)


@pytest.mark.parametrize(("stable", "revisions"), [(6, [(6, 2, 100)]), (None, [])])
def test_an_undone_candidate_does_not_return_by_an_old_target(orders: Any, stable: int | None, revisions: Any) -> None:
    assert composed(orders, orders.intent(7), orders.rollout("undone", stable=stable)) == (revisions, False)


@pytest.mark.parametrize("count", [0, 5])
def test_a_count_by_hand_wins_for_every_release(orders: Any, count: int) -> None:
    intent = orders.intent(6, replicas=count)
    assert composed(orders, intent, orders.rollout("starting"))[0] == [(6, count, 100), (7, count, 0)]
    assert composed(orders, intent, None)[0] == [(6, count, 100)]
