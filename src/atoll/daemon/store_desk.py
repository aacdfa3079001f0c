"""The stores that Atoll runs, where they are no services: their passwords, and their end. Part of `Environment`.

A store is deployed, restarted, stopped and shown as a service is; what it keeps is erased here and nowhere else.
"""

import secrets

from atoll.daemon.loops import Loops
from atoll.daemon.pulse import Pulse
from atoll.model.errors import Conflict, NotFound
from atoll.model.rows import Change, RowKind
from atoll.model.spec import ServiceSpec
from atoll.model.state import Author, Event
from atoll.model.store_url import password_of
from atoll.ports import Clock, Host, Vault
from atoll.realise.records import Records

_PASSWORD_BYTES = (
    24  # 192 bits, written as 48 letters and digits: nothing that a URL, a file or a shell would read otherwise
)


class StoreDesk:
    """Makes what a store needs before it first runs, and takes away what is left of it."""

    def __init__(self, loops: Loops, records: Records, host: Host, vault: Vault, clock: Clock, pulse: Pulse) -> None:
        self._loops, self._records, self._host, self._vault = loops, records, host, vault
        self._clock, self._pulse = clock, pulse

    async def prepared(self, spec: ServiceSpec, author: Author) -> None:
        """A store gets its password, once; it stays when the store goes down, and goes when it is removed."""
        name = password_of(spec.name)
        if not spec.store or name not in spec.secret_names or name in await self._vault.versions():
            return
        await self._vault.set(name, secrets.token_hex(_PASSWORD_BYTES))
        await self._tell(spec.name, "secret.set", f"the password of the store {spec.name} was made", author)

    async def remove_store(self, name: str, author: Author) -> None:
        """Erase its data, its password and its releases. Raises NotFound, Conflict while it runs or is used."""
        releases = self._records.releases_of(name)
        if not any(release.spec.store for release in releases.values()):
            raise NotFound(
                f"there is no store '{name}'",
                "Atoll runs none of that name here",
                "`atoll store list` shows those there are",
                id="unknown-store",
            )
        loop = self._loops.known(name)
        async with loop.lock:
            if loop.intent().target is not None or self._records.replicas(name):
                why = "its data are removed when nothing writes to them any more"
                raise Conflict(f"the store {name} runs", why, f"`atoll down {name}` first", id="store-in-use")
            if users := self._users(name):
                raise Conflict(
                    f"the store {name} is in use",
                    f"by {', '.join(users)}",
                    "deploy them without it, or stop them, first",
                    id="store-in-use",
                )
            await self._host.erase(name)
            if password_of(name) in await self._vault.versions():
                await self._vault.remove(password_of(name))
            drops: list[tuple[RowKind, str]] = [("release", f"{name}/{n}") for n in releases]
            drops += [("rollout", row.id) for row in self._records.rollouts.values() if row.service == name]
            drops += [("receipt", row.rollout) for row in self._records.receipts.values() if row.service == name]
            drops.append(("intent", name))
            text = f"the store {name} was removed, with all its data"
            event = Event(kind="store.removed", service=name, message=text, author=author, wall=self._clock.now().wall)
            await self._records.commit(Change(drops=tuple(drops), events=(event,)))
        self._pulse.beat(name)

    def _users(self, name: str) -> list[str]:
        """Services that run, or shall run, in a release that uses it."""
        found = set()
        for service in self._records.services():
            numbers = {row.release for row in self._records.replicas(service).values()}
            numbers |= {n for n in (self._loops.of(service).intent().target,) if n is not None}
            known = self._records.releases_of(service)
            if any(call.callee == name and call.store for n in numbers & set(known) for call in known[n].spec.calls):
                found.add(service)
        return sorted(found)

    async def _tell(self, store: str, kind: str, message: str, author: Author) -> None:
        event = Event(kind=kind, service=store, message=message, author=author, wall=self._clock.now().wall)
        await self._records.commit(Change(events=(event,)))
        self._pulse.beat(store)
