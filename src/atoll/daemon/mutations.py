"""What people ask for: deploy, roll back, restart, scale, stop. Part of `Environment`.

Each is checked, committed in one transaction, and then hinted to the service's loop; nothing here waits for a rollout.
A service's lock keeps two of them from crossing.
"""

import secrets
from typing import Any

import msgspec

from atoll.daemon.candidates import Candidates, active, already, request_of
from atoll.daemon.loops import Loops
from atoll.daemon.pulse import Pulse
from atoll.daemon.reading import Reading
from atoll.daemon.record_book import RecordBook
from atoll.daemon.service import ServiceLoop
from atoll.daemon.store_desk import StoreDesk
from atoll.decide.before import needed, run_of
from atoll.decide.changes import changes
from atoll.decide.compose import replicas
from atoll.decide.facts import exclusive
from atoll.decide.rollout import STEERABLE, begin, supersede
from atoll.decide.steering import Word, steer
from atoll.decide.strategies import choose
from atoll.model.errors import AtollError, Conflict
from atoll.model.rows import Change, Row
from atoll.model.state import ENDED, Author, Event, Intent, Now, Release, Rollout
from atoll.model.wire import (
    DeployRequest,
    Draft,
    ErrorView,
    Mutation,
    RestartRequest,
    RollbackRequest,
    ScaleRequest,
    ServiceView,
    SteerRequest,
    StopRequest,
    UpRequest,
    UpView,
)
from atoll.model.wire_operations import OperationView
from atoll.ports import Clock
from atoll.realise.engine import HostEngine
from atoll.realise.records import Records

_KEYS = 32  # that are remembered of a rollout and an intent; a client tries again within seconds
_PAST = {"pause": "paused", "resume": "resumed", "promote": "promoted", "abort": "aborted", "keep": "kept"}


class Mutations:
    """Everything that changes what is wanted of a service."""

    def __init__(
        self,
        loops: Loops,
        records: Records,
        engine: HostEngine,
        candidates: Candidates,
        reading: Reading,
        record_book: RecordBook,
        store_desk: StoreDesk,
        clock: Clock,
        pulse: Pulse,
    ) -> None:
        self._loops, self._records, self._engine, self._candidates = loops, records, engine, candidates
        self._reading, self._record_book, self._store_desk = reading, record_book, store_desk
        self._clock, self._pulse = clock, pulse

    async def up(self, request: UpRequest) -> UpView:
        """Deploy what is not running. All releases are written first, so that each finds the ports of those it calls."""
        operations: list[OperationView] = []
        unchanged: list[str] = []
        edited: list[str] = []
        refused: dict[str, ErrorView] = {}
        due: list[tuple[DeployRequest, ServiceLoop]] = []
        for draft in request.drafts:
            service = draft.spec.name
            loop = self._loops.of(service)
            rollout = loop.rollout()
            if loop.intent().target is None and not active(rollout):
                due.append((request_of(draft, _author(request, draft)), loop))
            elif rollout is not None and active(rollout):
                operations.append(self._reading.shown(rollout))
            else:
                same = await self._candidates.same(draft.spec, draft.artifact, loop.intent().target)
                (unchanged if same else edited).append(service)
        for deploy, loop in due:
            try:
                begun = await self._deploy(deploy, loop, up=True)
                operations.append(msgspec.structs.replace(begun, warnings=()))  # those it calls may be next in the list
            except AtollError as exc:
                rollout = loop.rollout()
                if isinstance(exc, Conflict) and rollout is not None and active(rollout):
                    operations.append(self._reading.shown(rollout))  # another `up` was a moment faster
                else:
                    refused[deploy.spec.name] = ErrorView.of(exc)
        return UpView(operations=tuple(operations), unchanged=tuple(unchanged), edited=tuple(edited), refused=refused)

    async def deploy(self, request: DeployRequest) -> OperationView:
        """Admit, number, start."""
        return await self._deploy(request, self._loops.of(request.spec.name), up=False)

    async def _deploy(self, request: DeployRequest, loop: ServiceLoop, *, up: bool) -> OperationView:
        service = request.spec.name
        async with loop.lock:
            if (repeated := self._repeated(service, request)) is not None:
                return repeated
            self._candidates.unwatched(request)
            self._candidates.replaceable(service, request)
            await self._store_desk.prepared(request.spec, request.author)
            release, runs = await self._candidates.deployed(request)
            if runs:
                return OperationView(
                    id="", service=service, kind="deploy", release=f"r{release.n}", previous=f"r{release.n}",
                    phase="unchanged", ended=True, text=already(release, request.artifact),
                )  # fmt: skip
            under_way = loop.rollout()
            if under_way is not None and under_way.phase in STEERABLE and under_way.candidate == release.n:
                return self._reading.shown(under_way)  # somebody deploys the very same: that rollout is theirs, too
            self._candidates.allowed(request, release, up=up)
            return await self._begin("deploy", loop, release, request)

    async def rollback(self, service: str, request: RollbackRequest) -> OperationView:
        """Go back. A warm release takes the traffic at once; a cold one gets the newest secrets, old ones may be revoked."""
        loop = self._loops.known(service)
        async with loop.lock:
            if (repeated := self._repeated(service, request)) is not None:
                return repeated
            if request.to is None and active(loop.rollout()):  # back from what is not there yet
                return await self._steer(loop, "abort", request)
            self._candidates.idle(service, request)
            return await self._begin("rollback", loop, await self._candidates.rolled_back(service, request), request)

    async def steer(self, service: str, request: SteerRequest) -> OperationView:
        """Pause, resume, promote, abort or keep the rollout under way."""
        loop = self._loops.known(service)
        async with loop.lock:
            if (repeated := self._repeated(service, request)) is not None:
                return repeated
            self._candidates.expected(service, request)
            if request.word == "retry":
                self._candidates.thawed(service)
                self._candidates.idle(service, request)
                return await self._begin("deploy", loop, await self._candidates.retried(service), request)
            view = await self._steer(loop, request.word, request)
        return await self._gone_back(view) if request.word == "abort" else view

    async def _gone_back(self, view: OperationView) -> OperationView:
        """Once the proxy sends nothing to the candidate any more, by what it acknowledged; with a warning when it does not say so."""
        n = self._records.rollouts[view.id].candidate
        if await self._engine.acknowledged(
            view.service, lambda entry: not entry.weights.get(n) and entry.header_release != n
        ):
            return self._reading.shown(self._records.rollouts[view.id])
        warning = f"the proxy may still send requests to {view.release}: {self._engine.obstacle(view.service)}"
        return msgspec.structs.replace(view, warnings=(warning,))

    async def _steer(self, loop: ServiceLoop, word: Word, request: Mutation) -> OperationView:
        before, who = loop.rollout(), request.author.actor or "somebody"
        after = steer(before, word, who, self._clock.now())
        event = Event(
            kind=f"rollout.{_PAST[word]}", service=loop.service, release=after.candidate, author=request.author,
            message=f"{who} said {word} to r{after.candidate}", data={"rollout": after.id},
            wall=self._clock.now().wall,
        )  # fmt: skip
        events = (event,) if after != before else ()
        after = msgspec.structs.replace(after, said=_heard(after.said, request))
        if after != before:
            await self._records.commit(Change(puts=(loop.evident(after),), events=events))
            loop.apply()
            loop.hint()
            self._pulse.beat(loop.service)
        return self._reading.shown(after)

    async def restart(self, service: str, request: RestartRequest) -> OperationView:
        """A new release of the same content with the newest secrets: the same rollout as any other, so nobody notices."""
        loop = self._loops.known(service)
        async with loop.lock:
            if (repeated := self._repeated(service, request)) is not None:
                return repeated
            self._candidates.idle(service, request)
            return await self._begin("restart", loop, await self._candidates.restarted(service, request), request)

    async def scale(self, service: str, request: ScaleRequest) -> ServiceView:
        """Set or clear the override."""
        loop = self._loops.known(service)
        async with loop.lock:
            if request.key in loop.intent().said:
                return self._reading.service(service, {})
            wanted, n = await self._candidates.scaled(service, request), request.replicas
            text = f"{service} shall run {n} replicas" if n is not None else f"{service} runs as its file says"
            await self._intend(loop, wanted, request, "intent.scaled", text)
        return self._reading.service(service, {})

    async def stop(self, service: str, request: StopRequest) -> ServiceView:
        """Want it down; a rollout under way ends."""
        loop = self._loops.known(service)
        async with loop.lock:
            if request.key in loop.intent().said:
                return self._reading.service(service, {})
            intent = self._candidates.expected(service, request)
            rollout = loop.rollout()
            rows: tuple[Row, ...] = ()
            if rollout is not None and rollout.phase not in ENDED:
                reason = f"{service} was told to go down"
                rows = (supersede(rollout, self._clock.now(), reason),)
            wanted = msgspec.structs.replace(intent, target=None)
            await self._intend(loop, wanted, request, "intent.down", f"{service} shall be down", rows)
        return self._reading.service(service, {})

    # --- what all of them do --------------------------------------------------------------------------------------

    def _repeated(self, service: str, request: Mutation) -> OperationView | None:
        """The first answer to a request that came before with the same idempotency key."""
        if not request.key:
            return None
        begun = self._records.rollouts.get(f"{service}-{request.key}")
        steered = (row for row in self._records.rollouts.values() if row.service == service and request.key in row.said)
        rollout = begun or next(steered, None)
        return None if rollout is None else self._reading.shown(rollout)

    async def _begin(self, kind: str, loop: ServiceLoop, release: Release, request: Mutation) -> OperationView:
        """Admit a release and write the start of its rollout, all in one transaction."""
        service, now = loop.service, self._clock.now()
        intent, last = loop.intent(), loop.rollout()
        stable = intent.target
        admitted = self._candidates.admitted(release)
        rollout = self._drawn_up(kind, loop, release, admitted.stable, request, now)
        loop.begin(rollout)
        # A first deploy is wanted from the start; otherwise the stable release is what is wanted until the switch.
        target = release.n if stable is None else stable
        wanted = msgspec.structs.replace(intent, target=target, generation=intent.generation + 1)
        rows: list[Row] = [release, rollout, wanted]
        if last is not None and last.phase not in ENDED:
            rows.append(supersede(last, now, f"{release.name} takes its place"))
        message = f"{kind} of {release.name}" + (f", from r{stable}" if stable is not None else "")
        message += f"; {rollout.strategy}: {rollout.why}" if rollout.steps else ""
        data = {
            "changed": list(changes(admitted.stable, release)),
            "warnings": list(admitted.warnings),
            "rollout": rollout.id,
        }
        handed = Change()
        if isinstance(request, DeployRequest):
            data |= _said(request)
            handed, _ = self._record_book.taken(request.records, request.author)
        event = Event(
            kind="rollout.started", service=service, release=release.n, message=message,
            author=request.author, data=data, wall=now.wall,
        )  # fmt: skip
        events = [event]
        if rollout.phase == "preparing":
            run, begun = run_of(rollout, release, now)
            rows.append(run)
            events.append(begun)
        await self._records.commit(
            Change(
                puts=(*handed.puts, *rows),
                drops=handed.drops,
                events=(*handed.events, *events),
                expect={service: intent.generation},
            )
        )
        loop.hint()
        self._engine.hint(service)
        self._engine.hint_callers(service)
        self._pulse.beat(service)
        return msgspec.structs.replace(self._reading.shown(rollout), warnings=tuple(admitted.warnings))

    def _drawn_up(
        self, kind: str, loop: ServiceLoop, release: Release, stable: Release | None, request: Mutation, now: Now
    ) -> Rollout:
        """The rollout that begins, with the strategy that suits its traffic of now."""
        service, intent = loop.service, loop.intent()
        rollout = begin(
            kind,  # type: ignore[arg-type]
            service,
            f"{service}-{request.key or secrets.token_hex(6)}",
            release.n,
            intent.target,
            not exclusive(release, stable),
            msgspec.structs.replace(now, wall=self._records.later(service, now.wall)),
            request.author,
            prepares=needed(kind, release, self._records.runs_of(service)),
        )
        if isinstance(request, DeployRequest) and request.quick:
            return msgspec.structs.replace(rollout, quick=True, strategy="all-at-once", why="`atoll dev` asked for it")
        if kind != "deploy":
            return rollout
        choice = choose(release, stable, replicas(intent, release), loop.load())
        return msgspec.structs.replace(rollout, **choice._asdict())

    async def _intend(
        self, loop: ServiceLoop, wanted: Intent, request: Mutation, kind: str, text: str, rows: tuple[Row, ...] = ()
    ) -> None:
        now = self._clock.now()
        wanted = msgspec.structs.replace(
            wanted, generation=wanted.generation + 1, said=_heard(loop.intent().said, request)
        )
        event = Event(kind=kind, service=loop.service, message=text, author=request.author, wall=now.wall)
        await self._records.commit(
            Change(
                puts=(wanted, *rows),
                events=(event,),
                expect={loop.service: wanted.generation - 1},
            )
        )
        loop.apply()
        loop.hint()
        self._pulse.beat(loop.service)


def _heard(said: tuple[str, ...], request: Mutation) -> tuple[str, ...]:
    return (*said, request.key)[-_KEYS:] if request.key else said


def _said(request: DeployRequest) -> dict[str, Any]:
    """What the ledger keeps of the request itself."""
    said = {"override_freeze": request.override_freeze, "override_gate": request.override_gate, "tasks": request.tasks}
    return {name: value for name, value in said.items() if value}


def _author(request: UpRequest, draft: Draft) -> Author:
    """Whoever asks, and the commit of the draft's own repository."""
    if draft.author is None:
        return request.author
    return msgspec.structs.replace(draft.author, actor=request.author.actor)
