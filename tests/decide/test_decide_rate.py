"""Token buckets."""

from hypothesis import given
from hypothesis import strategies as st

from atoll.decide.rate import Allowance, Bucket, take

TWO = Allowance(burst=2, each_s=10.0)


def test_a_burst_and_then_one_each_so_often() -> None:
    bucket: Bucket | None = None
    waits = []
    for now_s in (0.0, 0.0, 0.0, 5.0, 10.0, 10.0, 1000.0, 1000.0, 1000.0):
        bucket, wait_s = take(bucket, TWO, now_s)
        waits.append(wait_s)
    assert waits == [0, 0, 10, 5, 0, 10, 0, 0, 10]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=200))
def test_over_any_time_no_more_get_through_than_is_allowed(gaps: list[float]) -> None:
    bucket, now_s, through = None, 0.0, 0
    for gap in gaps:
        now_s += gap
        bucket, wait_s = take(bucket, TWO, now_s)
        through += wait_s == 0
    assert through <= TWO.burst + now_s / TWO.each_s + 1e-6


def test_a_clock_that_goes_back_gives_and_takes_nothing() -> None:
    assert take(Bucket(1.5, 100.0), TWO, 50.0) == (Bucket(0.5, 50.0), 0.0)
