"""Receivers of webhooks, played by the second: what is told in which order, when some of it is refused."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.decide.telling import GIVE_UP_S, MOST_ASIDE, Line, choose, given_up, refused, rest_s, taken, trouble
from atoll.model.state import Event

Answers = Callable[[int, float], int]  # (event, when) -> status; 0 is no answer


def play(answers: Answers, events: list[Event], until_s: float) -> tuple[list[int], list[int], Line, int]:
    """What was taken in order, what was given up, and how often was asked in all."""
    told: list[int] = []
    lost: list[int] = []
    line, asked, now = Line(told=0), 0, 0.0
    while now <= until_s:
        waiting = [event for event in events if event.seq > line.told and event.wall <= now]
        line, old = given_up(line, waiting, now)
        lost += old
        waiting = [event for event in waiting if event.seq > line.told]
        seq = choose(line, waiting, now)
        if seq is None:
            coming = min((event.wall - now for event in events if event.wall > now), default=1e9)
            now += max(0.01, min(coming, rest_s(line, waiting, now)))
            continue
        asked += 1
        status = answers(seq, now)
        if 200 <= status < 300:
            told.append(seq)
            line = taken(line, waiting, seq, now)
        else:
            line = refused(line, waiting, seq, f"status {status}", now, there=400 <= status < 500)
        now += 0.01
    return told, lost, line, asked


def ledger(count: int, each_s: float = 0.0) -> list[Event]:
    return [Event(kind="rollout.live", seq=n, wall=(n - 1) * each_s) for n in range(1, count + 1)]


def test_a_receiver_that_takes_everything_is_told_in_order_at_once() -> None:
    assert play(lambda *_: 204, ledger(5), 1.0)[0] == [1, 2, 3, 4, 5]


def test_what_came_while_a_receiver_was_away_is_told_in_order_when_it_is_back() -> None:
    told, lost, line, asked = play(lambda _, now: 204 if now > 3600 else 0, ledger(10, 60), 4000)
    assert told == list(range(1, 11))
    assert (lost, line.aside) == ([], ())
    assert asked < 60  # in an hour


@pytest.mark.parametrize(("status", "within_s"), [(400, 1.0), (500, 10.0), (0, 10.0)])
def test_one_event_that_is_refused_holds_up_no_other(status: int, within_s: float) -> None:
    told, _, line, _ = play(lambda seq, _: status if seq == 2 else 204, ledger(5), within_s)
    assert told == [1, 3, 4, 5]
    assert [one.seq for one in line.aside] == [2]
    assert trouble(line, within_s) == (
        f"refuses an event, the last one 2 (status {status}); tried again until a day old",
    )


def test_several_in_a_row_that_are_refused_hold_up_no_other_either() -> None:
    told, _, line, _ = play(lambda seq, _: 500 if seq in {1, 2, 3} else 204, ledger(5), 120)
    assert set(told) == {4, 5}
    assert {one.seq for one in line.aside} == {1, 2, 3}


def test_what_comes_after_one_that_is_refused_for_hours_is_told_at_once() -> None:
    events = [Event(kind="x", seq=1), Event(kind="x", seq=2, wall=7200.0)]
    told, _, line, _ = play(lambda seq, _: 500 if seq == 1 else 204, events, 7206)
    assert told == [2]
    assert [one.seq for one in line.aside] == [1]


def test_one_that_was_put_aside_is_told_when_it_is_taken_at_last() -> None:
    told, lost, line, _ = play(lambda seq, now: 400 if seq == 1 and now < 100 else 204, ledger(2), 200)
    assert (told, lost, line.aside) == ([2, 1], [], ())


def test_one_that_is_never_taken_is_given_up_after_a_day_and_tried_a_few_times_before() -> None:
    told, lost, line, asked = play(lambda seq, _: 400 if seq == 1 else 204, ledger(2), GIVE_UP_S + 600)
    assert (told, lost) == ([2], [1])
    assert asked < 15
    assert trouble(line, GIVE_UP_S + 10_800) == (
        "was never told of one event, the last 3 h ago; notify.lost in `atoll events`",
    )
    assert trouble(line, 9 * GIVE_UP_S) == ()


def test_a_receiver_that_is_away_for_days_loses_what_is_a_day_old_and_hears_of_it_by_name() -> None:
    _, lost, line, _ = play(lambda *_: 0, ledger(3, 3600), GIVE_UP_S + 1800)
    assert lost == [1]
    assert trouble(line, GIVE_UP_S + 1800)[0].startswith("takes nothing for 24 h (status 0)")


def test_one_that_refuses_everything_has_a_list_with_an_end() -> None:
    count = MOST_ASIDE + 250
    told, lost, line, _ = play(lambda *_: 404, ledger(count), 60)
    assert (told, len(line.aside) <= MOST_ASIDE) == ([], True)
    assert sorted([*lost, *(one.seq for one in line.aside)]) == list(range(1, count + 1))
    assert max(lost) < min(one.seq for one in line.aside), "the oldest go first"


def test_a_clock_that_is_set_back_stops_nothing() -> None:
    line = Line(told=0, tries=5, again_wall=1e9)
    assert choose(line, ledger(1), 0.0) == 1


@given(st.lists(st.sampled_from([0, 204, 400, 404, 429, 500, 503]), min_size=1, max_size=40), st.integers(1, 8))
def test_every_event_is_taken_once_or_given_up_once(statuses: list[int], count: int) -> None:
    turn = iter(range(10**9))
    told, lost, line, _ = play(lambda *_: statuses[next(turn) % len(statuses)], ledger(count, 10), 2 * GIVE_UP_S)
    assert sorted([*told, *lost]) == list(range(1, count + 1))
    assert line.aside == ()
