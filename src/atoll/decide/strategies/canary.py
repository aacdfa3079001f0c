"""Canary: a small share of the requests first, and only a passing verdict leads on."""

from atoll.decide.foresight import foresee
from atoll.decide.strategies.load import Load
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
        return False, f"{rate} never let {policy.analysis.detect_failures_pct:g} % more failures be excluded"
    if pass_s > policy.deadline_s / 2:  # the expected time; half of all rollouts take longer
        return False, f"{rate} are too few: a verdict would take about {_time(pass_s)}"
    return True, f"{rate} let a verdict be reached in about {_time(pass_s)}"


def detects(candidate: Release, steps: tuple[Step, ...], load: Load | None) -> str:
    """What the first step is expected to show of today's traffic; "" where nothing is judged, or nobody knows."""
    first = next((step for step in steps if step.judged and step.weight_pct), None)
    if first is None or load is None or load.rps <= 0:
        return ""
    seen = foresee(candidate.spec.rollout.analysis, load.rps, first.weight_pct, load.failed_share).failing_s
    times = [f"{points:g} % in about {_time(s)}" for points, s in seen.items() if s is not None]
    return f"at {load.rps:.3g} requests a second, more failing requests are seen: {', '.join(times)}" if times else ""


def exposure(candidate: Release, steps: tuple[Step, ...], load: Load | None) -> str:
    """The worst that a bad candidate does to users before it leaves by itself, as far as that can be said."""
    if not steps:
        return ""
    first = steps[0]
    if first.header:
        return f"nobody but who sends {first.header}"
    worst = f"{first.weight_pct} % of the requests"
    if not first.judged or load is None or load.rps <= 0:
        return f"{worst} at first"
    policy = candidate.spec.rollout
    broken_s = foresee(policy.analysis, load.rps, first.weight_pct, load.failed_share, (90,)).failing_s[90]
    until = f"about {_time(max(2.0, broken_s))} if it fails them all" if broken_s is not None else ""
    return (
        f"{worst} for {until or 'as long as the step lasts'}, at most {_time(policy.deadline_s)} unless it is extended"
    )


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
