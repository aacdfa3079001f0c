"""Verdicts: what convicts, what passes, what is too little to speak of; and that chance convicts as rarely as promised."""

import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from atoll.decide.evidence import FINE, WORSE, add, below, log_e_two_arms, log_mean, reached
from atoll.decide.foresight import foresee
from atoll.decide.verdict import Block, Neighbour, Side, alpha_of, judge, observe
from atoll.model.analysis import Analysis, AnalysisPolicy, Evidence
from atoll.model.signals import Histogram, bucket_of

POLICY = AnalysisPolicy()


def times(*ms: float, of: int = 1) -> Histogram:
    """`of` requests of each of these durations."""
    counts: dict[int, int] = {}
    for one in ms:
        counts[bucket_of(one / 1000)] = counts.get(bucket_of(one / 1000), 0) + of
    return Histogram.of(counts)


def side(requests: int, bad: int = 0, ms: float = 30.0) -> Side:
    """Durations from 0.8 to 1.2 of `ms`, evenly."""
    spread = times(*(ms * (0.8 + 0.1 * (n % 5)) for n in range(requests)))
    return Side(requests, bad, spread)


BEFORE = side(600)


def seconds(count: int, mine: Side, other: Side, policy: AnalysisPolicy = POLICY, **more: Any) -> Analysis:
    analysis = more.pop("analysis", Analysis())
    for _ in range(count):
        analysis = observe(policy, analysis, [Block("", mine, other, BEFORE)], **more)
    return analysis


# --- what convicts ------------------------------------------------------------------------------------------------


def test_a_candidate_that_fails_where_the_stable_release_does_not_is_convicted_within_seconds() -> None:
    verdict = judge(POLICY, seconds(6, side(10, bad=2), side(90)))
    assert verdict.outcome == "fail"
    assert verdict.text == "20 % (12 of 60) of its requests failed, 0 % (0 of 540) of the stable release's"
    finding = verdict.findings[0]
    assert (finding.metric, finding.total, finding.bad, finding.other_total) == ("failures", 60, 12, 540)
    assert finding.chance <= finding.alpha


def test_failures_that_hit_both_alike_convict_nobody() -> None:
    verdict = judge(POLICY, seconds(300, side(10, bad=3), side(90, bad=27)))
    assert verdict.outcome != "fail"


def test_a_difference_that_is_tolerated_does_not_convict_however_sure_it_is() -> None:
    analysis = Analysis()
    for second in range(3000):  # 0.05 points more, in a sample of millions
        bad = 1 if second % 2 == 0 else 0
        analysis = observe(
            POLICY, analysis, [Block("", Side(1000, bad, Histogram()), Side(1000, 0, Histogram()), BEFORE)]
        )
    assert reached(analysis.tracks["failures"].worse, POLICY.alpha / 2)
    assert judge(replace(POLICY, latency=False), analysis).outcome == "pass"


def test_a_candidate_that_is_half_as_fast_is_convicted_and_one_a_tenth_slower_is_not() -> None:
    assert judge(POLICY, seconds(60, side(10, ms=60), side(90))).outcome == "fail"
    assert judge(POLICY, seconds(60, side(10, ms=33), side(90))).outcome == "pass"


def test_a_few_milliseconds_are_the_machines_noise() -> None:
    analysis = Analysis()
    for _ in range(100):
        block = Block("", Side(10, 0, times(4, of=10)), Side(90, 0, times(2, of=90)), Side(600, 0, times(2, of=600)))
        analysis = observe(POLICY, analysis, [block])
    assert judge(POLICY, analysis).outcome == "pass"


def test_one_bad_second_convicts_nobody_of_being_slow() -> None:
    analysis = seconds(1, side(200, ms=3000), side(200))
    assert judge(POLICY, seconds(30, side(10), side(90), analysis=analysis)).outcome == "pass"


NOBODY = Side(0, 0, Histogram())


@pytest.mark.parametrize("bad", [{"bad": 10}, {"ms": 3000}], ids=["failing", "slow"])
@pytest.mark.parametrize("policy", [POLICY, replace(POLICY, max_failures_pct=1.0, max_latency_s=0.1)])
@pytest.mark.parametrize("edges", [1, 2, 12])
def test_one_bad_second_convicts_nobody_however_many_call_it(
    bad: dict[str, Any], policy: AnalysisPolicy, edges: int
) -> None:
    """One pause is one event, on each edge at once."""
    callers = [f"web{n}" for n in range(edges)]
    bad_second = [Block(name, side(10, **bad), side(90), BEFORE) for name in callers]
    assert judge(policy, observe(policy, Analysis(), bad_second)).outcome != "fail"
    after = observe(
        policy, Analysis(), [Block(name, side(10, **bad), NOBODY, BEFORE) for name in callers], beside=False
    )
    assert judge(policy, after).outcome != "fail"


def test_edges_are_judged_apart_only_where_there_are_several() -> None:
    """The same numbers under two names would spend alpha twice."""
    analysis = Analysis()
    for _ in range(3):
        well = Neighbour("web", 100, 1, before_requests=6000, before_failed=6)
        analysis = observe(POLICY, analysis, [Block("web", side(10), side(90), BEFORE)], [well])
    assert list(analysis.tracks) == ["failures", "latency", "callers web"]
    both = [Block("", side(10), side(90), BEFORE), Block("web", side(10), side(90), BEFORE)]
    names = list(observe(POLICY, analysis, both).tracks)
    assert names[3:] == ["failures gateway", "latency gateway", "failures web", "latency web"]


def test_a_caller_of_which_everything_failed_before_convicts_nobody() -> None:
    """The release that mends it comes on just such a day."""
    analysis = Analysis()
    for _ in range(30):
        broken = Neighbour("web", 100, 50, before_requests=600, before_failed=600)
        analysis = observe(POLICY, analysis, [Block("web", side(10), side(90), BEFORE)], [broken])
    assert judge(POLICY, analysis).outcome == "inconclusive"


def test_an_objective_of_everything_convicts_nobody() -> None:
    lax = replace(POLICY, max_failures_pct=100.0)
    finding = next(
        one for one in judge(lax, seconds(30, side(10, bad=9), side(90, bad=81), lax)).findings if "max" in one.metric
    )
    assert finding.outcome == "pass"


def test_latencies_do_not_count_while_it_is_warming_up() -> None:
    cold = seconds(30, side(10, ms=300), side(90), warm=False)
    assert "latency" not in cold.tracks
    assert judge(POLICY, cold).outcome == "no data"


def test_an_edge_on_which_it_fails_convicts_it_although_the_others_hide_it() -> None:
    analysis = Analysis()
    for _ in range(60):
        big = Block("", side(1000), side(1000), BEFORE)
        small = Block("web", side(5, bad=3), side(5), BEFORE)
        analysis = observe(POLICY, analysis, [big, small])
    verdict = judge(POLICY, analysis)
    assert verdict.outcome == "fail"
    assert any(one.metric == "failures web" and one.outcome == "fail" for one in verdict.findings)
    assert "called by web" in verdict.text


def test_a_caller_that_fails_more_than_before_convicts_it_though_all_its_answers_are_well() -> None:
    analysis = Analysis()
    for _ in range(60):
        hurt = Neighbour("web", 100, 10, before_requests=6000, before_failed=6)
        analysis = observe(POLICY, analysis, [Block("web", side(10), side(90), BEFORE)], [hurt])
    verdict = judge(POLICY, analysis)
    assert verdict.outcome == "fail"
    assert "of the requests to web failed" in verdict.text


@pytest.mark.parametrize(
    ("policy", "mine", "words"),
    [
        ({"max_failures_pct": 1.0}, side(20, bad=1), "1 % are allowed"),
        ({"max_latency_s": 0.1}, side(20, ms=150), "took more than 100 ms, 5 % are allowed"),
    ],
)
def test_an_objective_convicts_although_the_stable_release_is_as_bad(
    policy: dict[str, Any], mine: Side, words: str
) -> None:
    strict = replace(POLICY, **policy)
    analysis = Analysis()
    for _ in range(100):
        analysis = observe(strict, analysis, [Block("", mine, mine, mine)])
    verdict = judge(strict, analysis)
    assert verdict.outcome == "fail"
    assert words in verdict.text


def test_after_the_switch_it_is_compared_with_what_was_before() -> None:
    nobody = NOBODY
    bad = judge(POLICY, seconds(30, side(100, bad=5), nobody, beside=False))
    assert bad.outcome == "fail"
    assert bad.text == "5.00 % (150 of 3000) of its requests failed, compared with the stable release before"
    assert judge(POLICY, seconds(60, side(100), nobody, beside=False)).outcome == "pass"


def test_after_the_switch_waiting_times_do_not_convict_as_more_load_makes_all_wait() -> None:
    slow = judge(POLICY, seconds(60, side(100, ms=90), NOBODY, beside=False))
    assert slow.outcome == "inconclusive"
    assert "or there was more load" in slow.text
    named = replace(POLICY, max_latency_s=0.05)
    assert judge(named, seconds(60, side(100, ms=90), NOBODY, beside=False, policy=named)).outcome == "fail"


def test_evidence_is_carried_over_the_switch() -> None:
    beside = seconds(2, side(10, bad=1), side(90))
    after = observe(POLICY, beside, [Block("", side(100), Side(0, 0, Histogram()), BEFORE)], beside=False)
    assert after.tracks["failures"].worse.peak >= beside.tracks["failures"].worse.peak


# --- what passes, and what does not -------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 4])
def test_nothing_passes_below_its_least_sample(count: int) -> None:
    verdict = judge(POLICY, seconds(count, side(10), side(90)))
    assert verdict.outcome == "no data"
    assert verdict.text == f"{10 * count} requests were measured, 50 are the least to judge by"


def test_too_few_requests_to_exclude_the_regression_are_inconclusive_and_say_so() -> None:
    verdict = judge(POLICY, seconds(10, side(10), side(90)))
    assert verdict.outcome == "inconclusive"
    assert "too few to exclude 1 point more" in verdict.text


def test_waiting_times_that_are_missing_are_named_although_requests_are_not() -> None:
    cold = seconds(10, side(10), side(90), warm=False)
    assert judge(POLICY, cold).text == "0 waiting times were measured, 50 are the least to judge by"


def test_how_near_a_pass_is_grows_with_the_evidence_and_comes_true() -> None:
    verdicts = [judge(POLICY, seconds(count, side(10), side(90))) for count in (5, 10, 20)]
    assert [verdict.progress for verdict in verdicts] == sorted(verdict.progress for verdict in verdicts)
    halfway = verdicts[1]
    assert 0.0 < halfway.progress < 1.0
    assert halfway.pass_in_s is not None
    almost, there = (
        judge(POLICY, seconds(round(10 + halfway.pass_in_s + more), side(10), side(90))) for more in (-3, 3)
    )
    assert (almost.outcome, there.outcome) == ("inconclusive", "pass")
    assert (there.progress, there.pass_in_s) == (1.0, None)


def test_a_candidate_that_makes_no_headway_has_no_time_to_a_pass() -> None:
    nothing = judge(POLICY, seconds(20, side(10, bad=1), side(90)))
    assert (nothing.progress, nothing.pass_in_s) == (0.0, None)


def test_a_good_candidate_passes_and_its_verdict_names_the_sample() -> None:
    verdict = judge(POLICY, seconds(60, side(10), side(90)))
    assert verdict.outcome == "pass"
    assert (verdict.requests, verdict.other_requests, verdict.seconds) == (600, 5400, 60)


def test_without_latencies_to_compare_with_a_candidate_does_not_pass() -> None:
    analysis = Analysis()
    for _ in range(60):
        analysis = observe(POLICY, analysis, [Block("", side(10), side(90), Side(0, 0, Histogram()))])
    verdict = judge(POLICY, analysis)
    assert (verdict.outcome, verdict.text) == ("no data", "0 waiting times were measured, 50 are the least to judge by")


@given(
    blocks=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 90)), max_size=40),
    least=st.integers(1, 200),
)
@settings(max_examples=60, deadline=None)
def test_no_verdict_passes_or_is_inconclusive_without_the_least_sample(
    blocks: list[tuple[int, int, int]], least: int
) -> None:
    policy = replace(POLICY, min_requests=least)
    analysis, sent = Analysis(), 0
    for requests, bad, others in blocks:
        sent += requests
        mine = side(requests, min(bad, requests))
        analysis = observe(policy, analysis, [Block("", mine, side(others), BEFORE)])
    if judge(policy, analysis).outcome in ("pass", "inconclusive"):
        assert sent >= least


# --- the statistics ------------------------------------------------------------------------------------------------


@given(n=st.integers(2, 60), data=st.data(), theta=st.sampled_from([*WORSE, *FINE]))
@settings(max_examples=150, deadline=None)
def test_the_mean_of_a_blocks_e_value_is_at_most_one_when_both_arms_are_alike(
    n: int, data: st.DataObject, theta: float
) -> None:
    mine, bad = data.draw(st.integers(1, n - 1)), data.draw(st.integers(0, n))
    mean = math.fsum(
        math.comb(bad, x)
        * math.comb(n - bad, mine - x)
        / math.comb(n, mine)
        * math.exp(log_e_two_arms(x, mine, bad, n, theta))
        for x in range(max(0, mine + bad - n), min(mine, bad) + 1)
    )
    assert mean <= 1 + 1e-9


@given(total=st.integers(1, 40), share=st.floats(0.01, 0.9))
@settings(max_examples=100, deadline=None)
def test_the_mean_of_the_evidence_for_a_smaller_share_is_at_most_one_at_the_share_itself(
    total: int, share: float
) -> None:
    mean = math.fsum(
        math.comb(total, bad) * share**bad * (1 - share) ** (total - bad) * math.exp(log_mean(below(bad, total, share)))
        for bad in range(total + 1)
    )
    assert mean <= 1 + 1e-9


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=30), st.floats(0.1, 3))
def test_the_peak_never_falls_and_a_bound_only_lowers(blocks: list[tuple[float, float]], most: float) -> None:
    free, bound = Evidence(), Evidence()
    for logs in blocks:
        before = free.peak
        free, bound = add(free, logs), add(bound, logs, most)
        assert free.peak >= before
        assert all(low <= high + 1e-9 for low, high in zip(bound.logs, free.logs, strict=True))


def test_all_tests_together_spend_no_more_than_alpha() -> None:
    assert sum(alpha_of(POLICY, rank) for rank in range(1, 10_000)) <= POLICY.alpha


def test_chance_convicts_no_more_often_than_promised() -> None:
    """A small simulation with its seed; bench/verdicts.py has the large one. 200 rollouts of the same release twice."""
    policy = replace(POLICY, alpha=0.05, latency=False)
    convicted = 0
    for seed in range(200):
        draw = random.Random(seed)
        analysis = Analysis()
        for _ in range(200):
            mine, other = (sum(draw.random() < 0.02 for _ in range(n)) for n in (10, 40))
            block = Block("", Side(10, mine, Histogram()), Side(40, other, Histogram()), Side(0, 0, Histogram()))
            analysis = observe(policy, analysis, [block])
        convicted += judge(policy, analysis).outcome == "fail"
    assert convicted <= 10  # 5 % of 200; the bound is conservative, so far fewer are expected


# --- before a rollout ----------------------------------------------------------------------------------------------


def test_more_traffic_sees_sooner_and_larger_regressions_are_seen_sooner() -> None:
    slow, fast = foresee(POLICY, 10, 10), foresee(POLICY, 100, 10)
    assert slow.pass_s
    assert fast.pass_s
    assert slow.pass_s > 5 * fast.pass_s
    seen = [fast.failing_s[points] for points in (1, 5, 20)]
    assert all(one is not None for one in seen)
    assert seen == sorted(seen, reverse=True)  # type: ignore[type-var]


def test_without_traffic_nothing_is_foreseen() -> None:
    assert foresee(POLICY, 0, 10).pass_s is None
    assert set(foresee(POLICY, 0, 10).failing_s.values()) == {None}


def test_what_is_tolerated_is_never_promised_to_be_seen() -> None:
    assert foresee(POLICY, 1000, 10, points=(0.05,)).failing_s[0.05] is None
