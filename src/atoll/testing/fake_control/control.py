"""All that an environment of pretend answers: its own answers here, those with a life of their own in its parts."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import msgspec

from atoll.decide.environment import kept_there
from atoll.model.access import Peer
from atoll.model.cache import ArtifactsSwept
from atoll.model.environment import EnvironmentSpec
from atoll.model.errors import Conflict, NotFound, UserError
from atoll.model.hosted import LogLine
from atoll.model.records import TaskRecord
from atoll.model.state import Artifact, Author, Exit
from atoll.model.suggest import did_you_mean
from atoll.model.wire import (
    BackupView,
    EnvironmentRequest,
    EnvironmentView,
    ErrorView,
    ExecRequest,
    ExecView,
    FaultRequest,
    FaultView,
    Mutation,
    PartView,
    RecordsRequest,
    RecordsView,
    ScaleRequest,
    ServiceView,
    StatusView,
    StopRequest,
    WhyView,
)
from atoll.model.wire_access import AccessView, SecretRequest, SecretView, TokenMade, TokenRequest, TokenView
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
from atoll.ports import Depot
from atoll.testing.fake_control.jobs import Jobs
from atoll.testing.fake_control.measured import Measured
from atoll.testing.fake_control.rollouts import Rollouts, at_a_step
from atoll.testing.fake_control.world import WALL, World


class FakeControl:
    """Implements `daemon.control.Control`. `step_s` is how long a phase of a rollout takes."""

    def __init__(self, running: Sequence[str] = ("catalog", "orders"), step_s: float = 0.01) -> None:
        world = self.world = World(running, step_s)
        self.services, self.requests, self.events = world.services, world.requests, world.events
        rollouts = self.rollouts = Rollouts(world)
        self.up, self.deploy, self.rollback, self.restart = (
            rollouts.up, rollouts.deploy, rollouts.rollback, rollouts.restart,
        )  # fmt: skip
        self.steer, self.plan, self.releases = rollouts.steer, rollouts.plan, rollouts.releases
        self.operation, self.watch_operation = rollouts.operation, rollouts.watch_operation
        desk = self.job_desk = Jobs(world)
        self.jobs, self.run_job, self.stop_run = desk.jobs, desk.run_job, desk.stop_run
        self.job_run, self.watch_run = desk.job_run, desk.watch_run
        measured = Measured(world)
        self.signals, self.series, self.totals = measured.signals, measured.series, measured.totals
        self.injected: list[FaultView] = []
        self.proxy_problem = ""  # why the proxy acknowledges no fault, and no end of one
        self.task_records: dict[str, TaskRecord] = {}
        self.artifacts_taken: dict[str, Artifact] = {}
        self.depot: Depot | None = None  # where artifacts really go; without one each is taken as it is offered
        self.archive = b"this is no backup"
        self.vault: dict[str, int] = {}
        self.settings = EnvironmentSpec()
        self.tokens: dict[str, str] = {"old": "ada"}  # its name -> who made it
        self.removed: dict[str, str] = {}  # secret, store or token -> who removed it
        self.texts = ["line {number} of {name}"] * 5  # what each service has printed
        for number in range(1, 4):
            world.note("replica.ready", "orders", f"replica {number} is ready")

    # --- reading

    async def status(self) -> StatusView:
        parts = (PartView(name="keeper", pid=11), PartView(name="daemon", pid=12), PartView(name="proxy", pid=13))
        return StatusView(
            workspace="shop",
            environment="local",
            gateway="http://127.0.0.1:8080",
            parts=parts,
            services=tuple(self.services[name] for name in sorted(self.services)),
            last_event=len(self.world.ledger),
            wall=time.time(),
        )

    async def why(self, subject: str) -> WhyView:
        self.world.find(subject.replace("/", " ").split()[0])
        return WhyView(
            subject=subject,
            state="failing",
            because=("r1 crashed 3 times in a row",),
            fix="look at its last output",
            crash=Exit(code=3, wall=WALL),
            crash_replica="orders-r1-0-aaaa",
            crash_output="boom: no database\n",
            rollout=at_a_step("orders"),
        )

    async def logs(
        self,
        services: Sequence[str],
        *,
        replica: str | None = None,
        tail: int = 100,
        follow: bool = False,
        since_wall: float = 0.0,
        until_wall: float | None = None,
    ) -> AsyncIterator[LogLine]:
        for service in services:
            self.world.find(service)
        lines = [
            LogLine(
                service=name,
                replica=f"{name}-r1-0-aaaa",
                wall=WALL + number,
                stream="stderr" if number % 2 else "stdout",
                text=text.replace("{number}", str(number)).replace("{name}", name),
                cursor=str(number),
            )
            for name in services or sorted(self.services)
            for number, text in enumerate(self.texts)
        ]
        lines += [
            LogLine(
                service=run.service, replica=f"{run.id}.1", wall=WALL, stream="stdout", text=f"output of {run.id}",
                cursor="0",
            )
            for run in self.job_desk.runs.values()
            if run.service in (services or self.services)
        ]  # fmt: skip
        until = WALL * 2 if until_wall is None else until_wall
        chosen = [line for line in lines if since_wall <= line.wall <= until and _is_of(line, replica)]
        for line in chosen[-tail:] if tail else []:
            yield line
        while follow:
            await asyncio.sleep(3600)

    async def records(self, service: str | None = None) -> Sequence[TaskRecord]:
        return [each for each in self.task_records.values() if service in {None, each.service}]

    async def secrets(self) -> Sequence[SecretView]:
        return [SecretView(name=name, version=version) for name, version in sorted(self.vault.items())]

    async def environment(self) -> EnvironmentView:
        return EnvironmentView(workspace="shop", environment=self.settings)

    async def doctor(self) -> Sequence[DoctorView]:
        return [DoctorView(check="store", ok=True, text="writable")]

    # --- changing

    async def artifacts(self, keys: Sequence[str]) -> Sequence[Artifact]:
        if self.depot is not None:
            return await self.depot.held(keys)
        return [self.artifacts_taken[key] for key in keys if key in self.artifacts_taken]

    async def take_artifact(self, key: str, offer: ArtifactOffer) -> ArtifactView:
        self.requests.append(offer)
        if self.depot is not None:
            return await self.depot.take(offer)
        self.artifacts_taken[key] = msgspec.structs.replace(offer.artifact, path=f"/elsewhere/{key}")
        return ArtifactView(artifact=self.artifacts_taken[key])

    async def keep_contents(self, body: bytes) -> ContentsView:
        return ContentsView() if self.depot is None else await self.depot.keep(body)

    async def sweep_artifacts(self, request: SweepRequest) -> ArtifactsSwept:
        self.requests.append(request)
        return ArtifactsSwept() if self.depot is None else await self.depot.sweep(request)

    async def store_drafts(self, request: StoresRequest) -> StoresView:
        self.requests.append(request)
        missing = NotFound("the fake has no servers", "", "run Atoll itself", id="store-not-here")
        return StoresView(refused={store.name: ErrorView.of(missing) for store in request.stores})

    async def import_records(self, request: RecordsRequest) -> RecordsView:
        self.requests.append(request)
        fresh = {each.id: each for each in request.records if each.id not in self.task_records}
        self.task_records |= fresh
        return RecordsView(added=len(fresh), known=len(request.records) - len(fresh))

    async def inject(self, service: str, request: FaultRequest) -> FaultView:
        self.world.find(service)
        self.requests.append(request)
        view = FaultView(
            id="fault-1", service=service, kind=request.kind, text="broken", left_s=request.seconds,
            waits=self.proxy_problem,
        )  # fmt: skip
        self.injected.append(view)
        return view

    async def faults(self) -> Sequence[FaultView]:
        return tuple(self.injected)

    async def clear(self, service: str, request: Mutation) -> Sequence[FaultView]:
        self.world.find(service)
        self.requests.append(request)
        over = tuple(msgspec.structs.replace(view, left_s=0.0, waits=self.proxy_problem) for view in self.injected)
        self.injected = list(over) if self.proxy_problem else []
        return over

    async def scale(self, service: str, request: ScaleRequest) -> ServiceView:
        view = self.world.find(service)
        self.requests.append(request)
        wanted = 1 if request.replicas is None else request.replicas
        view = msgspec.structs.replace(view, wanted=wanted, ready=wanted, override=request.replicas)
        self.services[service] = view
        return msgspec.structs.replace(view, ready=0)

    async def stop(self, service: str, request: StopRequest) -> ServiceView:
        view = self.world.find(service)
        self.requests.append(request)
        self.services[service] = msgspec.structs.replace(view, state="down", wanted=0, ready=0, replicas=())
        return view

    async def exec(self, service: str, request: ExecRequest) -> ExecView:
        self.world.find(service)
        if request.argv[0] == "bug":
            raise ZeroDivisionError("a bug of pretend")
        code = int(request.argv[1]) if request.argv[0] == "exit" else 0
        return ExecView(exit=Exit(code=code), output=" ".join(request.argv) + "\n", replica=f"{service}-r1-0-aaaa")

    async def set_environment(self, request: EnvironmentRequest) -> EnvironmentView:
        self.requests.append(request)
        self.settings = kept_there(request.environment, self.settings)
        return await self.environment()

    async def set_secret(self, name: str, request: SecretRequest) -> SecretView:
        self.requests.append(request)
        self.vault[name] = self.vault.get(name, 0) + 1
        return SecretView(name=name, version=self.vault[name])

    async def remove_secret(self, name: str, author: Author) -> None:
        if name not in self.vault:
            raise NotFound(
                f"there is no secret '{name}'", "it was never set", did_you_mean(name, self.vault), id="unknown-secret"
            )
        del self.vault[name]
        self.removed[name] = author.actor

    async def remove_store(self, name: str, author: Author) -> None:
        view = self.services.get(name)
        if view is None or not view.store:
            raise NotFound(f"there is no store '{name}'", "", "`atoll store list`", id="unknown-store")
        if view.replicas:
            raise Conflict(f"the store {name} runs", "", f"`atoll down {name}` first", id="store-in-use")
        del self.services[name]
        self.removed[name] = author.actor

    async def access(self, peer: Peer) -> AccessView:
        tokens = tuple(TokenView(name=name, made_wall=1.0, by=by) for name, by in sorted(self.tokens.items()))
        return AccessView(
            name=peer.name,
            role="admin" if peer.credentials else "reader",
            groups={"reader": ("staff",), "deployer": (), "admin": ("sudo",)},
            tokens=tokens,
        )

    async def make_token(self, name: str, request: TokenRequest) -> TokenMade:
        self.requests.append(request)
        self.tokens[name] = request.author.actor
        ends = None if request.expires_s is None else 1.0 + request.expires_s
        return TokenMade(name=name, token=f"atoll_{name}", ends_wall=ends)

    async def remove_token(self, name: str, author: Author) -> None:
        if name not in self.tokens:
            raise NotFound(f"there is no token '{name}'", "", did_you_mean(name, self.tokens), id="unknown-token")
        del self.tokens[name]
        self.removed[name] = author.actor

    async def backup(self, request: BackupRequest) -> AsyncIterator[bytes]:
        """`archive` in two parts; what is empty breaks off after the first."""
        self.requests.append(request)

        async def parts() -> AsyncIterator[bytes]:
            half = len(self.archive) // 2
            yield self.archive[:half] or b"the first part"
            if not self.archive:
                raise UserError("the backup was broken off", id="backup-damaged")
            yield self.archive[half:]

        return parts()

    async def backup_kept(self, request: BackupKept) -> BackupView:
        self.requests.append(request)
        return BackupView(id=request.id, made_wall=request.made_wall, size_bytes=request.size_bytes)

    async def backup_key(self, request: BackupKeyRequest) -> BackupKeyView:
        self.requests.append(request)
        return BackupKeyView(text='{"sealed": ""}\n', key_id="0123456789abcdef")


def _is_of(line: LogLine, replica: str | None) -> bool:
    begins = replica is not None and replica.endswith(".") and line.replica.startswith(replica)
    return replica is None or begins or replica == line.replica
