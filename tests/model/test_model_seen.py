"""A reader that begins again gets what it missed, and nothing twice."""

import random
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from atoll.model.seen import Seen


class Line(NamedTuple):
    service: str
    replica: str
    wall: float
    text: str = ""


def taken(seen: Seen, lines: list[Line]) -> list[Line]:
    return [line for line in lines if seen.is_new(line)]


def test_lines_of_one_time_are_told_apart_by_their_count() -> None:
    chunk = [Line("a", "a-0", 1.0, text) for text in "xyz"]
    seen = Seen(0.0)
    assert taken(seen, chunk[:2]) == chunk[:2]
    seen.begin_again()
    assert taken(seen, chunk) == chunk[2:]
    seen.begin_again()
    assert taken(seen, [*chunk, Line("a", "a-0", 2.0)]) == [Line("a", "a-0", 2.0)]


def test_lines_that_the_tail_cut_off_do_not_come_back() -> None:
    seen = Seen(10.0)
    taken(seen, [Line("a", "a-1", 8.0)])
    seen.begin_again()
    lines = [Line("a", "a-0", 7.0), Line("a", "a-0", 9.0), Line("b", "b-0", 9.0), Line("b", "b-0", 10.5)]
    assert taken(seen, lines) == [lines[1], lines[3]]


def test_a_clock_that_is_set_back_costs_no_line() -> None:
    seen = Seen(0.0)
    taken(seen, [Line("a", "a-0", 5.0)])
    seen.begin_again()
    after = [Line("a", "a-0", 6.0), Line("a", "a-0", 2.0)]
    assert taken(seen, after) == after
    assert seen.newest_wall == 2.0


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0, 0, 1, 2])), max_size=40),
    st.lists(st.integers(0, 40), max_size=4),
    st.randoms(use_true_random=False),
)
def test_whatever_the_breaks_each_line_comes_once_and_in_order(
    steps: list[tuple[int, int]], breaks: list[int], chance: random.Random
) -> None:
    wall, lines = 100.0, []
    for number, (replica, ahead) in enumerate(steps):
        wall += ahead
        lines.append(Line(f"s{replica % 2}", f"s{replica % 2}-{replica}", wall, str(number)))
    seen, got = Seen(0.0), list[Line]()
    for count in [*sorted(breaks), len(lines)]:
        since = chance.choice([0.0, *(line.wall for line in got)])
        got += taken(seen, [line for line in lines[:count] if line.wall >= since])
        seen.begin_again()
    assert got == lines
