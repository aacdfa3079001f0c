"""Canary by header: those who ask for the candidate get it, until a person lets everybody have it."""

from atoll.decide.strategies import canary
from atoll.model.state import Release, Step

USUAL = "x-atoll-release: candidate"


def steps(candidate: Release, replicas: int) -> tuple[Step, ...]:
    """The file's steps, of which one has a header; else the usual header, and a person's word."""
    if candidate.spec.rollout.steps:
        return canary.steps(candidate, replicas)
    return (Step(weight_pct=0, header=USUAL, approve=True),)
