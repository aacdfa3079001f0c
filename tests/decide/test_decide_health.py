"""The judge of one replica: answers in, a judgement and the next question's time out."""

from typing import Any

import pytest

from atoll.decide.health import Judge
from atoll.model.spec import Health

HEALTH = Health(interval_s=2.0, failures=3, stable_for_s=1.0)


def judge(orders: Any, phase: str = "starting", health: Health = HEALTH) -> Judge:
    return Judge.begin(health, orders.replica(phase=phase, since=900.0).record, orders.now())


def test_a_replica_is_ready_with_its_first_good_answer(orders: Any) -> None:
    first = judge(orders).readiness(False, "refused", 1.0)
    assert (first.ready, first.reason, first.was_ready) == (False, "refused", False)
    ready = first.readiness(True, "", 1.5)
    assert (ready.ready, ready.ready_since_s, ready.reason, ready.was_ready) == (True, 1.5, "", True)
    assert ready.readiness(True, "", 9.0).ready_since_s == 1.5


def test_readiness_is_lost_after_failures_in_a_row_only(orders: Any) -> None:
    one = judge(orders).readiness(True, "", 1.0)
    for _ in range(5):  # each good answer starts the count anew
        one = one.readiness(False, "503", 2.0).readiness(False, "503", 3.0).readiness(True, "", 4.0)
        assert one.ready
        assert one.ready_since_s == 1.0
    for at_s in (5.0, 6.0):
        one = one.readiness(False, "503", at_s)
        assert one.ready
    one = one.readiness(False, "503", 7.0)
    assert (one.ready, one.ready_since_s, one.reason) == (False, None, "503")
    assert one.readiness(True, "", 8.0).ready_since_s == 8.0


def test_liveness_counts_only_once_it_was_ready(orders: Any) -> None:
    one = judge(orders)
    for at_s in range(10):
        one = one.liveness(False, "hangs", float(at_s))
    assert not one.failing_live


def test_liveness_is_lost_after_failures_in_a_row_and_for_good(orders: Any) -> None:
    one = judge(orders).readiness(True, "", 1.0)
    one = one.liveness(False, "hangs", 2.0).liveness(False, "hangs", 3.0).liveness(True, "", 4.0)
    for at_s in (5.0, 6.0):
        one = one.liveness(False, "hangs", at_s)
        assert not one.failing_live
    one = one.liveness(False, "hangs", 7.0)
    assert one.failing_live
    assert one.readiness(True, "", 8.0).liveness(True, "", 8.0).failing_live
    assert one.readiness(True, "", 8.0).reason == "hangs"


def test_a_replica_that_served_before_stays_ready_until_its_probes_say_otherwise(orders: Any) -> None:
    one = judge(orders, phase="serving")
    assert (one.ready, one.ready_since_s, one.was_ready) == (True, 900.0, True)
    for at_s in (1001.0, 1002.0, 1003.0):
        assert one.ready
        one = one.readiness(False, "gone", at_s)
    assert not one.ready


def test_questions_come_from_20_to_250_ms_apart_while_starting(orders: Any) -> None:
    one = judge(orders)
    assert one.next_probe_s(1000.0) == 1000.0
    gaps = []
    for _ in range(2000):  # for ever: an old service that was never ready must not overflow anything
        one = one.readiness(False, "refused", 1000.0)
        gaps.append(one.next_probe_s(1000.0) - 1000.0)
    assert gaps[0] >= 0.02
    assert gaps == sorted(gaps)
    assert gaps[-1] == pytest.approx(0.25)


def test_questions_are_close_inside_the_stability_window_then_rare(orders: Any) -> None:
    one = judge(orders).readiness(True, "", 1000.0)
    assert one.next_probe_s(1000.0) == 1000.25
    one = one.readiness(True, "", 1001.0)
    assert one.next_probe_s(1001.0) == 1003.0
    lost = one.readiness(False, "", 1003.0).readiness(False, "", 1005.0).readiness(False, "", 1007.0)
    assert lost.next_probe_s(1007.0) == 1009.0
