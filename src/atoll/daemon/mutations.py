"""What people ask for: deploy, roll back, restart, scale, stop. Part of `Environment`.

Each is checked, committed in one transaction, and then hinted to the service's loop; nothing here waits for a rollout.
A service's lock keeps two of them from crossing.
"""

import os
import secrets
from collections.abc import Collection

import msgspec

from atoll.daemon.identity import Machine
from atoll.daemon.loops import Loops
from atoll.daemon.pulse import Pulse
from atoll.daemon.reading import Reading
from atoll.daemon.secret_book import SecretBook
from atoll.daemon.service import ServiceLoop
from atoll.decide.admission import admit
from atoll.decide.changes import changes
from atoll.decide.facts import exclusive
from atoll.decide.rollout import begin, supersede
from atoll.model.errors import AtollError, Conflict, NotFound, Refused, UserError
from atoll.model.spec import ServiceSpec
from atoll.model.state import ENDED, LIVE, Artifact, Event, Intent, Release
from atoll.model.wire import (
    DeployRequest,
    ErrorView,
    Mutation,
    OperationView,
    RestartRequest,
    RollbackRequest,
    ScaleRequest,
    ServiceView,
    StopRequest,
    UpRequest,
    UpView,
)
from atoll.ports import Change, Clock, Row
from atoll.realise.engine import HostEngine
from atoll.realise.records import Records

_MOST_REPLICAS = 1000  # a slip of the finger must not fill the machine


class Mutations:
    """Everything that changes what is wanted of a service."""

    def __init__(
        self,
        loops: Loops,
        records: Records,
        engine: HostEngine,
        secret_book: SecretBook,
        reading: Reading,
        clock: Clock,
        machine: Machine,
        pulse: Pulse,
    ) -> None:
        self._loops, self._records, self._engine, self._secrets = loops, records, engine, secret_book
        self._reading, self._clock, self._machine, self._pulse = reading, clock, machine, pulse

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
            active = rollout is not None and rollout.phase not in ENDED | LIVE
            if loop.intent().target is None and not active:
                due.append((DeployRequest(spec=draft.spec, artifact=draft.artifact, author=request.author), loop))
            elif active and rollout is not None:
                operations.append(self._reading.shown(rollout))
            else:
                same = await self._same(draft.spec, draft.artifact, loop.intent().target)
                (unchanged if same else edited).append(service)
        for deploy, loop in due:
            try:
                begun = await self._deploy(deploy, loop)
                operations.append(msgspec.structs.replace(begun, warnings=()))  # those it calls may be next in the list
            except AtollError as exc:
                refused[deploy.spec.name] = _error_view(exc)
        return UpView(operations=tuple(operations), unchanged=tuple(unchanged), edited=tuple(edited), refused=refused)

    async def deploy(self, request: DeployRequest) -> OperationView:
        """Admit, number, start."""
        return await self._deploy(request, self._loops.of(request.spec.name))

    async def _deploy(self, request: DeployRequest, loop: ServiceLoop) -> OperationView:
        service = request.spec.name
        async with loop.lock:
            if (repeated := self._repeated(service, request)) is not None:
                return repeated
            self._check(loop, request)
            versions = await self._secrets.versions_for(request.spec)
            releases = self._records.releases_of(service)
            newest = releases.get(max(releases, default=0))
            release = Release(
                service=service,
                n=1,
                spec=request.spec,
                artifact=request.artifact,
                secrets=versions,
                inherited={name: os.environ[name] for name in request.spec.inherit if name in os.environ},
                created_wall=self._clock.now().wall,
                author=request.author,
                note=request.note,
            )
            target = loop.intent().target
            current = releases.get(target) if target is not None else None
            if current is not None and _alike(current, release) and not request.force:
                return OperationView(
                    id="", service=service, kind="deploy", release=f"r{current.n}", previous=f"r{current.n}",
                    phase="unchanged", ended=True, text=f"{service} r{current.n} already runs exactly this",
                )  # fmt: skip
            if newest is not None and _alike(newest, release) and newest.n != target and not request.force:
                release = newest  # it was made before: the same content is the same release
            else:
                release = msgspec.structs.replace(release, n=await self._number(service))
            return await self._begin("deploy", loop, release, request)

    async def rollback(self, service: str, request: RollbackRequest) -> OperationView:
        """Go back. A warm release takes the traffic at once; a cold one gets the newest secrets, old ones may be revoked."""
        loop = self._loops.known(service)
        async with loop.lock:
            if (repeated := self._repeated(service, request)) is not None:
                return repeated
            self._check(loop, request)
            releases = self._records.releases_of(service)
            n = request.to if request.to is not None else self._before(loop)
            if n not in releases:
                raise _no_such_release(service, n, releases, loop.intent().target)
            if n == loop.intent().target:
                raise Conflict(f"{service} r{n} already has the traffic", "", f"see `atoll releases {service}`")
            release = releases[n]
            warm = any(row.release == n for row in self._records.replicas(service).values())
            newest = await self._secrets.versions_for(release.spec)
            if not warm and newest != dict(release.secrets):
                release = msgspec.structs.replace(
                    release, n=await self._number(service), secrets=newest, note=f"r{n} with the newest secrets",
                    created_wall=self._clock.now().wall, author=request.author,
                )  # fmt: skip
            return await self._begin("rollback", loop, release, request)

    def _before(self, loop: ServiceLoop) -> int:
        """The release that had the traffic before the current one, or has it no longer since it is down; 0 for none.

        A restart's predecessor has the same content, so going back means the one before both.
        """
        known = self._records.releases_of(loop.service)
        mine = [row for row in self._records.receipts.values() if row.service == loop.service and row.outcome == "live"]
        mine.sort(key=lambda row: row.wall, reverse=True)
        target = loop.intent().target
        if target is None:
            return next((receipt.release for receipt in mine if receipt.release in known), 0)
        for receipt in mine:
            if receipt.release != target or receipt.previous is None or receipt.kind == "rollback":
                continue
            if receipt.kind == "restart":
                target = receipt.previous
            elif receipt.previous in known:
                return receipt.previous
        return 0

    async def restart(self, service: str, request: RestartRequest) -> OperationView:
        """A new release of the same content with the newest secrets: the same rollout as any other, so nobody notices."""
        loop = self._loops.known(service)
        async with loop.lock:
            if (repeated := self._repeated(service, request)) is not None:
                return repeated
            self._check(loop, request)
            current = self._records.releases_of(service).get(loop.intent().target or 0)
            if current is None:
                raise Refused(f"{service} is down", "there is nothing to restart", "run `atoll up`")
            release = msgspec.structs.replace(
                current, n=await self._number(service), secrets=await self._secrets.versions_for(current.spec),
                note=f"restart of r{current.n}", created_wall=self._clock.now().wall, author=request.author,
            )  # fmt: skip
            return await self._begin("restart", loop, release, request)

    async def scale(self, service: str, request: ScaleRequest) -> ServiceView:
        """Set or clear the override."""
        loop = self._loops.known(service)
        async with loop.lock:
            intent = self._expected(loop, request)
            n = request.replicas
            release = self._records.releases_of(service).get(intent.target or 0)
            if n is not None and release is not None and n > 1 and not release.spec.overlap:
                raise Refused(
                    f"{service} cannot run {n} replicas",
                    "its file says overlap = false: one at a time",
                    "scale it to 1",
                )
            if n is not None and not 0 <= n <= _MOST_REPLICAS:
                why = f"a number from 0 to {_MOST_REPLICAS} is expected"
                raise UserError(f"{service} cannot run {n} replicas", why, f"`atoll scale {service} 2`")
            text = f"{service} shall run {n} replicas" if n is not None else f"{service} runs as its file says"
            await self._intend(loop, msgspec.structs.replace(intent, replicas=n), request, "intent.scaled", text)
        return self._reading.service(service, {})

    async def stop(self, service: str, request: StopRequest) -> ServiceView:
        """Want it down; a rollout under way ends."""
        loop = self._loops.known(service)
        async with loop.lock:
            intent = self._expected(loop, request)
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
        rollout = self._records.rollouts.get(f"{service}-{request.key}") if request.key else None
        return None if rollout is None else self._reading.shown(rollout)

    def _expected(self, loop: ServiceLoop, request: Mutation) -> Intent:
        intent = loop.intent()
        if request.expect is not None and request.expect != intent.generation:
            raise Conflict(
                f"{loop.service} has changed meanwhile",
                f"generation {request.expect} was expected, it is {intent.generation}",
                "look at `atoll status` and try again",
            )
        return intent

    def _check(self, loop: ServiceLoop, request: Mutation) -> None:
        self._expected(loop, request)
        rollout = loop.rollout()
        if rollout is not None and rollout.phase not in ENDED | LIVE:
            raise Conflict(
                f"{loop.service} is being deployed already",
                f"r{rollout.candidate} is {rollout.phase}, begun by {rollout.author.actor or 'somebody'}",
                "wait for it (`atoll status --watch`), then try again",
            )

    async def _number(self, service: str) -> int:
        """The next release number; never one that was used before, even when its release is no longer kept."""
        kept = max(self._records.releases_of(service), default=0)
        told = max((row.release for row in self._records.receipts.values() if row.service == service), default=0)
        return max(kept, told) + 1

    async def _same(self, spec: ServiceSpec, artifact: Artifact, target: int | None) -> bool:
        release = self._records.releases_of(spec.name).get(target or 0)
        try:
            versions = await self._secrets.versions_for(spec)
        except NotFound:
            return False
        return release is not None and _alike(
            release, msgspec.structs.replace(release, spec=spec, artifact=artifact, secrets=versions)
        )

    async def _begin(self, kind: str, loop: ServiceLoop, release: Release, request: Mutation) -> OperationView:
        """Admit a release and write the start of its rollout, all in one transaction."""
        service, now = loop.service, self._clock.now()
        intent, last = loop.intent(), loop.rollout()
        stable = intent.target
        replicas = intent.replicas if intent.replicas is not None else release.spec.replicas
        live: dict[str, list[Release]] = {}
        for name in self._records.services():
            numbers = {row.release for row in self._records.replicas(name).values()}
            live[name] = [known for n, known in self._records.releases_of(name).items() if n in numbers]
        old = self._records.releases_of(service).get(stable or 0)
        warm = any(row.release == release.n for row in self._records.replicas(service).values())
        warnings = admit(release, live, None if warm else self._machine.free_bytes(), replicas)
        rollout = begin(
            kind,  # type: ignore[arg-type]
            service,
            f"{service}-{request.key or secrets.token_hex(6)}",
            release.n,
            stable,
            not exclusive(release, old),
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
        data = {"changed": list(changes(old, release)), "warnings": list(warnings), "rollout": rollout.id}
        event = Event(
            kind="rollout.started", service=service, release=release.n, message=message,
            author=request.author, data=data, wall=now.wall,
        )  # fmt: skip
        await self._records.commit(Change(puts=tuple(rows), events=(event,), expect={service: intent.generation}))
        loop.hint()
        self._engine.hint_callers(service)
        self._pulse.beat(service)
        return msgspec.structs.replace(self._reading.shown(rollout), warnings=tuple(warnings))

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
        self._pulse.beat(loop.service)


def _no_such_release(service: str, n: int, releases: Collection[int], target: int | None) -> NotFound:
    """`n` 0 is the one before the current, when there is none."""
    others = [known for known in releases if known != target]
    kept = f"kept are {', '.join(f'r{known}' for known in releases)}"
    if n:
        return NotFound(f"{service} has no release r{n}", kept, f"see `atoll releases {service}`")
    fix = f"name one: `atoll rollback {service} --to r{max(others)}`" if others else f"see `atoll releases {service}`"
    return NotFound(f"nothing had the traffic before {service} r{target}", kept, fix)


def _alike(one: Release, other: Release) -> bool:
    """Whether two releases would run exactly the same."""
    return (one.spec, one.artifact.key, one.artifact.digest, dict(one.secrets)) == (
        other.spec,
        other.artifact.key,
        other.artifact.digest,
        dict(other.secrets),
    )


def _error_view(exc: AtollError) -> ErrorView:
    what = getattr(exc, "what", str(exc))
    return ErrorView(
        kind=type(exc).__name__,
        what=what,
        why=getattr(exc, "why", ""),
        fix=getattr(exc, "fix", ""),
        exit_code=exc.exit_code,
    )
