"""Which release a request would make, and whether it may start: what a mutation and its plan have in common.

`daemon.environment` commits what this finds, `daemon.planner` only tells it. Nothing here changes anything.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from atoll.decide.admission import admit
from atoll.decide.compose import replicas
from atoll.model.errors import Conflict, NotFound, Refused, UserError
from atoll.model.spec import SecretRef, ServiceSpec
from atoll.model.state import ENDED, LIVE, Artifact, Intent, Release, Rollout
from atoll.model.suggest import did_you_mean
from atoll.model.wire import DeployRequest, Mutation, RestartRequest, RollbackRequest, ScaleRequest
from atoll.ports import Clock, Vault
from atoll.realise.records import Records


class Admitted(NamedTuple):
    """A release that may start."""

    stable: Release | None  # the one with the traffic
    warm: bool  # it runs already
    warnings: Sequence[str]
    free_bytes: int | None  # None: nobody knows


class Candidates:
    """One environment's. `free_bytes` asks the machine."""

    def __init__(
        self, records: Records, vault: Vault, clock: Clock, environment: str, free_bytes: Callable[[], int | None]
    ) -> None:
        self._records, self._vault, self._clock = records, vault, clock
        self._environment, self.free_bytes = environment, free_bytes

    def known(self, service: str) -> None:
        """Raises NotFound for a service that was never deployed here."""
        if service not in self._records.services():
            raise NotFound(
                f"there is no service '{service}' in environment '{self._environment}'",
                "it was never deployed here",
                did_you_mean(service, self._records.services()) or "run `atoll up`",
            )

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
            )
        return intent

    def scaled(self, service: str, request: ScaleRequest) -> Intent:
        """The intent with the replicas that are asked for. Raises Conflict, Refused, UserError."""
        intent = self.expected(service, request)
        n = request.replicas
        release = self._records.releases_of(service).get(intent.target or 0)
        if n is not None and release is not None and n > 1 and not release.spec.overlap:
            raise Refused(
                f"{service} cannot run {n} replicas",
                "its file says overlap = false: one at a time",
                "scale it to 1",
            )
        if n is not None and not 0 <= n <= 1000:
            raise UserError(f"{n} replicas", "a number from 0 to 1000 is expected", f"`atoll scale {service} 2`")
        return msgspec.structs.replace(intent, replicas=n)

    # --- the release that a request would make --------------------------------------------------------------------

    async def deployed(self, request: DeployRequest) -> tuple[Release, bool]:
        """The release of a draft, and whether it runs exactly so already. The same content is the same release."""
        service = request.spec.name
        releases = self._records.releases_of(service)
        newest = releases.get(max(releases, default=0))
        release = Release(
            service=service,
            n=1,
            spec=request.spec,
            artifact=request.artifact,
            secrets=await self.secret_versions(request.spec),
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

    async def rolled_back(self, service: str, request: RollbackRequest) -> Release:
        """An earlier release. A cold one gets the newest secrets: old ones may be revoked. Raises NotFound, Conflict."""
        releases, target = self._records.releases_of(service), self.intent(service).target
        n = request.to if request.to is not None else self._before(service, target)
        if n not in releases:
            raise NotFound(
                f"{service} has no release r{n}" if n else f"{service} has no earlier release to go back to",
                f"kept are {', '.join(f'r{known}' for known in releases)}",
                f"see `atoll releases {service}`",
            )
        if n == target:
            raise Conflict(f"{service} r{n} already has the traffic", "", f"see `atoll releases {service}`")
        release = releases[n]
        newest = await self.secret_versions(release.spec)
        if self._runs(release) or newest == dict(release.secrets):
            return release
        note = f"r{n} with the newest secrets"
        return self._again(release, newest, note, request)

    async def restarted(self, service: str, request: RestartRequest) -> Release:
        """A new release of the same content with the newest secrets. Raises Refused when it is down."""
        current = self._records.releases_of(service).get(self.intent(service).target or 0)
        if current is None:
            raise Refused(f"{service} is down", "there is nothing to restart", "run `atoll up`")
        return self._again(current, await self.secret_versions(current.spec), f"restart of r{current.n}", request)

    def _again(self, release: Release, secrets: Mapping[str, int], note: str, request: Mutation) -> Release:
        return msgspec.structs.replace(
            release, n=self._number(release.service), secrets=secrets, note=note,
            created_wall=self._clock.now().wall, author=request.author,
        )  # fmt: skip

    def _before(self, service: str, target: int | None) -> int:
        """The release that had the traffic before the current one; 0 when there is none."""
        mine = [row for row in self._records.receipts.values() if row.service == service and row.outcome == "live"]
        known = self._records.releases_of(service)
        for receipt in sorted(mine, key=lambda row: row.wall, reverse=True):
            before = receipt.previous
            if receipt.release == target and receipt.kind == "deploy" and before is not None and before in known:
                return before
            if target is None and receipt.release in known:
                return receipt.release
        earlier = [receipt.release for receipt in mine if receipt.release in known and receipt.release < (target or 0)]
        return max(earlier, default=0)

    def _number(self, service: str) -> int:
        """The next release number; never one that was used before, even when its release is no longer kept."""
        kept = max(self._records.releases_of(service), default=0)
        told = max((row.release for row in self._records.receipts.values() if row.service == service), default=0)
        return max(kept, told) + 1

    async def secret_versions(self, spec: ServiceSpec) -> dict[str, int]:
        """The newest version of each secret that it names. Raises NotFound."""
        wanted = {value.name for value in spec.env.values() if isinstance(value, SecretRef)}
        known = await self._vault.versions() if wanted else {}
        for name in sorted(wanted - set(known)):
            raise NotFound(
                f"{spec.name} needs the secret '{name}'",
                "it is not set in this environment",
                f"run `atoll secret set {name}`" + (f"; {hint}" if (hint := did_you_mean(name, known)) else ""),
            )
        return {name: known[name] for name in sorted(wanted)}

    async def same(self, spec: ServiceSpec, artifact: Artifact, target: int | None) -> bool:
        """Whether release `target` is what this draft would make."""
        release = self._records.releases_of(spec.name).get(target or 0)
        try:
            versions = await self.secret_versions(spec)
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
        warnings = admit(release, live, None if warm else free_bytes, replicas(intent, release))
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


def active(rollout: Rollout | None) -> bool:
    """Whether it still moves."""
    return rollout is not None and rollout.phase not in ENDED | LIVE


def alike(one: Release, other: Release) -> bool:
    """Whether two releases would run exactly the same."""
    return (one.spec, one.artifact.key, one.artifact.digest, dict(one.secrets)) == (
        other.spec,
        other.artifact.key,
        other.artifact.digest,
        dict(other.secrets),
    )
