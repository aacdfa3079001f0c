"""The fields of ports, calls and routes, with the policy that calls and routes share. See `fields_service`."""

import re
from functools import partial
from typing import Any

import msgspec

from atoll.model.spec import (
    Call,
    EdgePolicy,
    Port,
    Route,
)
from atoll.workspace.fields_values import (
    PORT_NAME,
    PROTOCOL,
    SERVICE_NAME,
    SOME_TEXT,
    VARIABLE,
)
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
    Refused,
    Size,
    Text,
    Wrong,
    seen,
)
from atoll.workspace.tables import Field, Table

PORT_TABLE = Table(
    "a port",
    (
        Field("protocol", PROTOCOL, "What is spoken there; `grpc` is HTTP/2 without TLS.", ('"grpc"',)),
        Field(
            "number",
            Integer(1, 65_535),
            "The port on which the program insists. Each replica gets a network of its own, in which it is free.",
            ("8080",),
            default="chosen by Atoll",
        ),
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
        number=Refused("must be a table", lambda number: f"a fixed number is {{ number = {number} }}"),
        fix='such as "grpc" or { protocol = "grpc", env = "GRPC_PORT" }',
    ),
    make=lambda name, port: msgspec.structs.replace(port, name=name),
    says="table of ports",
    why='such as ports.grpc = "grpc"',
)

_COUNT = Integer(1, 4_294_967_295)  # Envoy's thresholds are unsigned 32 bit
RETRY_CONDITION = Choice(
    *("5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "refused-stream", "retriable-4xx"),
    *("envoy-ratelimited", "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"),
)
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
        ListOf(RETRY_CONDITION, says="list of conditions"),
        "Further failures to retry on, in Envoy's words: "
        + ", ".join(f"`{word}`" for word in RETRY_CONDITION.words)
        + ".",
        ('["gateway-error"]',),
    ),
    Field(
        "retry_budget",
        Percent(),
        "Retries may be this share of the active requests, so that they never double an overload. It counts where `retry_on` is "
        "set; else only what was never sent is tried again, which doubles nothing.",
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


_URL_SHAPE = r"(https?|grpcs?|tcp)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?(/[^\s?#]*)?"
_URL = re.compile(_URL_SHAPE)


def _url(text: str) -> str:
    """A mistake in it leaves the text: that the callee lies outside is known all the same."""
    found = _URL.fullmatch(text)
    if found is None:
        what = f'must be a URL such as "https://api.example.com" (http, https, grpc, grpcs or tcp), not {seen(text)}'
        mistake = Mistake(what, f'did you mean "https://{text}"?' if _URL.fullmatch(f"https://{text}") else "")
    elif found[3] is None and found[1] == "tcp":
        mistake = Mistake("needs a port, since tcp has no usual one", 'such as "tcp://db.example.com:5432"')
    elif found[3] is not None and not 0 < int(found[3]) <= 65_535:
        mistake = Mistake(f"must have a port from 1 to 65535, not {found[3]}")
    else:
        return text
    raise Wrong([mistake], text)


URL = Mapped(Text("URL"), _url, shape={"pattern": f"^(?!tcp://[^:]*(?:/|$))(?:{_URL_SHAPE})$"})
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
        Field(
            "optional",
            Flag(),
            "The callee may be absent: its address then answers 503, or closes each connection (tcp).",
            ("true",),
        ),
        Field(
            "protocol",
            PROTOCOL,
            "What the callee speaks, for one that this workspace does not have (yet): a client of an absent tcp callee must"
            " not wait for an HTTP answer.",
            ('"tcp"',),
            default="what the callee says, else `http`",
        ),
        Field(
            "url",
            URL,
            "A callee outside the workspace: http, https, grpc, grpcs (with TLS) or tcp. The service speaks without TLS to "
            "the address that it is given; Atoll speaks TLS, verifies the certificate for the URL's host, and sends that "
            "host. What the URL's path says comes before the request's.",
            ('"https://api.example.com"', '"tcp://legacy.example.com:9000"'),
            default="none",
        ),
        Field(
            "ca",
            Text("file", pattern=r"[\s\S]*\S[\s\S]*", must="be the path of a file"),
            "Certificates (PEM) that are trusted for `url`, instead of the machine's: a file relative to the service's folder, or "
            "absolute. Its content becomes part of the release.",
            ('"bank-ca.pem"',),
            default="the machine's",
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


def _instead_of_a_list(value: list[object]) -> str:
    """What to write in place of `calls = ["catalog"]`, since nothing is injected that was not declared."""
    name = value[0] if value and isinstance(value[0], str) and re.fullmatch(r"[a-z][a-z0-9-]*", value[0]) else "catalog"
    return f'write calls.{name} = "{name.replace("-", "_").upper()}_URL"'


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
    items=Refused("must say under which variable each address is wanted", _instead_of_a_list),
    says="table of calls",
    fix='such as calls.catalog = "CATALOG_URL"',
)

ROUTE_PATH = Text("path", pattern=r"/[^\s?#]*", must='be a path such as "/orders"', mend=lambda text: f"/{text}")
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
