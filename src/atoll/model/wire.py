"""What crosses the daemon's API: requests in, views out. `daemon.control` speaks these, the API and the CLI carry them.

`state.Event`, `state.Receipt` and `records.TaskRecord` cross as they are; everything else that people see is a view made here, so that the
stored rows may change without breaking a client. Times: `wall` is seconds since the epoch, `_s` a duration in seconds.
Unknown members are ignored by both sides, so a newer daemon may answer an older client.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from atoll.model.access import Role
from atoll.model.analysis import Verdict
from atoll.model.errors import AtollError
from atoll.model.records import TaskRecord
from atoll.model.spec import EnvironmentSpec, ServiceSpec
from atoll.model.state import (
    Artifact,
    Author,
    Exit,
    JobState,
    Paused,
    Receipt,
    ReplicaPhase,
    RolloutPhase,
    Stage,
    Step,
    Trigger,
)

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


class TokenRequest(Mutation, frozen=True, kw_only=True):
    """Make a token of the read-only API. It ends after `expires_s` seconds; null: never."""

    expires_s: float | None = (
        90 * 86_400.0
    )  # a quarter: long enough for a dashboard, short enough for a token that was lost


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


class RunRequest(Mutation, frozen=True, kw_only=True):
    """Run a job now, with further arguments. Its `key` makes the run's id."""

    job: str
    args: tuple[str, ...] = ()


class StopRunRequest(Mutation, frozen=True, kw_only=True):
    """End a run before its time: its stop signal, then SIGKILL after the service's grace."""


class SecretRequest(Attributed, frozen=True, kw_only=True):
    """A new version of a secret. Running replicas keep the old one until their next release or restart."""

    value: str


class EnvironmentRequest(Attributed, frozen=True, kw_only=True):
    """What atoll.toml says of the environment, from a machine that has the file. `host` in it means nothing here."""

    environment: EnvironmentSpec


class BackupRequest(Attributed, frozen=True, kw_only=True):
    """Send a backup: the bytes of one file. `signals`: with the golden signals of the last month."""

    signals: bool = False


class BackupKept(Attributed, frozen=True, kw_only=True):
    """A backup that was sent is kept now, whole, where its maker wanted it."""

    id: str  # of its manifest
    size_bytes: int
    made_wall: float


class BackupKeyRequest(Attributed, frozen=True, kw_only=True):
    """Give out the key of the secrets, sealed with this passphrase."""

    passphrase: str


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


class SteppingView(msgspec.Struct, frozen=True, kw_only=True):
    """How a deploy moves its traffic, and what is known of the candidate."""

    strategy: str  # "canary"
    why: str = ""  # that one, in a sentence
    steps: tuple[Step, ...] = ()
    step: int = 0  # the present one's index
    stage: Stage = "filling"
    weight_pct: int = 0  # of the requests, to the candidate now
    left_s: float | None = (
        None  # until the present step's deadline, or the end of the bake; None: nothing is waited for
    )
    paused: Paused = ""
    waits: str = ""  # why it is, for a person
    kept: bool = False
    verdict: Verdict | None = None  # now
    detects: str = ""  # what today's traffic can show, said before it starts
    exposure: str = ""  # the worst case: which share of the requests may meet a bad candidate, for how long


class OperationView(msgspec.Struct, frozen=True, kw_only=True):
    """A deploy, rollback or restart, in progress or ended. `id` is its rollout's.

    It has `ended` when it is live, certified, undone or superseded, or was nothing to do (`unchanged`); then `receipt`
    says what it did (None for `unchanged`).
    """

    id: str
    service: str
    kind: Literal["deploy", "rollback", "restart"]
    release: str = ""  # "r8"
    previous: str = ""  # "r7"; "" when it was down
    phase: RolloutPhase | Literal["unchanged"]
    phases: Mapping[str, float] = {}  # phase -> seconds spent in it so far
    seconds: float = 0.0  # since it began
    ready: int = 0  # candidate replicas
    wanted: int = 0
    requests: int = 0  # to this service since it began
    failed: int = 0
    text: str = ""  # what is going on or went wrong, for a person
    reason_id: str = ""  # the page of what went wrong
    output: str = ""  # the candidate's last output when it failed
    warnings: tuple[
        str, ...
    ] = ()  # what a person should know although it was admitted (in the first answer), or is live
    ended: bool = False
    receipt: Receipt | None = None
    stepping: SteppingView | None = None  # of a deploy

    def settled(self, until: str = "live") -> bool:
        """Whether nothing more is to come: it has `ended`, and with `until` "certified" its bake is over, too."""
        return self.ended and (until == "live" or self.phase != "live")

    @property
    def measured(self) -> bool:
        """Whether its candidate passed by what was measured."""
        verdict = self.stepping.verdict if self.stepping else None
        return verdict is not None and verdict.outcome == "pass"

    @property
    def good(self) -> bool:
        """Whether it ended with what was asked for."""
        was_live = self.phase == "superseded" and self.receipt is not None
        return self.ended and (was_live or self.phase in {"live", "certified", "unchanged"})


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


# --- jobs ---------------------------------------------------------------------------------------------------------


class JobRunView(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a job, with all its attempts. What it prints is in the logs, by `replica=ID.` with a dot at the end."""

    id: str
    service: str
    job: str  # "before": what runs before a release and is none of the jobs
    release: str  # "r7"
    trigger: Trigger
    state: JobState
    command: str = ""
    attempt: int = 1
    attempts: int = 1  # that it may take
    count: int = 1  # occurrences that were missed together
    due_wall: float | None = None
    created_wall: float = 0.0
    started_wall: float | None = None
    ended_wall: float | None = None
    seconds: float = 0.0  # from its start to its end, or to now
    exit: Exit | None = None
    reason: str = ""  # why it is no success, or not yet one
    output: str = ""  # the end of what it printed, when it failed
    ended: bool = False
    author: Author = Author()

    @property
    def good(self) -> bool:
        """Whether it ended well."""
        return self.state == "succeeded"


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """A job of a service's live release: its schedule, its last run. `before` is what runs before its releases."""

    service: str
    job: str
    command: str = ""
    release: str = ""  # "r7"; "" while the service is down
    schedule: str = ""
    time_zone: str = ""
    next_wall: float | None = None  # None: not scheduled, or the service is down
    last: JobRunView | None = None  # the newest run, ended or not
    text: str = ""  # what a person should know: "orders is down: its jobs do not run"
    runs: tuple[JobRunView, ...] = ()  # the kept ones, newest first; only where one job was asked for


# --- reading ------------------------------------------------------------------------------------------------------


class RecordsView(msgspec.Struct, frozen=True, kw_only=True):
    """What became of records that were handed over."""

    added: int = 0
    known: int = 0  # held already
    left_out: int = 0  # of pull requests: no gate believes them


class FaultView(msgspec.Struct, frozen=True, kw_only=True):
    """A fault in force."""

    id: str  # "" of a kill, which is over at once
    service: str
    kind: Literal["kill", "pause", "latency", "abort"]
    text: str = ""  # what it does, for a person
    left_s: float = 0.0  # until it ends by itself
    caller: str | None = None
    percent: int = 100
    author: Author = Author()


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


class SecretView(msgspec.Struct, frozen=True, kw_only=True):
    """A secret without its value. `used_by`: service -> the version that its running release has."""

    name: str
    version: int
    used_by: Mapping[str, int] = {}


class TokenView(msgspec.Struct, frozen=True, kw_only=True):
    """A token of the read-only API, without its value."""

    name: str
    made_wall: float
    by: str  # who made it
    ends_wall: float | None = None  # null: never
    used_wall: float | None = None  # last, to five minutes; null: never


class TokenMade(msgspec.Struct, frozen=True, kw_only=True):
    """A new token. It is told here and never again."""

    name: str
    token: str
    ends_wall: float | None = None  # null: never


class AccessView(msgspec.Struct, frozen=True, kw_only=True):
    """Who may do what, and who asks."""

    name: str  # of whoever asks
    role: Role  # and theirs
    groups: Mapping[
        Role, tuple[str, ...]
    ] = {}  # role -> the groups of the machine that hold it; none: owner and root alone
    address: str = ""  # of the read-only API, host:port; "" is none
    tokens: tuple[TokenView, ...] = ()


class BackupKeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key file: the key is in it, sealed with the passphrase."""

    text: str
    key_id: str


class RestoreView(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a backup, and whether an environment was made of it or it was only tried."""

    id: str
    workspace: str
    environment: str
    made_wall: float
    version: str  # of the Atoll that made it
    signed: bool  # whether its key was there, so that it is known to be unchanged
    restored: bool = False
    services: tuple[str, ...] = ()
    releases: int = 0
    artifacts: int = 0
    artifacts_bytes: int = 0
    events: int = 0  # the number of the last one
    secrets: int = 0  # versions, each opened; 0 without the key
    forgotten: tuple[str, ...] = ()  # secrets whose values were left out: each is to be set again
    dumps: tuple[str, ...] = ()  # files that services handed over, `SERVICE/NAME`
    dumps_in: str = ""  # the folder where they lie now
    left: tuple[str, ...] = ()  # sentences: what is not in it
    lacking: tuple[str, ...] = ()  # sentences: artifacts that do not run on this machine, and are not restored
    aside: str = ""  # the folder where the files lie that were there before


class ToolchainHome(msgspec.Struct, frozen=True, kw_only=True):
    """One toolchain."""

    language: str
    version: str
    home: str  # its folder, which has `bin`; "" in a plan that would fetch it
    fetched: bool = False  # by Atoll, for this workspace


class ToolchainWish(msgspec.Struct, frozen=True, kw_only=True):
    """What one service asks for."""

    service: str
    version: str  # "1.24", "1.24 or newer"; "" is any
    by: str  # "[build] tool", ".nvmrc", "go.mod"; "" is only that it is of the language
    met: bool | None  # null: not by what is there, and the build goes on with another or fetches it
    home: str = ""  # of the one that a build takes; "" is none, or whatever a version switcher on the PATH says


class ToolchainView(msgspec.Struct, frozen=True, kw_only=True):
    """One language: what is there, who asks for what, how to get another."""

    language: str
    there: tuple[ToolchainHome, ...] = ()
    asked: tuple[ToolchainWish, ...] = ()
    fix: str = ""


class DoctorView(msgspec.Struct, frozen=True, kw_only=True):
    """One check of the machine or the environment. `ok` None: worth knowing, stops nothing."""

    check: str
    ok: bool | None
    text: str = ""
    fix: str = ""
    toolchain: ToolchainView | None = None  # of a language's check


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
