"""The fields of `[health]` and of a probe, with their short forms. See `fields_service`."""

import re
from typing import Any

from atoll.model.spec import (
    Health,
    Probe,
)
from atoll.model.suggest import nearest
from atoll.workspace.fields_values import (
    COMMAND,
    PORT_NAME,
    SOME_TEXT,
)
from atoll.workspace.kinds import (
    Duration,
    Either,
    Flag,
    Integer,
    MapOf,
    Mapped,
    Text,
    seen,
    wrong,
)
from atoll.workspace.tables import Field, Table

UNSAID = Probe()  # stands for "the usual way", by identity; `assemble` replaces it
PROBE_WORDS = ("tcp", "grpc", "process")
URL_PATH = Text("path", pattern=r"/[^\s#]*", must='be a path such as "/healthz"')


def _probe_word(text: str) -> Probe:
    """The short form of a probe."""
    if text.startswith("/"):
        return Probe(kind="http", path=URL_PATH.read(text))
    match text:
        case "tcp" | "grpc" | "process":
            return Probe(kind=text)
    if near := nearest(text, PROBE_WORDS):
        fix = f"did you mean '{near}'?"
    else:
        fix = f'did you mean "/{text}"?' if re.fullmatch(r"[\w./-]+", text) else ""
    raise wrong(f'must be a path such as "/healthz", or "tcp", "grpc" or "process", not {seen(text)}', fix)


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as exc:
        raise wrong(f"must be a regular expression: {exc}") from None
    return text


PATTERN = Mapped(SOME_TEXT, _pattern, says="regular expression")
_TRUE = Mapped(
    Flag(),
    lambda flag: flag or _raise("must be true where it is given", "leave it out instead"),
    says="`true`",
    shape={"const": True},
)


def _raise(what: str, fix: str) -> Any:
    raise wrong(what, fix)


_WAYS = ("http", "grpc", "tcp", "command", "process")


def _probe(**given: Any) -> Probe:
    """A probe's table: exactly one way to ask."""
    ways = [way for way in _WAYS if way in given]
    if len(ways) != 1:
        what = f"has {' and '.join(ways)}: one way to ask is enough" if ways else "does not say how to ask"
        raise wrong(what, 'one of http = "/path", grpc = "", tcp = true, command = ["..."], process = true')
    way = ways[0]
    if way != "tcp" and (words := given.keys() & {"send", "expect"}):
        raise wrong(f"has {' and '.join(sorted(words))}, which are for tcp", "ask by tcp = true, or take them out")
    rest = {key: value for key, value in given.items() if key != way}
    match way:
        case "http":
            return Probe(kind="http", path=given["http"], **rest)
        case "grpc":
            return Probe(kind="grpc", service=given["grpc"], **rest)
        case "command":
            return Probe(kind="command", command=given["command"], **rest)
        case "tcp":
            if "send" in given and "expect" not in given:
                raise wrong("has `send` without `expect`: nobody would read the answer", 'such as expect = "\\\\+PONG"')
            return Probe(kind="tcp", **rest)
    return Probe(kind="process", **rest)


PROBE_TABLE = Table(
    "a probe",
    (
        Field("http", URL_PATH, "Ask with GET this path; 200 to 399 is well.", ('"/healthz"',), default="none"),
        Field(
            "grpc",
            Text("text"),
            'Ask gRPC\'s health `Check` for this service; `""` is the server as a whole.',
            ('""', '"shop.Catalog"'),
            default="none",
        ),
        Field("tcp", _TRUE, "A connection that is accepted is enough.", ("true",), default="none"),
        Field(
            "send",
            Text("text", pattern=r"[\x00-\xff]+", must="be text of single bytes"),
            "With `tcp`: what is said first, a byte a character.",
            ('"PING\\r\\n"',),
            default="nothing",
        ),
        Field(
            "expect",
            PATTERN,
            "With `tcp`: a regular expression that the answer must begin with.",
            ('"\\\\+PONG"',),
            default="no answer is waited for",
        ),
        Field(
            "command",
            COMMAND,
            "Run this beside the replica; exit code 0 is well.",
            ('["./check", "--fast"]', '"test -f ready"'),
            default="none",
        ),
        Field("process", _TRUE, "Alive is enough; nothing is asked.", ("true",), default="none"),
        Field(
            "port",
            PORT_NAME,
            "The port to ask, by name.",
            ('"admin"',),
            default="the first that speaks the probe's protocol",
        ),
        Field(
            "headers",
            MapOf(
                Text("header", pattern=r"[A-Za-z0-9-]+", must="be a header's name"),
                Text(pattern=r"[^\r\n]*", must="be one line"),
                says="table of text",
            ),
            "Headers of the HTTP request.",
            ('{ Host = "orders.local" }',),
        ),
        Field(
            "timeout",
            Duration(0.01, 300),
            "An answer that takes longer counts as none.",
            ('"500ms"',),
            into="timeout_s",
        ),
    ),
    _probe,
    spec=Probe,
    says="table (see Probes)",
    shape={"oneOf": [{"required": [way]} for way in _WAYS]},
)
_PROBE_WORD = Mapped(
    SOME_TEXT,
    _probe_word,
    says="a path, `tcp`, `grpc` or `process`",
    shape={"anyOf": [{"enum": list(PROBE_WORDS)}, {"pattern": f"^{URL_PATH.pattern}$"}]},
)
PROBE = Either(
    text=_PROBE_WORD,
    table=PROBE_TABLE,
    fix='such as "/healthz" or { http = "/healthz" }',
)


def _health(ready: Probe = UNSAID, **rest: Any) -> Health:
    return Health(ready=ready, **rest)


HEALTH_TABLE = Table(
    "[health]",
    (
        Field(
            "ready",
            PROBE,
            "When a replica may get traffic.",
            ('"/ready"', '{ http = "/ready", port = "admin" }'),
            default='`"tcp"` with a port, `"process"` without',
        ),
        Field(
            "live",
            PROBE,
            "When a replica must be replaced. It never shares the readiness path by itself: a lost database must not restart everything.",
            ('"process"', '{ command = "./alive" }'),
            default='`"process"`',
        ),
        Field(
            "start_budget",
            Duration(0.1, 3600),
            "How long a start may take until ready.",
            ('"2m"',),
            into="start_budget_s",
        ),
        Field(
            "stable_for",
            Duration(0, 600),
            "How long a candidate must stay ready before it gets traffic.",
            ('"5s"',),
            into="stable_for_s",
        ),
        Field("interval", Duration(0.1, 600), "Between two probes, once ready.", ('"10s"',), into="interval_s"),
        Field("failures", Integer(1, 100), "Failed probes in a row until ready (or live) is lost.", ("5",)),
    ),
    _health,
    spec=Health,
    hints={
        way: f"put it under `ready` or `live`: ready = {{ {way} = ... }}"
        for way in ("http", "grpc", "tcp", "command", "port", "headers")
    }
    | {
        "path": 'it is called `http`, below `ready` or `live`: ready = { http = "/ready" }',
        "readiness": "it is called `ready`",
        "liveness": "it is called `live`",
        "timeout": 'it belongs to a probe: ready = { http = "/ready", timeout = "1s" }',
    },
)
HEALTH = Either(
    text=Mapped(_PROBE_WORD, lambda probe: Health(ready=probe)), table=HEALTH_TABLE, fix='such as "/healthz"'
)
