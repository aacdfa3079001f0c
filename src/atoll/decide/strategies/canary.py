"""Canary: a small share of the requests first, and only a passing verdict leads on."""

from atoll.decide.strategies.load import Load
from atoll.decide.verdict import foresee
from atoll.model.state import Release, Step

FIRST_PCT, SECOND_PCT = 10, 50  # a candidate that fails 5 % then fails 0.5 % of all requests; half shows what load does


def steps(candidate: Release, replicas: int) -> tuple[Step, ...]:  # noqa: ARG001  every strategy's signature
    """Those of the file, else a tenth and a half."""
    policy = candidate.spec.rollout
    if policy.steps:
        return tuple(
            Step(
                weight_pct=0 if step.header else step.weight_pct,
                hold_s=step.hold_s,
                header=step.header,
                judged=not step.header,  # those who ask for it by a header are not drawn by lot: no test speaks of them
                approve=step.approve,
            )
            for step in policy.steps
        )
    return tuple(Step(weight_pct=pct, hold_s=10.0, judged=True) for pct in (FIRST_PCT, SECOND_PCT))


def possible(candidate: Release, load: Load | None) -> tuple[bool, str]:
    """Whether today's traffic is expected to let a good candidate pass its first step within its deadline, and a sentence."""
    policy = candidate.spec.rollout
    if load is None or load.rps <= 0:
        return False, "it gets no requests now that could show how it does"
    pass_s = foresee(policy.analysis, load.rps, FIRST_PCT, load.failed_share).pass_s
    rate = f"{load.rps:.3g} requests a second"
    if pass_s is None:
        return False, f"{rate} never let {policy.analysis.detect_failures_pct:g} points more failures be excluded"
    if pass_s > policy.deadline_s / 2:  # the expected time; half of all rollouts take longer
        return False, f"{rate} are too few: a verdict would take about {_time(pass_s)}"
    return True, f"{rate} let a verdict be reached in about {_time(pass_s)}"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
