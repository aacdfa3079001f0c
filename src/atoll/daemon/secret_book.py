"""Secrets by name and version: set, removed, and who uses which. Part of `Environment`; values go to the vault only."""

from collections.abc import Sequence

from atoll.daemon.loops import Loops
from atoll.daemon.pulse import Pulse
from atoll.model.errors import AtollError, Conflict, NotFound
from atoll.model.rows import Change
from atoll.model.spec import ServiceSpec
from atoll.model.state import Author, Event
from atoll.model.store_url import is_password
from atoll.model.suggest import did_you_mean
from atoll.model.wire_access import SecretRequest, SecretView
from atoll.model.wire_doctor import DoctorView
from atoll.ports import Clock, Vault
from atoll.realise.records import Records


class SecretBook:
    """The environment's secrets."""

    def __init__(self, loops: Loops, records: Records, vault: Vault, clock: Clock, pulse: Pulse) -> None:
        self._loops, self._records, self._vault, self._clock, self._pulse = loops, records, vault, clock, pulse

    async def versions_for(self, spec: ServiceSpec) -> dict[str, int]:
        """The newest versions of the secrets that a service names. Raises NotFound for one that is not set.

        The password of a store that was never started will be its first.
        """
        wanted = spec.secret_names
        known = dict(await self._vault.versions()) if wanted else {}
        known |= {name: 1 for name in wanted if is_password(name) and name not in known}
        for name in sorted(wanted - set(known)):
            raise NotFound(
                f"{spec.name} needs the secret '{name}'",
                "it is not set in this environment",
                f"run `atoll secret set {name}`" + (f"; {hint}" if (hint := did_you_mean(name, known)) else ""),
                id="secret-missing",
            )
        return {name: known[name] for name in sorted(wanted)}

    async def secrets(self) -> Sequence[SecretView]:
        """Names and versions."""
        return tuple(self._secret(name, version) for name, version in sorted((await self._vault.versions()).items()))

    async def checks(self) -> Sequence[DoctorView]:
        """What of them cannot be opened: the newest of each, and those that what shall run starts with. Nothing when all can."""
        try:
            newest = await self._vault.versions()
        except AtollError as exc:
            return (_broken(exc),)
        held = [(name, version, "") for name, version in newest.items()]
        for service in self._records.services():
            release = self._records.releases_of(service).get(self._loops.of(service).intent().target or 0)
            for name, version in sorted(release.secrets.items()) if release else ():
                if version != newest.get(name):
                    held.append((name, version, service))
        found = list[DoctorView]()
        for name, version, service in held:
            try:
                await self._vault.get(name, version)
            except AtollError as exc:
                view = _broken(exc, f"; then `atoll restart {service}`" if service else "")
                if view not in found:  # one sentence about the key, not one a secret
                    found.append(view)
        return found

    def _secret(self, name: str, version: int) -> SecretView:
        used = {
            release.service: release.secrets[name]
            for service in self._records.services()
            if (release := self._records.releases_of(service).get(self._loops.of(service).intent().target or 0))
            and name in release.secrets
        }
        return SecretView(name=name, version=version, used_by=used)

    async def set_secret(self, name: str, request: SecretRequest) -> SecretView:
        """Store a new version; those that use it get it with their next release or restart."""
        version = await self._vault.set(name, request.value)
        await self._tell("secret.set", f"secret {name} v{version}", request.author)
        return self._secret(name, version)

    async def remove_secret(self, name: str, author: Author) -> None:
        """Forget all versions."""
        known = await self._vault.versions()
        if name not in known:
            raise NotFound(f"there is no secret '{name}'", "", did_you_mean(name, known), id="unknown-secret")
        if used := self._secret(name, known[name]).used_by:
            raise Conflict(
                f"secret '{name}' is in use",
                f"by {', '.join(sorted(used))}",
                "deploy them without it first",
                id="secret-in-use",
            )
        await self._vault.remove(name)
        await self._tell("secret.removed", f"secret {name} removed", author)

    async def _tell(self, kind: str, message: str, author: Author) -> None:
        event = Event(kind=kind, message=message, author=author, wall=self._clock.now().wall)
        await self._records.commit(Change(events=(event,)))
        self._pulse.beat()


def _broken(exc: AtollError, then: str = "") -> DoctorView:
    text = f"{exc.what}: {exc.why}" if exc.why else exc.what
    return DoctorView(check="secrets", ok=False, text=text, fix=exc.fix + then)
