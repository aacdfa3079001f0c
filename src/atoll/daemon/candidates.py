"""Which release a request would make, and whether it may start: what a mutation and its plan have in common.

`daemon.mutations` commits what this finds, `daemon.planner` only tells it. Nothing here changes anything.
"""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec

from atoll.daemon.secret_book import SecretBook
from atoll.decide.admission import admit
from atoll.decide.before import in_the_way
from atoll.decide.compose import replicas
from atoll.decide.freeze import describe, frozen
from atoll.decide.gate import unmet
from atoll.decide.rollout import STEERABLE
from atoll.model.environment import Freeze
from atoll.model.errors import Conflict, NotFound, Refused, UserError
from atoll.model.spec import ServiceSpec
from atoll.model.state import ENDED, LIVE, Artifact, Author, Intent, JobRun, Release, Rollout
from atoll.model.wire import DeployRequest, Draft, Mutation, RestartRequest, RollbackRequest, ScaleRequest
from atoll.ports import Clock, Engine
from atoll.realise.records import Records

_MOST_REPLICAS = 1000  # a slip of the finger must not fill the machine


class Admitted(NamedTuple):
    """A release that may start."""

    stable: Release | None  # the one with the traffic
    warm: bool  # it runs already
    warnings: Sequence[str]
    free_bytes: int | None  # None: nobody knows


class Candidates:
    """One environment's. `free_bytes` asks the machine; `require` names tasks that must be green of what is deployed."""

    def __init__(
        self,
        records: Records,
        secret_book: SecretBook,
        engine: Engine,
        clock: Clock,
        free_bytes: Callable[[], int | None],
        freezes: Sequence[Freeze] = (),
        require: Sequence[str] = (),
        *,
        dev: bool = True,
        containers: bool = False,
    ) -> None:
        self._records, self._secrets, self._engine, self._clock = records, secret_book, engine, clock
        self.free_bytes, self._freezes, self._require, self._dev = free_bytes, freezes, require, dev
        self._containers = containers

    def intent(self, service: str) -> Intent:
        """What is wanted; generation 0 when nobody ever said."""
        return self._records.intents.get(service) or Intent(service=service)

    def expected(self, service: str, request: Mutation) -> Intent:
        """The intent, when it is the one that the client saw. Raises Conflict."""
        intent = self.intent(service)
        if request.expect is not None and request.expect != intent.generation:
            raise Conflict(
                f"{service} has changed meanwhile",
                f"generation {request.expect} was expected, it is {intent.generation}",
                "look at `atoll status` and try again",
                id="changed-meanwhile",
            )
        return intent

    def idle(self, service: str, request: Mutation) -> Intent:
        """The same, when no rollout of the service is under way. Raises Conflict."""
        intent = self.expected(service, request)
        rollout = self._records.rollout_of(service)
        if rollout is not None and active(rollout):
            raise Conflict(
                f"{service} is being deployed already",
                f"r{rollout.candidate} is {rollout.phase}, begun by {rollout.author.actor or 'somebody'}",
                "wait for it (`atoll status --watch`), then try again",
                id="already-deploying",
            )
        return intent

    def thawed(self, service: str, why: str = "") -> None:
        """Raises Refused while deploys are frozen, unless the request says `why` it goes ahead."""
        freeze = frozen(self._freezes, self._clock.now().wall)
        if freeze is not None and not why:
            raise Refused(
                f"{service} is not deployed now",
                f"deploys are frozen {describe(freeze)}",
                "wait, or say why it must go ahead: `atoll deploy --override-freeze WHY`",
                id="frozen",
            )

    def gated(self, request: DeployRequest) -> None:
        """Raises Refused while a required task is not green for the request's files, unless it says why it goes ahead."""
        service = request.spec.name
        # `unwatched` says where quick ones may go; a store has no tasks, and no files of ours.
        if not self._require or request.override_gate or request.quick or request.spec.store:
            return
        known = [*self._records.of_keys((request.tasks or {}).values()), *request.records]
        if missing := unmet(service, self._require, request.tasks, known):
            raise Refused(
                f"{service} is not deployed: {'; '.join(missing)}",
                f"its environment requires {' and '.join(self._require)} (`require` in atoll.toml)",
                f"run `atoll ci {service}`; did they pass elsewhere, `atoll records import FILE`; or say why it must go "
                "ahead: `atoll deploy --override-gate WHY`",
                id="gate-shut",
            )

    def unwatched(self, request: DeployRequest) -> None:
        """Raises Refused for a quick deploy, or one of files that nobody built, where people depend on what runs."""
        if (request.quick or request.artifact.in_place) and not self._dev:
            raise Refused(
                f"{request.spec.name} is not moved unwatched here",
                "`atoll dev` releases each edit at once; this environment is not meant for development",
                "write `dev = true` for it in atoll.toml, then `atoll up`; or use `atoll deploy`",
                id="not-for-development",
            )

    def replaceable(self, service: str, request: Mutation) -> Intent:
        """The same for a deploy: one whose candidate has not got all of the traffic yet makes room. Raises Conflict."""
        rollout = self._records.rollout_of(service)
        if rollout is not None and rollout.phase in STEERABLE and rollout.stable is not None:
            return self.expected(service, request)
        return self.idle(service, request)

    async def scaled(self, service: str, request: ScaleRequest) -> Intent:
        """The intent with the replicas that are asked for. Raises Conflict, Refused, UserError."""
        intent = self.expected(service, request)
        n = request.replicas
        release = self._records.releases_of(service).get(intent.target or 0)
        if n and release is not None and release.spec.run is None:
            raise Refused(
                f"{service} cannot run {n} replicas",
                "it has jobs only",
                f"see `atoll jobs {service}`",
                id="not-possible-here",
            )
        if n is not None and release is not None and n > 1 and not release.spec.overlap:
            raise Refused(
                f"{service} cannot run {n} replicas",
                "its file says overlap = false: one at a time",
                "scale it to 1",
                id="one-at-a-time",
            )
        if n is not None and not 0 <= n <= _MOST_REPLICAS:
            why = f"a number from 0 to {_MOST_REPLICAS} is expected"
            raise UserError(f"{service} cannot run {n} replicas", why, f"`atoll scale {service} 2`", id="wrong-value")
        if release is not None and replicas(msgspec.structs.replace(intent, replicas=n), release) > replicas(
            intent, release
        ):
            await self._possible(release.spec, release.artifact)
        return msgspec.structs.replace(intent, replicas=n)

    # --- the release that a request would make --------------------------------------------------------------------

    async def deployed(self, request: DeployRequest) -> tuple[Release, bool]:
        """The release of a draft, and whether it runs exactly so already. The same content is the same release."""
        service = request.spec.name
        await self._possible(request.spec, request.artifact)
        releases = self._records.releases_of(service)
        newest = releases.get(max(releases, default=0))
        release = Release(
            service=service,
            n=1,
            spec=request.spec,
            artifact=request.artifact,
            secrets=await self._secrets.versions_for(request.spec),
            inherited={name: os.environ[name] for name in request.spec.inherit if name in os.environ},
            created_wall=self._clock.now().wall,
            author=request.author,
            note=request.note,
        )
        target = self.intent(service).target
        current = releases.get(target) if target is not None else None
        if current is not None and alike(current, release) and not request.force:
            return current, True
        if newest is not None and alike(newest, release) and newest.n != target and not request.force:
            return newest, False
        return msgspec.structs.replace(release, n=self._number(service)), False

    def allowed(self, request: DeployRequest, release: Release, *, up: bool) -> None:
        """Raises Refused while deploys are frozen, or the gate is shut.

        `up` is neither when it starts again what was here before: the gate let that in.
        """
        if not up:
            self.thawed(request.spec.name, request.override_freeze)
        if not up or release.n not in self._records.releases_of(release.service):
            self.gated(request)

    async def rolled_back(self, service: str, request: RollbackRequest) -> Release:
        """An earlier release. A cold one gets the newest secrets: old ones may be revoked. Raises NotFound, Conflict."""
        releases, target = self._records.releases_of(service), self.intent(service).target
        n = request.to if request.to is not None else self._before(service)
        if n not in releases:
            raise _no_such_release(service, n, releases, target, self._records.rollout_of(service))
        if n == target:
            raise Conflict(
                f"{service} r{n} already has the traffic", "", f"see `atoll releases {service}`", id="already-current"
            )
        release = releases[n]
        run = in_the_way(release, self._records.runs_of(service))
        if run is not None and not request.force:
            raise _over_a_change(service, n, run)
        self._has_stores(release)
        await self._possible(release.spec, release.artifact)
        newest = await self._secrets.versions_for(release.spec)
        if self._runs(release) or newest == dict(release.secrets):
            return release
        note = f"r{n} with the newest secrets"
        return self._again(release, newest, note, request)

    async def restarted(self, service: str, request: RestartRequest) -> Release:
        """A new release of the same content with the newest secrets. Raises Refused when it is down."""
        current = self._records.releases_of(service).get(self.intent(service).target or 0)
        if current is None:
            raise Refused(f"{service} is down", "there is nothing to restart", "run `atoll up`", id="service-down")
        await self._possible(current.spec, current.artifact)
        return self._again(current, await self._secrets.versions_for(current.spec), f"restart of r{current.n}", request)

    async def retried(self, service: str) -> Release:
        """The release of the newest rollout, which was undone. Raises Conflict when it was not, Refused."""
        rollout = self._records.rollout_of(service)
        release = self._records.releases_of(service).get(rollout.candidate) if rollout else None
        if rollout is None or release is None or rollout.phase != "undone":
            phase = (
                f"the last rollout of {service} is {rollout.phase}" if rollout else f"{service} was never rolled out"
            )
            raise Conflict("there is nothing to try again", phase, f"`atoll deploy {service}`", id="no-rollout")
        self._has_stores(release)
        await self._possible(release.spec, release.artifact)
        return release

    def _has_stores(self, release: Release) -> None:
        """Nothing but `up` and `deploy` makes a store. Raises Conflict for one that was removed since this release ran."""
        known = self._records.services()
        if lost := sorted(call.callee for call in release.spec.calls if call.store and call.callee not in known):
            raise Conflict(
                f"{release.service} r{release.n} uses the store {lost[0]}, which was removed",
                "its data went with it, and only the files tell what a new one would be",
                f"`atoll up {release.service}` or `atoll deploy {release.service}`: a store that the files name is made anew, empty",
                id="store-removed",
            )

    async def _possible(self, spec: ServiceSpec, artifact: Artifact) -> None:
        for unable in await self._engine.refusals(spec, artifact.image):
            raise Refused(f"{spec.name} cannot run here", unable.what, unable.fix, id=unable.id)

    def _again(self, release: Release, secrets: Mapping[str, int], note: str, request: Mutation) -> Release:
        return msgspec.structs.replace(
            release, n=self._number(release.service), origin=release.made, secrets=secrets, note=note,
            created_wall=self._clock.now().wall, author=request.author,
        )  # fmt: skip

    def _before(self, service: str) -> int:
        """The release that had the traffic before the current one, or has it no longer since it is down; 0 for none.

        A restart's predecessor has the same content, so going back means the one before both.
        """
        known = self._records.releases_of(service)
        mine = [row for row in self._records.receipts.values() if row.service == service and row.outcome == "live"]
        mine.sort(key=lambda row: row.wall, reverse=True)
        target = self.intent(service).target
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

    def _number(self, service: str) -> int:
        """The next release number; never one that was used before, even when its release is no longer kept."""
        kept = max(self._records.releases_of(service), default=0)
        told = max((row.release for row in self._records.receipts.values() if row.service == service), default=0)
        return max(kept, told) + 1

    async def same(self, spec: ServiceSpec, artifact: Artifact, target: int | None) -> bool:
        """Whether release `target` is what this draft would make."""
        release = self._records.releases_of(spec.name).get(target or 0)
        try:
            versions = await self._secrets.versions_for(spec)
        except NotFound:
            return False
        return release is not None and alike(
            release, msgspec.structs.replace(release, spec=spec, artifact=artifact, secrets=versions)
        )

    # --- whether it may start -------------------------------------------------------------------------------------

    def admitted(self, release: Release, beside: Sequence[Release] = ()) -> Admitted:
        """Raises Refused. `beside`: releases of other services that would start with it."""
        intent, warm = self.intent(release.service), self._runs(release)
        live = self.live()
        for other in beside:
            live.setdefault(other.service, []).append(other)
        free_bytes = self.free_bytes()
        size = replicas(intent, release)
        warnings = admit(release, live, None if warm else free_bytes, size, containers=self._containers)
        stable = self._records.releases_of(release.service).get(intent.target or 0)
        return Admitted(stable, warm, warnings, free_bytes)

    def live(self) -> dict[str, list[Release]]:
        """Service -> its releases that run."""
        live: dict[str, list[Release]] = {}
        for name in self._records.services():
            numbers = {row.release for row in self._records.replicas(name).values()}
            live[name] = [known for n, known in self._records.releases_of(name).items() if n in numbers]
        return live

    def _runs(self, release: Release) -> bool:
        return any(row.release == release.n for row in self._records.replicas(release.service).values())


def request_of(draft: Draft, author: Author) -> DeployRequest:
    """What `up` asks for one of its drafts."""
    return DeployRequest(
        spec=draft.spec, artifact=draft.artifact, author=author, tasks=draft.tasks, records=draft.records
    )


def active(rollout: Rollout | None) -> bool:
    """Whether it still moves."""
    return rollout is not None and rollout.phase not in ENDED | LIVE


def _no_such_release(
    service: str, n: int, releases: Collection[int], target: int | None, last: Rollout | None
) -> NotFound:
    """`n` 0 is the one before the current, when there is none; a `last` rollout that was undone says why."""
    others = [known for known in releases if known != target]
    kept = f"kept are {', '.join(f'r{known}' for known in releases)}"
    if n:
        return NotFound(f"{service} has no release r{n}", kept, f"see `atoll releases {service}`", id="unknown-release")
    if last is not None and last.phase == "undone" and last.stable == target:
        kept = f"{service} r{last.candidate} was undone already: {last.reason}"
    fix = f"name one: `atoll rollback {service} --to r{max(others)}`" if others else f"see `atoll releases {service}`"
    return NotFound(f"nothing had the traffic before {service} r{target}", kept, fix, id="unknown-release")


def _over_a_change(service: str, n: int, run: JobRun) -> Refused:
    return Refused(
        f"{service} r{n} may not work any more: `{run.command.text}` ran before r{run.release}",
        "that release does not say that earlier code works with what it leaves (rollout.before.backward_compatible)",
        f"go forward with a release that mends it; or, if you know that it works, `atoll rollback {service} --to r{n} --force`",
        id="over-a-migration",
    )


def alike(one: Release, other: Release) -> bool:
    """Whether two releases would run exactly the same. Where their files lay is no difference, nor what was built into
    the same result: a comment, a test beside the code. An image that was made again was pruned, so that what ran cannot.
    """
    same, image = one.artifact.key == other.artifact.key, other.artifact.image
    if same and image is not None and image != one.artifact.image:
        return False
    return _what_runs(one) == _what_runs(other)


def _what_runs(release: Release) -> tuple[ServiceSpec, str, str, dict[str, str], dict[str, int]]:
    spec, artifact = msgspec.structs.replace(release.spec, folder=".", root="."), release.artifact
    env = {name: text.replace(artifact.path, "") for name, text in artifact.command_env.items()}
    return spec, artifact.digest, artifact.platform, env, dict(release.secrets)


def already(release: Release, artifact: Artifact) -> str:
    """In words: that a draft with this artifact is what runs already."""
    same = "" if artifact.key == release.artifact.key else ": built again, same result"
    return f"{release.name} already runs exactly this{same}"
