"""How one service is, in a word and a sentence, for `status` and the dashboard. Pure.

The daemon's views call `judge_service`; nothing else may invent another word for the same facts.
"""

from typing import NamedTuple

from atoll.decide.facts import is_ready
from atoll.model.state import ENDED, LIVE, Intent, Observation, Reason, Replica, Rollout, ServiceDesired
from atoll.model.wire import ServiceState

LOOP = 2  # crashes in a row


class Condition(NamedTuple):
    """The state in a word, and why it is not simply up ('' when it is)."""

    state: ServiceState
    reason: str = ""
    reason_id: str = ""


def judge_service(
    intent: Intent, rollout: Rollout | None, want: ServiceDesired, seen: Observation, jobs_only: bool = False
) -> Condition:
    """The condition of a service from what is wanted of it, its newest rollout, and what is seen. One with `jobs_only` is
    up without a replica.
    """
    if rollout is not None and rollout.phase not in ENDED | LIVE:
        return Condition("deploying", *(_problem(seen) or _deploying(rollout, seen)))
    undone: tuple[str, str] = ("", "")
    if rollout is not None and rollout.phase == "undone":
        undone = f"r{rollout.candidate} was undone: {rollout.reason}", rollout.reason_id
    current = max(want.revisions, key=lambda rev: rev.weight_pct, default=None)
    if intent.target is None or current is None:
        return Condition("down", *undone)
    if jobs_only:
        return Condition("up", *(_problem(seen) or undone))
    if current.replicas == 0:
        return Condition("down", "scaled to 0 replicas by hand" if intent.replicas == 0 else "its file says 0 replicas")
    mine = [one for one in seen.replicas if one.record.release == current.release]
    ready = sum(1 for one in mine if is_ready(one))
    if ready >= current.replicas:
        return Condition("up", *(_problem(seen) or undone))
    text, id = _problem(seen) or _missing(current.release, mine, seen)
    if ready:
        return Condition("degraded", f"{ready} of {current.replicas} ready; {text}", id)
    return Condition("failing", text, id)


def _problem(seen: Observation) -> tuple[str, str] | None:
    return (seen.problem, seen.problem_id) if seen.problem else None


def _deploying(rollout: Rollout, seen: Observation) -> tuple[str, str]:
    name = f"r{rollout.candidate}"
    if rollout.reason:
        return f"going back from {name}: {rollout.reason}", rollout.reason_id
    mine = [one for one in seen.replicas if one.record.release == rollout.candidate]
    if rollout.phase == "starting" and not any(is_ready(one) for one in mine):
        text, id = _missing(rollout.candidate, mine, seen)
        return f"{name} is starting: {text}", id
    if rollout.phase == "stepping" and rollout.steps:
        step = rollout.steps[rollout.step]
        share = f"requests with {step.header}" if step.header else f"{step.weight_pct} % of the requests"
        count = f"step {rollout.step + 1} of {len(rollout.steps)}: {share}"
        return f"{name}: {count}{f'; {rollout.waits}' if rollout.waits else ''}", ""
    words = {
        "holding": "requests are being held",
        "stopping": "requests are held while the previous release stops",
        "preparing": "what runs before it has not ended",
        "starting": "is ready; it must stay so for its stability window",
        "shifting": "the proxy takes the switch",
        "releasing": "the held requests are let go",
        "draining": "requests at the previous release finish",
    }
    return f"{name}: {words.get(rollout.phase, rollout.phase)}", ""


def _missing(release: int, mine: list[Replica], seen: Observation) -> tuple[str, str]:
    """Why a release has fewer ready replicas than it should."""
    crashes, end = seen.backoff.get(release, 0), seen.last_exit.get(release)
    if crashes >= LOOP and end is not None:
        return f"crash loop: {crashes} crashes in a row, last: {end.text}", end.id
    if any(one.alive is None for one in mine):
        return "the host was not asked yet", ""
    for one in mine:
        if one.reason and not is_ready(one):
            return one.reason, one.reason_id
    after = seen.given_up.get(release) or (end and Reason(end.text, end.id))
    return (f"restarting after: {after.text}", after.id) if crashes and after else ("starting", "")
