"""Tables of `advance`: from a phase and what is seen to the next phase, or the reason to go back."""

from typing import Any

import pytest

from atoll.decide.rollout import LET_GO, Step, abort, advance, begin, seconds, supersede
from atoll.decide.undo import BOOTED
from atoll.model.spec import RolloutSpec
from atoll.model.state import ENDED, Author, Exit, Reason

NOW = 1000.0


def go(orders: Any, rollout: Any, seen: Any, **facts: Any) -> Step:
    """Advance once: r7 over r6 (or over nothing), one replica, at second 1000."""
    candidate = orders.release(7, **facts.pop("candidate", {}))
    stable = orders.release(6, **facts.pop("stable", {})) if rollout.stable else None
    now = orders.now(facts.pop("at_s", NOW), facts.pop("boot", "b1"))
    return advance(rollout, seen, facts.pop("want", None), candidate, stable, facts.pop("wanted", 1), now)


def rest(orders: Any, rollout: Any, seen: Any, **facts: Any) -> Step:
    """Advance until nothing changes."""
    events: tuple[Any, ...] = ()
    for _ in range(20):
        step = go(orders, rollout, seen, **dict(facts))
        events += step.events
        if step.rollout == rollout:
            return Step(step.rollout, events, step.wake_at_s)
        rollout = step.rollout
    raise AssertionError("never rests")


# --- beginning ---


@pytest.mark.parametrize(
    ("overlap", "stable", "phase"),
    [(True, 6, "starting"), (True, None, "starting"), (False, 6, "holding"), (False, None, "stopping")],
)
def test_a_rollout_begins(orders: Any, overlap: bool, stable: int | None, phase: str) -> None:
    rollout = begin("deploy", "orders", "op1", 7, stable, overlap, orders.now(), Author(actor="ada"))
    assert rollout.phase == phase
    assert rollout.entered_s == {phase: NOW}
    assert (rollout.boot_id, rollout.phase_since_s) == ("b1", NOW)


# --- starting ---


def test_traffic_moves_when_enough_replicas_stayed_ready_through_the_window(orders: Any) -> None:
    seen = orders.seen(orders.replica(ready_since_s=999.0), weights={6: 100})
    step = rest(orders, orders.rollout("starting"), seen)
    assert step.rollout.phase == "shifting"
    assert [event.kind for event in step.events] == ["rollout.shifting"]
    assert step.events[0].author.actor == "ada"


@pytest.mark.parametrize(
    ("facts", "wanted"),
    [
        ({"ready_since_s": 999.5}, 1),
        ({"ready_since_s": None}, 1),
        ({"ready": False}, 1),
        ({"alive": None}, 1),
        ({"alive": False}, 1),
        ({"in_proxy": "absent"}, 1),
        ({"in_proxy": None}, 1),
        ({}, 2),
    ],
)
def test_traffic_does_not_move_before_that(orders: Any, facts: dict[str, Any], wanted: int) -> None:
    seen = orders.seen(orders.replica(**facts), weights={6: 100})
    assert rest(orders, orders.rollout("starting"), seen, wanted=wanted).rollout.phase == "starting"


def test_two_replicas_of_one_slot_are_one(orders: Any) -> None:
    seen = orders.seen(orders.replica("a"), orders.replica("b"), weights={6: 100})
    assert rest(orders, orders.rollout("starting"), seen, wanted=2).rollout.phase == "starting"


def test_it_wakes_when_the_window_ends(orders: Any) -> None:
    seen = orders.seen(orders.replica(ready_since_s=999.5), weights={6: 100})
    assert rest(orders, orders.rollout("starting"), seen).wake_at_s == 1000.5


def test_it_wakes_at_its_budget(orders: Any) -> None:
    seen = orders.seen(orders.replica(phase="starting"))
    assert rest(orders, orders.rollout("starting"), seen).wake_at_s == 990.0 + 30.0 + 1.0


def test_a_worker_needs_no_proxy(orders: Any) -> None:
    seen = orders.seen(orders.replica(in_proxy="absent", ports={}), weights=None, holding=None)
    step = rest(orders, orders.rollout("starting", stable=None), seen, candidate={"ports": ()})
    assert step.rollout.phase == "certified"


# --- the switch ---


@pytest.mark.parametrize(
    ("weights", "asked", "moves"),
    [
        ({7: 100}, 100, True),
        ({6: 0, 7: 100}, 100, True),
        ({6: 100, 7: 0}, 100, False),
        (None, 100, False),
        ({}, 100, False),
        ({7: 100}, 0, False),
    ],
)
def test_the_switch_is_done_when_the_proxy_acknowledged_what_was_asked(
    orders: Any, weights: Any, asked: int, moves: bool
) -> None:
    seen = orders.seen(orders.replica(), orders.replica("old", n=6, inflight=1), weights=weights)
    want = orders.want((6, 1, 100 - asked), (7, 1, asked))
    step = rest(orders, orders.rollout("shifting"), seen, want=want)
    assert step.rollout.phase == ("draining" if moves else "shifting")


@pytest.mark.parametrize(
    ("inflight", "since", "phase"),
    [(0, 999.0, "live"), (3, 999.0, "draining"), (None, 999.0, "draining"), (3, 970.0, "live")],
)
def test_it_is_live_when_the_old_requests_are_done_or_their_time_is(
    orders: Any, inflight: int | None, since: float, phase: str
) -> None:
    seen = orders.seen(orders.replica(), orders.replica("old", n=6, inflight=inflight))
    step = rest(orders, orders.rollout("draining", phase_since_s=since), seen)
    assert step.rollout.phase == phase
    if phase == "draining":
        assert step.wake_at_s == since + 30.0
    elif inflight:
        assert "3 requests at orders r6 were still in flight" in step.events[0].message


def test_dead_and_unpublished_old_replicas_are_not_waited_for(orders: Any) -> None:
    dead = orders.crashed("old", n=6, inflight=None)
    unborn = orders.replica("new", n=6, slot=1, phase="starting")
    seen = orders.seen(orders.replica(), dead, unborn)
    assert rest(orders, orders.rollout("draining"), seen).rollout.phase == "live"


def test_a_first_deploy_goes_straight_through(orders: Any) -> None:
    seen = orders.seen(orders.replica())
    step = rest(orders, orders.rollout("starting", stable=None), seen)
    assert [event.kind.partition(".")[2] for event in step.events] == ["shifting", "draining", "live", "certified"]


# --- live ---


@pytest.mark.parametrize(
    ("kind", "facts", "at_s", "phase"),
    [
        ("deploy", {}, 990.0 + 599.0, "live"),
        ("deploy", {}, 990.0 + 600.0, "certified"),
        ("deploy", {"candidate": {"rollout": RolloutSpec(bake_s=5.0)}}, 995.0, "certified"),
        ("rollback", {}, NOW, "certified"),
        ("restart", {}, NOW, "certified"),
        ("deploy", {"candidate": {"ports": ()}}, NOW, "live"),
        ("deploy", {"candidate": {"overlap": False}}, NOW, "live"),
        ("deploy", {"stable": {"overlap": False}}, 990.0 + 600.0, "certified"),
    ],
)
def test_a_deploy_is_watched_through_its_bake_whether_or_not_the_old_release_is_warm(
    orders: Any, kind: str, facts: dict[str, Any], at_s: float, phase: str
) -> None:
    seen = orders.seen(orders.replica(), orders.replica("old", n=6))
    step = rest(orders, orders.rollout("live", kind=kind), seen, at_s=at_s, **facts)
    assert step.rollout.phase == phase
    if phase == "live":
        assert step.wake_at_s == 1590.0


def test_a_crash_loop_goes_back_while_the_old_release_is_warm(orders: Any) -> None:
    seen = orders.seen(orders.replica("old", n=6), backoff={7: 2}, last_exit={7: Exit(oom=True)})
    step = go(orders, orders.rollout("live"), seen)
    assert step.rollout.phase == "undoing"
    assert step.rollout.reason == "orders r7 was live, then crashed twice in a row: out of memory"


@pytest.mark.parametrize(
    "replicas",
    [
        lambda orders: (),
        lambda orders: (orders.replica("old", n=6, ready=False),),
        lambda orders: (orders.replica("old", n=6), orders.replica("new", slot=1)),
    ],
)
def test_a_live_release_stays_when_going_back_would_not_help(orders: Any, replicas: Any) -> None:
    seen = orders.seen(*replicas(orders), backoff={7: 2}, last_exit={7: Exit(code=1)})
    assert go(orders, orders.rollout("live"), seen).rollout.phase == "live"


@pytest.mark.parametrize("facts", [{"candidate": {"ports": ()}}, {"candidate": {"overlap": False}}])
def test_a_crash_loop_in_the_bake_goes_back_to_an_old_release_that_cannot_be_warm(
    orders: Any, facts: dict[str, Any]
) -> None:
    seen = orders.seen(backoff={7: 2}, last_exit={7: Exit(code=1)})
    assert go(orders, orders.rollout("live"), seen, **facts).rollout.phase == "undoing"


# --- failures ---


def test_two_crashes_before_ready_undo(orders: Any) -> None:
    seen = orders.seen(backoff={7: 2}, last_exit={7: Exit(code=1)}, weights={6: 100})
    step = go(orders, orders.rollout("starting"), seen)
    assert step.rollout.phase == "undoing"
    assert step.rollout.reason == "orders r7 crashed twice before it was ready: exit code 1"
    assert step.events[0].kind == "rollout.undoing"
    assert step.events[0].data["reason"] == step.rollout.reason


def test_ready_then_dead_is_called_that(orders: Any) -> None:
    rollout = rest(orders, orders.rollout("starting"), orders.seen(orders.replica(ready_since_s=999.9))).rollout
    step = go(orders, rollout, orders.seen(backoff={7: 2}, last_exit={7: Exit(signal=11)}))
    assert step.rollout.reason == "orders r7 was ready, then died twice in a row: killed by SIGSEGV"


def test_one_crash_is_forgiven(orders: Any) -> None:
    assert go(orders, orders.rollout("starting"), orders.seen(backoff={7: 1})).rollout.phase == "starting"


def test_crashes_of_a_first_deploy_are_forgiven_within_its_budget(orders: Any) -> None:
    seen = orders.seen(backoff={7: 5}, last_exit={7: Exit(code=1)}, weights={})
    assert rest(orders, orders.rollout("starting", stable=None), seen).rollout.phase == "starting"
    over = go(orders, orders.rollout("starting", stable=None), seen, at_s=1021.0)
    assert over.rollout.reason == "orders r7 was not ready within 30 s; it crashed 5 times: exit code 1"


def test_never_ready_is_undone_in_the_probes_words(orders: Any) -> None:
    seen = orders.seen(orders.replica(phase="starting", reason="GET /healthz: 503"), weights={6: 100})
    step = go(orders, orders.rollout("starting"), seen, at_s=1021.0)
    assert step.rollout.reason == "orders r7 was not ready within 30 s: GET /healthz: 503"


def test_one_that_could_not_even_start_says_what_kept_it(orders: Any) -> None:
    away = orders.seen(weights={6: 100}, problem="dockerd cannot be reached", problem_id="docker-unreachable")
    undoing = go(orders, orders.rollout("starting"), away, at_s=1021.0).rollout
    assert undoing.reason == "orders r7 was not ready within 30 s: dockerd cannot be reached"
    assert undoing.reason_id == "docker-unreachable"


def test_a_replica_given_up_just_before_still_says_why(orders: Any) -> None:
    why = "not ready within 30 s: nothing listens on 127.0.0.1:20000 yet"
    said = "orders r7 was not ready within 30 s: nothing listens on 127.0.0.1:20000 yet"
    gone = orders.seen(weights={6: 100}, given_up={7: Reason(why, "port-not-used")})
    assert go(orders, orders.rollout("starting"), gone, at_s=1021.0).rollout.reason == said
    ending = orders.seen(orders.replica(phase="stopping", why=why), weights={6: 100})
    assert go(orders, orders.rollout("starting"), ending, at_s=1021.0).rollout.reason == said
    fresh = orders.replica(phase="starting", reason="nothing has been asked yet")
    after = orders.seen(fresh, weights={6: 100}, given_up={7: Reason(why, "port-not-used")})
    undoing = go(orders, orders.rollout("starting"), after, at_s=1021.0).rollout
    assert (undoing.reason, undoing.reason_id) == (said, "port-not-used")


def test_a_memory_limit_is_named(orders: Any) -> None:
    end = Exit(signal=9, oom=True, limit_bytes=64 * 2**20)
    seen = orders.seen(backoff={7: 2}, last_exit={7: end}, weights={6: 100})
    reason = go(orders, orders.rollout("starting"), seen).rollout.reason
    assert reason == "orders r7 crashed twice before it was ready: out of memory, limit 64MiB"
    assert go(orders, orders.rollout("starting"), seen).rollout.reason_id == "out-of-memory"


def test_flapping_is_not_ready(orders: Any) -> None:
    rollout = orders.rollout("starting", entered_s={"starting": 990.0, "ready": 995.0})
    step = go(orders, rollout, orders.seen(orders.replica(ready=False, reason="timeout")), at_s=1021.0)
    assert step.rollout.reason == "orders r7 was ready, but not for 1 s without a break: timeout"
    assert step.rollout.reason_id == "not-stable"
    crashed = orders.seen(last_exit={7: Exit(code=1)}, weights={6: 100})
    step = go(orders, rollout, crashed, at_s=1021.0)
    assert step.rollout.reason == "orders r7 was ready, but not for 1 s without a break: exit code 1"
    assert step.rollout.reason_id == "crashed"


def test_too_few_of_several_are_counted(orders: Any) -> None:
    rollout = orders.rollout("starting", entered_s={"starting": 990.0, "ready": 995.0})
    seen = orders.seen(orders.replica(), orders.replica("b", slot=1, phase="starting", reason="port taken"))
    step = go(orders, rollout, seen, at_s=1021.0, wanted=2)
    assert step.rollout.reason == "only 1 of 2 replicas of orders r7 stayed ready within 30 s: port taken"


def test_a_proxy_that_does_not_take_replicas_is_named(orders: Any) -> None:
    seen = orders.seen(orders.replica(in_proxy="absent"), problem="not connected")
    step = go(orders, orders.rollout("starting"), seen, at_s=1021.0)
    assert "the proxy did not acknowledge its replicas" in step.rollout.reason
    assert "not connected" in step.rollout.reason


def test_a_refused_switch_is_undone(orders: Any) -> None:
    seen = orders.seen(orders.replica(), weights={6: 100}, problem="duplicate domain")
    step = go(orders, orders.rollout("shifting"), seen)
    assert step.rollout.reason == "the proxy did not take the switch to orders r7: duplicate domain"


@pytest.mark.parametrize(
    ("phase", "words"), [("holding", "holds the requests"), ("shifting", "the switch to orders r7")]
)
def test_a_silent_proxy_is_not_waited_for_without_end(orders: Any, phase: str, words: str) -> None:
    facts: dict[str, Any] = {"candidate": {"overlap": False}} if phase == "holding" else {}
    seen = orders.seen(orders.replica(), weights=None, holding=None)
    assert go(orders, orders.rollout(phase), seen, at_s=1019.9, **dict(facts)).rollout.phase == phase
    step = go(orders, orders.rollout(phase), seen, at_s=1020.0, **dict(facts))
    assert step.rollout.phase == "undoing"
    assert words in step.rollout.reason


# --- going back ---


@pytest.mark.parametrize(
    ("facts", "phase"),
    [
        ({"weights": {6: 100}}, "undone"),
        ({"weights": {6: 100, 7: 0}}, "undone"),
        ({"weights": {7: 100}}, "undoing"),
        ({"weights": None}, "undoing"),
        ({"weights": {6: 100}, "holding": True}, "undoing"),
    ],
)
def test_it_is_undone_when_the_proxy_is_back(orders: Any, facts: dict[str, Any], phase: str) -> None:
    rollout = orders.rollout("undoing", reason="it crashed")
    step = rest(orders, rollout, orders.seen(orders.replica("old", n=6), **facts))
    assert step.rollout.phase == phase
    if phase == "undone":
        assert step.events[0].message == "back on orders r6: it crashed"


def test_it_is_not_undone_while_a_candidate_lives(orders: Any) -> None:
    seen = orders.seen(orders.replica(phase="stopping"), weights={6: 100})
    assert rest(orders, orders.rollout("undoing"), seen).rollout.phase == "undoing"


def test_a_first_deploy_is_undone_when_nothing_is_left(orders: Any) -> None:
    step = rest(orders, orders.rollout("undoing", stable=None, reason="never ready"), orders.seen(weights=None))
    assert step.rollout.phase == "undone"
    assert step.events[0].message == "orders r7 was undone: never ready"


def test_abort_goes_back_and_supersede_ends(orders: Any) -> None:
    rollout = orders.rollout("starting")
    assert abort(rollout, "by ada", orders.now()).phase == "undoing"
    assert abort(rollout, "by ada", orders.now()).reason == "by ada"
    assert supersede(rollout, orders.now()).phase == "superseded"
    for phase in ENDED:
        ended = orders.rollout(phase)
        assert abort(ended, "late", orders.now()) == ended
        assert supersede(ended, orders.now()) == ended
        assert go(orders, ended, orders.seen()).rollout == ended


# --- overlap = false ---

SINGLE: dict[str, Any] = {"candidate": {"overlap": False}}


def test_the_old_release_stops_only_when_requests_are_held(orders: Any) -> None:
    old = orders.replica("old", n=6)
    assert go(orders, orders.rollout("holding"), orders.seen(old, holding=None), **SINGLE).rollout.phase == "holding"
    step = go(orders, orders.rollout("holding"), orders.seen(old, holding=True), **SINGLE)
    assert step.rollout.phase == "stopping"


def test_a_worker_holds_nothing(orders: Any) -> None:
    worker = {"candidate": {"overlap": False, "ports": ()}, "stable": {"ports": ()}}
    old = orders.replica("old", n=6, ports={})
    assert go(orders, orders.rollout("holding"), orders.seen(old, holding=None), **worker).rollout.phase == "stopping"


@pytest.mark.parametrize("phase", ["starting", "serving", "draining", "stopping"])
@pytest.mark.parametrize("alive", [True, None])
def test_the_candidate_waits_until_every_other_release_is_gone(orders: Any, phase: str, alive: bool | None) -> None:
    seen = orders.seen(orders.replica("old", n=5, phase=phase, alive=alive), holding=True)
    assert go(orders, orders.rollout("stopping"), seen, **SINGLE).rollout.phase == "stopping"
    assert go(orders, orders.rollout("stopping"), orders.seen(holding=True), **SINGLE).rollout.phase == "starting"


def test_held_requests_are_let_go_before_it_is_live(orders: Any) -> None:
    new = orders.replica()
    step = rest(orders, orders.rollout("shifting"), orders.seen(new, holding=True), **SINGLE)
    assert step.rollout.phase == "releasing"
    step = rest(orders, step.rollout, orders.seen(new, holding=False), **SINGLE)
    assert [event.kind for event in step.events] == ["rollout.live"]


def test_going_back_lets_go_only_when_the_old_release_is_ready_again(orders: Any) -> None:
    rollout = orders.rollout("undoing", reason="it crashed")
    back = orders.replica("back", n=6, ready=False)
    held = {"weights": {6: 100}, "holding": True}
    waiting = rest(orders, rollout, orders.seen(back, **held), **SINGLE)
    assert LET_GO not in waiting.rollout.entered_s
    assert waiting.wake_at_s == 990.0 + 30 + 10 + 5 + 30 + 1
    ready = orders.replica("back", n=6)
    letting = rest(orders, rollout, orders.seen(ready, **held), **SINGLE)
    assert letting.rollout.phase == "undoing"
    assert LET_GO in letting.rollout.entered_s
    undone = rest(orders, letting.rollout, orders.seen(ready, weights={6: 100}, holding=False), **SINGLE)
    assert undone.rollout.phase == "undone"


@pytest.mark.parametrize(("holding", "phase"), [(None, "undoing"), (True, "undoing"), (False, "undone")])
def test_it_is_undone_only_when_the_hold_is_known_to_be_over(orders: Any, holding: bool | None, phase: str) -> None:
    rollout = orders.rollout("undoing", entered_s={"undoing": 990.0, LET_GO: 999.0})
    seen = orders.seen(orders.replica("back", n=6), weights={6: 100}, holding=holding)
    assert rest(orders, rollout, seen, **SINGLE).rollout.phase == phase


def test_an_old_release_that_does_not_come_back_is_told(orders: Any) -> None:
    rollout = orders.rollout("undoing", reason="it crashed")
    seen = orders.seen(orders.replica("back", n=6, phase="starting", reason="refused"), weights={6: 100}, holding=False)
    step = rest(orders, rollout, seen, at_s=1066.0, **SINGLE)
    assert step.rollout.phase == "undone"
    assert step.rollout.reason == "it crashed; orders r6 did not become ready again: refused"


# --- time ---


@pytest.mark.parametrize("phase", ["holding", "starting", "shifting", "draining", "live", "undoing"])
def test_a_reboot_starts_the_phase_anew(orders: Any, phase: str) -> None:
    step = go(orders, orders.rollout(phase), orders.seen(backoff={7: 9}), at_s=20.0, boot="b2")
    assert step.rollout.phase == phase
    assert (step.rollout.boot_id, step.rollout.phase_since_s) == ("b2", 20.0)
    assert step.rollout.entered_s == {phase: 20.0, BOOTED: 20.0}


def test_seconds_are_told_per_phase_until_live(orders: Any) -> None:
    entered = {"starting": 10.0, "ready": 10.8, "shifting": 11.8, "draining": 11.9, "live": 12.0, "certified": 612.0}
    rollout = orders.rollout("certified", entered_s=entered)
    spent = {"starting": 1.8, "shifting": 0.1, "draining": 0.1, "total": 2.0}
    assert seconds(rollout) == pytest.approx(spent)
    assert seconds(rollout, orders.now(9999.0)) == pytest.approx(spent)


def test_seconds_of_a_failure_end_when_it_is_undone(orders: Any) -> None:
    rollout = orders.rollout("undone", entered_s={"starting": 10.0, "undoing": 12.0, "undone": 12.5})
    assert seconds(rollout) == pytest.approx({"starting": 2.0, "undoing": 0.5, "total": 2.5})


def test_seconds_so_far_include_the_present_phase(orders: Any) -> None:
    rollout = orders.rollout("shifting", entered_s={"starting": 998.0, "shifting": 999.0})
    assert seconds(rollout, orders.now()) == pytest.approx({"starting": 1.0, "shifting": 1.0, "total": 2.0})
