"""What the traffic of now can show of a candidate, told before its rollout begins: how long a pass and a conviction take.

`decide.strategies` asks; the numbers are expectations of the evidence that `decide.verdict` will gather.
"""

from collections.abc import Iterable, Mapping
from math import log, log1p
from typing import NamedTuple

from atoll.decide.evidence import WORSE, below, requests_until
from atoll.decide.verdict import alpha_of
from atoll.model.analysis import AnalysisPolicy


class Foresight(NamedTuple):
    """What a rollout's traffic can show: seconds until a regression is expected to be seen, None for never."""

    pass_s: float | None  # until a good candidate is expected to pass
    failing_s: Mapping[float, float | None]  # points more failing requests -> until it is seen


def foresee(
    policy: AnalysisPolicy,
    rps: float,
    weight_pct: float,
    failed_share: float = 0.0,
    points: Iterable[float] = (1, 5, 20),
) -> Foresight:
    """What is expected of `rps` requests a second, of which the candidate gets `weight_pct`, when `failed_share` (0..1) of
    them fail today.
    """
    mine = rps * weight_pct / 100.0
    if mine <= 0:
        return Foresight(None, dict.fromkeys(points))
    usual = max(failed_share, 1e-6)
    excluded = min(0.95, usual + policy.detect_failures_pct / 100.0)

    def fine(n: int) -> tuple[float, ...]:
        return tuple(n * one for one in _expected_below(usual, excluded))

    until_pass = requests_until(fine, policy.beta)
    needed = None if until_pass is None else max(until_pass, policy.min_requests)
    found: dict[float, float | None] = {}
    for more in points:
        share = min(0.99, usual + more / 100.0)
        gain = _expected_two_arms(share, usual, weight_pct / 100.0)
        requests = requests_until(lambda n, gain=gain: tuple(n * one for one in gain), alpha_of(policy, 1))  # type: ignore[misc]
        found[more] = (
            None if requests is None or share - usual < policy.tolerate_failures_pct / 100.0 else requests / mine
        )
    return Foresight(None if needed is None else needed / mine, found)


def _expected_below(share: float, excluded: float) -> tuple[float, ...]:
    """The expected log e-value of one request of `below`, when the true share is `share`."""
    good, bad = below(0, 1, excluded), below(1, 1, excluded)
    return tuple((1 - share) * well + share * ill for well, ill in zip(good, bad, strict=True))


def _expected_two_arms(mine: float, other: float, weight: float) -> tuple[float, ...]:
    """The expected log e-value per request of the candidate, of blocks with few bad requests."""
    bad = mine + other * (1 - weight) / weight  # of both arms, per request of the candidate
    return tuple(mine * log(theta) - bad * log1p((theta - 1) * weight) for theta in WORSE)
