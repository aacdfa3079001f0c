"""What crosses the daemon's API: requests in, views out. `daemon.control` speaks these, the API and the CLI carry them.

`state.Event`, `state.Receipt` and `records.TaskRecord` cross as they are; everything else that people see is a view made here, so that the
stored rows may change without breaking a client. Times: `wall` is seconds since the epoch, `_s` a duration in seconds.
Unknown members are ignored by both sides, so a newer daemon may answer an older client.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from atoll.model.environment import EnvironmentSpec
from atoll.model.errors import AtollError
from atoll.model.records import TaskRecord
from atoll.model.spec import ServiceSpec
from atoll.model.state import (
    Artifact,
    Author,
    Exit,
    Receipt,
    ReplicaPhase,
)
from atoll.model.wire_operations import OperationView

# --- requests -----------------------------------------------------------------------------------------------------


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What would become a release: one service as its file says now, and its build.

    `author` has the commit of its own repository where several make a workspace; None: as the request says. `tasks` and
    `records` are for environments that require something: see `DeployRequest`.
    """

    spec: ServiceSpec
    artifact: Artifact
    author: Author | None = None
    tasks: Mapping[str, str] | None = None
    records: tuple[TaskRecord, ...] = ()


class Attributed(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every request that somebody has to answer for.

    `author.actor` is set by the API from the peer's credentials; commit and its time come from the client. `key` is the
    idempotency key (header `Idempotency-Key`): a repeated request with the same key gets the first one's answer.
    """

    author: Author = Author()
    key: str = ""


class Mutation(Attributed, frozen=True, kw_only=True):
    """Base of every request that changes services. `expect` is the generation of the service's intent that the client saw; None does not care. A mismatch is a Conflict."""

    expect: int | None = None


class DeployRequest(Mutation, frozen=True, kw_only=True):
    """Make a release of this draft and move all traffic to it. `force`: also when nothing differs from the stable one."""

    spec: ServiceSpec
    artifact: Artifact
    note: str = ""
    force: bool = False
    override_freeze: str = ""  # why it goes ahead although deploys are frozen
    quick: bool = False  # all at once and not watched after; only where the environment's file says `dev`
    tasks: Mapping[str, str] | None = None  # the service's tasks -> the keys that its files have; None: not said
    records: tuple[TaskRecord, ...] = ()  # of runs of these keys, that the environment may not hold yet
    override_gate: str = ""  # why it goes ahead although what the environment requires is not green


class RecordsRequest(Mutation, frozen=True, kw_only=True):
    """Hold these records, those of pull requests left out. One that is held already is one."""

    records: tuple[TaskRecord, ...]


class UpRequest(Mutation, frozen=True, kw_only=True):
    """Deploy those of `drafts` that are not running. Running services are left alone, also when their files changed."""

    drafts: tuple[Draft, ...]


class RollbackRequest(Mutation, frozen=True, kw_only=True):
    """Go back to release `to`; None is the release before the current one. `force`: also over what ran before a release
    that does not say that earlier code works with it.
    """

    to: int | None = None
    force: bool = False


class SteerRequest(Mutation, frozen=True, kw_only=True):
    """A word to the rollout under way. `keep`: a failing verdict is not to undo it; crashes still do. `retry`: begin the
    one again that was undone last.
    """

    word: Literal["pause", "resume", "promote", "abort", "keep", "retry"]


class FaultRequest(Mutation, frozen=True, kw_only=True):
    """Break something of a service for a while. `kill` ends replicas and lasts no time."""

    kind: Literal["kill", "pause", "latency", "abort"]
    seconds: float = 30.0
    caller: str | None = None  # a service, or "gateway"; None is everybody
    percent: int = 100
    latency_s: float = 0.0
    status: int = 0
    most: int = 1  # replicas, of kill and pause


class RestartRequest(Mutation, frozen=True, kw_only=True):
    """Replace every replica by a fresh one of the same release, start-first unless the release forbids overlap."""


class ScaleRequest(Mutation, frozen=True, kw_only=True):
    """Run `replicas` of it; None goes back to what the release says. Survives deploys and rollbacks."""

    replicas: int | None = None


class StopRequest(Mutation, frozen=True, kw_only=True):
    """Drain and stop every replica of the service; its releases stay, so that `up` or `rollback` can start it again."""


class ExecRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Run a command in a replica's surroundings (its folder, environment and secrets)."""

    argv: tuple[str, ...]
    replica: str = ""  # an id; "" is the oldest ready one of the current release
    timeout_s: float = 60.0
    author: Author = Author()


class EnvironmentRequest(Attributed, frozen=True, kw_only=True):
    """What atoll.toml says of the environment, from a machine that has the file. `host` in it means nothing here."""

    environment: EnvironmentSpec


# --- status -------------------------------------------------------------------------------------------------------


class ReplicaView(msgspec.Struct, frozen=True, kw_only=True):
    """One running instance."""

    id: str
    release: str  # "r7"
    phase: ReplicaPhase
    ready: bool
    pid: int | None = None  # the machine's number for it
    host: str = "127.0.0.1"  # where its ports are: the loopback of all, or an address of its own
    ports: Mapping[str, int] = {}
    memory_bytes: int | None = None
    restarts: int = 0  # crashes in a row of its slot
    inflight: int | None = None
    since_s: float = 0.0  # how long it has been in this phase
    reason: str = ""  # why it is not ready
    reason_id: str = ""  # its page: `atoll explain ID`; "" when there is nothing to explain


ServiceState = Literal[
    "up",  # as many ready replicas as wanted
    "deploying",  # a rollout is not live yet
    "degraded",  # serving, with fewer ready replicas than wanted
    "failing",  # wanted, and none is ready
    "down",  # not wanted
]


class ServiceView(msgspec.Struct, frozen=True, kw_only=True):
    """One service now. Rates are of what was seen of the last 60 s; None when there was nothing to measure."""

    name: str
    state: ServiceState
    store: str = ""  # its type ("postgres"), when it is a store that Atoll runs
    release: str = ""  # "r7": the one with the traffic; "" when it never ran
    candidate: str = ""  # "r8" while a rollout is not live
    generation: int = 0  # of the intent: what `expect` compares
    ready: int = 0
    wanted: int = 0
    unheard: int = 0  # replicas of which the proxy has yet to acknowledge that they are ready, or that they go
    override: int | None = None  # replicas set by hand
    rps: float | None = None
    error_pct: float | None = None
    p95_ms: float | None = None
    since_wall: float = 0.0  # since when this release has the traffic
    urls: tuple[str, ...] = ()  # at the gateway
    reason: str = ""  # why it is not up, for a person
    reason_id: str = ""  # its page
    jobs: tuple[str, ...] = ()  # their names
    running_jobs: tuple[str, ...] = ()  # ids of runs that have not ended
    failing_jobs: tuple[str, ...] = ()  # sentences: scheduled jobs whose last run was no success
    replicas: tuple[ReplicaView, ...] = ()


class PartView(msgspec.Struct, frozen=True, kw_only=True):
    """One of Atoll's own processes: keeper, daemon, proxy."""

    name: Literal["keeper", "daemon", "proxy"]
    pid: int | None = None
    problem: str = ""  # "" is fine


class CertificateView(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that the gateway shows; without `ends_wall` a stand-in that no client believes."""

    hosts: tuple[str, ...]
    source: str  # its file, or "acme"
    issuer: str = ""
    ends_wall: float | None = None
    fingerprint: str = ""  # SHA-256
    problem: str = ""  # "" is fine


class BackupView(msgspec.Struct, frozen=True, kw_only=True):
    """The last backup of the environment that its maker has whole; without `made_wall` there is none."""

    id: str = ""
    made_wall: float | None = None
    size_bytes: int = 0
    by: str = ""
    key_wall: float | None = None  # when the key of the secrets was last given out; without it a backup restores none
    key_id: str = ""  # of which key that was


class StatusView(msgspec.Struct, frozen=True, kw_only=True):
    """The whole environment on one page."""

    workspace: str
    environment: str
    root: str = ""
    version: str = ""
    gateway: str = ""  # "http://127.0.0.1:8080"
    parts: tuple[PartView, ...] = ()
    notices: tuple[str, ...] = ()  # things a person should know, said once
    certificates: tuple[CertificateView, ...] = ()  # of a gateway with TLS
    backup: BackupView = BackupView()
    services: tuple[ServiceView, ...] = ()
    last_event: int = 0  # where to start following events
    wall: float = 0.0


class EnvironmentView(msgspec.Struct, frozen=True, kw_only=True):
    """What the daemon runs with. After a change it goes on with the old until its successor answers, in a moment."""

    workspace: str
    environment: EnvironmentSpec


# --- operations ---------------------------------------------------------------------------------------------------


class UpView(msgspec.Struct, frozen=True, kw_only=True):
    """What `up` began, and what it left alone."""

    operations: tuple[OperationView, ...] = ()
    unchanged: tuple[str, ...] = ()  # running, and their files say the same
    edited: tuple[str, ...] = ()  # running, and their files say something else: `atoll deploy` them
    refused: Mapping[str, "ErrorView"] = {}  # service -> why its draft was not admitted


class PlanView(msgspec.Struct, frozen=True, kw_only=True):
    """What a request would do to one service, had it not been asked with `plan`. Nothing was changed.

    `generation` as `expect` of the real request makes sure that it does what was planned, or nothing.
    """

    service: str
    kind: Literal["deploy", "rollback", "restart", "scale", "stop", "steer", "fault", "run"]
    release: str = ""  # "r8": what would have the traffic; "" when nothing would
    previous: str = ""  # "r7": what has it now; "" when it is down
    unchanged: bool = False  # nothing would happen; the step says why
    steps: tuple[str, ...] = ()  # sentences, in the order in which they would happen
    changed: tuple[str, ...] = ()  # sentences: what differs from the previous release
    routes: tuple[str, ...] = ()  # addresses at the gateway
    replicas: int = 0  # that would run of the release
    memory_bytes: int | None = None  # what the replicas to start may use at most; None: they have no limit
    free_bytes: int | None = None  # of the machine now; None: not known
    holds: bool = False  # requests wait during the switch
    warnings: tuple[str, ...] = ()
    generation: int = 0  # of the intent now
    refused: "ErrorView | None" = None  # `up` only: why this one would not be admitted


# --- reading ------------------------------------------------------------------------------------------------------


class RecordsView(msgspec.Struct, frozen=True, kw_only=True):
    """What became of records that were handed over."""

    added: int = 0
    known: int = 0  # held already
    left_out: int = 0  # of pull requests: no gate believes them


class FaultView(msgspec.Struct, frozen=True, kw_only=True):
    """A fault in force, or one whose end the proxy has not acknowledged yet (`left_s` is 0)."""

    id: str  # "" of a kill, which is over at once
    service: str
    kind: Literal["kill", "pause", "latency", "abort"]
    text: str = ""  # what it does, for a person
    left_s: float = 0.0  # until it ends by itself
    caller: str | None = None
    percent: int = 100
    author: Author = Author()
    waits: str = ""  # why the proxy has not acknowledged its beginning, or its end; "" when it has


class ReleaseView(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a service's history, newest first."""

    service: str
    release: str  # "r7"
    n: int
    state: Literal["current", "candidate", "warm", "past", "failed"]
    artifact: str = ""  # the key
    created_wall: float = 0.0
    author: Author = Author()
    note: str = ""
    receipt: Receipt | None = None


class WhyView(msgspec.Struct, frozen=True, kw_only=True):
    """Why a service (or one of its releases) is as it is: sentences, the last rollout, the last crash."""

    subject: str  # "orders" or "orders r7"
    state: str = ""
    because: tuple[str, ...] = ()  # sentences, the most important first
    fix: str = ""
    pages: tuple[str, ...] = ()  # what `atoll explain` has about it
    rollout: OperationView | None = None
    crash: Exit | None = None
    crash_replica: str = ""
    crash_output: str = ""


class ExecView(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended and what it printed (stdout and stderr together, at most 1 MiB)."""

    exit: Exit
    output: str = ""
    replica: str = ""


class ErrorView(msgspec.Struct, frozen=True, kw_only=True):
    """An error for people: what, why, the fix; `id` names its page, `kind` is the error's class, `exit_code` a command's."""

    id: str  # `atoll explain ID`; a newer daemon may know ids that this client does not
    kind: str
    what: str
    why: str = ""
    fix: str = ""
    exit_code: int = 1

    @classmethod
    def of(cls, exc: AtollError, fix: str = "") -> "ErrorView":
        """An error as people and clients get it; `fix` replaces its own."""
        kind = type(exc).__name__
        return cls(id=exc.id, kind=kind, what=exc.headline, why=exc.why, fix=fix or exc.fix, exit_code=exc.exit_code)
