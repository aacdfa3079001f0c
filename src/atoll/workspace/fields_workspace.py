"""Every field of `atoll.toml`, one row each: the rows parse the file and are its documentation."""

import ipaddress
import re
from typing import Any

from atoll.model.environment import DockerSpec, EnvironmentSpec, Gateway, ReadApi, Root
from atoll.model.host import SHAPE, parse
from atoll.workspace.fields_cache import CACHE
from atoll.workspace.fields_delivery import FREEZES, NOTIFY
from atoll.workspace.fields_stores import SHARED_STORES
from atoll.workspace.fields_tls import TLS
from atoll.workspace.fields_values import ENV_VALUES, ENVIRONMENT_NAME, INSIDE
from atoll.workspace.kinds import Choice, Either, Flag, Integer, ListOf, MapOf, Mapped, Refused, Text, seen, wrong
from atoll.workspace.tables import Field, Table

DEFAULT_SERVICES = (".", "*", "services/*")
LOCAL = "local"  # is always there, declared or not

WORKSPACE_NAME = Text(
    "name",
    pattern=r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}",
    must="be a name of at most 64 letters, digits, spaces, dots and hyphens",
)
_HOST = r"[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]"
_PORT = Integer(1, 65_535)


def _gateway(text: str) -> Gateway:
    """The short form: host:port."""
    host, port = _address(text)
    return Gateway(host=host, port=port)


def _read_api(text: str) -> ReadApi:
    host, port = _address(text)
    return ReadApi(host=host, port=port)


def _address(text: str) -> tuple[str, int]:
    found = re.fullmatch(rf"({_HOST}):(\d{{1,5}})", text)
    if found is None:
        fix = (
            f'write "127.0.0.1:{text.lstrip(":")}"' if re.fullmatch(r":?\d{1,5}", text) else 'such as "127.0.0.1:8080"'
        )
        raise wrong(f"must be host:port, not {seen(text)}", fix)
    return found[1].strip("[]"), _PORT.read(int(found[2]))


def _port_range(ends: tuple[int, ...]) -> tuple[int, ...]:
    """Both ends belong to it."""
    if len(ends) != 2 or not ends[0] < ends[1]:
        raise wrong("must be a first and a last port, the first one smaller", 'such as "20000-29999"')
    return ends


def _port_range_text(text: str) -> tuple[int, ...]:
    found = re.fullmatch(r"(\d{1,5})\s*-\s*(\d{1,5})", text)
    if found is None:
        raise wrong(f"must be a range of ports, not {seen(text)}", 'such as "20000-29999"')
    low = Integer(1024, 65_535)
    return _port_range((low.read(int(found[1])), low.read(int(found[2]))))


def _host(text: str) -> str:
    """The URL as it is always written."""
    try:
        return str(parse(text))
    except ValueError as exc:
        fix = f'write "ssh://{text}"' if re.fullmatch(r"[\w.-]+@[\w.-]+", text) else 'such as "ssh://deploy@vm1"'
        raise wrong(f"{exc}, not {seen(text)}", fix) from exc


def _private(text: str) -> str:
    """A network of addresses that nobody on the internet has, wide enough for two services at least."""
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as exc:
        raise wrong(
            f"must be a network such as 10.77.0.0/16, not {seen(text)}: {exc}", 'such as "10.77.0.0/16"'
        ) from exc
    if not network.is_private or network.prefixlen > 23:
        raise wrong(f"must be a private network of at least 512 addresses, not {seen(text)}", 'such as "10.77.0.0/16"')
    return text


class _PortRange(Either):
    """A range of ports as "first-last" or [first, last]."""

    def show(self, value: Any) -> str:
        return f'"{value[0]}-{value[1]}"'


GATEWAY_TABLE = Table(
    "the gateway",
    (
        Field(
            "host",
            Text("address", pattern=r"[A-Za-z0-9.:-]+", must='be an address such as "127.0.0.1"'),
            "Where it listens; `0.0.0.0` is everywhere.",
            ('"0.0.0.0"',),
        ),
        Field("port", _PORT, "The port.", ("80",)),
        Field(
            "tls",
            TLS,
            "Encrypts it; see TLS.",
            ('{ certificates = { cert = "tls/shop.crt", key = "tls/shop.key" } }',),
            default="plain HTTP",
        ),
    ),
    Gateway,
    spec=Gateway,
    hints={name: f"`{name}` belongs into `tls`" for name in ("cert", "key", "certificates", "acme", "hsts", "http")}
    | {"https": "`port` is the port of HTTPS where `tls` is", "ssl": "it is called `tls`"},
)
GATEWAY = Either(
    text=Mapped(Text(), _gateway, says='`"host:port"`', shape={"pattern": rf"^({_HOST}):\d{{1,5}}$"}),
    table=GATEWAY_TABLE,
    number=Refused("must be host:port", lambda port: f'write "127.0.0.1:{port}"'),
    fix='such as "127.0.0.1:8080"',
)

READ_API_TABLE = Table(
    "the read-only API",
    (
        Field(
            "host",
            Text("address", pattern=r"[0-9A-Fa-f.:]+", must='be an address of this machine such as "127.0.0.1"'),
            "Where it listens. It encrypts nothing: elsewhere than on the loopback, let something before it speak TLS.",
            ('"10.0.0.5"',),
        ),
        Field("port", Integer(1024, 65_535), "The port.", ("9180",)),
        Field(
            "names",
            ListOf(Text("name", pattern=r"[A-Za-z0-9.-]+", must="be a host's name without a port")),
            "Names by which it is asked for, besides `localhost` and addresses. Any other is taken for an attack on a browser.",
            ('["atoll.example.com"]',),
            default="none",
        ),
    ),
    ReadApi,
    spec=ReadApi,
)
READ_API = Either(
    text=Mapped(Text(), _read_api, says='`"host:port"`', shape={"pattern": rf"^({_HOST}):\d{{1,5}}$"}),
    table=READ_API_TABLE,
    number=Refused("must be host:port", lambda port: f'write "127.0.0.1:{port}"'),
    fix='such as "127.0.0.1:9180"',
)

REQUIRED = Text(
    "task", pattern=r"[a-z]([a-z0-9-]{0,22}[a-z0-9])?", must='be the name of a task that services have, such as "test"'
)
DOCKER = Table(
    "[docker]",
    (
        Field(
            "socket",
            Text(
                "path", pattern=r"/[\s\S]+", must="be the absolute path of a socket; dockerd must run on this machine"
            ),
            "The socket of dockerd; with a `host` of `ssh://` that machine's, and images are built by whichever dockerd `docker` speaks to here.",
            ('"/run/user/1000/docker.sock"',),
            default="what Docker's own client would use",
        ),
        Field(
            "networks",
            Mapped(Text(), _private, says="CIDR", shape={"pattern": r"^[0-9.]+/\d+$"}),
            "Private addresses from which each service gets a network of 256. Choose others when your machine routes these.",
            ('"10.77.0.0/16"',),
        ),
        Field(
            "registry",
            Text(
                "registry",
                pattern=r"[A-Za-z0-9][A-Za-z0-9._:/-]*[A-Za-z0-9]",
                must="be host[:port][/path], without https://",
            ),
            "Where images are pushed to, and pulled from when another machine has built them.",
            ('"registry.example.com/shop"',),
            default="none: they stay on this machine",
        ),
        Field(
            "bases",
            MapOf(
                Text("name", pattern=r"[a-z][a-z0-9-]*"),
                Text("image", pattern=r"[^\s]+", must="be the name of an image"),
            ),
            "Images to start from instead of the usual ones.",
            ('{ python = "registry.example.com/python:3.12" }',),
            default="the usual ones",
        ),
    ),
    DockerSpec,
    spec=DockerSpec,
)
_PLACE_FIELDS = (
    Field(
        "engine",
        Choice("process", "docker"),
        "What runs the replicas: plain processes, or containers.",
        ('"docker"',),
    ),
    Field("docker", DOCKER, "What concerns containers only.", ('{ networks = "10.77.0.0/16" }',), default="as below"),
    Field(
        "gateway",
        GATEWAY,
        "Where requests from outside come in.",
        ('"127.0.0.1:8080"', '{ host = "0.0.0.0", port = 80 }'),
        default='`"127.0.0.1:8080"`',
    ),
    Field(
        "envoy",
        Text("path", pattern=r"[\s\S]+", must="be a path"),
        "Your own Envoy instead of the one that comes along.",
        ('"/usr/local/bin/envoy"',),
        default="the one that comes along",
    ),
    Field(
        "freeze",
        FREEZES,
        "When nothing new is deployed. Going back and `up` are never frozen; `deploy --override-freeze WHY` goes ahead.",
        ('{ days = ["fri"], after = "16:00", zone = "Europe/Berlin" }', '[{ from = "2026-12-20", to = "2027-01-02" }]'),
        into="freezes",
        default="never",
    ),
    Field(
        "require",
        ListOf(REQUIRED),
        "Tasks that must be green, for the very files that are deployed, of each service that has them. Going back never "
        "asks; `deploy --override-gate WHY` goes ahead.",
        ('["test", "lint"]',),
        default="none",
    ),
    Field(
        "notify",
        NOTIFY,
        "Webhooks that are told of events.",
        ('{ url = "https://hooks.example.com/x", events = ["rollout.*"] }',),
        default="nobody",
    ),
    Field(
        "faults",
        Flag(),
        "Whether `atoll fault` may break things on purpose here.",
        ("true",),
        default="in `local` only",
    ),
    Field(
        "dev",
        Flag(),
        "Whether `atoll dev` works here: it moves services at each edit, and watches no release after.",
        ("true",),
        default="in `local` only",
    ),
    Field(
        "metrics",
        Integer(1024, 65_535),
        "A port on 127.0.0.1 where Prometheus may scrape `/metrics`.",
        ("9464",),
        default="on the socket of the API only",
    ),
    Field(
        "api",
        READ_API,
        "Where the API may be read over TCP, with a token that `atoll access token` makes.",
        ('"127.0.0.1:9180"', '{ host = "10.0.0.5", port = 9180, names = ["atoll.example.com"] }'),
        default="on sockets only",
    ),
    Field(
        "ports",
        _PortRange(
            text=Mapped(Text(), _port_range_text, says='`"first-last"`', shape={"pattern": r"^\d{1,5}\s*-\s*\d{1,5}$"}),
            items=Mapped(
                ListOf(Integer(1024, 65_535)),
                _port_range,
                says="`[first, last]`",
                shape={"minItems": 2, "maxItems": 2},
            ),
            fix='such as "20000-29999"',
        ),
        "Ports that replicas and edges get. Keep it out of the range from which the kernel takes outgoing ports.",
        ('"20000-29999"', "[21000, 21999]"),
    ),
)
ENVIRONMENT = Table(
    "an environment",
    (
        Field(
            "host",
            Mapped(Text(), _host, says="URL", shape={"pattern": SHAPE}),
            "The machine that it runs on, when that is another one (see howto/remote.md): `ssh://[USER@]MACHINE[:PORT][/PATH]`, or "
            "`unix:///PATH` on that machine itself. PATH is the socket of its API; without one it is `/run/atoll/WORKSPACE.ENVIRONMENT.sock`. "
            "Files named in the environment's table are then that machine's.",
            ('"ssh://deploy@vm1"', '"ssh://deploy@vm1:2222/run/atoll/shop.production.sock"'),
            default="this machine",
        ),
        *_PLACE_FIELDS,
        Field(
            "env",
            ENV_VALUES,
            "Variables of every service in this environment.",
            ('{ LOG_LEVEL = "warn" }',),
            default="none",
        ),
    ),
    dict,
    spec=EnvironmentSpec,
    hints=dict.fromkeys(("ssh", "remote", "server", "machine"), 'it is called `host`, such as "ssh://deploy@vm1"'),
)


def _globs(must: str) -> Either:
    glob = Text("glob", pattern=INSIDE, must=must)
    return Either(text=Mapped(glob, lambda one: (one,)), items=ListOf(glob))


SERVICES = _globs("be a folder or a glob below the workspace, without '..' (`roots` are for other repositories)")
ROOT_PATH = Text("path", pattern=r"[^\s].*", must="be a path")
ROOT_TABLE = Table(
    "a root",
    (
        Field(
            "path",
            ROOT_PATH,
            "Its folder: relative to the workspace, absolute, or from `~` on.",
            ('"../billing"', '"~/src/mail"'),
            required=True,
        ),
        Field(
            "services",
            _globs("be a folder or a glob below the root, without '..'"),
            "Folders in it that may hold a service.",
            ('["apps/*"]',),
            default='`[".", "*", "services/*"]`',
        ),
        Field(
            "optional",
            Flag(),
            "Not everybody has it: without it its services are left out, and calls to what is not here get 503.",
            ("true",),
        ),
    ),
    Root,
    spec=Root,
    hints={"url": "Atoll clones nothing; `path` says where it lies"},
)

WORKSPACE = Table(
    "atoll.toml",
    (
        Field("name", WORKSPACE_NAME, "How the workspace is called.", ('"shop"',), default="the folder's name"),
        Field(
            "services",
            SERVICES,
            "Folders that may hold a service: those with a `service.toml` do. `**` is any depth.",
            ('["apps/*", "gateway"]',),
            default='`[".", "*", "services/*"]`',
        ),
        Field(
            "roots",
            ListOf(
                Either(
                    text=Mapped(ROOT_PATH, lambda path: Root(path=path)),
                    table=ROOT_TABLE,
                    fix='such as "../billing" or { path = "../billing", optional = true }',
                ),
                says="list of paths or tables (see Roots)",
            ),
            "Other repositories whose services belong to the workspace.",
            ('["../billing"]', '["~/src/mail", { path = "../billing", services = ["apps/*"], optional = true }]'),
            default="none",
        ),
        *_PLACE_FIELDS,
        Field(
            "env",
            ENV_VALUES,
            "Variables of every service, everywhere. What an environment or a service says comes first.",
            ('{ REGION = "eu" }',),
            default="none",
        ),
        Field(
            "stores",
            SHARED_STORES,
            "Stores that several services name, each by its name: a broker, a cache. One that belongs to a single service "
            "stands in its service.toml.",
            ('{ broker = "amqp://broker:5672" }', '{ cache = { url = "redis://cache:6379", shared = true } }'),
            default="none",
        ),
        Field(
            "cache",
            CACHE,
            "Where results of builds and tests are kept for other machines, and how much of them here; see Cache.",
            ('"s3://acme-builds/shop"', '{ remote = "/mnt/cache", max_size = "20GiB" }'),
            default="on this machine only",
        ),
        Field(
            "environments",
            MapOf(ENVIRONMENT_NAME, ENVIRONMENT, says="table of environments"),
            "Environments beside `local`, each by its name; what they leave out is as above.",
            ('{ production = { gateway = "0.0.0.0:80" } }',),
            default="`local` only",
        ),
    ),
    dict,
    spec=EnvironmentSpec,  # what an environment leaves out is as the file says
    hints={
        "remote_cache": "it is called `cache`",
        "repositories": "it is called `roots`",
        "repos": "it is called `roots`",
        "service": "each service has its own service.toml; `services` says in which folders they lie",
        "environment": "it is called `environments`",
        "port": "the gateway's is in `gateway`; those of replicas are `ports`",
        "host": "an environment on another machine has it, such as [environments.production]; that of the gateway is in `gateway`",
    },
)
