"""How traffic moves to a new release: one strategy a file, each the steps of a rollout as data.

`choose` is called when a rollout begins; what it says is stored with the rollout and shown to people. Adding a strategy
is a file here, its name in `model.spec.Strategy`, and its row in `BY_NAME`. Pure.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from atoll.decide.facts import exclusive
from atoll.decide.strategies import all_at_once, blue_green, canary, header, rolling
from atoll.decide.strategies.load import Load
from atoll.model.state import Release, Step

STEPS: Mapping[str, Callable[[Release, int], tuple[Step, ...]]] = {
    "canary": canary.steps,
    "header": header.steps,
    "rolling": rolling.steps,
    "blue-green": blue_green.steps,
    "all-at-once": all_at_once.steps,
}


class Choice(NamedTuple):
    """The strategy of one rollout, its steps, why it is that one, and what it can and cannot show, for a person."""

    strategy: str
    steps: tuple[Step, ...]
    why: str
    detects: str = ""
    exposure: str = ""


def choose(candidate: Release, stable: Release | None, replicas: int, load: Load | None) -> Choice:
    """The strategy of a deploy of `replicas` replicas. `load` is what the service gets now; None is not known.

    Where two releases cannot have traffic side by side, all at once is the only one, whatever the file says.
    """
    strategy, why = _chosen(candidate, stable, replicas, load)
    steps = STEPS[strategy](candidate, replicas)
    if steps:
        steps = (*steps, Step(weight_pct=100))
    return Choice(strategy, steps, why, canary.detects(candidate, steps, load), canary.exposure(candidate, steps, load))


def _chosen(candidate: Release, stable: Release | None, replicas: int, load: Load | None) -> tuple[str, str]:
    asked = candidate.spec.rollout.strategy
    if stable is None:
        return "all-at-once", "nothing of it runs yet"
    if not replicas:
        return "all-at-once", "it is scaled to none: there is nothing to watch"
    if exclusive(candidate, stable):
        return "all-at-once", "two releases of it never run at once"
    if not candidate.spec.ports or not stable.spec.ports:
        return "all-at-once", "a worker takes its work by itself: there is no traffic to move"
    if asked != "auto":
        return asked, "its file says so"
    if candidate.spec.rollout.steps:
        return "canary", "its file has steps"
    possible, why = canary.possible(candidate, load)
    return "canary" if possible else "rolling", why
