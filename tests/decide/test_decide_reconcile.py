"""Tables of `reconcile`: for one service, what is wanted and seen, and the actions that follow."""

from typing import Any

import pytest

from atoll.decide.reconcile import HEALTHY_S, crashes
from atoll.model.actions import Drain, Forget, Kill, Publish, Signal, Start
from atoll.model.spec import Health, Stop
from atoll.model.state import Backoff, Exit

ONE = (7, 1, 100)
NOW = 1000.0


# --- slots are filled ---


def test_each_missing_slot_is_started(orders: Any) -> None:
    plan = orders.plan(orders.want((7, 3, 100)), orders.seen(orders.replica("b", slot=1)))
    assert plan.actions == (Start("new-r7-0", 7, 0), Start("new-r7-2", 7, 2))


def test_nothing_is_done_when_all_is_as_wanted(orders: Any) -> None:
    plan = orders.plan(orders.want(ONE), orders.seen(orders.replica()))
    assert plan.actions == ()
    assert plan.wake_at_s is None


def test_a_starting_replica_that_is_ready_is_published(orders: Any) -> None:
    plan = orders.plan(orders.want(ONE), orders.seen(orders.replica(phase="starting", ready=True)))
    assert plan.actions == (Publish("a"),)


def test_a_starting_replica_is_waited_for_until_its_budget(orders: Any) -> None:
    plan = orders.plan(orders.want(ONE), orders.seen(orders.replica(phase="starting", created=980.0)))
    assert plan.actions == ()
    assert plan.wake_at_s == 1010.0


def test_a_start_over_its_budget_is_ended_and_counts_as_a_crash(orders: Any) -> None:
    slow = orders.replica(phase="starting", created=970.0, reason="connection refused", reason_id="probe-failed")
    plan = orders.plan(orders.want(ONE), orders.seen(slow))
    assert plan.actions == (Signal("a", "not ready within 30 s: connection refused", "probe-failed"),)
    assert plan.backoff[7, 0].crashes == 1
    assert plan.wake_at_s == plan.backoff[7, 0].until_s


# --- what is not known is not touched ---


@pytest.mark.parametrize("phase", ["starting", "serving", "draining", "stopping"])
@pytest.mark.parametrize("wanted", [True, False])
def test_nothing_is_done_to_a_replica_the_host_was_not_asked_about(orders: Any, phase: str, wanted: bool) -> None:
    unknown = orders.replica(phase=phase, alive=None, ready=False, since=1.0, created=1.0)
    plan = orders.plan(orders.want(ONE) if wanted else orders.want(), orders.seen(unknown))
    touched = [action for action in plan.actions if not isinstance(action, Start)]
    assert touched == []


def test_an_unknown_replica_keeps_its_slot(orders: Any) -> None:
    assert orders.plan(orders.want(ONE), orders.seen(orders.replica(alive=None, ready=False))).actions == ()


def test_no_choice_is_made_in_a_slot_with_an_unknown_replica(orders: Any) -> None:
    seen = orders.seen(orders.replica("a", alive=None, ready=False), orders.replica("b"))
    assert orders.plan(orders.want(ONE), seen).actions == ()


# --- ends ---


def test_a_crash_after_ten_healthy_seconds_is_restarted_in_the_same_plan(orders: Any) -> None:
    plan = orders.plan(orders.want(ONE), orders.seen(orders.crashed(since=NOW - HEALTHY_S)))
    assert plan.actions == (Forget("a", crashed=True), Start("new-r7-0", 7, 0))
    assert plan.backoff == {(7, 0): Backoff(crashes=1, until_s=NOW)}


@pytest.mark.parametrize(
    ("before", "shortest_s", "longest_s"),
    [
        (0, 0.375, 0.5),
        (1, 0.375, 0.5),
        (2, 0.75, 1.0),
        (3, 1.5, 2.0),
        (4, 3.0, 4.0),
        (20, 22.5, 30.0),
        (5000, 22.5, 30.0),
    ],
)
def test_crashes_in_a_row_wait_longer_and_longer(orders: Any, before: int, shortest_s: float, longest_s: float) -> None:
    backoff = {(7, 0): Backoff(crashes=before)} if before else {}
    plan = orders.plan(orders.want(ONE), orders.seen(orders.crashed(since=999.0)), backoff=backoff)
    assert plan.actions == (Forget("a", crashed=True),)
    assert plan.backoff[7, 0].crashes == before + 1
    assert shortest_s <= plan.backoff[7, 0].until_s - NOW <= longest_s
    assert plan.wake_at_s == plan.backoff[7, 0].until_s


def test_two_replicas_that_died_together_do_not_return_together(orders: Any) -> None:
    seen = orders.seen(orders.crashed("a", since=999.0), orders.crashed("b", slot=1, since=999.0))
    plan = orders.plan(orders.want((7, 2, 100)), seen)
    assert plan.backoff[7, 0].until_s != plan.backoff[7, 1].until_s


def test_a_slot_is_started_when_its_delay_is_over(orders: Any) -> None:
    backoff = {(7, 0): Backoff(crashes=3, until_s=NOW)}
    assert orders.plan(orders.want(ONE), orders.seen(), backoff=backoff).actions == (Start("new-r7-0", 7, 0),)


def test_a_delay_counts_from_the_crash_not_from_when_it_was_noticed(orders: Any) -> None:
    plan = orders.plan(orders.want(ONE), orders.seen(orders.crashed(since=989.0, at=990.0)))
    assert Start("new-r7-0", 7, 0) in plan.actions


def test_ten_ready_seconds_forgive_the_crashes_before(orders: Any) -> None:
    backoff = {(7, 0): Backoff(crashes=4)}
    seen = orders.seen(orders.replica(ready_since_s=NOW - 10))
    assert orders.plan(orders.want(ONE), seen, backoff=backoff).backoff == {}


def test_fewer_ready_seconds_forgive_nothing_yet(orders: Any) -> None:
    backoff = {(7, 0): Backoff(crashes=4)}
    plan = orders.plan(orders.want(ONE), orders.seen(orders.replica(ready_since_s=995.0)), backoff=backoff)
    assert plan.backoff == backoff
    assert plan.wake_at_s == 1005.0


@pytest.mark.parametrize("phase", ["draining", "stopping"])
def test_an_end_that_was_asked_for_is_no_crash(orders: Any, phase: str) -> None:
    plan = orders.plan(orders.want(), orders.seen(orders.crashed(phase=phase)))
    assert plan.actions == (Forget("a", crashed=False),)
    assert plan.backoff == {}


def test_one_that_the_host_does_not_know_is_started_anew_without_blame(orders: Any) -> None:
    plan = orders.plan(orders.want(ONE), orders.seen(orders.replica(phase="starting", alive=False)))
    assert plan.actions == (Forget("a", crashed=False), Start("new-r7-0", 7, 0))
    assert plan.backoff == {}


@pytest.mark.parametrize("alive", [None, False, True])
def test_nothing_survives_a_reboot(orders: Any, alive: bool | None) -> None:
    old = orders.replica(boot="b0", alive=alive, exit=Exit(code=1) if alive is False else None)
    plan = orders.plan(orders.want(ONE), orders.seen(old))
    assert plan.actions == (Forget("a", crashed=False), Start("new-r7-0", 7, 0))
    assert plan.backoff == {}


def test_crashes_of_what_is_no_longer_wanted_are_forgotten(orders: Any) -> None:
    backoff = {(6, 0): Backoff(crashes=3), (7, 1): Backoff(crashes=2), (7, 0): Backoff(crashes=1)}
    plan = orders.plan(orders.want(ONE), orders.seen(orders.replica(ready_since_s=995.0)), backoff=backoff)
    assert set(plan.backoff) == {(7, 0)}


def test_the_worst_slot_speaks_for_its_release() -> None:
    backoff = {(7, 0): Backoff(crashes=1), (7, 1): Backoff(crashes=3), (6, 0): Backoff(crashes=2)}
    assert crashes(backoff) == {7: 3, 6: 2}


# --- surplus ---


def test_a_release_that_is_no_longer_wanted_is_drained_once_it_has_no_weight(orders: Any) -> None:
    plan = orders.plan(orders.want(ONE), orders.seen(orders.replica(), orders.replica("old", n=6)))
    assert plan.actions == (Drain("old", "its release is no longer wanted"),)


@pytest.mark.parametrize("weights", [{6: 100}, {6: 100, 7: 0}, None])
def test_a_release_that_may_still_get_traffic_is_not_drained(orders: Any, weights: dict[int, int] | None) -> None:
    seen = orders.seen(orders.replica(), orders.replica("old", n=6), weights=weights)
    assert orders.plan(orders.want(ONE), seen).actions == ()


def test_a_service_that_goes_down_drains_at_once(orders: Any) -> None:
    plan = orders.plan(orders.want(), orders.seen(orders.replica()))
    assert plan.actions == (Drain("a", "its release is no longer wanted"),)


def test_a_service_that_is_scaled_to_none_drains_although_its_release_has_all_the_weight(orders: Any) -> None:
    plan = orders.plan(orders.want((7, 0, 100)), orders.seen(orders.replica(), weights={7: 100}))
    assert plan.actions == (Drain("a", "its release is no longer wanted"),)


@pytest.mark.parametrize(("holding", "drains"), [(None, False), (False, False), (True, True)])
def test_an_old_release_goes_only_after_the_hold_is_acknowledged(
    orders: Any, holding: bool | None, drains: bool
) -> None:
    seen = orders.seen(orders.replica("old", n=6), weights={6: 100}, holding=holding)
    plan = orders.plan(orders.want((6, 0, 100), hold=True), seen)
    assert [type(action) for action in plan.actions] == ([Drain] if drains else [])


@pytest.mark.parametrize(("in_proxy", "action"), [("absent", Signal), (None, Drain), ("serving", Drain)])
def test_a_starting_one_is_signalled_only_if_it_is_surely_not_in_the_proxy(
    orders: Any, in_proxy: Any, action: type
) -> None:
    plan = orders.plan(orders.want(), orders.seen(orders.replica(phase="starting", in_proxy=in_proxy)))
    assert [type(one) for one in plan.actions] == [action]


def test_a_worker_is_signalled_at_once(orders: Any) -> None:
    worker = orders.release(6, ports=())
    plan = orders.plan(orders.want(ONE), orders.seen(orders.replica(), orders.replica("w", n=6, ports={})), worker)
    assert plan.actions == (Signal("w", "its release is no longer wanted"),)


def test_the_highest_slots_go_when_it_shrinks(orders: Any) -> None:
    seen = orders.seen(*(orders.replica(f"s{slot}", slot=slot) for slot in range(3)))
    assert orders.plan(orders.want(ONE), seen).actions == (
        Drain("s2", "only 1 replica is wanted"),
        Drain("s1", "only 1 replica is wanted"),
    )


def test_one_too_many_stays_while_the_others_are_not_ready(orders: Any) -> None:
    seen = orders.seen(orders.replica("s0", slot=0, ready=False), orders.replica("s1", slot=1))
    assert orders.plan(orders.want(ONE), seen).actions == ()


def test_of_two_in_a_slot_the_ready_one_stays(orders: Any) -> None:
    seen = orders.seen(orders.replica("a", ready=False), orders.replica("b"))
    assert orders.plan(orders.want(ONE), seen).actions == (Drain("a", "only 1 replica is wanted"),)


def test_of_two_equal_ones_in_a_slot_the_oldest_stays(orders: Any) -> None:
    seen = orders.seen(orders.replica("young", since=950.0), orders.replica("old", since=900.0))
    assert orders.plan(orders.want(ONE), seen).actions == (Drain("young", "only 1 replica is wanted"),)


# --- liveness ---


def test_one_that_lost_liveness_is_replaced_at_the_same_moment(orders: Any) -> None:
    plan = orders.plan(orders.want(ONE), orders.seen(orders.replica(failing_live=True, reason="no answer")))
    assert plan.actions == (Drain("a", "liveness lost: no answer"), Start("new-r7-0", 7, 0))


def test_one_that_lost_liveness_is_gone_before_its_replacement_where_none_may_overlap(orders: Any) -> None:
    single = orders.release(7, overlap=False)
    plan = orders.plan(orders.want(ONE), orders.seen(orders.replica(failing_live=True)), single)
    assert [type(action) for action in plan.actions] == [Drain]


def test_replacements_for_lost_liveness_slow_down_like_crashes(orders: Any) -> None:
    seen = orders.seen(orders.replica(failing_live=True, since=999.0))
    plan = orders.plan(orders.want(ONE), seen, backoff={(7, 0): Backoff(crashes=5)})
    assert [type(action) for action in plan.actions] == [Drain]
    assert plan.backoff[7, 0].crashes == 6


# --- the end of a replica ---


@pytest.mark.parametrize(
    ("in_proxy", "inflight", "drained_for_s", "signalled"),
    [
        ("draining", 0, 0.1, True),
        ("draining", 2, 0.1, False),
        ("draining", None, 29.9, False),
        ("draining", 2, 30.0, True),
        ("draining", None, 30.0, True),
        ("serving", 0, 30.0, False),
        (None, None, 34.9, False),
        ("serving", 0, 35.0, True),
        (None, None, 35.0, True),
        ("absent", 0, 0.1, False),  # a table that has it may be on its way
        ("absent", 0, 35.0, True),
    ],
)
def test_a_draining_one_is_signalled_when_the_proxy_is_done_with_it(
    orders: Any, in_proxy: Any, inflight: int | None, drained_for_s: float, signalled: bool
) -> None:
    one = orders.replica(phase="draining", since=NOW - drained_for_s, in_proxy=in_proxy, inflight=inflight)
    plan = orders.plan(orders.want(), orders.seen(one))
    assert [type(action) for action in plan.actions] == ([Signal] if signalled else [])
    if not signalled:
        extra = 0.0 if in_proxy == "draining" else 5.0
        assert plan.wake_at_s == pytest.approx(NOW - drained_for_s + 30.0 + extra)


def test_requests_that_are_cut_are_told(orders: Any) -> None:
    one = orders.replica(phase="draining", since=970.0, in_proxy="draining", inflight=2, why="scaled down")
    plan = orders.plan(orders.want(), orders.seen(one))
    assert plan.actions == (Signal("a", "scaled down; 2 requests in flight at the drain deadline"),)


@pytest.mark.parametrize(("since", "actions", "wake"), [(990.1, (), 1000.1), (990.0, (Kill("a"),), 1001.0)])
def test_one_that_does_not_stop_in_its_grace_is_killed(
    orders: Any, since: float, actions: tuple[Kill, ...], wake: float
) -> None:
    plan = orders.plan(orders.want(), orders.seen(orders.replica(phase="stopping", since=since)))
    assert plan.actions == actions
    assert plan.wake_at_s == pytest.approx(wake)


def test_grace_and_budget_are_those_of_the_replicas_own_release(orders: Any) -> None:
    old = orders.release(6, stop=Stop(grace_s=60.0), health=Health(start_budget_s=1.0))
    seen = orders.seen(orders.replica(), orders.replica("old", n=6, phase="stopping", since=990.0))
    assert orders.plan(orders.want(ONE), seen, old).actions == ()


def test_a_replica_of_a_release_that_nobody_remembers_is_still_ended(orders: Any) -> None:
    lost = orders.replica("lost", n=3, phase="stopping", since=900.0)
    assert orders.plan(orders.want(ONE), orders.seen(orders.replica(), lost)).actions == (Kill("lost"),)


# --- overlap = false ---


@pytest.mark.parametrize("which", [6, 7])
@pytest.mark.parametrize("phase", ["serving", "draining", "stopping"])
def test_no_release_starts_while_another_lives_that_it_must_not_meet(orders: Any, which: int, phase: str) -> None:
    single = orders.release(which, overlap=False)
    seen = orders.seen(orders.replica("old", n=6, phase=phase, since=999.0), weights={6: 100})
    assert not [one for one in orders.plan(orders.want(ONE), seen, single).actions if isinstance(one, Start)]


def test_it_starts_as_soon_as_the_other_is_gone(orders: Any) -> None:
    single = orders.release(7, overlap=False)
    plan = orders.plan(orders.want(ONE), orders.seen(orders.crashed("old", n=6, phase="stopping")), single)
    assert plan.actions == (Forget("old", crashed=False), Start("new-r7-0", 7, 0))
