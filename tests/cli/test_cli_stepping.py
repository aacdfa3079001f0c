"""How a canary under way is drawn: what a person wants to know of it, and nothing that contradicts itself."""

from typing import Any

import pytest
from rich.console import Console

from atoll.cli import stepping
from atoll.model.analysis import Finding, Outcome, Verdict
from atoll.model.state import Step
from atoll.model.wire_operations import OperationView, SteppingView

STEPS = tuple(Step(weight_pct=pct, hold_s=10.0, judged=pct < 100) for pct in (10, 50, 100))
FINDING = Finding(metric="latency web", outcome="inconclusive", test="a test", total=60, bad=3, other_total=540)


def canary(verdict: Verdict | None, phase: Any = "stepping", **more: Any) -> OperationView:
    told = {"left_s": 480.0, "step": 1, "weight_pct": 50} | more
    view = SteppingView(
        strategy="canary", why="its file says so", steps=STEPS, stage="watching", verdict=verdict, **told
    )
    return OperationView(id="op-0", service="orders", kind="deploy", phase=phase, stepping=view)


def verdict(outcome: Outcome, **more: Any) -> Verdict:
    return Verdict(outcome=outcome, text="so it is", findings=(FINDING,), requests=212, **more)


def drawn(operation: OperationView) -> str:
    console = Console(width=100)
    with console.capture() as seen:
        console.print(*stepping.parts(operation), sep="\n")
    return seen.get()


def test_the_step_the_evidence_and_what_is_expected_of_it_are_shown() -> None:
    seen = drawn(canary(verdict("inconclusive", progress=0.25, pass_in_s=30.4)))
    assert "10 % ✓  50 % ●  100 %" in seen
    assert "about 30 s to a pass if all is well; 8 min to this step's deadline" in seen
    assert "━━━━━━──────────────────  25 % of what a pass takes" in seen
    assert "slower than p90, called by web  5.00 % of 60" in seen


@pytest.mark.parametrize("outcome", ["pass", "fail"])
def test_a_decided_verdict_has_no_way_to_go(outcome: Outcome) -> None:
    assert "of what a pass takes" not in drawn(canary(verdict(outcome, progress=0.5)))


def test_a_rollout_that_waits_for_a_person_says_so_in_place_of_a_time() -> None:
    waiting = canary(verdict("no data"), waits="orders r2 waits for a person", paused="undecided")
    assert "orders r2 waits for a person" in drawn(waiting)
    assert "deadline" not in drawn(waiting)


def test_after_the_switch_the_time_left_is_the_bakes() -> None:
    assert "8 min of the bake" in drawn(canary(verdict("pass"), phase="live"))


def test_one_line_tells_the_step_the_verdict_and_what_is_left() -> None:
    operation = canary(verdict("inconclusive", progress=0.25, pass_in_s=30.4))
    assert operation.stepping is not None
    said = stepping.line(operation.stepping)
    assert said == "step 2 of 3, 50 %, inconclusive after 212 requests, about 30 s to a pass"
