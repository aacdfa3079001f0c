"""An environment as its people see it: status, operations, releases, the ledger, why. Changes nothing.

Part of `Environment`. It gathers rows and observations; `daemon.views` gives them their shape.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from atoll import __version__
from atoll.daemon import views
from atoll.daemon.backup_desk import BackupDesk
from atoll.daemon.certificates import Certificates
from atoll.daemon.collector import Collector
from atoll.daemon.identity import Identity, Machine
from atoll.daemon.loops import Loops
from atoll.daemon.notifier import Notifier
from atoll.daemon.pulse import Pulse
from atoll.daemon.store_reach import troubles
from atoll.decide.production import passed
from atoll.model.errors import NotFound
from atoll.model.state import ENDED, LIVE, Event, Rollout
from atoll.model.suggest import did_you_mean
from atoll.model.wire import PartView, ReleaseView, ServiceView, StatusView, WhyView
from atoll.model.wire_operations import OperationView
from atoll.ports import Clock, Signals, Store, Traffic, Vault
from atoll.realise.engine import HostEngine
from atoll.realise.records import Records

_STATES = {  # of a release, in a sentence
    "current": "it has the traffic",
    "candidate": "it is on its way to the traffic",
    "warm": "it had the traffic before and still runs, so that going back takes a moment",
    "past": "it had the traffic before and is stopped; it can be started again",
    "failed": "it never got the traffic, or lost it again",
}


class Reading:
    """Everything that only looks."""

    def __init__(
        self,
        identity: Identity,
        loops: Loops,
        records: Records,
        engine: HostEngine,
        store: Store,
        traffic: Traffic,
        collector: Collector,
        signals: Signals,
        clock: Clock,
        machine: Machine,
        pulse: Pulse,
        vault: Vault,
        certificates: Certificates | None,
        backups: BackupDesk,
        notifier: Notifier,
    ) -> None:
        self._identity, self._loops, self._records, self._engine = identity, loops, records, engine
        self._store, self._traffic, self._collector = store, traffic, collector
        self._signals, self._clock, self._machine, self._pulse = signals, clock, machine, pulse
        self._vault, self._certificates, self._backups = vault, certificates, backups
        self._notifier = notifier

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
            gateway=identity.url,
            parts=(
                PartView(name="keeper", pid=parts.get("keeper"), problem="" if parts.get("keeper") else "not running"),
                PartView(name="daemon", pid=os.getpid()),
                PartView(name="proxy", pid=parts.get("proxy"), problem=problem),
            ),
            notices=self.notices(),
            certificates=self._certificates.views() if self._certificates else (),
            backup=self._backups.view(),
            services=tuple(self.service(service, usage) for service in self._records.services()),
            last_event=last[-1].seq if last else 0,
            wall=now.wall,
        )

    def notices(self) -> tuple[str, ...]:
        """What a person should know, in sentences."""
        problem = self._signals.problem()
        told = self._certificates.notices() if self._certificates else ()
        return (*self._engine.notices(), *([problem] if problem else ()), *told, *self._notifier.notices())

    def service(self, service: str, usage: Mapping[str, tuple[int, float]]) -> ServiceView:
        """One service now; `usage` is memory and CPU by replica, empty when nobody asks for them."""
        loop = self._loops.of(service)
        releases = self._records.releases_of(service)
        intent, rollout = loop.intent(), loop.rollout()
        return views.service_view(
            intent,
            rollout,
            loop.composed(self._engine.observe(service)),
            self._engine.observe(service),
            releases,
            self._collector.rates(service),
            usage,
            self._identity.url,
            self._clock.now(),
            self._records.runs_of(service),
        )

    def shown(self, rollout: Rollout) -> OperationView:
        """A rollout as an operation."""
        loop = self._loops.of(rollout.service)
        want = loop.composed(self._engine.observe(rollout.service))
        wanted = next((rev.replicas for rev in want.revisions if rev.release == rollout.candidate), 0)
        receipt = self._records.receipts.get(rollout.id)
        measured = (0, 0) if receipt or rollout.phase in ENDED else loop.counted(rollout)
        seen = self._engine.observe(rollout.service)
        now = self._clock.now()
        candidate = self._records.releases_of(rollout.service).get(rollout.candidate)
        stepping = views.stepping_view(rollout, candidate, loop.verdict(rollout), now) if candidate else None
        run = self._records.runs.get(rollout.before)
        return views.operation_view(rollout, seen, wanted, measured, receipt, now, run, stepping)

    async def operation(self, id: str) -> OperationView:
        """A rollout in progress or past. One that is live in production also says where it is reached past the gateway."""
        rollout = self._rollout(id)
        view = self.shown(rollout)
        if self._identity.dev or rollout.phase not in LIVE or self._records.rollout_of(rollout.service) is not rollout:
            return view
        service = self.service(rollout.service, {})
        its = tuple(
            each for each in service.replicas if each.release == view.release
        )  # the one before may still be warm
        exposed = await self.exposed([msgspec.structs.replace(service, replicas=its)])
        told = tuple(f"{passed(name, where)}; `atoll doctor` has the fix" for name, where in exposed.items())
        return msgspec.structs.replace(view, warnings=told)

    async def exposed(self, views: Sequence[ServiceView]) -> Mapping[str, tuple[str, ...]]:
        """Those of these services that are reached past the gateway, and where: HOST:PORT, as the kernel says or the host knows."""
        pids = {replica.pid: view.name for view in views for replica in view.replicas if replica.pid is not None}
        seen = await asyncio.to_thread(self._machine.exposed, pids)
        everywhere = self._engine.everywhere()
        found = {}
        for view in views:
            ports = sorted({port for each in view.replicas if each.id in everywhere for port in each.ports.values()})
            found[view.name] = seen.get(view.name, tuple(f"0.0.0.0:{port}" for port in ports))
        return {name: where for name, where in found.items() if where}

    def _rollout(self, id: str) -> Rollout:
        if id not in self._records.rollouts:
            raise NotFound(
                f"there is no operation '{id}'",
                "it may be older than what is kept",
                "see `atoll releases`",
                id="unknown-operation",
            )
        return self._records.rollouts[id]

    async def watch_operation(self, id: str, until: str = "live") -> AsyncIterator[OperationView]:
        """The operation after each change, until it has ended; with `until` "certified" also through its bake."""
        shown: OperationView | None = None
        service = self._rollout(id).service
        count = self._pulse.count(service)
        while True:
            view = await self.operation(id)
            if view != shown:
                yield view
                shown = view
            if view.settled(until):
                return
            count = await self._pulse.after(count, 1.0, service)

    async def releases(self, service: str) -> Sequence[ReleaseView]:
        """Newest first."""
        loop = self._loops.known(service)
        return views.release_views(
            self._records.releases_of(service),
            loop.intent(),
            loop.rollout(),
            [receipt for receipt in self._records.receipts.values() if receipt.service == service],
            frozenset(row.release for row in self._records.replicas(service).values()),
        )

    async def events(self, *, after: int = 0, service: str | None = None, follow: bool = False) -> AsyncIterator[Event]:
        """The ledger after `after`. Raises NotFound for a service that was never deployed here."""
        if service is not None:
            self._loops.known(service)
        count = self._pulse.count()
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
        self._loops.known(service)
        return await (self._why_release(service, release) if release else self._why_service(service))

    async def _why_service(self, service: str) -> WhyView:
        view, rollout = self.service(service, {}), self._loops.of(service).rollout()
        because = [_up(view)] if view.state == "up" else []
        if view.reason:
            because.append(view.reason)
        because += [f"{sentence}: `atoll jobs {service}`" for sentence in view.failing_jobs]
        operation = self.shown(rollout) if rollout else None
        if operation and operation.text and not any(operation.text in sentence for sentence in because):
            because.append(operation.text)
        n = self._loops.of(service).intent().target
        if rollout is not None and rollout.phase not in LIVE:
            n = rollout.candidate
        fix = {"up": "", "down": f"atoll up {service}"}.get(view.state, f"atoll logs {service}")
        if view.state not in {"up", "down"} or (rollout is not None and rollout.phase not in LIVE):
            because += await self.store_troubles(service, n)
            if fix and (away := self._stores_away(service, n)):
                fix = f"atoll why {next(iter(away))}"
        if operation is not None and operation.phase == "stepping":
            fix = f"atoll rollout show {service}"
        return await self._explained(service, view.state, because, fix, operation, n or 0, view.reason_id)

    async def store_troubles(self, service: str, n: int | None) -> Sequence[str]:
        """What of its stores cannot be reached, in sentences."""
        release = self._records.releases_of(service).get(n or 0)
        others = await troubles(release, self._vault, self._machine.dial) if release else ()
        away = self._stores_away(service, n)
        return (*(f"its store {store} is {state}: `atoll why {store}`" for store, state in away.items()), *others)

    def _stores_away(self, service: str, n: int | None) -> Mapping[str, str]:
        """Its stores that are run here and of which no replica is ready, with their state."""
        release = self._records.releases_of(service).get(n or 0)
        known = self._records.services()
        ours = [call.callee for call in release.spec.calls if call.store and call.callee in known] if release else []
        views = [self.service(store, {}) for store in ours]
        return {view.name: view.state for view in views if not view.ready}

    async def _why_release(self, service: str, name: str) -> WhyView:
        known = {view.release: view for view in await self.releases(service)}
        if (view := known.get(f"r{name.removeprefix('r')}")) is None:
            raise NotFound(f"{service} has no release '{name}'", "", did_you_mean(name, known), id="unknown-release")
        mine = [row for row in self._records.rollouts.values() if (row.service, row.candidate) == (service, view.n)]
        rollout = max(mine, key=lambda row: row.started_wall, default=None)
        operation = self.shown(rollout) if rollout else None
        because = [_STATES[view.state]]
        if operation and operation.text:
            because.append(operation.text)
        return await self._explained(f"{service} {view.release}", view.state, because, "", operation, view.n)

    async def _explained(
        self,
        subject: str,
        state: str,
        because: Sequence[str],
        fix: str,
        operation: OperationView | None,
        n: int,
        page: str = "",
    ) -> WhyView:
        """With the last crash of release `n`. `page` explains the state; the operation names its own."""
        service = subject.partition(" ")[0]
        crashed = self._engine.last_crashed(service, n)
        return WhyView(
            subject=subject,
            state=state,
            because=tuple(because),
            fix=fix,
            pages=tuple(dict.fromkeys(id for id in (page, operation.reason_id if operation else "") if id)),
            rollout=operation,
            crash=self._engine.observe(service).last_exit.get(n),
            crash_replica=crashed,
            crash_output=await self._engine.last_output(crashed),
        )


def _up(view: ServiceView) -> str:
    if view.wanted == 0 and view.jobs:
        return f"nothing of {view.release} runs all the time; its jobs are {', '.join(view.jobs)}"
    return f"{view.ready} of {view.wanted} replicas of {view.release} are ready"
