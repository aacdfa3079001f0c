"""One environment, running: implements `Control` for the API, makes a loop per service, and owns every mutation.

`app.daemon` builds it from adapters. A mutation is checked, committed in one transaction, and then hinted to the
service's loop; nothing here waits for a rollout.
"""

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from atoll import __version__
from atoll.daemon import views
from atoll.daemon.candidates import Candidates, active
from atoll.daemon.collector import Collector
from atoll.daemon.planner import Planner, error_view
from atoll.daemon.pulse import Pulse
from atoll.daemon.service import ServiceLoop
from atoll.decide.changes import changes
from atoll.decide.compose import compose
from atoll.decide.facts import exclusive, is_ready
from atoll.decide.rollout import begin, supersede
from atoll.model.errors import AtollError, Conflict, NotFound, Refused
from atoll.model.state import ENDED, LIVE, Address, Author, Event, Intent, Release, Rollout
from atoll.model.suggest import did_you_mean
from atoll.model.wire import (
    DeployRequest,
    DoctorView,
    ErrorView,
    ExecRequest,
    ExecView,
    Mutation,
    OperationView,
    PartView,
    PlanView,
    ReleaseView,
    RestartRequest,
    RollbackRequest,
    ScaleRequest,
    SecretRequest,
    SecretView,
    ServiceView,
    StatusView,
    StopRequest,
    UpRequest,
    UpView,
    WhyView,
)
from atoll.ports import Change, Clock, Host, LogLine, Row, Store, Traffic, Vault
from atoll.realise.engine import HostEngine
from atoll.realise.leases import Ports
from atoll.realise.probes import Ask, ask
from atoll.realise.records import Records

_log = logging.getLogger(__name__)


class Identity(NamedTuple):
    """Which environment this is."""

    workspace: str
    environment: str
    root: str
    gateway: Address
    ports: tuple[int, int]
    data: str = ""  # absolute; in it services' own folders, by name; "" gives them none


class Machine(NamedTuple):
    """What the daemon asks of the machine and of its keeper; functions, so that tests bend them."""

    free_bytes: Callable[[], int | None]
    parts: Callable[[], Awaitable[Mapping[str, int | None]]]  # keeper, proxy -> pid


class Environment:
    """See the module. `run()` until cancelled; ready for the API once `recovered` is set."""

    def __init__(
        self,
        identity: Identity,
        host: Host,
        traffic: Traffic,
        store: Store,
        vault: Vault,
        clock: Clock,
        machine: Machine,
        records: Records,
        ask: Ask = ask,
    ) -> None:
        self._identity, self._store, self._vault, self._clock = identity, store, vault, clock
        self._traffic, self._machine, self._records = traffic, machine, records
        self._pulse = Pulse()
        self._collector = Collector(traffic, clock)
        self._loops: dict[str, ServiceLoop] = {}
        first, last = identity.ports
        self._engine = HostEngine(
            host,
            traffic,
            records,
            vault,
            clock,
            identity.gateway,
            Ports(first, last, start=secrets.randbelow(last - first + 1)),
            self._changed,
            ask,
            identity.data,
        )
        self._candidates = Candidates(records, vault, clock, identity.environment, machine.free_bytes)
        self._planner = Planner(self._candidates, records, f"http://{identity.gateway}")
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Keep everything as it is wanted, for ever. Any task's death ends it: the keeper starts a fresh daemon."""
        for service in self._records.services():
            self._loop(service).apply()
        async with asyncio.TaskGroup() as self._group:
            self._group.create_task(self._engine.run())
            self._group.create_task(self._collector.run())
            for loop in self._loops.values():
                self._group.create_task(loop.run())

    def _loop(self, service: str) -> ServiceLoop:
        if service not in self._loops:
            loop = ServiceLoop(
                service,
                self._records,
                self._engine,
                self._collector,
                self._clock,
                self._engine.last_crashed,
                self._pulse.beat,
            )
            self._loops[service] = loop
            if self._group is not None:
                self._group.create_task(loop.run())
        return self._loops[service]

    def _changed(self, service: str) -> None:
        if service in self._loops:
            self._loops[service].hint()
        self._pulse.beat()

    def _known(self, service: str) -> ServiceLoop:
        self._candidates.known(service)
        return self._loop(service)

    # --- reading --------------------------------------------------------------------------------------------------

    async def status(self) -> StatusView:
        """Everything on one page."""
        identity, now = self._identity, self._clock.now()
        usage = await self._engine.usage()
        parts = await self._machine.parts()
        problem = self._traffic.problem()
        last = await self._store.events(limit=1, newest=True)
        return StatusView(
            workspace=identity.workspace,
            environment=identity.environment,
            root=identity.root,
            version=__version__,
            gateway=f"http://{identity.gateway}",
            parts=(
                PartView(name="keeper", pid=parts.get("keeper"), problem="" if parts.get("keeper") else "not running"),
                PartView(name="daemon", pid=os.getpid()),
                PartView(name="proxy", pid=parts.get("proxy"), problem=problem),
            ),
            notices=tuple(self._engine.notices()),
            services=tuple(self._view(service, usage) for service in self._records.services()),
            last_event=last[-1].seq if last else 0,
            wall=now.wall,
        )

    def _view(self, service: str, usage: Mapping[str, tuple[int, float]]) -> ServiceView:
        loop = self._loop(service)
        releases = self._records.releases_of(service)
        intent, rollout = loop.intent(), loop.rollout()
        return views.service_view(
            intent,
            rollout,
            compose(intent, rollout, releases),
            self._engine.observe(service),
            releases,
            self._collector.rates(service),
            usage,
            f"http://{self._identity.gateway}",
            self._clock.now(),
        )

    def _operation(self, rollout: Rollout) -> OperationView:
        loop = self._loop(rollout.service)
        want = compose(loop.intent(), loop.rollout(), self._records.releases_of(rollout.service))
        wanted = next((rev.replicas for rev in want.revisions if rev.release == rollout.candidate), 0)
        receipt = self._records.receipts.get(rollout.id)
        measured = (0, 0) if receipt or rollout.phase in ENDED else loop.measured(rollout)[:2]
        seen = self._engine.observe(rollout.service)
        return views.operation_view(rollout, seen, wanted, measured, receipt, self._clock.now())

    async def operation(self, id: str) -> OperationView:
        """A rollout in progress or past."""
        if id not in self._records.rollouts:
            raise NotFound(f"there is no operation '{id}'", "it may be older than what is kept", "see `atoll releases`")
        return self._operation(self._records.rollouts[id])

    async def watch_operation(self, id: str) -> AsyncIterator[OperationView]:
        """The operation after each change, until it has ended."""
        shown: OperationView | None = None
        count = self._pulse.count
        while True:
            view = await self.operation(id)
            if view != shown:
                yield view
                shown = view
            if view.ended:
                return
            count = await self._pulse.after(count, 1.0)

    async def releases(self, service: str) -> Sequence[ReleaseView]:
        """Newest first."""
        loop = self._known(service)
        return views.release_views(
            self._records.releases_of(service),
            loop.intent(),
            loop.rollout(),
            [receipt for receipt in self._records.receipts.values() if receipt.service == service],
            frozenset(row.release for row in self._records.replicas(service).values()),
        )

    async def events(self, *, after: int = 0, service: str | None = None, follow: bool = False) -> AsyncIterator[Event]:
        """The ledger after `after`."""
        count = self._pulse.count
        while True:
            page = await self._store.events(after=after, service=service)
            for event in page:
                after = event.seq
                yield event
            if page:
                continue
            if not follow:
                return
            count = await self._pulse.after(count, 5.0)

    async def why(self, subject: str) -> WhyView:
        """Sentences, the last rollout, the last crash."""
        service, _, release = subject.replace("/", " ").partition(" ")
        loop = self._known(service)
        releases = self._records.releases_of(service)
        rollout = loop.rollout()
        if release:
            if not release.removeprefix("r").isdigit() or int(release.removeprefix("r")) not in releases:
                raise NotFound(
                    f"{service} has no release '{release}'", "", did_you_mean(release, [f"r{n}" for n in releases])
                )
            n = int(release.removeprefix("r"))
            mine = [row for row in self._records.rollouts.values() if row.service == service and row.candidate == n]
            rollout = max(mine, key=lambda row: row.started_wall) if mine else None
        view = self._view(service, {})
        n = rollout.candidate if rollout and (release or rollout.phase not in LIVE) else loop.intent().target or 0
        because = [view.reason] if view.reason and not release else []
        operation = self._operation(rollout) if rollout else None
        if operation and operation.text and operation.text not in because:
            because.append(operation.text)
        if not because and not release and view.state == "up":
            because.append(f"{view.ready} of {view.wanted} replicas of {view.release} are ready")
        crashed = self._engine.last_crashed(service, n)
        return WhyView(
            subject=f"{service} {release}".strip(),
            state=view.state if not release else (operation.phase if operation else ""),
            because=tuple(because),
            fix=f"atoll logs {service}" if view.state not in {"up", "down"} else "",
            rollout=operation,
            crash=self._engine.observe(service).last_exit.get(n),
            crash_replica=crashed,
            crash_output=await self._engine.last_output(crashed),
        )

    async def logs(
        self,
        services: Sequence[str],
        *,
        replica: str | None = None,
        tail: int = 100,
        follow: bool = False,
        since_wall: float = 0.0,
    ) -> AsyncIterator[LogLine]:
        """Lines of several services, by time for what is there, as they come for what follows."""
        for service in services:
            self._known(service)
        names = list(services) or list(self._records.services())
        lines: list[LogLine] = []
        for name in names:
            lines += [
                line
                async for line in self._engine.logs(
                    name, replica=replica, tail=tail, follow=False, since_wall=since_wall
                )
            ]
        for line in sorted(lines, key=lambda line: line.wall):
            yield line
        if not follow:
            return
        last = max((line.wall for line in lines), default=since_wall or self._clock.now().wall)
        queue: asyncio.Queue[LogLine] = asyncio.Queue(maxsize=1000)
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(self._follow(name, replica, last, queue))
            while True:
                yield await queue.get()

    async def _follow(self, service: str, replica: str | None, after: float, queue: "asyncio.Queue[LogLine]") -> None:
        async for line in self._engine.logs(service, replica=replica, tail=1000, follow=True, since_wall=after):
            if line.wall > after:
                await queue.put(line)

    async def exec(self, service: str, request: ExecRequest) -> ExecView:
        """Run a command in a replica's surroundings."""
        self._known(service)
        running = [r for r in self._engine.observe(service).replicas if r.alive]
        chosen = [r for r in running if request.replica in {"", r.id}]
        if request.replica and not chosen:
            raise NotFound(
                f"{service} has no running replica '{request.replica}'",
                "",
                did_you_mean(request.replica, [r.id for r in running]),
            )
        if not chosen:
            raise Refused(f"nothing of {service} is running", "a command needs a replica's surroundings", "`atoll up`")
        target = max(chosen, key=lambda r: (is_ready(r), -r.record.created_wall))
        exit_, output = await self._engine.exec(target.id, request.argv, request.timeout_s)
        return ExecView(exit=exit_, output=output, replica=target.id)

    # --- releases and rollouts ------------------------------------------------------------------------------------

    async def up(self, request: UpRequest) -> UpView:
        """Deploy what is not running. All releases are written first, so that each finds the ports of those it calls."""
        operations: list[OperationView] = []
        unchanged: list[str] = []
        edited: list[str] = []
        refused: dict[str, ErrorView] = {}
        due: list[tuple[DeployRequest, ServiceLoop]] = []
        for draft in request.drafts:
            service = draft.spec.name
            loop = self._loop(service)
            rollout = loop.rollout()
            if loop.intent().target is None and not active(rollout):
                due.append((DeployRequest(spec=draft.spec, artifact=draft.artifact, author=request.author), loop))
            elif rollout is not None and active(rollout):
                operations.append(self._operation(rollout))
            else:
                same = await self._candidates.same(draft.spec, draft.artifact, loop.intent().target)
                (unchanged if same else edited).append(service)
        for deploy, loop in due:
            try:
                operations.append(await self._deploy(deploy, loop))
            except AtollError as exc:
                refused[deploy.spec.name] = error_view(exc)
        return UpView(operations=tuple(operations), unchanged=tuple(unchanged), edited=tuple(edited), refused=refused)

    async def deploy(self, request: DeployRequest) -> OperationView:
        """Admit, number, start."""
        return await self._deploy(request, self._loop(request.spec.name))

    async def _deploy(self, request: DeployRequest, loop: ServiceLoop) -> OperationView:
        service = request.spec.name
        async with loop.lock:
            if (repeated := self._repeated(service, request)) is not None:
                return repeated
            self._candidates.idle(service, request)
            release, runs = await self._candidates.deployed(request)
            if runs:
                return OperationView(
                    id="", service=service, kind="deploy", release=f"r{release.n}", previous=f"r{release.n}",
                    phase="unchanged", ended=True, text=f"{release.name} already runs exactly this",
                )  # fmt: skip
            return await self._begin("deploy", loop, release, request)

    async def rollback(self, service: str, request: RollbackRequest) -> OperationView:
        """Go back. A warm release takes the traffic at once; a cold one gets the newest secrets, old ones may be revoked."""
        loop = self._known(service)
        async with loop.lock:
            if (repeated := self._repeated(service, request)) is not None:
                return repeated
            self._candidates.idle(service, request)
            return await self._begin("rollback", loop, await self._candidates.rolled_back(service, request), request)

    async def restart(self, service: str, request: RestartRequest) -> OperationView:
        """A new release of the same content with the newest secrets: the same rollout as any other, so nobody notices."""
        loop = self._known(service)
        async with loop.lock:
            if (repeated := self._repeated(service, request)) is not None:
                return repeated
            self._candidates.idle(service, request)
            return await self._begin("restart", loop, await self._candidates.restarted(service, request), request)

    async def scale(self, service: str, request: ScaleRequest) -> ServiceView:
        """Set or clear the override."""
        loop = self._known(service)
        async with loop.lock:
            wanted, n = self._candidates.scaled(service, request), request.replicas
            text = f"{service} shall run {n} replicas" if n is not None else f"{service} runs as its file says"
            await self._intend(loop, wanted, request, "intent.scaled", text)
        return self._view(service, {})

    async def stop(self, service: str, request: StopRequest) -> ServiceView:
        """Want it down; a rollout under way ends."""
        loop = self._known(service)
        async with loop.lock:
            intent = self._candidates.expected(service, request)
            rollout = loop.rollout()
            rows: tuple[Row, ...] = ()
            if rollout is not None and rollout.phase not in ENDED:
                rows = (supersede(rollout, self._clock.now()),)
            wanted = msgspec.structs.replace(intent, target=None)
            await self._intend(loop, wanted, request, "intent.down", f"{service} shall be down", rows)
        return self._view(service, {})

    async def plan(self, request: Mutation, service: str = "") -> Sequence[PlanView]:
        """What the request would do; nothing is changed."""
        return await self._planner.plan(request, service)

    # --- what every mutation does ---------------------------------------------------------------------------------

    def _repeated(self, service: str, request: Mutation) -> OperationView | None:
        """The first answer to a request that came before with the same idempotency key."""
        rollout = self._records.rollouts.get(f"{service}-{request.key}") if request.key else None
        return None if rollout is None else self._operation(rollout)

    async def _begin(self, kind: str, loop: ServiceLoop, release: Release, request: Mutation) -> OperationView:
        """Admit a release and write the start of its rollout, all in one transaction."""
        service, now = loop.service, self._clock.now()
        intent, last = loop.intent(), loop.rollout()
        stable = intent.target
        admitted = self._candidates.admitted(release)
        rollout = begin(
            kind,  # type: ignore[arg-type]
            service,
            f"{service}-{request.key or secrets.token_hex(6)}",
            release.n,
            stable,
            not exclusive(release, admitted.stable),
            now,
            request.author,
        )
        loop.begin(rollout)
        # A first deploy is wanted from the start; otherwise the stable release is what is wanted until the switch.
        target = release.n if stable is None else stable
        wanted = msgspec.structs.replace(intent, target=target, generation=intent.generation + 1)
        rows: list[Row] = [release, rollout, wanted]
        if last is not None and last.phase not in ENDED:
            rows.append(supersede(last, now))
        message = f"{kind} of {release.name}" + (f", from r{stable}" if stable is not None else "")
        data = {
            "changed": list(changes(admitted.stable, release)),
            "warnings": list(admitted.warnings),
            "rollout": rollout.id,
        }
        event = Event(
            kind="rollout.started", service=service, release=release.n, message=message,
            author=request.author, data=data, wall=now.wall,
        )  # fmt: skip
        await self._records.commit(Change(puts=tuple(rows), events=(event,), expect={service: intent.generation}))
        loop.hint()
        self._engine.hint_callers(service)
        self._pulse.beat()
        return self._operation(rollout)

    async def _intend(
        self, loop: ServiceLoop, wanted: Intent, request: Mutation, kind: str, text: str, rows: tuple[Row, ...] = ()
    ) -> None:
        now = self._clock.now()
        event = Event(kind=kind, service=loop.service, message=text, author=request.author, wall=now.wall)
        await self._records.commit(
            Change(
                puts=(msgspec.structs.replace(wanted, generation=wanted.generation + 1), *rows),
                events=(event,),
                expect={loop.service: wanted.generation},
            )
        )
        loop.apply()
        loop.hint()
        self._pulse.beat()

    # --- secrets --------------------------------------------------------------------------------------------------

    async def secrets(self) -> Sequence[SecretView]:
        """Names and versions."""
        return tuple(self._secret(name, version) for name, version in sorted((await self._vault.versions()).items()))

    def _secret(self, name: str, version: int) -> SecretView:
        used = {
            release.service: release.secrets[name]
            for service in self._records.services()
            if (release := self._records.releases_of(service).get(self._loop(service).intent().target or 0))
            and name in release.secrets
        }
        return SecretView(name=name, version=version, used_by=used)

    async def set_secret(self, name: str, request: SecretRequest) -> SecretView:
        """Store a new version; those that use it get it with their next release or restart."""
        version = await self._vault.set(name, request.value)
        await self._tell("secret.set", f"secret {name} v{version}", request.author)
        return self._secret(name, version)

    async def remove_secret(self, name: str) -> None:
        """Forget all versions."""
        known = await self._vault.versions()
        if name not in known:
            raise NotFound(f"there is no secret '{name}'", "", did_you_mean(name, known))
        if used := self._secret(name, known[name]).used_by:
            raise Conflict(
                f"secret '{name}' is in use", f"by {', '.join(sorted(used))}", "deploy them without it first"
            )
        await self._vault.remove(name)
        await self._tell("secret.removed", f"secret {name} removed", Author())

    async def _tell(self, kind: str, message: str, author: Author) -> None:
        event = Event(kind=kind, message=message, author=author, wall=self._clock.now().wall)
        await self._records.commit(Change(events=(event,)))
        self._pulse.beat()

    # --- doctor ---------------------------------------------------------------------------------------------------

    async def doctor(self) -> Sequence[DoctorView]:
        """What only the daemon can see."""
        problem = self._traffic.problem()
        parts = await self._machine.parts()
        failing = [
            view for name in self._records.services() if (view := self._view(name, {})).state in {"failing", "degraded"}
        ]
        found = [
            DoctorView(
                check="proxy", ok=not problem, text=problem or f"Envoy runs as pid {parts.get('proxy')}",
                fix="free the port, or change `gateway` in atoll.toml" if problem else "",
            ),
            DoctorView(check="keeper", ok=bool(parts.get("keeper")), text=f"pid {parts.get('keeper')}", fix="" if parts.get("keeper") else "run `atoll up`"),
            *(DoctorView(check=f"service {v.name}", ok=False, text=v.reason, fix=f"atoll why {v.name}") for v in failing),
            *(DoctorView(check="notice", ok=None, text=text) for text in self._engine.notices()),
        ]  # fmt: skip
        return tuple(found)
