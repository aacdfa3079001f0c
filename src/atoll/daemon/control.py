"""What the API may ask of a running environment. `daemon.environment` implements it, `daemon.api` alone calls it.

Any method may raise the errors of `atoll.model.errors`; the API turns them into answers in one place. Iterators end
when there is nothing more to tell and are closed (`aclose`) as soon as the client goes. Nothing here waits for a rollout.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from atoll.model.access import Peer
from atoll.model.cache import ArtifactsSwept
from atoll.model.hosted import LogLine
from atoll.model.records import TaskRecord
from atoll.model.state import Artifact, Author, Event
from atoll.model.wire import (
    BackupView,
    DeployRequest,
    EnvironmentRequest,
    EnvironmentView,
    ExecRequest,
    ExecView,
    FaultRequest,
    FaultView,
    Mutation,
    PlanView,
    RecordsRequest,
    RecordsView,
    ReleaseView,
    RestartRequest,
    RollbackRequest,
    ScaleRequest,
    ServiceView,
    StatusView,
    SteerRequest,
    StopRequest,
    UpRequest,
    UpView,
    WhyView,
)
from atoll.model.wire_access import AccessView, SecretRequest, SecretView, TokenMade, TokenRequest
from atoll.model.wire_artifacts import (
    ArtifactOffer,
    ArtifactView,
    ContentsView,
    StoresRequest,
    StoresView,
    SweepRequest,
)
from atoll.model.wire_backup import BackupKept, BackupKeyRequest, BackupKeyView, BackupRequest
from atoll.model.wire_doctor import DoctorView
from atoll.model.wire_jobs import JobRunView, JobView, RunRequest, StopRunRequest
from atoll.model.wire_operations import OperationView
from atoll.model.wire_signals import (
    SeriesView,
    SignalsView,
    TotalsView,
)


class Control(Protocol):
    """One environment, as its people see it."""

    async def status(self) -> StatusView:
        """Everything on one page."""
        ...

    async def up(self, request: UpRequest) -> UpView:
        """Deploy what is not running. One draft that is refused does not stop the others: it is named in the answer."""
        ...

    async def deploy(self, request: DeployRequest) -> OperationView:
        """Admit, number the release, start the rollout; never waits for it. Raises Refused, Conflict, NotFound (a secret)."""
        ...

    async def operation(self, operation_id: str) -> OperationView:
        """A rollout in progress or past. Raises NotFound."""
        ...

    def watch_operation(self, operation_id: str, until: str = "live") -> AsyncIterator[OperationView]:
        """The operation now, then after each change (at least each second while it moves), until one is settled: it has
        `ended`, and with `until` "certified" its bake has, too.
        """
        ...

    async def rollback(self, service: str, request: RollbackRequest) -> OperationView:
        """Start going back to an earlier release. Raises NotFound, Conflict, Refused."""
        ...

    async def steer(self, service: str, request: SteerRequest) -> OperationView:
        """Say a word to the rollout under way. Raises NotFound, Conflict (it comes too late)."""
        ...

    async def inject(self, service: str, request: FaultRequest) -> FaultView:
        """Break something for a while. Raises NotFound, Refused (not here), UserError, Conflict."""
        ...

    async def faults(self) -> Sequence[FaultView]:
        """Faults in force."""
        ...

    async def clear(self, service: str, request: Mutation) -> Sequence[FaultView]:
        """End the faults of a service. Raises NotFound."""
        ...

    async def restart(self, service: str, request: RestartRequest) -> OperationView:
        """Start replacing every replica. Raises NotFound, Conflict, Refused."""
        ...

    async def scale(self, service: str, request: ScaleRequest) -> ServiceView:
        """Set or clear the number of replicas by hand; the answer shows the new `wanted`. Raises NotFound, Conflict, Refused."""
        ...

    async def stop(self, service: str, request: StopRequest) -> ServiceView:
        """Want it down. Raises NotFound, Conflict."""
        ...

    async def plan(self, request: Mutation, service: str = "") -> Sequence[PlanView]:
        """What `up`, `deploy`, `rollback`, `restart`, `scale`, `stop` or `run` would do with this request; changes nothing.

        One view a service. Raises what the request itself would raise at once; `up` tells refusals in its views.
        """
        ...

    async def releases(self, service: str) -> Sequence[ReleaseView]:
        """Newest first. Raises NotFound."""
        ...

    def events(self, *, after: int = 0, service: str | None = None, follow: bool = False) -> AsyncIterator[Event]:
        """The ledger after `seq`, in order; with `follow` it goes on for ever."""
        ...

    async def why(self, subject: str) -> WhyView:
        """`subject` is `orders`, `orders r7` or `orders/r7`. Raises NotFound."""
        ...

    def logs(
        self,
        services: Sequence[str],
        *,
        replica: str | None = None,
        tail: int = 100,
        follow: bool = False,
        since_wall: float = 0.0,
        until_wall: float | None = None,
    ) -> AsyncIterator[LogLine]:
        """Lines of these services (none: of all) merged by time; `tail` is per service. Raises NotFound at the first step."""
        ...

    async def exec(self, service: str, request: ExecRequest) -> ExecView:
        """Run a command in a replica's surroundings and wait for its end. Raises NotFound, Refused (nothing is running)."""
        ...

    async def jobs(self, service: str | None = None, job: str | None = None) -> Sequence[JobView]:
        """The jobs of a service, or of all; with `job` that one alone, and its `runs`. Raises NotFound."""
        ...

    async def run_job(self, service: str, request: RunRequest) -> JobRunView:
        """Begin a run; never waits for it. Raises NotFound, Refused (the service is down), Conflict (it runs already)."""
        ...

    async def job_run(self, run_id: str) -> JobRunView:
        """One run, in progress or past. Raises NotFound."""
        ...

    def watch_run(self, run_id: str) -> AsyncIterator[JobRunView]:
        """The run now, then after each change, until it has ended."""
        ...

    async def stop_run(self, run_id: str, request: StopRunRequest) -> JobRunView:
        """Want it ended; one that has ended already stays as it is. Raises NotFound."""
        ...

    async def records(self, service: str | None = None) -> Sequence[TaskRecord]:
        """Records of tasks that the environment holds, newest first."""
        ...

    async def import_records(self, request: RecordsRequest) -> RecordsView:
        """Hold further ones. Nothing new changes nothing."""
        ...

    async def environment(self) -> EnvironmentView:
        """What atoll.toml said of the environment when the daemon was started."""
        ...

    async def check_environment(self, request: EnvironmentRequest) -> EnvironmentView:
        """Raises what `set_environment` would, and changes nothing."""
        ...

    async def set_environment(self, request: EnvironmentRequest) -> EnvironmentView:
        """What it says now: kept, and taken up by a restart of the daemon a moment after the answer.

        Raises Conflict (it is another environment's), UserError (the machine cannot give it).
        """
        ...

    async def artifacts(self, keys: Sequence[str]) -> Sequence[Artifact]:
        """Those of the keys that are complete on this machine, as they lie here."""
        ...

    async def take_artifact(self, key: str, offer: ArtifactOffer) -> ArtifactView:
        """Complete an artifact of whoever deploys, or say which of its contents are missing; the same again goes on.

        Raises Refused (it would not run here, no room), UserError (it is not what it says), Conflict.
        """
        ...

    async def keep_contents(self, body: bytes) -> ContentsView:
        """Keep contents (`pipeline.ship.frames`). Raises UserError for damaged ones, Refused (no room)."""
        ...

    async def sweep_artifacts(self, request: SweepRequest) -> ArtifactsSwept:
        """Remove artifacts that no release of the machine's environments needs, or tell what would be. Raises UserError."""
        ...

    async def store_drafts(self, request: StoresRequest) -> StoresView:
        """What would be run for these stores on this machine, or why they cannot be."""
        ...

    async def secrets(self) -> Sequence[SecretView]:
        """Names and versions, never values."""
        ...

    async def set_secret(self, name: str, request: SecretRequest) -> SecretView:
        """Store a new version."""
        ...

    async def remove_secret(self, name: str, author: Author) -> None:
        """Forget all versions. Raises NotFound, Conflict (a live release uses it)."""
        ...

    async def access(self, peer: Peer) -> AccessView:
        """The role of whoever asks, and who holds which."""
        ...

    async def make_token(self, name: str, request: TokenRequest) -> TokenMade:
        """A token of the read-only API, told once. Raises Conflict, UserError."""
        ...

    async def remove_token(self, name: str, author: Author) -> None:
        """It opens nothing any more. Raises NotFound."""
        ...

    async def remove_store(self, name: str, author: Author) -> None:
        """Erase a store that Atoll ran, with its data. Raises NotFound, Conflict (it runs, or is used)."""
        ...

    async def backup(self, request: BackupRequest) -> AsyncIterator[bytes]:
        """A backup of the environment, as the bytes of one file. Raises UserError, Conflict (another one is under way)."""
        ...

    async def backup_kept(self, request: BackupKept) -> BackupView:
        """Its maker has it, whole."""
        ...

    async def backup_key(self, request: BackupKeyRequest) -> BackupKeyView:
        """The key of the secrets, sealed. Raises UserError for a weak passphrase."""
        ...

    async def signals(
        self, service: str | None = None, release: int | None = None, caller: str | None = None, seconds: int = 10
    ) -> SignalsView:
        """The last `seconds` of each service, release, edge and replica, or of those named. Raises NotFound, UserError."""
        ...

    async def series(
        self, service: str, release: int | None = None, caller: str | None = None, seconds: int = 3600, step: int = 60
    ) -> SeriesView:
        """The last `seconds` in steps: by the second within an hour, by the minute before. Raises NotFound, UserError."""
        ...

    async def totals(self) -> TotalsView:
        """Everything counted since the daemon started, edge by edge: for collectors that difference by themselves."""
        ...

    async def doctor(self) -> Sequence[DoctorView]:
        """What the daemon alone can check: its proxy, its store, its ports, its host."""
        ...
