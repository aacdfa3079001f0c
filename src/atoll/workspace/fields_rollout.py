"""The fields of `[rollout]`, of its steps and of its analysis, with their short forms. See `fields_service`."""

import re
from typing import Any

from atoll.model.spec import AnalysisPolicy, RolloutSpec, RolloutStep
from atoll.workspace.kinds import Choice, Duration, Either, Flag, Integer, ListOf, Mapped, Percent, Text, wrong
from atoll.workspace.tables import Field, Table

STRATEGIES = ("auto", "canary", "header", "rolling", "blue-green", "all-at-once")
HEADER = Text(
    "`name: value`",
    pattern=r"[A-Za-z0-9-]+:\s*\S[^\r\n]*",
    must='be a header with its value, such as "x-canary: yes"',
    mend=lambda text: re.sub(r"\s*=\s*", ": ", text.strip(), count=1),
)


def _weight(value: float) -> int:
    if value != int(value) or not 1 <= value <= 99:
        raise wrong(
            f'must be a whole percentage from "1%" to "99%", not "{value:g}%"', "all traffic comes last by itself"
        )
    return int(value)


WEIGHT = Mapped(Percent(), _weight, shape={"pattern": r"^[1-9]\d?(\.0+)?\s?%$"})


def _share(value: float) -> float:
    if not 0 < value < 50:
        raise wrong(f'must be more than "0%" and less than "50%", not "{value:g}%"')
    return value / 100.0


CHANCE = Mapped(Percent(), _share)


def _step(weight_pct: int = 0, header: str = "", **rest: Any) -> RolloutStep:
    if bool(weight_pct) == bool(header):
        what = (
            "has weight and header: those with the header get the candidate"
            if header
            else "has neither weight nor header"
        )
        raise wrong(what, 'such as { weight = "10%" } or { header = "x-canary: yes", approve = true }')
    return RolloutStep(weight_pct=weight_pct, header=header, **rest)


STEP_TABLE = Table(
    "a step",
    (
        Field(
            "weight",
            WEIGHT,
            "This share of the requests goes to the candidate.",
            ('"10%"',),
            into="weight_pct",
            default="none",
        ),
        Field(
            "header", HEADER, "Requests with this header go to it, and no others.", ('"x-canary: yes"',), default="none"
        ),
        Field("hold", Duration(0, 604_800), "At least for so long.", ('"1m"',), into="hold_s"),
        Field("approve", Flag(), "Go on only when a person says so: `atoll rollout resume`.", ("true",)),
    ),
    _step,
    spec=RolloutStep,
    says="table (see Steps)",
    shape={"oneOf": [{"required": ["weight"]}, {"required": ["header"]}]},
)
STEP = Either(
    text=Mapped(WEIGHT, lambda weight_pct: RolloutStep(weight_pct=weight_pct)),
    table=STEP_TABLE,
    fix='such as "10%", or { weight = "10%", hold = "1m" }',
)

ANALYSIS_TABLE = Table(
    "[rollout.analysis]",
    (
        Field(
            "alpha",
            CHANCE,
            "Of all deploys of a release that is no worse, at most this share is rolled back; looks, edges and metrics"
            " together spend it.",
            ('"5%"',),
        ),
        Field("beta", CHANCE, "Of those with a regression of the size below, about this share may pass.", ('"10%"',)),
        Field("min_requests", Integer(1, 10_000_000), "To the candidate, before a word is said.", ("200",)),
        Field(
            "detect_failures",
            Percent(),
            "A candidate passes when so many points more failing requests are excluded.",
            ('"0.5%"',),
            into="detect_failures_pct",
        ),
        Field(
            "tolerate_failures",
            Percent(),
            "Fewer points more than this are let go, however sure they are.",
            ('"0%"',),
            into="tolerate_failures_pct",
        ),
        Field("latency", Flag(), "Whether waiting times are judged.", ("false",)),
        Field(
            "detect_slower",
            Percent(),
            "A candidate passes when answers that are so much slower are excluded.",
            ('"30%"',),
            into="detect_slower_pct",
        ),
        Field(
            "tolerate_slower",
            Percent(),
            "Answers that are slower by less are let go.",
            ('"10%"',),
            into="tolerate_slower_pct",
        ),
        Field(
            "tolerate_slower_by",
            Duration(0, 60),
            "The same as a time: what is slower by less is the machine's noise.",
            ('"20ms"',),
            into="tolerate_slower_s",
        ),
        Field(
            "warmup",
            Duration(0, 3600),
            "Waiting times of the candidate's first seconds do not count.",
            ('"1m"',),
            into="warmup_s",
            default='`"30s"` on a JVM, else `"5s"`',
        ),
        Field(
            "max_failures",
            Percent(),
            "An objective: more failing requests than this undo it, whatever the previous release does.",
            ('"1%"',),
            into="max_failures_pct",
            default="none",
        ),
        Field(
            "max_latency",
            Duration(0.001, 3600),
            "An objective for the 95th percentile of waiting times.",
            ('"300ms"',),
            into="max_latency_s",
            default="none",
        ),
    ),
    AnalysisPolicy,
    spec=AnalysisPolicy,
    hints={"metrics": "failures and latency are measured by the proxy; there is nothing to query"},
)

UNDECIDED = Choice("hold", "extend", "fail", "promote")
ROLLOUT_TABLE = Table(
    "[rollout]",
    (
        Field(
            "strategy",
            Choice(*STRATEGIES),
            "How traffic moves. `auto` is a canary where today's traffic lets a verdict be reached, else rolling; each"
            " deploy prints which and why.",
            ('"canary"', '"rolling"'),
        ),
        Field(
            "steps",
            ListOf(STEP, least=1),
            "Of a canary: shares of the requests, or a header. All of them comes last by itself.",
            ('["5%", "25%", "50%"]', '[{ header = "x-canary: yes", approve = true }, { weight = "10%", hold = "1m" }]'),
            default='`["10%", "50%"]`',
        ),
        Field(
            "bake",
            Duration(0, 604_800),
            "For so long after the switch the release is watched, and the one before stays warm for an instant way back.",
            ('"1h"',),
            into="bake_s",
        ),
        Field("deadline", Duration(1, 604_800), "For the verdict of one step.", ('"30m"',), into="deadline_s"),
        Field(
            "on_no_data",
            UNDECIDED,
            "When too little was measured by then: wait for a person (`hold`), give it as long again at most twice, then hold"
            " (`extend`), undo it (`fail`), or go on unmeasured (`promote`).",
            ('"fail"',),
        ),
        Field("on_inconclusive", UNDECIDED, "The same when what was measured decides nothing.", ('"hold"',)),
        Field(
            "countdown",
            Duration(0, 3600),
            "From a failing verdict to going back, in which `atoll rollout keep` may stop it.",
            ('"30s"',),
            into="countdown_s",
        ),
        Field(
            "analysis",
            ANALYSIS_TABLE,
            "What a candidate is judged by, and how sure that must be.",
            ('{ alpha = "5%" }',),
        ),
    ),
    RolloutSpec,
    spec=RolloutSpec,
    hints={
        "weight": 'it belongs to a step: steps = ["10%", "50%"]',
        "canary": 'strategy = "canary"',
        "keep_warm": "it is called `bake`",
        "max_surge": "there is none: a candidate runs beside the release before",
    },
)


def _word(text: str) -> RolloutSpec:
    if text not in STRATEGIES:
        Choice(*STRATEGIES).read(text)  # says what is wrong with it
    return RolloutSpec(strategy=text)  # type: ignore[arg-type]


ROLLOUT = Either(
    text=Mapped(Text("a strategy's name"), _word, shape={"enum": list(STRATEGIES)}),
    table=ROLLOUT_TABLE,
    fix='such as "canary", or { steps = ["10%", "50%"] }',
)
