"""What is: releases, intents, rollouts, replicas, and what was observed of them.

Durable rows (`Release`, `Intent`, `Rollout`, `ReplicaRecord`, `Receipt`, `Event`) are what the store keeps; `Replica` and
`Observation` are rebuilt from the host and the proxy. Times ending in `_s` are seconds of CLOCK_BOOTTIME of the boot
named beside them; `wall` times are seconds since the epoch, for people only.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from atoll.model.analysis import Analysis, Verdict
from atoll.model.catalogue.ids import ErrorId
from atoll.model.environment import host_port
from atoll.model.spec import Command, EnvValue, ServiceSpec


class Now(msgspec.Struct, frozen=True):
    """One instant. `boot_s` orders and measures; `wall` is shown to people and may jump."""

    boot_id: str
    boot_s: float
    wall: float


LOOPBACK = "127.0.0.1"


class Address(msgspec.Struct, frozen=True, order=True):
    """Where something listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return host_port(self.host, self.port)


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """A container image that an artifact is. `id` names its content (`sha256:...`, or `name@sha256:...` of a registry)."""

    id: str
    folder: str = "/"  # absolute, within it: where the service's own files lie, and its commands run
    user: str = ""  # whom it names as its user, by name or number; "" names nobody, which is root


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable build. `key` names what went in, `digest` what came out; `path` is its final read-only folder."""

    key: str
    digest: str
    builder: str
    platform: str
    path: str
    command_env: Mapping[str, str] = {}  # what the builder says the run command needs, e.g. PATH of a venv
    image: Image | None = None  # what runs, on an engine of containers; then `path` is where its build was
    in_place: bool = False  # no build: `path` is the folder that somebody edits (`atoll dev`)


class Author(msgspec.Struct, frozen=True, kw_only=True):
    """Who did something, from what commit. Recorded from the first event on."""

    actor: str = ""
    commit: str = ""
    commit_wall: float | None = None
    dirty: bool = False


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """Artifact + resolved configuration + secret versions, numbered per service. Symbolic: no address, no secret value."""

    service: str
    n: int
    spec: ServiceSpec
    artifact: Artifact
    secrets: Mapping[str, int] = {}
    inherited: Mapping[str, str] = {}  # values of spec.inherit at the time of the release
    created_wall: float = 0.0
    author: Author = Author()
    note: str = ""  # "restart of r7"
    origin: int = 0  # the release whose content this one repeats (restart, rollback with new secrets); 0 is itself

    @property
    def name(self) -> str:
        """`orders r7`, as people say it."""
        return f"{self.service} r{self.n}"

    @property
    def made(self) -> int:
        """The number under which its content was released first."""
        return self.origin or self.n


FaultKind = Literal["latency", "abort", "pause"]


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A fault that somebody injected, as a lease: it ends by itself, also when the daemon that began it is gone.

    `latency` and `abort` are between a caller and the service, at the proxy; `pause` stops processes (SIGSTOP).
    """

    id: str
    kind: FaultKind
    boot_id: str
    until_s: float  # boot seconds; a reboot ends it
    caller: str | None = None  # a service; "" is the gateway; None is everybody
    percent: int = 100  # of the requests
    latency_s: float = 0.0
    status: int = 0  # HTTP's
    replicas: tuple[str, ...] = ()  # those that were stopped
    began_wall: float = 0.0
    author: Author = Author()


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """What a person wants of one service; changed by compare-and-swap on `generation`; survives rollback."""

    service: str
    generation: int = 0
    target: int | None = None  # the release that shall run; None is down
    replicas: int | None = None  # an override by hand; None is what the release says
    faults: tuple[Fault, ...] = ()  # injected; they leave `generation` as it is
    said: tuple[
        str, ...
    ] = ()  # keys of the newest requests that changed it, so that one that comes again changes nothing


RolloutPhase = Literal[
    "holding",  # overlap = false only: requests are being held at the proxy
    "stopping",  # overlap = false only: the stable release is being stopped
    "preparing",  # what must run once before the release does so
    "starting",  # candidates start, get ready, stay so through the stability window
    "stepping",  # a share of the traffic goes to the candidate, step by step
    "shifting",  # endpoints and weights sent, not yet acknowledged
    "releasing",  # overlap = false only: held requests are let go
    "draining",  # requests in flight at the stable release finish
    "live",  # all traffic is on the candidate; the previous release is warm
    "certified",  # the end of a good one: the previous release is stopped
    "undoing",  # going back to the stable release
    "undone",  # the end of a bad one
    "superseded",  # the end of one whose service was told to go down, or that a newer one replaced
]
ENDED: frozenset[RolloutPhase] = frozenset({"certified", "undone", "superseded"})
LIVE: frozenset[RolloutPhase] = frozenset({"live", "certified"})


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a rollout, resolved when it began."""

    weight_pct: int  # of all requests, to the candidate
    replicas: int | None = None  # of the candidate; None is all
    hold_s: float = 0.0
    header: str = ""  # `name: value`: these requests go to the candidate, whatever the weight
    judged: bool = False  # only a passing verdict leads on
    approve: bool = False  # only a person's word leads on


Stage = Literal[
    "filling",  # the step's replicas are being started; the traffic is still that of the step before
    "moving",  # its traffic was sent to the proxy, and is not acknowledged yet
    "watching",  # it is: time, verdict and people are waited for
]


Paused = Literal[
    "",
    "by hand",  # somebody said `pause`
    "undecided",  # the numbers do not decide
    "approval",  # the step's file wants a person's word
]


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """Moving one service from its stable release to a candidate. While it is not live it is the service's lock."""

    id: str
    service: str
    kind: Literal["deploy", "rollback", "restart"]
    candidate: int
    stable: int | None  # None: the service was down
    phase: RolloutPhase
    boot_id: str
    phase_since_s: float
    entered_s: Mapping[str, float] = {}  # phase -> when it was entered first, on the same boot
    reason: str = ""  # why it is being undone, with the candidate's last output in `output`
    reason_id: str = ""
    output: str = ""
    started_wall: float = 0.0
    author: Author = Author()
    before: str = ""  # the job run that must succeed before the candidate starts; "" is none
    strategy: str = ""  # what `auto` came to; "" for a rollback or a restart
    why: str = ""  # why that one, for a person
    detects: str = ""  # what the traffic of its beginning can show, for a person
    exposure: str = ""  # the worst case for users, likewise
    steps: tuple[Step, ...] = ()
    step: int = 0  # the present one's index
    stage: Stage = "filling"
    filled_pct: int = 0  # the share that the candidate keeps while a stage fills
    stage_since_s: float = 0.0
    extended: int = 0  # how often the present step was given another deadline
    paused: Paused = ""  # what it waits for a person for; "" goes on
    waits: str = ""  # the same in a sentence
    asked: Literal["", "step", "promote"] = ""  # what a person said: take the next step, or all of them
    kept: bool = False  # a person said that a failing verdict is not to undo it
    analysis: Analysis = Analysis()
    verdict: Verdict | None = None  # the newest that was written down
    quick: bool = False  # of `atoll dev`: all at once, watched for an instant, nothing kept warm
    said: tuple[str, ...] = ()  # keys of the newest words of people to it, likewise


ReplicaPhase = Literal[
    "starting",  # recorded, then started; gets no traffic
    "serving",  # was ready once: gets traffic while it is ready
    "draining",  # gets no new request; those in flight finish
    "stopping",  # the stop signal was sent; SIGKILL follows after the grace
]


class ReplicaRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The durable row of one replica, written before its process is started."""

    id: str  # "orders-r7-0-k3x9": unique for ever
    service: str
    release: int
    slot: int  # 0 .. replicas-1; one live replica a slot and release
    phase: ReplicaPhase = "starting"
    host: str = LOOPBACK  # where it listens: the loopback of all, or an address of its own
    ports: Mapping[str, int] = {}  # port name -> number there; leased on the loopback, where all share the numbers
    boot_id: str = ""
    created_s: float = 0.0
    phase_since_s: float = 0.0
    created_wall: float = 0.0
    why: str = ""  # why it is draining or stopping

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Of all its ports."""
        return tuple(Address(self.host, number) for number in self.ports.values())


class Reason(msgspec.Struct, frozen=True):
    """Why something is not as it should be: words for a person, and the id of the page that explains them.

    In rows and views the two stand side by side, as `reason` and `reason_id`; "" is: there is nothing to explain.
    """

    text: str
    id: str


_SIGNALS = {  # Linux's numbers on every machine that Envoy runs on
    1: "SIGHUP",
    2: "SIGINT",
    3: "SIGQUIT",
    4: "SIGILL",
    6: "SIGABRT",
    7: "SIGBUS",
    8: "SIGFPE",
    9: "SIGKILL",
    10: "SIGUSR1",
    11: "SIGSEGV",
    12: "SIGUSR2",
    13: "SIGPIPE",
    14: "SIGALRM",
    15: "SIGTERM",
}
_OF_SHELLS = {126: " (the shell may not execute the command)", 127: " (the shell did not find the command)"}


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """How a process ended. Exactly one of `code` and `signal` is set, unless it never started (`error`)."""

    code: int | None = None
    signal: int | None = None
    error: str = ""  # could not be started, and why
    oom: bool = False
    limit_bytes: int | None = None  # of memory, when it went over it and the limit is known
    at_s: float = 0.0  # CLOCK_BOOTTIME
    wall: float = 0.0

    @property
    def id(self) -> ErrorId:
        """The page that explains it."""
        if self.oom:
            return "out-of-memory"
        return "program-not-found" if self.error or self.code in _OF_SHELLS else "crashed"

    @property
    def text(self) -> str:
        """What happened, for a person."""
        if self.error:
            return self.error
        if self.oom:
            return "out of memory" + (f", limit {self.limit_bytes // 2**20}MiB" if self.limit_bytes else "")
        if self.signal is not None:
            return f"killed by {_SIGNALS.get(self.signal, f'signal {self.signal}')}"
        return f"exit code {self.code}{_OF_SHELLS.get(self.code or 0, '')}"


JobState = Literal[
    "queued",  # waits: for another run of the job to end, or to be tried again
    "starting",  # recorded, then started
    "running",
    "stopping",  # the stop signal was sent; SIGKILL follows after the grace
    "succeeded",
    "failed",
    "stopped",  # ended because somebody wanted it: by hand, by a newer run, with its service
    "skipped",  # an occurrence that did not run, since the one before still ran
    "missed",  # an occurrence that nobody was there to start within its deadline
]
JOB_ENDED: frozenset[JobState] = frozenset({"succeeded", "failed", "stopped", "skipped", "missed"})
Trigger = Literal["schedule", "manual", "before"]


class JobRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a job with all its attempts; written before its process is started. `command` holds its templates."""

    id: str  # "orders.nightly.20261126T030000": unique for ever, and the same for the same occurrence
    service: str
    job: str
    release: int
    trigger: Trigger
    command: Command
    env: Mapping[str, EnvValue] = {}
    timeout_s: float
    retries: int = 0
    state: JobState = "starting"
    attempt: int = 1
    due_wall: float | None = None  # of a scheduled one
    count: int = 1  # occurrences that this row tells of; more than one only when they were missed together
    boot_id: str = ""
    state_since_s: float = 0.0
    started_s: float = 0.0  # of this attempt
    until_s: float = 0.0  # queued: not tried again before
    replaces: bool = False  # the runs of the job before it end for it
    backward_compatible: bool = False  # of one before a release: releases before that work with what it leaves
    created_wall: float = 0.0
    started_wall: float | None = None  # since when its first attempt is being started
    begun_s: float = 0.0  # the same by CLOCK_BOOTTIME, since the wall's clock may be set; 0 once it was another boot
    ended_wall: float | None = None
    stop: str = ""  # why it is to end before its time
    exit: Exit | None = None  # of the last attempt
    reason: str = ""  # why it is not simply a success, for a person
    output: str = ""  # the end of what it printed, when it failed
    author: Author = Author()

    @property
    def process(self) -> str:
        """The host's id of this attempt."""
        return f"{self.id}.{self.attempt}"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in JOB_ENDED


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """One running instance as seen now: its row plus what host, prober and proxy say. None is: not known yet."""

    record: ReplicaRecord
    alive: bool | None = None  # the host has the process; None until the host was asked
    pid: int | None = None
    exit: Exit | None = None
    ready: bool = False  # the last readiness verdict; the listener was seen to be its own
    ready_since_s: float | None = None  # since when it has been ready without a break
    failing_live: bool = False  # liveness lost: must be replaced
    in_proxy: Literal["absent", "serving", "draining"] | None = None  # by the last acknowledged table
    inflight: int | None = None  # requests in flight, counted after that acknowledgement
    reason: str = ""  # why it is not ready, for a person
    reason_id: str = ""

    @property
    def id(self) -> str:
        """The record's id."""
        return self.record.id


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """Memory of crashes of one release's slot, so that restarts slow down. Kept in memory only."""

    crashes: int = 0  # in a row
    until_s: float = 0.0  # no start before


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """How one release of a service shall run: how many replicas, how much traffic."""

    release: int
    replicas: int
    weight_pct: int


class ServiceDesired(msgspec.Struct, frozen=True, kw_only=True):
    """What `decide.compose` wants of an engine for one service. Weights sum to 100, or are all 0 (down)."""

    service: str
    generation: int
    revisions: tuple[Revision, ...] = ()
    hold: bool = False  # requests wait at the proxy
    header: str = ""  # `name: value`: requests with it go to the newest revision, whatever the weights
    faults: tuple[Fault, ...] = ()  # in force now


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine sees of one service."""

    service: str
    replicas: tuple[Replica, ...] = ()
    weights: Mapping[int, int] | None = None  # release -> pct of the acknowledged table; None: not known
    holding: bool | None = None  # of the acknowledged table
    header: str | None = None  # the same
    faults: tuple[Fault, ...] = ()  # the same; those that the proxy makes
    backoff: Mapping[int, int] = {}  # release -> crashes in a row, the worst slot's
    last_exit: Mapping[int, Exit] = {}  # release -> the newest crash
    given_up: Mapping[
        int, Reason
    ] = {}  # release -> why its newest replica that never got ready was ended; after last_exit
    awaits: Mapping[int, str] = {}  # release -> the store of its that is on its way: no replica starts before
    problem: str = ""  # what stands in the way, for a person (e.g. Envoy's refusal)
    problem_id: str = ""
    at_s: float = 0.0


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the ledger. `kind` is dotted (`rollout.live`); `data` is JSON-like and holds no secret."""

    kind: str
    service: str = ""
    release: int | None = None
    message: str = ""
    author: Author = Author()
    data: Mapping[str, Any] = {}
    wall: float = 0.0
    seq: int = 0  # given by the store


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What one deploy did and cost; kept for ever, shown by `deploy` and `releases`."""

    rollout: str
    service: str
    kind: str
    release: int
    previous: int | None
    outcome: Literal["live", "undone"]
    reason: str = ""
    reason_id: str = ""
    output: str = ""
    changed: tuple[str, ...] = ()  # sentences: what differs from the previous release
    seconds: Mapping[str, float] = {}  # per phase, plus "total"
    requests: int = 0  # to this service while it lasted
    failed: int = 0
    touched: tuple[str, ...] = ()  # other services whose replicas changed meanwhile
    undo: str = ""  # the command
    wall: float = 0.0
    author: Author = Author()
