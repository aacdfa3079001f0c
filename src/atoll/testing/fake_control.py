"""An environment of pretend behind the real API: answers like `daemon.environment`, runs nothing.

For tests of the API, of the command line and of other clients. `Served` puts it on a unix socket in a thread of its own.
A deploy whose note is `fail` is undone, one whose note is `refuse` is refused; secret values are never given out. Every
service has the jobs `reindex` and `nightly`; a run with the argument `fail` fails, one with `hang` runs until it is stopped.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec

from atoll.daemon.api import Api
from atoll.daemon.doorkeeper import Doorkeeper
from atoll.daemon.serve import serve
from atoll.decide.environment import kept_there
from atoll.model.access import Access, Peer
from atoll.model.analysis import Finding, Verdict
from atoll.model.errors import Conflict, NotFound, Refused, UserError
from atoll.model.records import TaskRecord
from atoll.model.signals import Counts, EdgeKey, Histogram
from atoll.model.spec import Command, EnvironmentSpec, ServiceSpec
from atoll.model.state import Artifact, Author, Event, Exit, Receipt, RolloutPhase, Step
from atoll.model.suggest import did_you_mean
from atoll.model.wire import (
    AccessView,
    BackupKept,
    BackupKeyRequest,
    BackupKeyView,
    BackupRequest,
    BackupView,
    DeployRequest,
    DoctorView,
    EnvironmentRequest,
    EnvironmentView,
    ErrorView,
    ExecRequest,
    ExecView,
    FaultRequest,
    FaultView,
    JobRunView,
    JobView,
    Mutation,
    OperationView,
    PartView,
    PlanView,
    RecordsRequest,
    RecordsView,
    ReleaseView,
    ReplicaView,
    RestartRequest,
    RollbackRequest,
    RunRequest,
    ScaleRequest,
    SecretRequest,
    SecretView,
    ServiceState,
    ServiceView,
    StatusView,
    SteerRequest,
    SteppingView,
    StopRequest,
    StopRunRequest,
    TokenMade,
    TokenRequest,
    TokenView,
    UpRequest,
    UpView,
    WhyView,
)
from atoll.model.wire_artifacts import ArtifactOffer, ArtifactView, ContentsView, StoresRequest, StoresView
from atoll.model.wire_signals import (
    ReplicaRow,
    SeriesPoint,
    SeriesView,
    SignalRow,
    SignalsView,
    TotalRow,
    TotalsView,
)
from atoll.ports import Depot, LogLine

_Kind = Literal["deploy", "rollback", "restart"]
_WALL = 1_700_000_000.0


def _at_a_step(service: str) -> OperationView:
    """A canary that is looked at."""
    finding = Finding(
        metric="failures", outcome="inconclusive", test="a test", total=60, bad=1, other_total=540, other_bad=3,
        chance=0.4, alpha=0.005, text="1.67 % (1 of 60) of its requests failed",
    )  # fmt: skip
    verdict = Verdict(outcome="inconclusive", text=finding.text, findings=(finding,), requests=60, seconds=6.0)
    steps = tuple(Step(weight_pct=pct, hold_s=10.0, judged=pct < 100) for pct in (10, 50, 100))
    return OperationView(
        id="op-0", service=service, kind="deploy", release="r2", previous="r1", phase="stepping", ready=1, wanted=1,
        stepping=SteppingView(
            strategy="canary", why="its file says so", steps=steps, stage="watching", weight_pct=10, left_s=48.0,
            verdict=verdict,
        ),
    )  # fmt: skip


class FakeControl:
    """Implements `daemon.control.Control`. `step_s` is how long a phase of a rollout takes."""

    def __init__(self, running: Sequence[str] = ("catalog", "orders"), step_s: float = 0.01) -> None:
        self.services = {name: self._service(name, 1) for name in running}
        self.step_s = step_s
        self.operations: dict[str, OperationView] = {}
        self.injected: list[FaultView] = []
        self.requests: list[object] = []  # every change that was asked for and not merely repeated
        self.answers: dict[str, OperationView] = {}  # idempotency key -> the first answer
        self.job_runs: dict[str, JobRunView] = {}
        self.task_records: dict[str, TaskRecord] = {}
        self.artifacts_taken: dict[str, Artifact] = {}
        self.depot: Depot | None = None  # where artifacts really go; without one each is taken as it is offered
        self.ledger: list[Event] = []
        self.archive = b"this is no backup"
        self.vault: dict[str, int] = {}
        self.settings = EnvironmentSpec()
        self.tokens: dict[str, str] = {"old": "ada"}  # its name -> who made it
        self.removed: dict[str, str] = {}  # secret or store -> who removed it
        self.streams = 0  # open ones
        self.note = ""  # of every release
        self.texts = ["line {number} of {name}"] * 5  # what each service has printed
        self.held: set[str] = set()  # services whose rollouts stay in `starting`
        self.same: dict[str, str] = {}  # services whose drafts are what runs -> what is said of it
        self.tried: set[str] = set()  # and those whose rollouts stay at a step
        self._news = asyncio.Condition()
        self._rolling: set[asyncio.Task[None]] = set()
        for number in range(1, 4):
            self._record("replica.ready", "orders", f"replica {number} is ready")

    # --- reading

    async def status(self) -> StatusView:
        parts = (PartView(name="keeper", pid=11), PartView(name="daemon", pid=12), PartView(name="proxy", pid=13))
        return StatusView(
            workspace="shop",
            environment="local",
            gateway="http://127.0.0.1:8080",
            parts=parts,
            services=tuple(self.services[name] for name in sorted(self.services)),
            last_event=len(self.ledger),
            wall=time.time(),
        )

    async def operation(self, operation_id: str) -> OperationView:
        if operation_id not in self.operations:
            raise NotFound(
                f"there is no operation '{operation_id}'",
                "it may be of another environment",
                "look at events",
                id="unknown-service",
            )
        return self.operations[operation_id]

    async def watch_operation(self, operation_id: str, until: str = "live") -> AsyncIterator[OperationView]:
        self.streams += 1
        try:
            while True:
                view = await self.operation(operation_id)
                yield view
                if view.settled(until):
                    return
                await self._until(partial(self._moved, view))
        finally:
            self.streams -= 1

    async def releases(self, service: str) -> Sequence[ReleaseView]:
        view = self._find(service)
        newest = int(view.release[1:])
        return [
            ReleaseView(
                service=service,
                release=f"r{n}",
                n=n,
                state="current" if n == newest else "past",
                artifact="0123456789abcdef",
                created_wall=_WALL + n,
                author=Author(actor="ada", commit="c0ffee1234567890"),
                note=self.note,
                receipt=Receipt(
                    rollout=f"op-{n}", service=service, kind="deploy", release=n, previous=n - 1 or None, outcome="live"
                ),
            )
            for n in range(newest, 0, -1)
        ]

    async def events(self, *, after: int = 0, service: str | None = None, follow: bool = False) -> AsyncIterator[Event]:
        self.streams += 1
        try:
            while True:
                for event in self.ledger[after:]:
                    after = event.seq
                    if service in {None, event.service}:
                        yield event
                if not follow:
                    return
                await self._until(partial(self._grew, after))
        finally:
            self.streams -= 1

    async def why(self, subject: str) -> WhyView:
        self._find(subject.replace("/", " ").split()[0])
        return WhyView(
            subject=subject,
            state="failing",
            because=("r1 crashed 3 times in a row",),
            fix="look at its last output",
            crash=Exit(code=3, wall=_WALL),
            crash_replica="orders-r1-0-aaaa",
            crash_output="boom: no database\n",
            rollout=_at_a_step("orders"),
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
            self._find(service)
        lines = [
            LogLine(
                service=name,
                replica=f"{name}-r1-0-aaaa",
                wall=_WALL + number,
                stream="stderr" if number % 2 else "stdout",
                text=text.replace("{number}", str(number)).replace("{name}", name),
                cursor=str(number),
            )
            for name in services or sorted(self.services)
            for number, text in enumerate(self.texts)
        ]
        lines += [
            LogLine(
                service=run.service, replica=f"{run.id}.1", wall=_WALL, stream="stdout", text=f"output of {run.id}",
                cursor="0",
            )
            for run in self.job_runs.values()
            if run.service in (services or self.services)
        ]  # fmt: skip
        until = _WALL * 2 if until_wall is None else until_wall
        chosen = [line for line in lines if since_wall <= line.wall <= until and _is_of(line, replica)]
        for line in chosen[-tail:] if tail else []:
            yield line
        while follow:
            await asyncio.sleep(3600)

    async def signals(
        self, service: str | None = None, release: int | None = None, caller: str | None = None, seconds: int = 10
    ) -> SignalsView:
        """Ten requests a second through the gateway to each service, one in a hundred failed."""
        names = sorted(self.services) if service is None else [self._find(service).name]

        def row(name: str, n: int | None, who: str | None) -> SignalRow:
            return SignalRow(
                service=name,
                release=n,
                caller=who,
                seconds=seconds,
                requests=10 * seconds,
                failures=seconds // 10,
                rps=10.0,
                failure_pct=1.0,
                p50_ms=4.0,
                p95_ms=9.5,
                p99_ms=120.0,
                inflight=2,
            )

        return SignalsView(
            wall=time.time(),
            boot_s=time.monotonic(),
            seconds=seconds,
            services=tuple(row(name, None, caller) for name in names),
            releases=tuple(row(name, release or 1, caller) for name in names),
            edges=tuple(row(name, release or 1, caller or "") for name in names),
            replicas=tuple(
                ReplicaRow(service=name, release=1, replica=f"{name}-1", memory_bytes=2**24, cpu_s=1.5)
                for name in names
            ),
        )

    async def series(
        self, service: str, release: int | None = None, caller: str | None = None, seconds: int = 3600, step: int = 60
    ) -> SeriesView:
        self._find(service)
        points = tuple(
            SeriesPoint(wall=_WALL + step * n, seconds=step, requests=step, rps=1.0)
            for n in range(min(3, seconds // step))
        )
        return SeriesView(service=service, release=release, caller=caller, step_s=step, points=points)

    async def totals(self) -> TotalsView:
        counts = Counts(requests=100, failures=1, latency=Histogram.of({4: 90, 100: 10}))
        edges = tuple(
            TotalRow(edge=EdgeKey("", 0, name, 1), counts=counts, inflight=2) for name in sorted(self.services)
        )
        return TotalsView(workspace="shop", environment="local", age_s=0.5, edges=edges)

    async def jobs(self, service: str | None = None, job: str | None = None) -> Sequence[JobView]:
        if job is not None:
            self._find_job(service or "", job)
            view = self._job(service or "", job)
            runs = [run for run in reversed(self.job_runs.values()) if (run.service, run.job) == (service, job)]
            return [msgspec.structs.replace(view, runs=tuple(runs))]
        names = sorted(self.services) if service is None else [self._find(service).name]
        return [self._job(name, job) for name in names for job in ("nightly", "reindex")]

    async def job_run(self, run_id: str) -> JobRunView:
        if run_id not in self.job_runs:
            raise NotFound(
                f"there is no run '{run_id}'", "it may be older than what is kept", "see `atoll jobs`", id="unknown-run"
            )
        return self.job_runs[run_id]

    async def watch_run(self, run_id: str) -> AsyncIterator[JobRunView]:
        self.streams += 1
        try:
            while True:
                view = await self.job_run(run_id)
                yield view
                if view.ended:
                    return
                await self._until(partial(self._went_on, view))
        finally:
            self.streams -= 1

    async def records(self, service: str | None = None) -> Sequence[TaskRecord]:
        return [each for each in self.task_records.values() if service in {None, each.service}]

    async def secrets(self) -> Sequence[SecretView]:
        return [SecretView(name=name, version=version) for name, version in sorted(self.vault.items())]

    async def environment(self) -> EnvironmentView:
        return EnvironmentView(workspace="shop", environment=self.settings)

    async def doctor(self) -> Sequence[DoctorView]:
        return [DoctorView(check="store", ok=True, text="writable")]

    # --- changing

    async def up(self, request: UpRequest) -> UpView:
        self.requests.append(request)
        begun, unchanged, refused = list[OperationView](), list[str](), dict[str, ErrorView]()
        for draft in request.drafts:
            name = draft.spec.name
            if name in self.services:
                unchanged.append(name)
            elif draft.spec.description == "refuse":
                what = f"{name} does not fit"
                refused[name] = ErrorView(id="does-not-fit", kind="Refused", what=what, why="memory", exit_code=4)
            else:
                begun.append(self._begin(name, "deploy", draft.spec.description))
        return UpView(operations=tuple(begun), unchanged=tuple(unchanged), refused=refused)

    async def deploy(self, request: DeployRequest) -> OperationView:
        if request.note == "refuse":
            raise Refused(
                f"{request.spec.name} does not fit",
                "it wants 2 GiB, 1 GiB is free",
                "lower limits.memory",
                id="does-not-fit",
            )
        if (text := self.same.get(request.spec.name)) is not None:
            return OperationView(
                id="", service=request.spec.name, kind="deploy", release="r1", previous="r1", phase="unchanged",
                ended=True, text=text,
            )  # fmt: skip
        return self._change(request.spec.name, "deploy", request, request.note)

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

    async def store_drafts(self, request: StoresRequest) -> StoresView:
        self.requests.append(request)
        missing = NotFound("the fake has no servers", "", "run Atoll itself", id="store-not-here")
        return StoresView(refused={store.name: ErrorView.of(missing) for store in request.stores})

    async def import_records(self, request: RecordsRequest) -> RecordsView:
        self.requests.append(request)
        fresh = {each.id: each for each in request.records if each.id not in self.task_records}
        self.task_records |= fresh
        return RecordsView(added=len(fresh), known=len(request.records) - len(fresh))

    async def rollback(self, service: str, request: RollbackRequest) -> OperationView:
        self._find(service)
        if request.to is not None and request.to > int(self.services[service].release[1:]):
            raise NotFound(
                f"{service} has no release r{request.to}", "it was never made", "see the releases", id="unknown-release"
            )
        return self._change(service, "rollback", request)

    async def inject(self, service: str, request: FaultRequest) -> FaultView:
        self._find(service)
        self.requests.append(request)
        view = FaultView(id="fault-1", service=service, kind=request.kind, text="broken", left_s=request.seconds)
        self.injected.append(view)
        return view

    async def faults(self) -> Sequence[FaultView]:
        return tuple(self.injected)

    async def clear(self, service: str, request: Mutation) -> Sequence[FaultView]:
        self._find(service)
        self.requests.append(request)
        over, self.injected = tuple(self.injected), []
        return over

    async def steer(self, service: str, request: SteerRequest) -> OperationView:
        self._find(service)
        self.requests.append(request)
        return _at_a_step(service)

    async def restart(self, service: str, request: RestartRequest) -> OperationView:
        self._find(service)
        return self._change(service, "restart", request)

    async def scale(self, service: str, request: ScaleRequest) -> ServiceView:
        view = self._find(service)
        self.requests.append(request)
        wanted = 1 if request.replicas is None else request.replicas
        view = msgspec.structs.replace(view, wanted=wanted, ready=wanted, override=request.replicas)
        self.services[service] = view
        return msgspec.structs.replace(view, ready=0)

    async def stop(self, service: str, request: StopRequest) -> ServiceView:
        view = self._find(service)
        self.requests.append(request)
        self.services[service] = msgspec.structs.replace(view, state="down", wanted=0, ready=0, replicas=())
        return view

    async def plan(self, request: Mutation, service: str = "") -> Sequence[PlanView]:
        if isinstance(request, UpRequest):
            names = [draft.spec.name for draft in request.drafts]
            return [PlanView(service=name, kind="deploy", unchanged=name in self.services) for name in names]
        if isinstance(request, DeployRequest):
            if request.note == "refuse":
                raise Refused(
                    f"{service} does not fit", "it wants 2 GiB, 1 GiB is free", "lower limits.memory", id="does-not-fit"
                )
            if (text := self.same.get(service)) is not None:
                return [PlanView(service=service, kind="deploy", unchanged=True, steps=(text,))]
            running = service in self.services
            return [
                PlanView(
                    service=service,
                    kind="deploy",
                    release="r2" if running else "r1",
                    previous="r1" if running else "",
                    steps=("start 1 replica of r2 beside r1", "move all requests from r1 to r2"),
                    changed=("env LOG_LEVEL: info -> warn",),
                    routes=(f"http://127.0.0.1:8080/{service}",),
                    replicas=1,
                    memory_bytes=2**28,
                    free_bytes=2**30,
                    warnings=(f"{service} calls payments, which does not run: its calls get 503 until then",),
                )
            ]
        view = self._find(service)
        if isinstance(request, RunRequest):
            self._find_job(service, request.job)
            return [PlanView(service=service, kind="run", release=view.release, steps=(f"run {request.job}",))]
        kinds = {
            RollbackRequest: "rollback",
            RestartRequest: "restart",
            ScaleRequest: "scale",
            StopRequest: "stop",
            SteerRequest: "steer",
            FaultRequest: "fault",
        }
        kind = kinds[type(request)]
        steps = (f"{kind} {service}",)
        return [PlanView(service=service, kind=kind, release=view.release, steps=steps)]  # type: ignore[arg-type]

    async def exec(self, service: str, request: ExecRequest) -> ExecView:
        self._find(service)
        if request.argv[0] == "bug":
            raise ZeroDivisionError("a bug of pretend")
        code = int(request.argv[1]) if request.argv[0] == "exit" else 0
        return ExecView(exit=Exit(code=code), output=" ".join(request.argv) + "\n", replica=f"{service}-r1-0-aaaa")

    async def run_job(self, service: str, request: RunRequest) -> JobRunView:
        self._find_job(service, request.job)
        known = next((run for run in self.job_runs.values() if request.key and run.id.endswith(request.key)), None)
        if known is not None:
            return known
        if self.services[service].state == "down":
            raise Refused(
                f"{service} is down", "its jobs do not run then", f"start it: `atoll up {service}`", id="service-down"
            )
        self.requests.append(request)
        view = JobRunView(
            id=f"{service}.{request.job}.{request.key or len(self.job_runs) + 1}",
            service=service,
            job=request.job,
            release=self.services[service].release,
            trigger="manual",
            state="running",
            command=" ".join(["./run", request.job, *request.args]),
            created_wall=_WALL,
            started_wall=_WALL,
        )
        self.job_runs[view.id] = view
        if "hang" not in request.args:
            task = asyncio.create_task(self._finish(view.id, "fail" not in request.args), name=view.id)
            self._rolling.add(task)
            task.add_done_callback(self._rolling.discard)
        return view

    async def stop_run(self, run_id: str, request: StopRunRequest) -> JobRunView:
        view = await self.job_run(run_id)
        if not view.ended:
            self.requests.append(request)
            view = msgspec.structs.replace(
                view, state="stopped", ended=True, reason="stopped by ada", ended_wall=_WALL + 1
            )
            self.job_runs[run_id] = view
            await self.record("job.stopped", view.service, f"{view.job} was stopped")
        return view

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

    # --- pretending

    def _moved(self, seen: OperationView) -> bool:
        return self.operations[seen.id] is not seen

    def _went_on(self, seen: JobRunView) -> bool:
        return self.job_runs[seen.id] is not seen

    async def _finish(self, run_id: str, good: bool) -> None:
        await asyncio.sleep(self.step_s)
        self.job_runs[run_id] = msgspec.structs.replace(
            self.job_runs[run_id],
            state="succeeded" if good else "failed",
            ended=True,
            exit=Exit(code=0 if good else 4),
            reason="" if good else "exit code 4",
            output="" if good else "no such index\n",
            ended_wall=_WALL + 1,
            seconds=1.0,
        )
        await self.record("job.succeeded" if good else "job.failed", run_id.partition(".")[0], f"{run_id} ended")

    def _find_job(self, service: str, job: str) -> None:
        self._find(service)
        if job not in ("nightly", "reindex"):
            known = ("nightly", "reindex")
            raise NotFound(
                f"{service} has no job '{job}'", "it has nightly, reindex", did_you_mean(job, known), id="unknown-job"
            )

    def _job(self, service: str, job: str) -> JobView:
        runs = [run for run in self.job_runs.values() if (run.service, run.job) == (service, job)]
        scheduled = job == "nightly"
        return JobView(
            service=service,
            job=job,
            command=f"./run {job}",
            release=self.services[service].release,
            schedule="0 3 * * *" if scheduled else "",
            time_zone="Europe/Berlin" if scheduled else "",
            next_wall=_WALL + 3600 if scheduled else None,
            last=runs[-1] if runs else None,
        )

    def _grew(self, after: int) -> bool:
        return len(self.ledger) > after

    async def _until(self, happened: Callable[[], bool]) -> None:
        async with self._news:
            await self._news.wait_for(happened)

    def _find(self, service: str) -> ServiceView:
        if service not in self.services:
            raise NotFound(
                f"there is no service '{service}'",
                "none has run here",
                did_you_mean(service, self.services),
                id="unknown-replica",
            )
        return self.services[service]

    @staticmethod
    def _service(name: str, n: int, state: ServiceState = "up") -> ServiceView:
        url = f"http://127.0.0.1:8080/{name}"
        replica = ReplicaView(id=f"{name}-r{n}-0-aaaa", release=f"r{n}", phase="serving", ready=True, pid=100 + n)
        return ServiceView(
            name=name,
            state=state,
            release=f"r{n}",
            generation=n,
            ready=1,
            wanted=1,
            rps=0.0,
            urls=(url,),
            replicas=(replica,),
        )

    def _record(self, kind: str, service: str, message: str) -> None:
        author = Author(actor="ada")
        seq = len(self.ledger) + 1
        self.ledger.append(Event(kind=kind, service=service, message=message, author=author, wall=_WALL, seq=seq))

    async def record(self, kind: str, service: str, message: str) -> None:
        """One more event, and wake who follows."""
        self._record(kind, service, message)
        async with self._news:
            self._news.notify_all()

    def _change(self, service: str, kind: _Kind, request: Mutation, note: str = "") -> OperationView:
        if request.key and request.key in self.answers:
            return self.answers[request.key]
        running = self.services.get(service)
        if request.expect is not None and running is not None and request.expect != running.generation:
            raise Conflict(
                f"{service} was changed meanwhile",
                f"generation {running.generation}",
                "look, then try again",
                id="changed-meanwhile",
            )
        self.requests.append(request)
        view = self._begin(service, kind, note)
        if request.key:
            self.answers[request.key] = view
        return view

    def _begin(self, service: str, kind: _Kind, note: str = "") -> OperationView:
        running = self.services.get(service)
        n = int(running.release[1:]) + 1 if running else 1
        view = OperationView(
            id=f"op-{len(self.operations) + 1}",
            service=service,
            kind=kind,
            release=f"r{n}",
            previous=f"r{n - 1}" if running else "",
            phase="starting",
            wanted=1,
        )
        self.operations[view.id] = view
        task = asyncio.create_task(self._roll(view, n, note), name=view.id)
        self._rolling.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._rolling.discard)
        return view

    async def _roll(self, view: OperationView, n: int, note: str) -> None:
        while view.service in self.held:
            await asyncio.sleep(self.step_s)
        if view.service in self.tried:
            view = msgspec.structs.replace(view, phase="stepping", stepping=_at_a_step(view.service).stepping)
            self.operations[view.id] = view
            await self.record("rollout.step", view.service, f"10 % of the requests go to {view.release}")
        while view.service in self.tried:
            await asyncio.sleep(self.step_s)
        good = note != "fail"
        phases: tuple[RolloutPhase, ...] = ("shifting", "draining", "live") if good else ("undoing", "undone")
        for phase in phases:
            await asyncio.sleep(self.step_s)
            view = msgspec.structs.replace(view, phase=phase, ready=int(good), requests=view.requests + 10)
            last = phase in {"live", "undone"}
            if last:
                receipt = self._receipt(view, n, good)
                text, output = ("", "") if good else (receipt.reason, receipt.output)
                view = msgspec.structs.replace(view, ended=True, receipt=receipt, text=text, output=output)
            if phase == "live":
                self.services[view.service] = self._service(view.service, n)
            self.operations[view.id] = view
            await self.record(f"rollout.{phase}", view.service, f"{view.release} is {phase}")

    def _receipt(self, view: OperationView, n: int, good: bool) -> Receipt:
        return Receipt(
            rollout=view.id,
            service=view.service,
            kind=view.kind,
            release=n,
            previous=n - 1 or None,
            outcome="live" if good else "undone",
            reason="" if good else f"{view.release} was not ready within 30 s",
            reason_id="" if good else "not-ready-in-time",
            output="" if good else "Traceback: no module named 'orders'\n",
            changed=("artifact 0123 -> 4567",),
            seconds={"starting": 1.0, "shifting": 0.1, "total": 1.1},
            requests=view.requests,
            failed=0,
            undo=f"atoll rollback {view.service}" if good else "",
        )


def _is_of(line: LogLine, replica: str | None) -> bool:
    begins = replica is not None and replica.endswith(".") and line.replica.startswith(replica)
    return replica is None or begins or replica == line.replica


def spec_of(name: str) -> ServiceSpec:
    """A small specification."""
    return ServiceSpec(name=name, run=Command(shell="./run"))


class Served:
    """A FakeControl behind the real API on a unix socket, served by a thread; leave it and the socket is gone.

    `ready=False` serves an API whose daemon is still starting; `become_ready` ends that. `public` is a second socket, for
    those whom `access` gives a role.
    """

    def __init__(
        self,
        socket: Path,
        control: FakeControl | None = None,
        *,
        ready: bool = True,
        public: Path | None = None,
        access: Callable[[], Access] = Access,
    ) -> None:
        self.socket = socket
        self._given, self._ready, self._public, self._access = control, ready, public, access
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake daemon", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(30):
            raise TimeoutError("the fake daemon did not start within 30 s")
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(30)

    def become_ready(self) -> None:
        """From now on it answers."""
        self.loop.call_soon_threadsafe(setattr, self.api, "control", self.control)

    def record(self, kind: str, service: str, message: str) -> None:
        """One more event in the ledger, from any thread."""
        asyncio.run_coroutine_threadsafe(self.control.record(kind, service, message), self.loop).result(30)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except asyncio.CancelledError:
            pass  # how it is told to end

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.control = self._given or FakeControl()
        doorkeeper = Doorkeeper(self._access if self._public else None)
        self.api = Api(self.control if self._ready else None, doorkeeper)
        self._task = asyncio.create_task(serve(self.api, self.socket, self._public))
        last = self._public or self.socket
        while not last.exists() and not self._task.done():
            await asyncio.sleep(0.005)
        self._started.set()
        await self._task
