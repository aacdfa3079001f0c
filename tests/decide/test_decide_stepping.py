"""Steps of a rollout: filled, moved, watched; led on by time, verdict or a person, and never by themselves otherwise."""

from typing import Any

import pytest
from msgspec.structs import replace

from atoll.decide.compose import compose
from atoll.decide.facts import Facts
from atoll.decide.rollout import Step as Stepped
from atoll.decide.rollout import advance
from atoll.decide.steering import steer
from atoll.decide.stepping import weight_pct
from atoll.decide.strategies import choose
from atoll.decide.strategies.load import Load
from atoll.decide.undo import CONDEMNED, UNWELL
from atoll.model.analysis import AnalysisPolicy, Verdict
from atoll.model.errors import Conflict
from atoll.model.spec import RolloutSpec, RolloutStep
from atoll.model.state import Rollout, Step

CANARY = (
    Step(weight_pct=10, hold_s=10, judged=True),
    Step(weight_pct=50, hold_s=10, judged=True),
    Step(weight_pct=100),
)
PASS, FAIL = Verdict(outcome="pass", text="1 point more is excluded"), Verdict(outcome="fail", text="20 % failed")


def stepping(orders: Any, stage: str = "watching", **changes: Any) -> Rollout:
    usual: dict[str, Any] = {"steps": CANARY, "strategy": "canary", "stage": stage, "stage_since_s": 990.0}
    return orders.rollout("stepping", **(usual | changes))


def go(orders: Any, rollout: Rollout, *, verdict: Verdict | None = None, at_s: float = 1000.0, **facts: Any) -> Stepped:
    candidate, stable = orders.release(7, **facts.pop("candidate", {})), orders.release(6)
    seen = facts.pop("seen", None) or orders.seen(
        orders.replica(), orders.replica("old", n=6), weights=facts.pop("weights", {6: 90, 7: 10})
    )
    return advance(rollout, seen, None, candidate, stable, facts.pop("wanted", 1), orders.now(at_s), verdict=verdict)


# --- the stages ---------------------------------------------------------------------------------------------------


def test_a_candidate_that_is_ready_begins_with_its_first_step_and_without_steps_takes_all(orders: Any) -> None:
    starting = replace(stepping(orders), phase="starting", entered_s={"starting": 990.0, "ready": 991.0})
    assert (go(orders, starting).rollout.phase, go(orders, starting).rollout.stage) == ("stepping", "filling")
    assert go(orders, replace(starting, steps=())).rollout.phase == "shifting"


def test_a_step_fills_before_it_moves_traffic(orders: Any) -> None:
    filling = stepping(orders, "filling", step=1, filled_pct=10)
    assert weight_pct(filling) == 10
    assert go(orders, filling, wanted=2).rollout == filling
    moving = go(orders, filling).rollout
    assert (moving.stage, weight_pct(moving)) == ("moving", 50)


def test_a_step_is_watched_only_when_the_proxy_has_acknowledged_its_weights(orders: Any) -> None:
    moving = stepping(orders, "moving")
    assert go(orders, moving, weights={6: 100}).rollout == moving
    watching = go(orders, moving)
    assert watching.rollout.stage == "watching"
    assert [event.message for event in watching.events] == ["10 % of the requests go to orders r7 (step 1 of 3)"]


@pytest.mark.parametrize(("stage", "words"), [("filling", "not ready within"), ("moving", "did not acknowledge")])
def test_a_stage_that_takes_too_long_undoes_the_rollout(orders: Any, stage: str, words: str) -> None:
    seen = orders.seen(orders.replica("old", n=6), weights={6: 100})
    step = go(orders, stepping(orders, stage), seen=seen, at_s=990 + 32)
    assert step.rollout.phase == "undoing"
    assert words in step.rollout.reason


@pytest.mark.parametrize(("at_s", "verdict"), [(999.0, PASS), (1000.0, None), (1000.0, Verdict(outcome="no data"))])
def test_a_judged_step_waits_for_its_time_and_for_a_pass(orders: Any, at_s: float, verdict: Verdict | None) -> None:
    assert go(orders, stepping(orders), at_s=at_s, verdict=verdict).rollout.step == 0


def test_a_pass_leads_to_the_next_step_and_its_numbers_go_into_the_ledger(orders: Any) -> None:
    step = go(orders, stepping(orders), verdict=PASS)
    assert (step.rollout.step, step.rollout.stage, weight_pct(step.rollout)) == (1, "filling", 10)
    assert step.events[0].data["verdict"]["outcome"] == "pass"


def test_after_the_last_step_comes_the_switch(orders: Any) -> None:
    last = stepping(orders, step=2)
    assert go(orders, last, weights={7: 100}).rollout.phase == "shifting"


def test_after_a_reboot_the_step_is_filled_again_and_none_is_skipped(orders: Any) -> None:
    later = advance(
        stepping(orders, step=1), orders.seen(), None, orders.release(7), orders.release(6), 1, orders.now(50.0, "b2")
    )
    assert (later.rollout.phase, later.rollout.step, later.rollout.stage) == ("stepping", 1, "filling")
    assert weight_pct(later.rollout) == 50, "once it is there again it has the share that it had"


@pytest.mark.parametrize("phase", ["stepping", "live"])
def test_after_a_reboot_a_candidate_that_starts_slower_than_the_stable_release_is_not_undone(
    orders: Any, phase: str
) -> None:
    before = replace(stepping(orders), phase=phase)  # type: ignore[arg-type]
    cold = orders.seen(orders.replica(phase="starting"), orders.replica("old", n=6), weights={6: 100})
    booted = go(orders, replace(before, boot_id="b0"), seen=cold, at_s=20.0).rollout
    assert go(orders, booted, seen=cold, at_s=50.9).rollout == booted
    marked = go(orders, replace(booted, stage="watching"), seen=cold, at_s=51.0).rollout
    assert UNWELL in marked.entered_s
    assert go(orders, marked, seen=cold, at_s=61.0).rollout.phase == "undoing"


# --- undecided ----------------------------------------------------------------------------------------------------

LATE = 990.0 + 10 + 600


@pytest.mark.parametrize(
    ("action", "phase", "paused", "step"),
    [("hold", "stepping", "undecided", 0), ("fail", "undoing", "", 0), ("promote", "stepping", "", 1)],
)
@pytest.mark.parametrize("outcome", ["no data", "inconclusive", "error"])
def test_at_its_deadline_a_step_does_what_its_file_says(
    orders: Any, action: str, phase: str, paused: str, step: int, outcome: Any
) -> None:
    policy = RolloutSpec(on_no_data=action, on_inconclusive=action)  # type: ignore[arg-type]
    verdict = Verdict(outcome=outcome, text="7 requests were measured")
    after = go(orders, stepping(orders), at_s=LATE, verdict=verdict, candidate={"rollout": policy})
    assert (after.rollout.phase, after.rollout.paused, after.rollout.step) == (phase, paused, step)
    assert "7 requests were measured" in after.events[0].message


def test_extending_gives_as_long_again_twice_and_then_holds(orders: Any) -> None:
    policy = RolloutSpec(on_no_data="extend")
    rollout = stepping(orders)
    for count in (1, 2):
        rollout = go(orders, rollout, at_s=LATE + 600 * (count - 1), candidate={"rollout": policy}).rollout
        assert (rollout.extended, rollout.paused) == (count, "")
    assert go(orders, rollout, at_s=LATE + 1199, candidate={"rollout": policy}).rollout == rollout
    assert go(orders, rollout, at_s=LATE + 1200, candidate={"rollout": policy}).rollout.paused == "undecided"


def test_by_default_nothing_unmeasured_goes_on(orders: Any) -> None:
    assert go(orders, stepping(orders), at_s=LATE).rollout.paused == "undecided"


# --- a bad candidate ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["stepping", "live"])
def test_a_failing_verdict_undoes_it_at_once(orders: Any, phase: str) -> None:
    step = go(orders, replace(stepping(orders), phase=phase, phase_since_s=990.0), verdict=FAIL)  # type: ignore[arg-type]
    assert step.rollout.phase == "undoing"
    assert step.rollout.reason == "orders r7 is worse than orders r6: 20 % failed"
    assert step.rollout.verdict == FAIL


def test_a_dry_run_tells_its_verdict_and_neither_waits_for_it_nor_goes_back(orders: Any) -> None:
    dry = {"rollout": RolloutSpec(analysis=AnalysisPolicy(dry_run=True))}
    for verdict in (FAIL, Verdict(outcome="no data", text="7 requests were measured")):
        step = go(orders, stepping(orders), verdict=verdict, candidate=dry)
        assert (step.rollout.phase, step.rollout.step) == ("stepping", 1)
        assert step.events[0].message == f"(dry run) {verdict.outcome}: {verdict.text}"
        live = replace(stepping(orders), phase="live", phase_since_s=990.0)
        assert go(orders, live, verdict=verdict, candidate=dry).rollout.phase == "live"


def test_a_countdown_lets_a_person_keep_the_candidate(orders: Any) -> None:
    patient = {"rollout": RolloutSpec(countdown_s=30.0)}
    condemned = go(orders, stepping(orders), verdict=FAIL, candidate=patient)
    assert (condemned.rollout.phase, condemned.rollout.entered_s[CONDEMNED]) == ("stepping", 1000.0)
    assert condemned.events[0].kind == "rollout.condemned"
    assert go(orders, condemned.rollout, verdict=FAIL, candidate=patient, at_s=1029.9).rollout == condemned.rollout
    assert go(orders, condemned.rollout, verdict=FAIL, candidate=patient, at_s=1030.0).rollout.phase == "undoing"
    kept = steer(condemned.rollout, "keep", "ada", orders.now(1010.0))
    after = go(orders, kept, verdict=FAIL, candidate=patient, at_s=1040.0).rollout
    assert (after.phase, CONDEMNED in after.entered_s) == ("stepping", False)


def test_a_candidate_of_which_nothing_is_ready_gets_no_traffic_and_leaves(orders: Any) -> None:
    gone = orders.seen(orders.replica(ready=False), orders.replica("old", n=6), weights={6: 100})
    rollout = stepping(orders)
    want = compose(orders.intent(), rollout, {6: orders.release(6), 7: orders.release(7)}, ready=False)
    assert {rev.release: rev.weight_pct for rev in want.revisions} == {6: 100, 7: 0}
    marked = go(orders, rollout, seen=gone)
    assert UNWELL in marked.rollout.entered_s
    assert go(orders, marked.rollout, seen=gone, at_s=1009.0).rollout.phase == "stepping"
    assert go(orders, marked.rollout, seen=gone, at_s=1010.0).rollout.phase == "undoing"
    well = go(orders, marked.rollout, at_s=1005.0).rollout
    assert UNWELL not in well.entered_s


# --- people -------------------------------------------------------------------------------------------------------


def test_a_paused_step_stays_until_it_is_resumed_but_a_bad_candidate_leaves_all_the_same(orders: Any) -> None:
    paused = steer(stepping(orders), "pause", "ada", orders.now())
    assert paused.waits == "paused by ada: `atoll rollout resume` goes on"
    assert go(orders, paused, verdict=PASS).rollout == paused
    assert go(orders, paused, verdict=FAIL).rollout.phase == "undoing"
    resumed = steer(paused, "resume", "ada", orders.now())
    assert go(orders, resumed, verdict=PASS).rollout.step == 1


@pytest.mark.parametrize("steps", [CANARY, ()])
def test_one_that_is_paused_before_it_has_traffic_gets_none_and_is_not_undone_for_it(
    orders: Any, steps: tuple[Step, ...]
) -> None:
    starting = replace(stepping(orders, steps=steps), phase="starting", entered_s={"starting": 990.0, "ready": 991.0})
    paused = steer(starting, "pause", "ada", orders.now())
    assert go(orders, paused, at_s=9000.0).rollout == paused
    resumed = steer(paused, "resume", "ada", orders.now(9000.0))
    assert go(orders, resumed, at_s=9000.0).rollout.phase == ("stepping" if steps else "shifting")
    gone = orders.seen(orders.replica("old", n=6), weights={6: 100})
    assert go(orders, resumed, seen=gone, at_s=9030.9).rollout.phase == "starting"
    assert go(orders, resumed, seen=gone, at_s=9031.0).rollout.phase == "undoing"


def test_one_that_is_paused_while_a_step_fills_keeps_the_traffic_that_it_has(orders: Any) -> None:
    paused = steer(stepping(orders, "filling", step=1, filled_pct=10), "pause", "ada", orders.now())
    assert go(orders, paused, at_s=9000.0).rollout == paused
    assert weight_pct(paused) == 10
    resumed = steer(paused, "resume", "ada", orders.now(9000.0))
    assert go(orders, resumed, at_s=9000.0).rollout.stage == "moving"


def test_while_requests_are_held_nobody_may_pause(orders: Any) -> None:
    held = orders.rollout("starting", entered_s={"holding": 980.0, "stopping": 985.0, "starting": 990.0})
    with pytest.raises(Conflict, match="cannot be told to pause"):
        steer(held, "pause", "ada", orders.now())
    paused = replace(held, paused="by hand", entered_s={"starting": 990.0, "ready": 991.0})  # after a reboot
    alone = orders.seen(orders.replica(), holding=True)
    assert go(orders, paused, seen=alone, candidate={"overlap": False}).rollout.phase == "shifting"


def test_the_time_of_a_pause_is_not_the_candidates(orders: Any) -> None:
    """Its deadline has passed when a person comes back; what then comes of it must not be decided in that instant."""
    strict = {"rollout": RolloutSpec(on_no_data="fail")}
    paused = steer(stepping(orders), "pause", "ada", orders.now())
    resumed = steer(paused, "resume", "ada", orders.now(9000.0))
    assert go(orders, resumed, at_s=9599.0, candidate=strict).rollout == resumed
    assert go(orders, resumed, at_s=9600.0, candidate=strict).rollout.phase == "undoing"
    assert go(orders, resumed, at_s=9000.0, verdict=PASS).rollout.step == 1


def test_who_promotes_while_a_failing_verdict_counts_down_keeps_it(orders: Any) -> None:
    patient = {"rollout": RolloutSpec(countdown_s=30.0)}
    condemned = go(orders, stepping(orders), verdict=FAIL, candidate=patient).rollout
    promoted = steer(condemned, "promote", "ada", orders.now(1010.0))
    after = go(orders, go(orders, promoted, verdict=FAIL, candidate=patient).rollout, verdict=FAIL, candidate=patient)
    assert (after.rollout.phase, after.rollout.step) == ("stepping", 2)
    usual = steer(stepping(orders), "promote", "ada", orders.now())
    assert go(orders, usual, verdict=FAIL).rollout.phase == "undoing", "one whose verdict fails later is still watched"


def test_a_promoted_candidate_is_filled_up_before_it_gets_all_of_the_traffic(orders: Any) -> None:
    promoted = go(orders, steer(stepping(orders), "promote", "ada", orders.now())).rollout
    assert (promoted.step, promoted.stage, weight_pct(promoted)) == (2, "filling", 10)


def test_a_step_that_wants_a_persons_word_waits_for_it_after_its_verdict(orders: Any) -> None:
    asking = stepping(orders, steps=(Step(weight_pct=10, judged=True, approve=True), Step(weight_pct=100)))
    assert go(orders, asking).rollout.paused == ""
    waiting = go(orders, asking, verdict=PASS).rollout
    assert waiting.paused == "approval"
    assert go(orders, steer(waiting, "resume", "ada", orders.now()), verdict=PASS).rollout.step == 1


def test_resuming_what_was_undecided_measures_on_with_a_new_deadline(orders: Any) -> None:
    undecided = go(orders, stepping(orders), at_s=LATE).rollout
    resumed = steer(undecided, "resume", "ada", orders.now(LATE))
    assert go(orders, resumed, at_s=LATE + 609).rollout.paused == ""
    assert go(orders, resumed, at_s=LATE + 610).rollout.paused == "undecided"


def test_aborting_never_waits_for_the_analysis(orders: Any) -> None:
    ended = steer(stepping(orders), "abort", "ada", orders.now())
    assert (ended.phase, ended.reason) == ("undoing", "ada ended it")


@pytest.mark.parametrize("phase", ["undoing", "undone", "certified", "superseded"])
def test_a_word_that_comes_too_late_is_a_conflict(orders: Any, phase: str) -> None:
    with pytest.raises(Conflict):
        steer(orders.rollout(phase), "pause", "ada", orders.now())


@pytest.mark.parametrize("phase", ["shifting", "draining", "live"])
def test_all_of_the_traffic_cannot_be_paused_but_it_can_be_taken_back(orders: Any, phase: str) -> None:
    with pytest.raises(Conflict, match="cannot be told to pause"):
        steer(orders.rollout(phase), "pause", "ada", orders.now())
    assert steer(orders.rollout(phase), "abort", "ada", orders.now()).phase == "undoing"


# --- strategies ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "replicas", "load", "strategy", "weights"),
    [
        ({}, 1, Load(100.0), "canary", [10, 50, 100]),
        ({}, 1, Load(1.0), "rolling", []),
        ({}, 1, None, "rolling", []),
        ({}, 3, None, "rolling", [33, 67, 100]),
        ({"strategy": "blue-green"}, 3, Load(100.0), "blue-green", []),
        ({"strategy": "canary"}, 1, None, "canary", [10, 50, 100]),
        ({"steps": (RolloutStep(weight_pct=5), RolloutStep(weight_pct=25))}, 1, None, "canary", [5, 25, 100]),
        ({"strategy": "header"}, 1, None, "header", [0, 100]),
        ({"strategy": "canary"}, 0, Load(100.0), "all-at-once", []),
    ],
)
def test_the_strategy_is_the_files_or_what_todays_traffic_allows(
    orders: Any, spec: dict[str, Any], replicas: int, load: Load | None, strategy: str, weights: list[int]
) -> None:
    candidate = orders.release(7, rollout=RolloutSpec(**spec), replicas=replicas)
    choice = choose(candidate, orders.release(6), replicas, load)
    assert (choice.strategy, [step.weight_pct for step in choice.steps]) == (strategy, weights)
    assert choice.why


@pytest.mark.parametrize("facts", [{"candidate": {"overlap": False}}, {"candidate": {"ports": ()}}, {"stable": None}])
def test_where_two_releases_cannot_share_traffic_all_of_it_moves_at_once(orders: Any, facts: dict[str, Any]) -> None:
    candidate = orders.release(7, rollout=RolloutSpec(strategy="canary"), **facts.get("candidate", {}))
    stable = orders.release(6) if "stable" not in facts else None
    choice = choose(candidate, stable, 2, Load(100.0))
    assert (choice.strategy, choice.steps) == ("all-at-once", ())


def test_a_canary_says_what_its_traffic_can_show_and_who_may_meet_a_bad_one(orders: Any) -> None:
    choice = choose(orders.release(7), orders.release(6), 1, Load(100.0, 0.001))
    assert choice.why == "100 requests a second let a verdict be reached in about 55 s"
    assert choice.detects == (
        "at 100 requests a second, more failing requests are seen: 1 % in about 52 s, 5 % in about 7 s, 20 % in about 2 s"
    )
    assert choice.exposure.startswith("10 % of the requests for about 2 s if it fails them all")


def test_a_step_by_header_moves_no_share_and_is_not_judged(orders: Any) -> None:
    spec = RolloutSpec(steps=(RolloutStep(header="x-canary: yes", approve=True), RolloutStep(weight_pct=10)))
    choice = choose(orders.release(7, rollout=spec), orders.release(6), 1, Load(100.0))
    assert [(step.weight_pct, step.header, step.judged) for step in choice.steps] == [
        (0, "x-canary: yes", False),
        (10, "", True),
        (100, "", False),
    ]
    rollout = stepping(orders, steps=choice.steps)
    want = compose(orders.intent(), rollout, {6: orders.release(6), 7: orders.release(7)})
    assert (want.header, {rev.release: rev.weight_pct for rev in want.revisions}) == ("x-canary: yes", {6: 100, 7: 0})


def test_facts_know_the_next_end_of_a_stability_window(orders: Any) -> None:
    seen = orders.seen(orders.replica(ready_since_s=999.5), orders.replica("b", slot=1, ready_since_s=999.8))
    facts = Facts(orders.rollout("starting"), seen, None, orders.release(7), orders.release(6), 2, orders.now())
    assert (facts.settled, facts.next_settled_s) == ((), 1000.5)
