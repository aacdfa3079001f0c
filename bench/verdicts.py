"""Verdicts on simulated rollouts: how often a good release is rolled back, how fast a bad one is.

Each line is up to 300 rollouts, seeded, of `decide.verdict` with its default policy: a tenth of the requests goes to the
candidate, 0.1 % of the stable release's fail, waiting times are log-normal around 30 ms (sigma 0.5), arrivals are Poisson.
The evidence is looked at each second until it convicts or the horizon ends; a pass on the way is noted and does not end it,
so the false-rollback rate is that of the most looks anybody could take. Shares have their 95 % Wilson interval; times are
medians of those that got there. Nothing runs and nothing is measured on a clock.
"""

from __future__ import annotations

import math
import multiprocessing
import random
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from typing import NamedTuple

from atoll.decide.verdict import Block, Side, judge, observe
from atoll.model.analysis import Analysis, AnalysisPolicy
from atoll.model.signals import Histogram, bucket_of
from bench.report import Result
from bench.stats import wilson

WEIGHT = 0.1
USUAL_FAILING = 0.001
MEDIAN_S, SIGMA = 0.03, 0.5
HORIZONS_S = {1: 3600, 10: 1800, 100: 400}  # by requests a second: about as many requests as a patient rollout sees
EFFECTS: tuple[tuple[str, float, float], ...] = (
    ("no regression", 0.0, 0.0),
    ("1 % more failing", 0.01, 0.0),
    ("5 % more failing", 0.05, 0.0),
    ("20 % more failing", 0.2, 0.0),
    ("10 % slower", 0.0, 0.1),
    ("50 % slower", 0.0, 0.5),
)
ALIKE, WORSE = 300, 80  # rollouts of each kind: a rare event takes more of them than a time
POLICY = AnalysisPolicy()
_WARMUP_S = 5
_GRID = 2000  # of the latency distribution


class Ended(NamedTuple):
    """One simulated rollout: seconds until it was convicted and until it passed, None for never; requests it failed."""

    convicted_s: int | None
    passed_s: int | None
    exposure: float  # failed by the candidate, as a share of all requests, until it was convicted


def rollout(seed: int, rps: float, failing: float, slower: float, horizon_s: int) -> Ended:
    """Play one rollout to its conviction, or to the horizon."""
    draw = random.Random(seed)
    before = _side(draw, max(30, round(rps * 60)), USUAL_FAILING, 1.0)
    analysis, passed_s, failed, requests = Analysis(), None, 0, 0
    for second in range(1, horizon_s + 1):
        arrived = _poisson(draw, rps)
        share = sum(draw.random() < WEIGHT for _ in range(arrived))
        mine = _side(draw, share, USUAL_FAILING + failing, 1.0 + slower)
        other = _side(draw, arrived - share, USUAL_FAILING, 1.0)
        requests, failed = requests + arrived, failed + mine.bad
        analysis = observe(POLICY, analysis, [Block("", mine, other, before)], warm=second > _WARMUP_S)
        outcome = judge(POLICY, analysis).outcome
        if outcome == "fail":
            return Ended(second, passed_s, failed / max(1, requests))
        if outcome == "pass" and passed_s is None:
            passed_s = second
    return Ended(None, passed_s, failed / max(1, requests))


def run(*, quick: bool) -> Result:
    result = Result()
    for rps, horizon_s in HORIZONS_S.items():
        for name, failing, slower in EFFECTS:
            alike = failing == slower == 0
            count = 20 if quick else ALIKE if alike else WORSE
            ended = played(count, rps, failing, slower, horizon_s)
            bad = [one.convicted_s for one in ended if one.convicted_s is not None]
            good = [one.passed_s for one in ended if one.passed_s is not None]
            low, high = wilson(len(bad), len(ended))
            value = f"rolled back {100 * len(bad) / len(ended):.1f} % ({100 * low:.1f} to {100 * high:.1f}, n = {len(ended)})"
            value += f" after {_median(bad)}; passed {100 * len(good) / len(ended):.0f} % after {_median(good)}"
            target, met = (f"at most {100 * POLICY.alpha:g} %", low <= POLICY.alpha) if alike else ("", None)
            result.add(f"{rps} requests/s, {name}", value, target, met)
    result.notes.append(
        f"Up to {POLICY.tolerate_slower_pct:g} % slower is tolerated by default: 10 % slower is let go, not missed."
    )
    return result


def played(count: int, rps: float, failing: float, slower: float, horizon_s: int) -> list[Ended]:
    """Many rollouts, on all processors; the seeds are 0, 1, 2 ..."""
    # Not forked: a child of a process with threads may wait for ever for a lock that one of them held.
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(rollout, seed, rps, failing, slower, horizon_s) for seed in range(count)]
        return [job.result() for job in jobs]


@cache
def _latencies(factor: float) -> tuple[int, ...]:
    """Buckets at even quantiles of the distribution, times `factor`: drawing one is drawing a latency."""
    from statistics import NormalDist

    normal = NormalDist(math.log(MEDIAN_S * factor), SIGMA)
    return tuple(bucket_of(math.exp(normal.inv_cdf((n + 0.5) / _GRID))) for n in range(_GRID))


def _side(draw: random.Random, requests: int, failing: float, factor: float) -> Side:
    bad = sum(draw.random() < failing for _ in range(requests))
    return Side(requests, bad, Histogram.of(Counter(draw.choices(_latencies(factor), k=requests))))


def _poisson(draw: random.Random, mean: float) -> int:
    if mean > 30:
        return max(0, round(draw.gauss(mean, math.sqrt(mean))))
    limit, count, product = math.exp(-mean), 0, draw.random()
    while product > limit:
        count, product = count + 1, product * draw.random()
    return count


def _median(seconds: list[int]) -> str:
    if not seconds:
        return "never"
    middle = sorted(seconds)[len(seconds) // 2]
    return f"{middle} s" if middle < 120 else f"{middle / 60:.0f} min"
