"""Histograms and windows: exact sums, bounded quantiles."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.model.signals import BUCKETS, Counts, EdgeKey, Histogram, Window, bounds, bucket_of, bucket_of_ms, merged

durations_ms = st.integers(0, 9_999_999)
histograms = st.dictionaries(st.integers(0, BUCKETS - 1), st.integers(0, 10**6), max_size=12).map(Histogram.of)


def histogram(*seconds: float) -> Histogram:
    return merged(Histogram.of({bucket_of(one): 1}) for one in seconds)


@pytest.mark.parametrize(
    ("ms", "low_s", "high_s"),
    [
        (0, 0.0, 0.001),
        (7, 0.007, 0.008),
        (99, 0.099, 0.1),
        (100, 0.1, 0.11),
        (109, 0.1, 0.11),
        (110, 0.11, 0.12),
        (999, 0.99, 1.0),
        (1000, 1.0, 1.1),
        (12_345, 12.0, 13.0),
        (9_999_999, 9900.0, 10_000.0),
        (10**9, 9900.0, 10_000.0),  # the last bucket takes all above
    ],
)
def test_a_duration_lies_in_its_bucket(ms: int, low_s: float, high_s: float) -> None:
    assert bounds(bucket_of_ms(ms)) == (low_s, high_s)


@given(durations_ms)
def test_a_bucket_holds_what_is_put_into_it_and_is_narrow(ms: int) -> None:
    low, high = bounds(bucket_of_ms(ms))
    assert round(low * 1000) <= ms < round(high * 1000)
    assert high - low <= max(0.001, low / 10) + 1e-9
    assert bucket_of(ms / 1000) == bucket_of_ms(ms)


@given(st.integers(0, BUCKETS - 2))
def test_buckets_leave_no_gap(bucket: int) -> None:
    assert bounds(bucket)[1] == bounds(bucket + 1)[0]


@given(histograms, histograms, histograms)
def test_histograms_add_up_in_any_order(a: Histogram, b: Histogram, c: Histogram) -> None:
    assert (a + b) + c == a + (b + c) == merged((c, a, b))
    assert (a + b).total == a.total + b.total
    assert a + Histogram() == a


@given(histograms, histograms)
def test_a_difference_undoes_a_sum_and_is_never_negative(a: Histogram, b: Histogram) -> None:
    assert (a + b) - b == a
    assert all(count > 0 for _, count in (a - b).counts)


@given(st.lists(durations_ms, min_size=1, max_size=200), st.floats(0, 1))
def test_a_quantile_is_off_by_a_tenth_or_a_millisecond_at_most(ms: list[int], share: float) -> None:
    found = histogram(*(one / 1000 for one in ms)).quantile(share)
    assert found is not None
    exact = sorted(ms)[max(0, math.ceil(share * len(ms) - 1e-9) - 1)] / 1000
    assert abs(found - exact) <= max(0.001, exact / 10) + 1e-9


@given(histograms, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_quantile_is_not_lower(some: Histogram, one: float, other: float) -> None:
    low, high = some.quantile(min(one, other)), some.quantile(max(one, other))
    assert (low is None) == (high is None) == (some.total == 0)
    assert low is None or high is None or low <= high + 1e-12


def test_quantiles_lie_linear_within_their_bucket() -> None:
    assert Histogram().quantile(0.5) is None
    assert Histogram.of({100: 10}).quantile(0.5) == pytest.approx(0.105)
    assert histogram(0.002, 0.004, 0.3).quantile(1.0) == pytest.approx(0.31)


def test_above_counts_only_what_was_surely_slower() -> None:
    some = histogram(0.05, 0.104, 0.2, 3.0)
    assert some.above(0.1) == 2  # 0.104 shares the bucket of 0.1
    assert some.above(5.0) == 0
    assert some.pairs == ((0.051, 1), (0.11, 1), (0.21, 1), (3.1, 1))


def test_counts_add_up_field_by_field() -> None:
    one = Counts(requests=3, failures=1, retries=2, latency=histogram(0.1))
    assert one + one == Counts(requests=6, failures=2, retries=4, latency=histogram(0.1, 0.1))
    assert one + Counts() == one


def test_rates_divide_by_what_was_seen_and_no_data_is_not_zero() -> None:
    seen = Window(from_s=0, to_s=60, seconds=40, counts=Counts(requests=20, failures=5), inflight_s=10)
    assert (seen.rps, seen.failure_share, seen.inflight) == (0.5, 0.25, 0.25)
    blind = Window(from_s=0, to_s=60)
    assert (blind.rps, blind.failure_share, blind.inflight) == (None, None, None)
    assert Window(seconds=10).rps == 0.0


def test_an_edge_reads_like_a_sentence() -> None:
    assert EdgeKey("", 0, "orders", 7).text == "gateway -> orders r7"
    assert EdgeKey("orders", 7, "stripe", 0).text == "orders r7 -> stripe"
