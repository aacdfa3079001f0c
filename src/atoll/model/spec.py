"""What a person wants: the resolved content of `atoll.toml` and of one `service.toml` for one environment.

`workspace.loader` reads the files into these; everybody else only reads them. Defaults stand here, once, each with
its reason. Durations are seconds, sizes bytes. A spec is part of a release: it never changes after.
"""

import posixpath
from collections.abc import Mapping
from typing import Literal

import msgspec

from atoll.model.analysis import AnalysisPolicy, Check
from atoll.model.command import Command as Command  # noqa: PLC0414 (part of every spec: found here)
from atoll.model.failures import Failures
from atoll.model.task import BUILD, IMAGE
from atoll.model.templates import SECRET_PREFIX, placeholders

Protocol = Literal["http", "grpc", "tcp"]


class SecretRef(msgspec.Struct, frozen=True, tag="secret"):
    """An environment value that is a secret of the environment's vault, by name; never the value.

    With `part` the secret is a store's URL, and the value is this template of its parts (`{host}`, `{password}`). With
    `password`, too, it is the password alone of a store that Atoll runs, and `part` names its edge for the address.
    """

    name: str
    part: str = ""
    password: bool = False


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
    send: str = ""  # of tcp: what is said first, a byte a character
    expect: str = ""  # of tcp: a pattern that the answer begins with; "" asks for no answer
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
    retry_budget_pct: float = 20.0  # of active requests, so that retries of `retry_on` never double an overload
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
    store: bool = False  # to a store that Atoll runs: `[stores]` made it, not `[calls]`
    policy: EdgePolicy = EdgePolicy()


# Between a service and its store nothing is cut, tried again or taken out: pools, transactions and subscriptions are the
# client's own affair. A pool keeps connections for hours.
STORE_POLICY = EdgePolicy(
    connect_timeout_s=5.0,
    timeout_s=0.0,
    idle_timeout_s=0.0,
    retries=0,
    max_connections=65_535,
    max_pending=65_535,
    eject_after=0,
)


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """What Atoll runs for a store that has no URL. What is "" or None is as its type says (`atoll.servers`)."""

    image: str = ""  # for containers
    version: str = ""  # of the program, or its beginning: "16"
    user: str = ""
    database: str = ""
    memory_bytes: int | None = None
    # Of an image whose type is not known, all that must be told:
    port: int = 0
    data: str = ""  # absolute, in the image: what outlives it
    run: Command | None = None  # None is the image's own
    env: Mapping[str, EnvValue] = {}  # may name {user}, {password} and {database}
    health: Probe = Probe(kind="tcp")


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """A database, cache, broker or file that a service keeps its state in.

    With a `url` it is somebody else's, and Atoll tells where it is and no more; with a `server` Atoll runs it, by its name.

    `env` says under which variables the service wants it, by templates such as `{url}` and `{host}`. They stand in the
    service's `env`, too, where they are filled in like all others.
    """

    name: str
    type: str = ""  # postgres, redis, ...: by the URL's scheme unless said; "" is not known
    url: EnvValue = Plain("")  # of one that Atoll runs: nothing
    server: Server | None = None
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
    cpus: float | None = None  # of CPU time at most, also when nobody else wants it; 0.5 is half of one
    pids: int | None = None  # processes and threads at a time

    @property
    def of_containers(self) -> bool:
        """Whether it has limits that only containers have."""
        return self.cpus is not None or self.pids is not None


Strategy = Literal["auto", "canary", "header", "rolling", "blue-green", "all-at-once"]
Undecided = Literal["hold", "extend", "fail", "promote"]


class RolloutStep(msgspec.Struct, frozen=True, kw_only=True):
    """A share of the traffic for the candidate, and how long at least. With `header` (`name: value`) it is the requests
    that have it, instead of a share of all.
    """

    weight_pct: int = 0
    hold_s: float = 10.0  # what a slow leak of the first requests needs to be seen
    header: str = ""
    approve: bool = False  # go on only when a person says so


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """How the artifact is made. Without `steps` a builder is detected from the files (python, node, go, ...)."""

    builder: str | None = None
    tool: str | None = None  # a toolchain and the beginning of its version, "go@1.24"; None is the one on the PATH
    provide: bool = (
        False  # whether a missing toolchain may be fetched: those who repack compilers are to be trusted first
    )
    steps: tuple[Command, ...] = ()
    context: str = "."  # the folder whose files go in, relative to the service's; within the workspace
    inputs: tuple[str, ...] = ("**",)  # globs relative to `context`, .gitignore respected
    shared: tuple[str, ...] = ()  # globs below a context above: what goes in besides what the workspace says it reaches
    outputs: tuple[str, ...] = ("**",)  # what of the build folder is kept
    env: Mapping[str, str] = {}
    needs: tuple[str, ...] = ()  # tasks, of this service or of others (`catalog.build`), that pass first
    inherit: tuple[str, ...] = ()  # variables of the caller's environment; their values count
    passed: tuple[str, ...] = ()  # the same, and their values do not count: tokens, addresses of mirrors
    timeout_s: float = 900.0


class ImageSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How the image is made that an engine of containers runs.

    By a `ref` it is there already; else by the service's Dockerfile, and without one by a Dockerfile that is generated.
    """

    ref: str = ""  # of an image that others make, by digest: a tag names one thing today and another tomorrow
    dockerfile: str = ""  # relative to the service's folder; "" is its `Dockerfile`, where it has one
    generated: bool = False  # although there is a Dockerfile
    context: str = ""  # the folder that COPY sees, relative to the service's; "" is that of the build
    target: str = ""  # stage of the Dockerfile; "" is the last
    args: Mapping[str, str] = {}  # of the Dockerfile; anybody who has the image can read them
    needs: tuple[str, ...] = ()  # tasks that pass first; none are those of the build
    base: str = ""  # where a generated one builds; "" is the usual one
    run_base: str = ""  # where what was built runs; "" is the usual one
    bases: Mapping[str, str] = {}  # what is usual in the environment, as `DockerSpec.bases`


Overlap = Literal["skip", "queue", "replace", "allow"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A command that ends: run by hand, and by `schedule` when it has one. It runs in its service's release."""

    name: str
    run: Command
    schedule: str | None = None  # a cron expression; see `decide.schedule`
    time_zone: str = "UTC"  # the same on every machine
    timeout_s: float = 3600.0  # Heroku's for its release phase; without one a job that hangs is never told of
    overlap: Overlap = "skip"  # two at once is what nobody thought of (Nomad's prohibit_overlap, Kubernetes' Forbid)
    retries: int = 0  # a job that failed half-way is not always safe to repeat: its file must say so
    starting_deadline_s: float = 3600.0  # late by a reboot is welcome, by a weekend is not (Kubernetes' field)
    env: Mapping[str, EnvValue] = {}  # on top of the service's


class Before(msgspec.Struct, frozen=True, kw_only=True):
    """What runs once for a release, before its first replica, and stops it when it fails: a migration."""

    run: Command
    job: str = ""  # the job that it is, when it was given by name
    timeout_s: float = 300.0  # somebody waits for the deploy; without overlap, requests do, too
    env: Mapping[str, EnvValue] = {}
    backward_compatible: bool = False  # the releases before work with what it leaves: rolling code back is safe


class RolloutSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How traffic moves to a new release, and what happens when the numbers do not decide."""

    before: Before | None = None
    strategy: Strategy = "auto"
    steps: tuple[RolloutStep, ...] = ()  # of a canary; () are the strategy's own
    bake_s: float = 600.0  # the previous release stays warm and the new one is judged (PaaSTA's bake)
    deadline_s: float = 600.0  # for the verdict of one step
    on_no_data: Undecided = "hold"  # nothing unmeasured is promoted silently
    on_inconclusive: Undecided = "extend"
    countdown_s: float = 0.0  # between a failing verdict and going back, in which a person may keep the candidate
    analysis: AnalysisPolicy = AnalysisPolicy()
    checks: tuple[Check, ...] = ()


class ServiceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One service in one environment, all short forms expanded and the environment's values merged in."""

    name: str
    store: str = ""  # its type, for a store that Atoll runs; "" is a service that people wrote
    run: Command | None = None  # None: nothing runs all the time, the service is its jobs
    folder: str = "."  # of service.toml, relative to the workspace, POSIX; absolute where its root is
    root: str = "."  # the repository that it lies in, as `roots` of atoll.toml names it; "." is the workspace
    owner: str = ""
    description: str = ""
    build: Build = Build()
    image: ImageSpec | None = None  # None: the engine runs what the build made, as it is
    workdir: str = "."  # relative to the artifact
    ports: tuple[Port, ...] = ()  # none at all: a worker
    health: Health = Health()
    stop: Stop = Stop()
    calls: tuple[Call, ...] = ()
    routes: tuple[Route, ...] = ()
    failures: Failures = Failures()
    stores: tuple[Store, ...] = ()
    publishes: tuple[Topic, ...] = ()
    consumes: tuple[Topic, ...] = ()
    limits: Limits = Limits()
    replicas: int = 1
    overlap: bool = True  # False: two releases must never run at once
    jobs: tuple[Job, ...] = ()
    rollout: RolloutSpec = RolloutSpec()
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
    def every_env(self) -> tuple[Mapping[str, EnvValue], ...]:
        """The service's own variables, and those of each job."""
        before = (self.rollout.before.env,) if self.rollout.before else ()
        return (self.env, *(job.env for job in self.jobs), *before)

    @property
    def every_command(self) -> tuple[Command, ...]:
        """What ever runs of it, but for probes."""
        before = (self.rollout.before.run,) if self.rollout.before else ()
        return (*((self.run,) if self.run else ()), *(job.run for job in self.jobs), *before)

    @property
    def inside(self) -> str:
        """Where its folder lies in its build's context, POSIX; "." when it is the context, or does not lie in it."""
        context = posixpath.normpath(posixpath.join(self.folder, self.build.context))
        folder = posixpath.normpath(self.folder)
        if context == ".":
            return folder
        return folder[len(context) + 1 :] if folder.startswith(f"{context}/") else "."

    @property
    def deployed(self) -> str:
        """The name of the task whose result is deployed."""
        return BUILD if self.image is None else IMAGE

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
        """Every secret that it names, in its environment, its jobs' and its files."""
        named = {value.name for env in self.every_env for value in env.values() if isinstance(value, SecretRef)}
        return self.file_secrets | named


def service_file(spec: ServiceSpec) -> str:
    """The path of the service's file, relative to the workspace."""
    return "service.toml" if spec.folder == "." else f"{spec.folder}/service.toml"
