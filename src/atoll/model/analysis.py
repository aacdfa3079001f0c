"""How a candidate is judged: the policy, what a rollout's analysis has gathered, and what it says.

What was gathered is stored with the rollout, so that a new daemon goes on with it; `decide.verdict` alone changes it.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from atoll.model.command import Command

Outcome = Literal[
    "pass",  # a regression of the size that the policy names is excluded
    "fail",  # the candidate is worse, and by chance that would be seen in less than alpha of all rollouts
    "inconclusive",  # enough was measured to speak of, not enough to decide
    "no data",  # less than the minimum was measured
    "error",  # nothing could be measured: the source does not answer
]


class Evidence(msgspec.Struct, frozen=True):
    """What was gathered against one null hypothesis: for each alternative the logarithm of its e-value, and the peak."""

    logs: tuple[float, ...] = ()
    peak: float = 0.0  # the highest mixture ever: Ville's bound is on it


class Track(msgspec.Struct, frozen=True, kw_only=True):
    """One test of one analysis: one metric over one edge, or over all of them."""

    rank: int  # the order of appearance, from 1: decides its share of alpha
    worse: Evidence = Evidence()  # against "the candidate is not worse"
    fine: Evidence = Evidence()  # against "the candidate is worse by at least what the policy wants excluded"
    total: int = 0  # the candidate's requests
    bad: int = 0  # of these, failed or slow
    other_total: int = 0  # the stable release's, in the same seconds
    other_bad: int = 0


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """What a check of the file's own answered so far."""

    good: int = 0
    bad: int = 0
    silent: int = 0  # in a row: no answer at all, so that nothing is known
    text: str = ""  # the last one


class Analysis(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, for one rollout. Keys of `tracks`: `failures`, `latency`, and `failures web` for the edge from web."""

    tracks: Mapping[str, Track] = {}
    seconds: float = 0.0  # in which something was looked at
    answers: Mapping[str, Answers] = {}  # by the check's name


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one test says, with its numbers: the ledger keeps these."""

    metric: str  # as the keys of `Analysis.tracks`
    outcome: Outcome
    test: str  # its name, for people
    total: int = 0  # the candidate's requests, and the bad ones among them
    bad: int = 0
    other_total: int = 0
    other_bad: int = 0
    chance: float = 1.0  # at most this often would a release that is no worse look so bad at any look
    alpha: float = 0.0  # below which `chance` convicts
    text: str = ""  # one sentence


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known about a candidate now. `text` is one sentence for a person."""

    outcome: Outcome
    text: str = ""
    findings: tuple[Finding, ...] = ()
    requests: int = 0  # the candidate's, that were judged
    other_requests: int = 0
    seconds: float = 0.0
    progress: float = 0.0  # how much of the evidence that a pass takes is there (0..1); of the slower of both metrics
    pass_in_s: float | None = None  # until it is there if the rest comes as fast; None: nobody knows, or it passed


class AnalysisPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What a candidate is judged by, and how sure that must be. Shares of `alpha` and `beta` are 0..1, percentages 0..100."""

    dry_run: bool = False  # verdicts are told and written down, and nothing follows from them
    alpha: float = 0.01  # of rollouts of a release that is no worse, at most this share is rolled back
    beta: float = 0.05  # of those with a regression of the size below, about this share may pass
    min_requests: int = 50  # to the candidate, before a word is said
    detect_failures_pct: float = 1.0  # points: a candidate passes when so many more failing requests are excluded
    tolerate_failures_pct: float = 0.1  # points: fewer more than this are let go, however sure they are
    latency: bool = True
    detect_slower_pct: float = 50.0
    tolerate_slower_pct: float = 20.0  # a new build moves a few per cent by the layout of its code alone
    tolerate_slower_s: float = 0.005  # below, the machine's scheduler is what is measured
    warmup_s: float | None = None  # latencies of the candidate's first seconds do not count; None is by its builder
    max_failures_pct: float | None = None  # an objective, whatever the stable release does
    max_latency_s: float | None = None  # the same, for the 95th percentile of the candidate's waiting times


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A question besides the proxy's counts, asked again and again while a candidate is judged: exactly one of `http`,
    `command` and `query`.
    """

    name: str
    http: str = ""  # a URL: 2xx is well
    command: Command | None = None  # in a replica of the candidate: exit code 0 is well
    query: str = ""  # PromQL; every value of its answer must be within `min` and `max`
    prometheus: str = ""  # the server's URL
    min: float | None = None
    max: float | None = None
    every_s: float = 30.0
    timeout_s: float = 10.0
    failures: int = 0  # bad answers that are let go, over the whole rollout
