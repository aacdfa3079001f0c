"""The fields of `[rollout]`, of its steps and of its analysis, with their short forms. See `fields_service`."""

import re
from typing import Any

from msgspec.structs import replace

from atoll.model.analysis import AnalysisPolicy, Check
from atoll.model.spec import RolloutSpec, RolloutStep
from atoll.workspace.fields_jobs import BEFORE
from atoll.workspace.fields_values import COMMAND
from atoll.workspace.kinds import (
    Choice,
    Duration,
    Either,
    Flag,
    Integer,
    ListOf,
    MapOf,
    Mapped,
    Number,
    Percent,
    Text,
    wrong,
)
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
            "dry_run",
            Flag(),
            "Verdicts are told and written down, and nothing follows from them: to get to know them before trusting them.",
            ("true",),
        ),
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


def _check(**given: Any) -> Check:
    ways = [way for way in ("http", "command", "query") if given.get(way)]
    if len(ways) != 1:
        what = f"has {' and '.join(ways)}: one question is enough" if ways else "does not say what to ask"
        raise wrong(what, 'one of http = "http://...", command = "./smoke", query = "rate(...)"')
    if ways == ["query"] and not (given.get("prometheus") and (given.keys() & {"min", "max"})):
        raise wrong(
            "has a query without its server and limit", 'such as prometheus = "http://127.0.0.1:9090", max = 0.01'
        )
    return Check(name="", **given)


URL = Text("URL", pattern=r"https?://[^\s]+", must='be a URL such as "http://127.0.0.1:9090"')
CHECK_TABLE = Table(
    "a check",
    (
        Field("http", URL, "Ask with GET; 200 to 299 is well.", ('"http://127.0.0.1:9000/gate"',), default="none"),
        Field(
            "command",
            COMMAND,
            "Run this in a replica of the candidate; exit code 0 is well.",
            ('"./smoke-test"', '["./smoke", "--fast"]'),
            default="none",
        ),
        Field(
            "query",
            Text("PromQL"),
            "Ask Prometheus; every value must be within `min` and `max`.",
            ('"queue_depth"',),
            default="none",
        ),
        Field("prometheus", URL, "Where it is.", ('"http://127.0.0.1:9090"',), default="none"),
        Field("min", Number(), "At least this.", ("0.5",), default="none"),
        Field("max", Number(), "At most this.", ("100",), default="none"),
        Field("every", Duration(1, 3600), "How often it is asked.", ('"1m"',), into="every_s"),
        Field("timeout", Duration(0.1, 300), "An answer that takes longer is none.", ('"30s"',), into="timeout_s"),
        Field("failures", Integer(0, 1000), "Bad answers that are let go, over the whole rollout.", ("2",)),
    ),
    _check,
    spec=Check,
    shape={"oneOf": [{"required": [way]} for way in ("http", "command", "query")]},
)
CHECKS = MapOf(
    Text("name", pattern=r"[a-z][a-z0-9_-]{0,39}", must="be a check's name in lower case"),
    CHECK_TABLE,
    says="table of checks",
    make=lambda name, check: replace(check, name=name),
)

UNDECIDED = Choice("hold", "extend", "fail", "promote")
ROLLOUT_TABLE = Table(
    "[rollout]",
    (
        Field(
            "before",
            BEFORE,
            "What runs once for each release, in it, before its first replica starts: a migration. When it fails, the "
            "release is undone and the one before was never touched. Rollback and restart do not run it.",
            ('"./orders migrate"', '"migrate"', '{ run = "./orders migrate", backward_compatible = true }'),
            default="nothing",
        ),
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
            "checks",
            Mapped(CHECKS, lambda checks: tuple(checks.values())),
            "Further questions, each by its name: the candidate passes only when each answered well, and leaves when one"
            " did not.",
            ('{ smoke = { command = "./smoke-test" } }',),
            default="none",
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
        "pre": "it is called `before`",
        "release": "it is called `before`",
        "migrate": "it is called `before`",
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
