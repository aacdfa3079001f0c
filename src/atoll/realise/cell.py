"""One service on a host: look, decide, do, once a wake-up. A slow or failing service delays only its own cell.

`HostEngine` makes one per service. Every action is committed before its effect, so that a daemon killed in between
finds in the rows what it was about to do.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

import msgspec

from atoll.decide.launch import Folders, probe_command
from atoll.decide.launch import launch as resolve
from atoll.decide.production import listens
from atoll.decide.reconcile import KILL_AGAIN_S, crashes, reconcile
from atoll.decide.traffic import LOCAL, entry
from atoll.model.actions import Action, Drain, Forget, Kill, Publish, Signal, Start
from atoll.model.errors import AtollError, Conflict, Retryable
from atoll.model.spec import Call, Command, Port
from atoll.model.state import (
    Backoff,
    Exit,
    Observation,
    Reason,
    Release,
    Replica,
    ReplicaRecord,
    ServiceDesired,
)
from atoll.model.traffic import ServiceTraffic
from atoll.ports import Clock, Host, Launch, Vault
from atoll.realise.edges import Edges
from atoll.realise.facts import Facts
from atoll.realise.inflight import Inflight
from atoll.realise.job_runs import JobRuns
from atoll.realise.leases import Ports
from atoll.realise.plan_rows import Ends, PlanRows
from atoll.realise.prober import Prober
from atoll.realise.probes import Ask
from atoll.realise.records import Records
from atoll.realise.traffic import TrafficActor

_log = logging.getLogger(__name__)
SOON_S = 0.001  # the shortest wait for a moment: floating point may put it a hair into the past


class Shared(NamedTuple):
    """What all cells of an engine have in common."""

    host: Host
    ask: Ask
    facts: Facts
    actor: TrafficActor
    records: Records
    ports: Ports
    vault: Vault
    clock: Clock
    callee_port: Callable[[Call], Port]
    on_change: Callable[[str], None]
    is_coming: Callable[[str], bool]  # whether a store is on its way: see `Cell.coming`


_NO_PROBLEM = Reason("", "")


class Cell:
    """Keeps one service as `want` says."""

    def __init__(self, service: str, shared: Shared) -> None:
        self.service = service
        self._shared = shared
        self._want: ServiceDesired | None = None
        self._backoff: Mapping[tuple[int, int], Backoff] = {}
        self._ends = Ends()
        self._probers: dict[str, Prober] = {}
        self._launches: dict[str, Launch] = {}
        self._inflight = Inflight(service, shared.actor)
        self._edges = Edges(service, shared.records, shared.ports, shared.actor, shared.clock, shared.is_coming)
        self._jobs = JobRuns(
            service, shared.host, shared.facts, shared.records, shared.vault, shared.clock, self._edges, self._folders
        )
        self._signalled: set[str] = set()
        self._killed: dict[str, float] = {}  # replica -> when SIGKILL was sent last, boot seconds
        self._reach = LOCAL
        self._problem = _NO_PROBLEM
        self._hint = asyncio.Event()
        self._tasks: asyncio.TaskGroup

    # --- what others ask ------------------------------------------------------------------------------------------

    def apply(self, want: ServiceDesired) -> None:
        """Take a new wish."""
        if want != self._want:
            self._want = want
            self.hint()

    def hint(self) -> None:
        """Something may have changed: look again."""
        self._hint.set()

    @property
    def coming(self) -> bool:
        """Whether it is on its way: it is wanted, nothing of it takes connections yet, and nothing has crashed."""
        want = self._want
        if want is None or not any(revision.replicas for revision in want.revisions):
            return False
        return not any(crashes(self._backoff).values()) and not any(
            one.in_proxy == "serving" for one in self.observe().replicas
        )

    def last_crashed(self, release: int) -> str:
        """The id of the replica of that release that crashed last; '' when none did."""
        return self._ends.crashed.get(release, "")

    def notices(self) -> Iterable[str]:
        """What a person should know of this service's replicas, each sentence once; the host's about the newest only."""
        told: set[str] = set()
        rows = self._shared.records.replicas(self.service)
        for id in sorted(rows, key=lambda id: rows[id].created_s, reverse=True):
            hosted = self._shared.facts.of(id)
            if hosted and hosted.notice and not any(sentence.startswith(f"{self.service}: ") for sentence in told):
                told.add(f"{self.service}: {hosted.notice}")
        if self.everywhere:
            told.add(listens(self.service))
        return sorted(told)

    @property
    def everywhere(self) -> frozenset[str]:
        """The replicas that listen on all addresses."""
        return frozenset(replica for replica, prober in self._probers.items() if prober.everywhere)

    def observe(self) -> Observation:
        """What is known now."""
        shared = self._shared
        acked, wanted = shared.actor.acked(self.service), shared.actor.wanted(self.service)
        refused = shared.actor.problem(self.service)
        problem = Reason(refused, "proxy-not-acknowledged") if refused else self._problem
        return Observation(
            service=self.service,
            replicas=tuple(
                self._see(record, acked, wanted)
                for record in sorted(shared.records.replicas(self.service).values(), key=lambda row: row.created_wall)
            ),
            weights=None if acked is None else acked.weights,
            holding=None if acked is None else acked.hold,
            header=None if acked is None else acked.header,
            faults=() if acked is None else acked.faults,
            backoff=crashes(self._backoff),
            last_exit=dict(self._ends.exits),
            given_up=dict(self._ends.given_up),
            awaits=self._edges.awaits(),
            problem=problem.text,
            problem_id=problem.id,
            at_s=shared.clock.now().boot_s,
        )

    def _see(self, record: ReplicaRecord, acked: ServiceTraffic | None, wanted: ServiceTraffic | None) -> Replica:
        facts = self._shared.facts
        hosted = facts.of(record.id)
        alive: bool | None = None
        if facts.known and not facts.busy(record.id):
            alive = hosted is not None and hosted.exit is None
        prober = self._probers.get(record.id)
        adopted = prober is None and record.phase == "serving" and alive
        return Replica(
            record=record,
            alive=alive,
            pid=hosted.pid if hosted else None,
            exit=hosted.exit if hosted else None,
            # One that another daemon knew as serving goes on serving until a probe says otherwise.
            ready=bool(adopted) or bool(prober and prober.ready and alive),
            ready_since_s=record.phase_since_s if adopted else prober.ready_since_s if prober else None,
            failing_live=bool(prober and prober.failing_live),
            in_proxy=self._in_proxy(record, acked, wanted),
            inflight=self._inflight.of(record.id),
            reason=prober.reason if prober else "",
            reason_id=prober.reason_id if prober else "",
        )

    def _in_proxy(
        self, record: ReplicaRecord, acked: ServiceTraffic | None, wanted: ServiceTraffic | None
    ) -> Literal["absent", "serving", "draining"] | None:
        if not record.ports:
            return "absent"
        if acked is None:
            return None
        now, soon = _place(record, acked), _place(record, wanted or acked)
        # Told but not acknowledged: it may be there already.
        return None if now == "absent" and soon != "absent" else now

    # --- the loop -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look, decide, do, for ever."""
        async with asyncio.TaskGroup() as self._tasks:
            while True:
                self._hint.clear()
                try:
                    wake_s = await self._step()
                except (Retryable, Conflict) as exc:
                    self._problem = Reason(str(exc), exc.id)
                    _log.warning("%s: %s", self.service, exc)
                    wake_s = exc.after_s if isinstance(exc, Retryable) else 1.0
                try:
                    async with asyncio.timeout(wake_s):
                        await self._hint.wait()
                except TimeoutError:
                    pass

    async def _step(self) -> float | None:
        """One look; returns in how many seconds to look again by itself."""
        want = self._want
        if want is None or not self._shared.facts.known:
            return None
        releases = self._shared.records.releases_of(self.service)
        await self._find_reach(want, releases)
        await self._edges.lease(want, releases, self._jobs.releases())
        self._submit(want, releases)
        now = self._shared.clock.now()
        plan = reconcile(want, self.observe(), releases, self._backoff, now, self._fresh)
        self._backoff = plan.backoff
        waits = [] if plan.wake_at_s is None else [max(SOON_S, plan.wake_at_s - now.boot_s)]
        actions = [action for action in plan.actions if self._is_due(action, now.boot_s)]
        if len(actions) < len(plan.actions):
            waits.append(0.1)
        if actions:
            await self._do(actions, releases)
            self._submit(want, releases)
        self._problem = _NO_PROBLEM
        self._follow_replicas(releases)
        if (wait_s := await self._jobs.step(releases, self._tasks.create_task)) is not None:
            waits.append(wait_s)
        if await self._count(want):
            waits.append(self._inflight.again_s)
        self._shared.on_change(self.service)
        if any(not isinstance(action, Kill) for action in actions):  # a kill is repeated at the plan's pace
            return 0.0
        return min(waits) if waits else None

    def _is_due(self, action: Action, now_s: float) -> bool:
        """Whether it shall be done now: a start waits for its edges, a kill for the last one to show."""
        match action:
            case Start():
                return self._edges.are_up(action.release)
            case Kill():
                return now_s >= self._killed.get(action.replica, 0.0) + KILL_AGAIN_S
        return True

    def _fresh(self, release: int, slot: int) -> str:
        return f"{self.service}-r{release}-{slot}-{secrets.token_hex(3)}"

    # --- traffic --------------------------------------------------------------------------------------------------

    async def _find_reach(self, want: ServiceDesired, releases: Mapping[int, Release]) -> None:
        """Have a network for what runs, and none for what does not."""
        host = self._shared.host
        if want.revisions or self._shared.records.replicas(self.service) or self._jobs.releases():
            try:
                self._reach = await host.reach(self.service)
            except Retryable:
                self._submit(want, releases, edges={})  # the first table waits for everybody's entry
                raise
        elif self._reach != LOCAL:
            await host.unreach(self.service)
            self._reach = LOCAL

    def _submit(
        self, want: ServiceDesired, releases: Mapping[int, Release], edges: Mapping[str, int] | None = None
    ) -> None:
        ports, jobs = self._edges.ports() if edges is None else edges, self._jobs.releases()
        traffic = entry(want, self.observe(), releases, ports, self._shared.callee_port, jobs, self._reach)
        if traffic != self._shared.actor.wanted(self.service):
            self._inflight.reset()
        self._shared.actor.submit(traffic)

    async def _count(self, want: ServiceDesired) -> bool:
        """Count requests in flight where somebody waits for their end; True while that is so."""
        idle = {revision.release for revision in want.revisions if revision.weight_pct == 0}
        rows = self._shared.records.replicas(self.service).values()
        waiting, ended = await self._inflight.count(
            (row for row in rows if row.phase == "draining" or (row.phase == "serving" and row.release in idle)),
            self._shared.clock.now().boot_s,
        )
        if ended:
            self._hint.set()
        return waiting

    # --- actions --------------------------------------------------------------------------------------------------

    async def _do(self, actions: list[Action], releases: Mapping[int, Release]) -> None:
        """Commit what is about to be done, then do it."""
        shared = self._shared
        plan = PlanRows(
            self.service,
            releases,
            shared.records,
            shared.ports,
            shared.facts,
            shared.clock.now(),
            self._ends,
            self._reach,
        )
        for action in actions:
            if not (isinstance(action, Kill) and action.replica in self._killed):  # a repeated kill is told of once
                plan.add(action)
        await shared.records.commit(plan.change())
        for action in actions:
            await self._effect(action, releases)

    async def _effect(self, action: Action, releases: Mapping[int, Release]) -> None:
        shared = self._shared
        match action:
            case Start():
                shared.facts.expect(action.replica)
                self._tasks.create_task(self._start(action, releases[action.release]))
            case Signal():
                self._signalled.add(action.replica)
                await self._signal(action.replica, self._stop_signal(action.replica, releases))
            case Kill():
                self._killed[action.replica] = shared.clock.now().boot_s
                await shared.host.signal(action.replica, "SIGKILL")
            case Forget():
                self._signalled.discard(action.replica)
                self._killed.pop(action.replica, None)
                self._launches.pop(action.replica, None)
                self._tasks.create_task(shared.facts.forget(action.replica))
            case Publish() | Drain():
                pass  # the traffic table follows from the phase

    def _stop_signal(self, replica: str, releases: Mapping[int, Release]) -> str:
        row = self._shared.records.replicas(self.service).get(replica)
        return releases[row.release].spec.stop.signal if row and row.release in releases else "SIGTERM"

    async def _start(self, action: Start, release: Release) -> None:
        row = self._shared.records.replicas(self.service).get(action.replica)
        if row is None:
            await self._shared.facts.forget(action.replica)
            return
        try:
            launch = await self.resolve(row, release)
        except AtollError as exc:  # a secret that is gone, a vault that does not answer
            now = self._shared.clock.now()
            self._shared.facts.failed(
                row.id, self.service, row.release, Exit(error=str(exc), at_s=now.boot_s, wall=now.wall)
            )
            return
        self._launches[row.id] = launch
        await self._shared.facts.start(launch)

    async def resolve(self, row: ReplicaRecord, release: Release) -> Launch:
        """A release's templates and secrets, resolved for one replica. Raises NotFound for a secret that is gone."""
        values = {name: await self._shared.vault.get(name, version) for name, version in release.secrets.items()}
        reach = await self._shared.host.reach(self.service)
        return resolve(release, row, self._edges.ports(), values, folders=self._folders, reach=reach)

    @property
    def _folders(self) -> Folders:
        host = self._shared.host
        return Folders(f"{host.data_base()}/{self.service}", host.files_base())

    # --- probes ---------------------------------------------------------------------------------------------------

    def _follow_replicas(self, releases: Mapping[int, Release]) -> None:
        """A prober for each replica that may get traffic; signals again those that a killed daemon meant to stop."""
        facts = self._shared.facts
        rows = self._shared.records.replicas(self.service)
        for id in [id for id in self._probers if id not in rows or rows[id].phase not in {"starting", "serving"}]:
            self._probers.pop(id).close()
        for row in rows.values():
            hosted = facts.of(row.id)
            if hosted is None or hosted.exit is not None or row.release not in releases:
                continue
            if row.phase in {"starting", "serving"} and row.id not in self._probers:
                spec, shared = releases[row.release].spec, self._shared
                prober = Prober(row, spec, shared.host, shared.ask, shared.clock, self)
                self._probers[row.id] = prober
                prober.start(self._tasks)
            if row.phase == "stopping" and row.id not in self._signalled:
                self._signalled.add(row.id)
                self._tasks.create_task(self._signal(row.id, self._stop_signal(row.id, releases)))

    async def _signal(self, replica: str, signal: str) -> None:
        try:
            await self._shared.host.signal(replica, signal)
        except AtollError as exc:
            _log.warning("%s: cannot signal %s: %s", self.service, replica, exc)  # SIGKILL follows after the grace

    async def surroundings(self, row: ReplicaRecord, command: Command | None = None) -> Launch | None:
        """What a replica was started with, with another command in it (a probe, `exec`); None once it is gone."""
        if row.id not in self._launches:
            release = self._shared.records.releases_of(self.service).get(row.release)
            if release is None:
                return None
            self._launches[row.id] = await self.resolve(row, release)
        launch = self._launches[row.id]
        if command is None:
            return launch
        release = self._shared.records.releases_of(self.service)[row.release]
        reach = await self._shared.host.reach(self.service)
        asked = probe_command(command, release, row, self._edges.ports(), self._folders, reach)
        return msgspec.structs.replace(launch, command=asked)


def _place(record: ReplicaRecord, traffic: ServiceTraffic) -> Literal["absent", "serving", "draining"]:
    for upstream in traffic.upstreams:
        for endpoint in upstream.endpoints:
            if endpoint.replica == record.id:
                return endpoint.state
    return "absent"
