"""The word and the sentence for how a service is."""

from typing import Any

import pytest

from atoll.decide.states import Condition, judge_service
from atoll.model.state import Exit


@pytest.mark.parametrize(
    ("wanted", "replicas", "facts", "condition"),
    [
        (1, ["ready"], {}, ("up", "")),
        (2, ["ready", "unready"], {}, ("degraded", "1 of 2 ready; GET /: 503", "probe-failed")),
        (1, ["unready"], {}, ("failing", "GET /: 503", "probe-failed")),
        (1, [], {}, ("failing", "starting")),
        (1, ["unknown"], {}, ("failing", "the host was not asked yet")),
        (
            1,
            [],
            {"backoff": {6: 1}, "last_exit": {6: Exit(code=3)}},
            ("failing", "restarting after: exit code 3", "crashed"),
        ),
        (
            1,
            [],
            {"backoff": {6: 4}, "last_exit": {6: Exit(code=3)}},
            ("failing", "crash loop: 4 crashes in a row, last: exit code 3", "crashed"),
        ),
        (1, ["ready"], {"problem": "refused", "problem_id": "x"}, ("up", "refused", "x")),
        (0, [], {}, ("down", "scaled to 0 replicas by hand")),
    ],
)
def test_a_service_without_a_rollout(
    orders: Any, wanted: int, replicas: list[str], facts: Any, condition: tuple[str, ...]
) -> None:
    kinds = {
        "ready": {},
        "unready": {"ready": False, "reason": "GET /: 503", "reason_id": "probe-failed"},
        "unknown": {"alive": None},
    }
    rows = [orders.replica(f"a{slot}", n=6, slot=slot, **kinds[kind]) for slot, kind in enumerate(replicas)]
    intent = orders.intent(6, replicas=wanted)
    assert judge_service(intent, None, orders.want((6, wanted, 100)), orders.seen(*rows, **facts)) == Condition(
        *condition
    )


def test_a_service_that_nobody_wants_is_down_and_says_why_if_it_was_undone(orders: Any) -> None:
    assert judge_service(orders.intent(None), None, orders.want(), orders.seen()) == Condition("down")
    undone = orders.rollout("undone", stable=None, reason="it crashed", reason_id="crashed")
    assert judge_service(orders.intent(None), undone, orders.want(), orders.seen()) == Condition(
        "down", "r7 was undone: it crashed", "crashed"
    )


@pytest.mark.parametrize(
    ("phase", "reason", "words", "id"),
    [
        ("starting", "", "r7 is starting: refused", "port-not-used"),
        ("shifting", "", "r7: the proxy takes the switch", ""),
        ("stopping", "", "r7: requests are held while the previous release stops", ""),
        ("undoing", "it crashed", "going back from r7: it crashed", "crashed"),
    ],
)
def test_a_rollout_that_is_not_live_is_deploying(orders: Any, phase: str, reason: str, words: str, id: str) -> None:
    seen = orders.seen(orders.replica(phase="starting", reason="refused", reason_id="port-not-used"))
    found = judge_service(
        orders.intent(),
        orders.rollout(phase, reason=reason, reason_id=id if reason else ""),
        orders.want((7, 1, 0)),
        seen,
    )
    assert found == Condition("deploying", words, id)


def test_a_live_rollout_is_up(orders: Any) -> None:
    want = orders.want((6, 1, 0), (7, 1, 100))
    assert judge_service(orders.intent(7), orders.rollout("live"), want, orders.seen(orders.replica())).state == "up"
