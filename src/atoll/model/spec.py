"""What a person wants: the resolved content of `atoll.toml` and of one `service.toml` for one environment.

`workspace.loader` reads the files into these; everybody else only reads them. Defaults stand here, once, each with
its reason. Durations are seconds, sizes bytes. A spec is part of a release: it never changes after.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from atoll.model.errors import Problem
from atoll.model.templates import SECRET_PREFIX, placeholders

Protocol = Literal["http", "grpc", "tcp"]


class Command(msgspec.Struct, frozen=True):
    """What to run: an argument vector, or one line for `/bin/sh -c`. Templates (`{port}`) are still in it."""

    argv: tuple[str, ...] = ()
    shell: str | None = None

    @property
    def text(self) -> str:
        """The command as a person would write it."""
        return self.shell if self.shell is not None else " ".join(self.argv)


class SecretRef(msgspec.Struct, frozen=True, tag="secret"):
    """An environment value that is a secret of the environment's vault, by name; never the value.

    With `part` the secret is a store's URL, and the value is this template of its parts (`{host}`, `{password}`).
    """

    name: str
    part: str = ""


class Plain(msgspec.Struct, frozen=True, tag="value"):
    """An environment value as written; may hold templates such as `{port}`."""

    value: str


EnvValue = Plain | SecretRef


class RenderedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is written for each replica before it starts; `text` may hold templates.

    The text of a template file is read with service.toml, so that it is part of the release.
    """

    text: str = ""
    template: str | None = None  # where the text was read, relative to the service's folder


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """A named port. The number is leased by the engine; the service learns it by variable or template `{port.NAME}`.

    With a `number` of its own the replica listens there in a network of its own, and the leased port leads to it.
    """

    name: str = "http"
    protocol: Protocol = "http"
    number: int | None = None
    env: str | None = None  # variable that carries the number; the first port gets PORT


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One way to ask a replica how it is. `process` asks nothing: alive is enough."""

    kind: Literal["http", "grpc", "tcp", "command", "process"] = "process"
    port: str = ""  # a port's name; "" is the first
    path: str = "/"
    headers: Mapping[str, str] = {}
    service: str = ""  # the name in gRPC's health Check; "" is the server as a whole
    command: Command | None = None
    timeout_s: float = 1.0  # a service that needs longer to say that it is well is not


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """When a replica may get traffic (ready), when it must be replaced (live), and how long it may take to start."""

    ready: Probe = Probe()
    live: Probe = Probe()  # liveness never shares the readiness path by itself: a lost database must not restart all
    start_budget_s: float = 30.0  # Kamal's deploy timeout
    stable_for_s: float = 1.0  # ready-then-dead services die within a second of being ready
    interval_s: float = 2.0  # between probes once ready; while starting it is 20 to 250 ms
    failures: int = 3  # probes in a row before ready is lost (or live is)


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """How a replica ends: drained at the proxy first, then `signal`, then SIGKILL after `grace_s`."""

    signal: str = "SIGTERM"
    grace_s: float = 10.0  # Docker's
    drain_s: float = 30.0  # kamal-proxy's; streams end at this deadline


class EdgePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What protects a caller from one callee. Every field may be set per edge and per route."""

    connect_timeout_s: float = 1.0  # loopback and LAN: anything slower is dead
    timeout_s: float = 15.0  # Envoy's default for a whole request; 0 is none
    idle_timeout_s: float = 300.0  # a stream without a byte either way; Envoy's default
    retries: int = 2  # only for GET/HEAD, or when no byte was sent
    retry_on: tuple[str, ...] = ()  # extra Envoy retry conditions, e.g. "gateway-error"
    retry_budget_pct: float = 20.0  # of active requests, so that retries never double an overload
    max_connections: int = 1024  # Envoy's breaker defaults
    max_pending: int = 1024
    max_requests: int = 1024
    eject_after: int = 5  # consecutive 5xx or resets in a row; 0 switches ejection off
    eject_for_s: float = 10.0
    max_body_bytes: int = 0  # 0 is no limit of ours


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """An edge: this service calls `callee`. `env` says under which variables it wants the address.

    Templates: {host}, {port}, {url} (`http://host:port`), {address} (`host:port`).
    """

    callee: str
    port: str = ""  # the callee's port; "" is its first
    env: Mapping[str, str] = {}
    optional: bool = False  # absent is allowed: the address then answers 503, or closes each connection (tcp)
    protocol: Protocol | None = None  # what the address speaks before the callee ever ran; None is http
    url: str | None = None  # an external callee, outside the workspace
    ca: str = ""  # certificates (PEM) that are trusted for it; "" are the machine's
    policy: EdgePolicy = EdgePolicy()


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """A database, cache, broker or file that a service keeps its state in; Atoll tells where it is and no more.

    `env` says under which variables the service wants it, by templates such as `{url}` and `{host}`. They stand in the
    service's `env`, too, where they are filled in like all others.
    """

    name: str
    type: str = ""  # postgres, redis, ...: by the URL's scheme unless said; "" is not known
    url: EnvValue = Plain("")
    env: Mapping[str, str] = {}
    shared: bool = False  # that several services use it is meant


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """Messages of one kind, by name, that a service publishes or consumes: a topic, a queue, a subject."""

    name: str
    store: str = ""  # which of the service's stores carries them; "" is not said
    contract: str = ""  # a file that describes them, relative to the service's folder
    external: bool = False  # consumed, and published by somebody outside the workspace


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Requests at the gateway that go to this service: by path prefix, by host, or both."""

    path: str = "/"
    host: str | None = None
    port: str = ""
    strip: bool = False  # remove the prefix before the service sees the path
    policy: EdgePolicy = EdgePolicy()


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one replica may use. None is unlimited."""

    memory_bytes: int | None = None
    cpu_weight: int | None = None  # 1 to 10000, cgroup v2's scale; 100 is normal
    open_files: int | None = None


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """How the artifact is made. Without `steps` a builder is detected from the files (python, node, go, ...)."""

    builder: str | None = None
    tool: str | None = None  # a toolchain and the beginning of its version, "go@1.24"; None is the one on the PATH
    steps: tuple[Command, ...] = ()
    context: str = "."  # the folder whose files go in, relative to the service's; within the workspace
    inputs: tuple[str, ...] = ("**",)  # globs relative to `context`, .gitignore respected
    outputs: tuple[str, ...] = ("**",)  # what of the build folder is kept
    env: Mapping[str, str] = {}
    timeout_s: float = 900.0


class ServiceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One service in one environment, all short forms expanded and the environment's values merged in."""

    name: str
    run: Command
    folder: str = "."  # of service.toml, relative to the workspace, POSIX; absolute where its root is
    root: str = "."  # the repository that it lies in, as `roots` of atoll.toml names it; "." is the workspace
    owner: str = ""
    description: str = ""
    build: Build = Build()
    workdir: str = "."  # relative to the artifact
    ports: tuple[Port, ...] = ()  # none at all: a worker
    health: Health = Health()
    stop: Stop = Stop()
    calls: tuple[Call, ...] = ()
    routes: tuple[Route, ...] = ()
    stores: tuple[Store, ...] = ()
    publishes: tuple[Topic, ...] = ()
    consumes: tuple[Topic, ...] = ()
    limits: Limits = Limits()
    replicas: int = 1
    overlap: bool = True  # False: two releases must never run at once
    keep_warm_s: float = 600.0  # how long the previous release idles, for an instant rollback
    env: Mapping[str, EnvValue] = {}
    inherit: tuple[str, ...] = ()  # variables taken over from the daemon's own environment
    writable: tuple[str, ...] = ()  # absolute folders that are made and given to the service's user; they outlive it
    files: Mapping[str, RenderedFile] = {}  # by their path below the replica's `{files}`

    def port(self, name: str) -> Port | None:
        """The port of that name; "" is the first one. None when there is none."""
        if not name:
            return self.ports[0] if self.ports else None
        return next((port for port in self.ports if port.name == name), None)

    @property
    def own_network(self) -> bool:
        """Whether each replica needs a network of its own, since the service insists on a port."""
        return any(port.number is not None for port in self.ports)

    @property
    def file_secrets(self) -> frozenset[str]:
        """The secrets that its files name by themselves."""
        inside = (name for file in self.files.values() for name in placeholders(file.text))
        return frozenset(name.removeprefix(SECRET_PREFIX) for name in inside if name.startswith(SECRET_PREFIX))

    @property
    def secret_names(self) -> frozenset[str]:
        """Every secret that it names, in its environment and in its files."""
        return self.file_secrets | {value.name for value in self.env.values() if isinstance(value, SecretRef)}


def service_file(spec: ServiceSpec) -> str:
    """The path of the service's file, relative to the workspace."""
    return "service.toml" if spec.folder == "." else f"{spec.folder}/service.toml"


class Root(msgspec.Struct, frozen=True, kw_only=True):
    """Another repository with services of the workspace."""

    path: str  # relative to the workspace, absolute, or from `~` on
    services: tuple[str, ...] = ()  # globs within it; none are the usual ones
    optional: bool = False  # not everybody has it


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """The way in from outside."""

    host: str = "127.0.0.1"
    port: int = 8080

    def __str__(self) -> str:
        """`host:port`, as atoll.toml writes it."""
        return f"{self.host}:{self.port}"


class EnvironmentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One environment of a workspace as `atoll.toml` says it."""

    name: str = "local"
    engine: Literal["process"] = "process"
    gateway: Gateway = Gateway()
    envoy: str | None = None  # a path to one's own Envoy; None is the wheel's
    ports: tuple[int, int] = (20000, 29999)  # leased to replicas and edges; outside Linux's ephemeral 32768-60999


class WorkspaceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A repository with services, seen for one environment."""

    name: str
    root: str  # absolute path
    environment: EnvironmentSpec
    services: Mapping[str, ServiceSpec] = {}
    stores: Mapping[str, Store] = {}  # those of atoll.toml, whether a service uses them or not
    warnings: tuple[Problem, ...] = ()  # what does not stand in the way, but should be looked at
