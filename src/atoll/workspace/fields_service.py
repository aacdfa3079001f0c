"""Every field of `service.toml`, one row each: the rows parse the file and are its documentation.

Defaults are not here: they stand in `model.spec`, once. What depends on another field (the first port's `PORT`, the
usual way to be ready) is `assemble`'s; what depends on another service is `decide.validate`'s.
"""

import re
from functools import partial
from typing import Any

import msgspec

from atoll.model.spec import (
    Build,
    Call,
    Command,
    EdgePolicy,
    EnvValue,
    Health,
    Limits,
    Plain,
    Port,
    Probe,
    Route,
    SecretRef,
    ServiceSpec,
    Stop,
)
from atoll.model.suggest import nearest
from atoll.workspace.kinds import (
    Choice,
    Duration,
    Either,
    Flag,
    Integer,
    ListOf,
    MapOf,
    Mapped,
    Mistake,
    Percent,
    Size,
    Text,
    Wrong,
    seen,
    wrong,
)
from atoll.workspace.tables import Field, Table

# --- names and scalars --------------------------------------------------------------------------------------------

SERVICE_NAME = Text(
    "name",
    pattern=r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?",
    must="be a name of at most 40 lower-case letters, digits and hyphens, a letter first",
)
PORT_NAME = Text("port's name", pattern=r"[a-z][a-z0-9_-]{0,31}", must="be a port's name in lower case")
VARIABLE = Text(
    "variable's name",
    pattern=r"[A-Za-z_][A-Za-z0-9_]*",
    must="be a variable's name: letters, digits and underscores, no digit first",
)
SOME_TEXT = Text("text", pattern=r"(?s).*\S.*", must="not be empty: it must be a text")
INSIDE = r"(?!/)(?!(?:.*/)?\.\.(?:/|$)).+"
FOLDER = Text("folder", pattern=INSIDE, must="be a folder below, without '..'")
GLOB = Text("glob", pattern=INSIDE, must="be a glob below the service's folder, without '..'")
PROTOCOL = Choice("http", "grpc", "tcp")
SIGNAL = Choice("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH")

COMMAND = Either(
    text=Mapped(SOME_TEXT, lambda line: Command(shell=line)),
    items=Mapped(ListOf(SOME_TEXT, least=1), lambda argv: Command(argv=argv)),
    says="command",
    fix='a line for the shell: "node server.js", or a list: ["node", "server.js"]',
)


class Scalar:
    """An environment value written as text, a number or a truth value; read as text."""

    says = "text, number, true or false"

    def read(self, value: object) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, (int, float)):
            return str(value)
        if isinstance(value, str):
            return str(Text().read(value))
        raise wrong(f"must be a text, a number, true or false, not {seen(value)}")

    def show(self, value: str) -> str:
        return f'"{value}"'


class Secret:
    """`{ secret = "name" }`."""

    says = '`{ secret = "name" }`'

    def read(self, value: object) -> SecretRef:
        if not isinstance(value, dict) or list(value) != ["secret"]:
            raise wrong("must be a value, or a secret by its name", 'such as { secret = "orders-db" }')
        try:
            return SecretRef(
                Text(pattern=r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", must="be a secret's name").read(value["secret"])
            )
        except Wrong as exc:
            raise Wrong([mistake.below("secret") for mistake in exc.mistakes]) from None

    def show(self, value: SecretRef) -> str:
        return f'{{ secret = "{value.name}" }}'


ENV_VALUE = Either(
    text=Mapped(Scalar(), Plain),
    number=Mapped(Scalar(), Plain),
    flag=Mapped(Scalar(), Plain),
    table=Secret(),
    says='text, number, true, false or `{ secret = "name" }`',
    fix='such as "text", 8, true or { secret = "name" }',
)
ENV_VALUES = MapOf(VARIABLE, ENV_VALUE, says="table of values")


class ServiceEnv:
    """`[env]` of a service: variables, and a table of variables for each environment that differs."""

    says = "table of values; a table in it is for the environment of that name"

    def read(self, value: object) -> dict[str, EnvValue | dict[str, EnvValue]]:
        if not isinstance(value, dict):
            raise wrong(f"must be a table, not {seen(value)}", 'write [env] above lines such as LOG_LEVEL = "info"')
        good: dict[str, EnvValue | dict[str, EnvValue]] = {}
        mistakes: list[Mistake] = []
        for key, item in value.items():
            override = isinstance(item, dict) and not (list(item) == ["secret"] and isinstance(item["secret"], str))
            try:
                good.update({key: ENV_VALUES.read(item)} if override else ENV_VALUES.read({key: item}))
            except Wrong as exc:
                mistakes += [mistake.below(key) for mistake in exc.mistakes] if override else exc.mistakes
                if override:
                    good[key] = exc.partial
        if mistakes:
            raise Wrong(mistakes, good)
        return good

    def show(self, value: Any) -> str:
        return ENV_VALUES.show(value)


# --- health -------------------------------------------------------------------------------------------------------

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


_TRUE = Mapped(
    Flag(), lambda flag: flag or _raise("must be true where it is given", "leave it out instead"), says="`true`"
)


def _raise(what: str, fix: str) -> Any:
    raise wrong(what, fix)


def _probe(**given: Any) -> Probe:
    """A probe's table: exactly one way to ask."""
    ways = [way for way in ("http", "grpc", "tcp", "command", "process") if way in given]
    if len(ways) != 1:
        what = f"has {' and '.join(ways)}: one way to ask is enough" if ways else "does not say how to ask"
        raise wrong(what, 'one of http = "/path", grpc = "", tcp = true, command = ["..."], process = true')
    way = ways[0]
    rest = {key: value for key, value in given.items() if key != way}
    match way:
        case "http":
            return Probe(kind="http", path=given["http"], **rest)
        case "grpc":
            return Probe(kind="grpc", service=given["grpc"], **rest)
        case "command":
            return Probe(kind="command", command=given["command"], **rest)
        case "tcp":
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
)
PROBE = Either(
    text=Mapped(SOME_TEXT, _probe_word, says="a path, `tcp`, `grpc` or `process`"),
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
        for way in ("http", "grpc", "tcp", "command", "path", "port", "headers")
    }
    | {
        "readiness": "it is called `ready`",
        "liveness": "it is called `live`",
        "timeout": 'it belongs to a probe: ready = { http = "/ready", timeout = "1s" }',
    },
)
HEALTH = Either(text=Mapped(PROBE, lambda probe: Health(ready=probe)), table=HEALTH_TABLE, fix='such as "/healthz"')

# --- ports, edges, routes -----------------------------------------------------------------------------------------

PORT_TABLE = Table(
    "a port",
    (
        Field("protocol", PROTOCOL, "What is spoken there; `grpc` is HTTP/2 without TLS.", ('"grpc"',)),
        Field(
            "env",
            VARIABLE,
            "The variable that carries the number.",
            ('"ADMIN_PORT"',),
            default="`PORT` for the first port, none for others",
        ),
    ),
    Port,
    spec=Port,
)
PORTS = MapOf(
    PORT_NAME,
    Either(
        text=Mapped(PROTOCOL, lambda protocol: Port(protocol=protocol)),
        table=PORT_TABLE,
        fix='such as "grpc" or { protocol = "grpc", env = "GRPC_PORT" }',
    ),
    make=lambda name, port: msgspec.structs.replace(port, name=name),
    says="table of ports",
    why='such as ports.grpc = "grpc"',
)

_COUNT = Integer(1, 4_294_967_295)  # Envoy's thresholds are unsigned 32 bit
POLICY_FIELDS = (
    Field(
        "timeout",
        Duration(),
        'For a whole request; `"0s"` is none. Streams are not cut by it.',
        ('"2s"',),
        into="timeout_s",
    ),
    Field(
        "connect_timeout", Duration(0.01, 300), "For a connection to be made.", ('"250ms"',), into="connect_timeout_s"
    ),
    Field(
        "idle_timeout",
        Duration(),
        'A stream without a byte either way for so long ends; `"0s"` is never.',
        ('"1h"',),
        into="idle_timeout_s",
    ),
    Field(
        "retries",
        Integer(0, 10),
        "How often a failed request is sent again: only GET and HEAD, or when no byte was sent.",
        ("0", "3"),
    ),
    Field(
        "retry_on",
        ListOf(Text(pattern=r"[a-z0-9-]+", must='be one of Envoy\'s retry conditions, such as "gateway-error"')),
        "Further failures to retry on, in Envoy's words.",
        ('["gateway-error"]',),
    ),
    Field(
        "retry_budget",
        Percent(),
        "Retries may be this share of the active requests, so that they never double an overload.",
        ('"10%"',),
        into="retry_budget_pct",
    ),
    Field("max_connections", _COUNT, "The breaker opens beyond so many connections.", ("100",)),
    Field("max_pending", _COUNT, "The breaker opens beyond so many waiting requests.", ("100",)),
    Field("max_requests", _COUNT, "The breaker opens beyond so many requests at a time.", ("200",)),
    Field(
        "eject_after",
        Integer(0, 1000),
        "A replica is taken out after so many failures in a row; `0` is never.",
        ("10",),
    ),
    Field("eject_for", Duration(0.1, 3600), "For how long it is taken out at first.", ('"30s"',), into="eject_for_s"),
    Field("max_body", Size(), 'Larger requests are refused; `"0B"` is no limit.', ('"10MiB"',), into="max_body_bytes"),
)


def _with_policy(make: Any) -> Any:
    """Sorts the fields of the policy out of the others."""

    def made(**given: Any) -> Any:
        policy = {key: given.pop(key) for key in EdgePolicy.__struct_fields__ if key in given}
        return make(policy=EdgePolicy(**policy), **given)

    return made


USUAL_ADDRESS = ""  # in place of a template: {url} or {address}, as the callee's protocol says; `assemble` replaces it
CALL_ENV = Either(
    text=Mapped(VARIABLE, lambda variable: {variable: USUAL_ADDRESS}, says="a variable's name"),
    table=MapOf(VARIABLE, SOME_TEXT, says="table of templates"),
    fix='such as "CATALOG_URL" or { CATALOG_URL = "{url}" }',
)
CALL_TABLE = Table(
    "a call",
    (
        Field(
            "env",
            CALL_ENV,
            "The variables that get the address. A name alone gets `{url}` (http) or `{address}` (grpc, tcp). Templates: `{host}`, `{port}`, `{address}` = host:port, `{url}` = http://host:port.",
            ('"PAYMENTS_URL"', '{ PAYMENTS_ADDR = "{host}:{port}" }'),
            required=True,
        ),
        Field("port", PORT_NAME, "The callee's port, by name.", ('"grpc"',), default="its first"),
        Field("optional", Flag(), "The callee may be absent: its address then answers 503.", ("true",)),
        Field(
            "url",
            Text(
                "URL",
                pattern=r"(https?|grpc|tcp)://[^\s/?#@]+(/[^\s#]*)?",
                must='be a URL such as "https://api.example.com"',
            ),
            "A callee outside the workspace.",
            ('"https://api.example.com"',),
            default="none",
        ),
        *POLICY_FIELDS,
    ),
    _with_policy(partial(Call, callee="")),
    spec=Call,
    hints={
        "service": "the callee's name is the table's: [calls.NAME]",
        "variable": "it is called `env`",
        "host": "an address outside the workspace is `url`",
    },
)


class _CallsAsList:
    """`calls = ["catalog"]`: refused with what to write instead, since nothing is injected that was not declared."""

    says = ""

    def read(self, value: object) -> Any:
        names = [name for name in value if isinstance(name, str)] if isinstance(value, list) else []
        shown = names[0] if names and re.fullmatch(r"[a-z][a-z0-9-]*", names[0]) else "catalog"
        variable = f"{shown.replace('-', '_').upper()}_URL"
        raise wrong("must say under which variable each address is wanted", f'write calls.{shown} = "{variable}"')

    def show(self, value: Any) -> str:
        return str(value)


def _call(name: str, call: Call) -> Call:
    return msgspec.structs.replace(call, callee=name)


CALLS = Either(
    table=MapOf(
        SERVICE_NAME,
        Either(
            text=Mapped(CALL_ENV, lambda env: Call(callee="", env=env)),
            table=CALL_TABLE,
            fix='such as "CATALOG_URL" or { env = "CATALOG_URL" }',
        ),
        make=_call,
    ),
    items=_CallsAsList(),
    says="table of calls",
    fix='such as calls.catalog = "CATALOG_URL"',
)

ROUTE_PATH = Text("path", pattern=r"/[^\s?#]*", must='be a path such as "/orders"')
HOST_NAME = Text(
    "host name",
    pattern=r"(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?",
    must='be a host name in lower case such as "shop.example.com" or "*.example.com", without a port',
)
ROUTE_TABLE = Table(
    "a route",
    (
        Field("path", ROUTE_PATH, "Requests whose path is this or lies below it.", ('"/orders"',)),
        Field(
            "host", HOST_NAME, "Only requests for this host.", ('"shop.example.com"', '"*.example.com"'), default="any"
        ),
        Field(
            "port",
            PORT_NAME,
            "The service's port, by name.",
            ('"http"',),
            default="its first that speaks http, else its first",
        ),
        Field("strip", Flag(), "Remove the path's prefix before the service sees it.", ("true",)),
        *POLICY_FIELDS,
    ),
    _with_policy(Route),
    spec=Route,
)
_ROUTE = Either(
    text=Mapped(ROUTE_PATH, lambda path: Route(path=path)),
    table=ROUTE_TABLE,
    fix='such as "/orders" or { path = "/orders", strip = true }',
)
ROUTES = Either(
    text=Mapped(ROUTE_PATH, lambda path: (Route(path=path),)),
    items=ListOf(_ROUTE),
    table=Mapped(ROUTE_TABLE, lambda route: (route,)),
    says="path, table (see Routes), or a list of them",
    fix='such as "/orders"',
)

# --- build, stop, limits ------------------------------------------------------------------------------------------

BUILD_TABLE = Table(
    "[build]",
    (
        Field(
            "steps",
            Either(
                text=Mapped(COMMAND, lambda step: (step,)), items=ListOf(COMMAND), says="command, or list of commands"
            ),
            "What makes the artifact, in order, in a clean copy of the inputs.",
            ('"make"', '["npm ci", ["npm", "run", "build"]]'),
            default="what the builder does",
        ),
        Field(
            "builder",
            Text("name", pattern=r"[a-z][a-z0-9-]*", must="be a builder's name"),
            "Which builder; without it the files tell.",
            ('"python"',),
            default="detected",
        ),
        Field(
            "inputs",
            ListOf(GLOB, least=1),
            "What goes in, as globs below the service's folder; `.gitignore` is respected.",
            ('["src/**", "package*.json"]',),
        ),
        Field("outputs", ListOf(GLOB, least=1), "What of the result is kept.", ('["dist/**"]',)),
        Field("env", MapOf(VARIABLE, Scalar()), "Variables of the build only.", ('{ NODE_ENV = "production" }',)),
        Field("timeout", Duration(1, 86_400), "A build that takes longer has failed.", ('"30m"',), into="timeout_s"),
    ),
    Build,
    spec=Build,
    hints={"tool": "tools come from the PATH", "command": "it is called `steps`", "run": "it is called `steps`"},
)
BUILD = Either(
    text=Mapped(COMMAND, lambda step: Build(steps=(step,)), says="command"),
    items=Mapped(ListOf(COMMAND, least=1), lambda steps: Build(steps=steps), says="list of commands"),
    table=BUILD_TABLE,
    fix='such as "make", or ["npm ci", "npm run build"]',
)

STOP_TABLE = Table(
    "[stop]",
    (
        Field("signal", SIGNAL, "The signal that asks a replica to end.", ('"SIGINT"',)),
        Field("grace", Duration(0, 3600), "From that signal to SIGKILL.", ('"30s"',), into="grace_s"),
        Field(
            "drain",
            Duration(0, 3600),
            "How long requests in flight may take before that signal is sent.",
            ('"1m"',),
            into="drain_s",
        ),
    ),
    Stop,
    spec=Stop,
    hints={"timeout": "from the signal to SIGKILL it is `grace`; for requests in flight it is `drain`"},
)
STOP = Either(text=Mapped(SIGNAL, lambda signal: Stop(signal=signal), says="signal"), table=STOP_TABLE)

LIMITS = Table(
    "[limits]",
    (
        Field(
            "memory",
            Size(2**20),
            "Memory of one replica; above it the replica is ended and replaced.",
            ('"256MiB"',),
            into="memory_bytes",
            default="no limit",
        ),
        Field(
            "cpu_weight",
            Integer(1, 10_000),
            "Share of the CPU when it is short; 100 is normal.",
            ("50",),
            default="normal",
        ),
        Field(
            "open_files",
            Integer(16, 1_048_576),
            "Open files and connections of one replica.",
            ("4096",),
            default="the daemon's own",
        ),
    ),
    Limits,
    spec=Limits,
    hints={
        "cpu": "a share of the CPU is `cpu_weight`; 100 is normal",
        "mem": "it is called `memory`",
        "ram": "it is called `memory`",
    },
)

# --- the file -----------------------------------------------------------------------------------------------------

SERVICE = Table(
    "service.toml",
    (
        Field("name", SERVICE_NAME, "How everybody calls the service.", ('"orders"',), default="the folder's name"),
        Field(
            "run",
            COMMAND,
            "What runs one replica: a line for `/bin/sh -c`, or a list. Templates: `{port}`, `{port.NAME}`.",
            ('"node server.js"', '["./orders", "--listen", "127.0.0.1:{port}"]'),
            required=True,
        ),
        Field("owner", Text(), "Who is asked about it.", ('"checkout"',)),
        Field("description", Text(), "What it is for.", ('"Takes orders."',)),
        Field("workdir", FOLDER, "Where `run` starts, relative to the artifact.", ('"server"',)),
        Field(
            "build",
            BUILD,
            "How the artifact is made.",
            ('"make"', '["npm ci", "npm run build"]', '{ steps = "make", outputs = ["bin/**"] }'),
            default="what the files tell",
        ),
        Field(
            "port",
            Choice("http", "grpc", "tcp", "none"),
            "What the service's only port speaks; `none` for a worker. Several ports are `ports`.",
            ('"grpc"', '"none"'),
            default='`"http"`',
        ),
        Field(
            "ports",
            PORTS,
            "Several ports, each by its name. The number is chosen by Atoll and told by variable or template.",
            ('{ http = "http", admin = { protocol = "http", env = "ADMIN_PORT" } }',),
            default="the one that `port` says",
        ),
        Field(
            "health",
            HEALTH,
            "How to ask a replica whether it is ready, and alive.",
            ('"/healthz"', '"tcp"', '"grpc"', '{ ready = "/ready", stable_for = "5s" }'),
            default='`"tcp"` with a port, `"process"` without',
        ),
        Field("stop", STOP, "How a replica ends.", ('"SIGINT"', '{ grace = "30s" }')),
        Field(
            "calls",
            CALLS,
            "Whom the service calls, each by its name. Nothing is injected that is not declared here.",
            (
                '{ catalog = "CATALOG_URL" }',
                '{ payments = { env = { PAYMENTS_ADDR = "{address}" }, timeout = "2s", optional = true } }',
            ),
            default="nobody",
        ),
        Field(
            "route",
            ROUTES,
            "What the gateway sends here.",
            ('"/orders"', '["/orders", "/carts"]', '[{ path = "/", host = "shop.example.com" }]'),
            into="routes",
            default="nothing",
        ),
        Field("limits", LIMITS, "What one replica may use.", ('{ memory = "256MiB" }',)),
        Field("replicas", Integer(1, 100), "How many run.", ("2",)),
        Field(
            "overlap",
            Flag(),
            "`false`: two releases never run at once (schedulers, writers of one file). Requests wait during the switch.",
            ("false",),
        ),
        Field(
            "keep_warm",
            Duration(0, 604_800),
            "How long the previous release stays up after a deploy, for an instant rollback.",
            ('"1h"',),
            into="keep_warm_s",
        ),
        Field(
            "env",
            ServiceEnv(),
            "Variables. A table in it, named like an environment, holds what differs there. Templates: `{port}`, `{port.NAME}`.",
            ('{ LOG_LEVEL = "info", DB_URL = { secret = "orders-db" } }',),
        ),
        Field("inherit", ListOf(VARIABLE), "Variables taken over from the daemon's own environment.", ('["HOME"]',)),
    ),
    dict,
    spec=ServiceSpec,
    hints={
        "command": "it is called `run`",
        "cmd": "it is called `run`",
        "start": "it is called `run`",
        "entrypoint": "it is called `run`",
        "exec": "it is called `run`",
        "environment": "it is called `env`",
        "vars": "it is called `env`",
        "variables": "it is called `env`",
        "depends_on": 'whom it calls is `calls`: calls.catalog = "CATALOG_URL"',
        "dependencies": 'whom it calls is `calls`: calls.catalog = "CATALOG_URL"',
        "healthcheck": "it is called `health`",
        "readiness": "it is `ready` in [health]",
        "liveness": "it is `live` in [health]",
        "routes": "it is called `route`",
        "path": "it is called `route`",
        "memory": "it belongs to [limits]",
        "cpu": "it is `cpu_weight` in [limits]",
        "scale": "how many run is `replicas`",
        "instances": "it is called `replicas`",
        "signal": "it belongs to [stop]",
        "cwd": "it is called `workdir`",
        "timeout": "a timeout belongs to a call, a route, a probe or the build",
        "image": "Atoll builds what runs: see `build` and `run`",
        "team": "it is called `owner`",
    },
)
