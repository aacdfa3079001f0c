"""A store and a vault in memory, with the semantics of the SQLite ones: for tests of a daemon, and of plugins.

What they keep lives in a `MemoryDisk`, outside of any store: a test kills a daemon by dropping its `MemoryStore` (`crash`)
and starts the next one on the same disk. Rows are kept encoded, so that what would not survive a real disk does not
survive this one either.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from atoll.model.errors import Conflict, Fenced
from atoll.model.records import TaskRecord
from atoll.model.rows import Change, Lease, Row, RowKind, Saved
from atoll.model.state import Event, Intent, JobRun, Receipt, Release, ReplicaRecord, Rollout
from atoll.store.admission import admit_name, admit_value, unknown, unknown_version

_R = TypeVar("_R", Release, Intent, Rollout, ReplicaRecord, Receipt, JobRun, TaskRecord)

_TYPES: dict[RowKind, type[Row]] = {
    "release": Release,
    "intent": Intent,
    "rollout": Rollout,
    "replica": ReplicaRecord,
    "receipt": Receipt,
    "run": JobRun,
    "record": TaskRecord,
}
_KINDS = {type_: kind for kind, type_ in _TYPES.items()}


def key_of(row: Row) -> str:
    """The key under which a row is kept and dropped: release "orders/7", intent "orders", others by id."""
    match row:
        case Release():
            return f"{row.service}/{row.n}"
        case Intent():
            return row.service
        case Receipt():
            return row.rollout
        case _:
            return row.id


class MemoryDisk:
    """What survives a store: its rows, leases, events and epoch. `leader` is the store that holds the lock, if any.

    Set `trouble` to an exception (a `Retryable`, say) and every commit raises it and writes nothing, until it is None.
    """

    def __init__(self) -> None:
        self.rows: dict[RowKind, dict[str, bytes]] = {kind: {} for kind in _TYPES}
        self.leases: dict[int, str] = {}
        self.events: list[bytes] = []
        self.epoch = 0
        self.leader: MemoryStore | None = None
        self.trouble: Exception | None = None
        self.commits = 0  # successful ones, for assertions such as "an idle daemon writes nothing"


class MemoryStore:
    """`ports.Store` in memory. Each commit gives way to other tasks once before it happens, as a real one does."""

    def __init__(self, disk: MemoryDisk | None = None) -> None:
        self.disk = disk or MemoryDisk()
        self._epoch = 0
        self._closed = False

    async def lead(self) -> int:
        """Take the disk's lock and raise its epoch. Raises Conflict when another store holds it."""
        if self._epoch or self._closed:
            raise RuntimeError("a store leads once; make another one")
        if self.disk.leader is not None:
            raise Conflict(
                "Another daemon leads this environment",
                "its store is not closed",
                "close it, or crash() it",
                id="second-daemon",
            )
        self.disk.leader = self
        self.disk.epoch += 1
        self._epoch = self.disk.epoch
        return self._epoch

    def crash(self) -> "MemoryStore":
        """As if this store's process was killed: the lock is free. Returns a new store on the same disk."""
        if self.disk.leader is self:
            self.disk.leader = None
        return MemoryStore(self.disk)

    async def load(self) -> Saved:
        """All rows."""
        self._check_open()
        return Saved(
            releases=tuple(sorted(self._all("release", Release), key=lambda row: (row.service, row.n))),
            intents=tuple(self._all("intent", Intent)),
            rollouts=tuple(self._all("rollout", Rollout)),
            replicas=tuple(self._all("replica", ReplicaRecord)),
            receipts=tuple(self._all("receipt", Receipt)),
            runs=tuple(self._all("run", JobRun)),
            records=tuple(self._all("record", TaskRecord)),
            leases=tuple(Lease(port=port, holder=holder) for port, holder in sorted(self.disk.leases.items())),
            last_event=len(self.disk.events),
        )

    async def commit(self, change: Change) -> int:
        """Write it all or nothing; returns the newest event's seq. Raises Fenced, Conflict, or the disk's `trouble`."""
        self._check_open()
        puts = [(_KINDS[type(row)], key_of(row), msgspec.json.encode(row)) for row in change.puts]
        for event in change.events:
            msgspec.json.encode(event)  # what cannot be kept is refused before anything is
        await asyncio.sleep(0)
        disk = self.disk
        if disk.trouble is not None:
            raise disk.trouble
        if disk.epoch != self._epoch:
            text = f"another daemon leads this environment now: epoch {disk.epoch}, this one has {self._epoch}"
            raise Fenced(text, id="second-daemon")
        self._check_expected(change)
        leases = _leased(disk.leases, change)
        for kind, key, body in puts:
            disk.rows[kind][key] = body
        for kind, key in change.drops:
            disk.rows[kind].pop(key, None)
        disk.leases = leases
        first = len(disk.events) + 1
        disk.events.extend(
            msgspec.json.encode(msgspec.structs.replace(event, seq=first + index))
            for index, event in enumerate(change.events)
        )
        disk.commits += 1
        return len(disk.events)

    async def events(
        self, *, after: int = 0, limit: int = 1000, service: str | None = None, newest: bool = False
    ) -> Sequence[Event]:
        """Events with a seq above `after`, in order; with `newest`, the last `limit` of them."""
        self._check_open()
        found = [msgspec.json.decode(body, type=Event) for body in self.disk.events[max(after, 0) :]]
        if service is not None:
            found = [event for event in found if event.service == service]
        return found[max(0, len(found) - limit) :] if newest else found[:limit]

    async def close(self) -> None:
        """Let go of the lock. Twice is fine."""
        self._closed = True
        if self.disk.leader is self:
            self.disk.leader = None

    def _check_open(self) -> None:
        if self._closed or not self._epoch:
            raise RuntimeError("the store is closed" if self._closed else "the store is not led")

    def _check_expected(self, change: Change) -> None:
        for service, generation in change.expect.items():
            body = self.disk.rows["intent"].get(service)
            found = msgspec.json.decode(body, type=Intent).generation if body else 0
            if found != generation:
                raise Conflict(
                    f"{service} was changed meanwhile",
                    f"its intent is at generation {found}, the request was made for {generation}",
                    "look at `atoll status`, then ask again",
                    id="changed-meanwhile",
                )

    def _all(self, kind: RowKind, type_: type[_R]) -> list[_R]:
        return [msgspec.json.decode(body, type=type_) for _, body in sorted(self.disk.rows[kind].items())]


def _leased(leases: Mapping[int, str], change: Change) -> dict[int, str]:
    """The leases after `change`. Raises Conflict when a port has another holder."""
    after = dict(leases)
    for lease in change.leases:
        holder = after.setdefault(lease.port, lease.holder)
        if holder != lease.holder:
            raise Conflict(f"Port {lease.port} cannot be leased to {lease.holder}", f"{holder} holds it", id="bug")
    return {port: holder for port, holder in after.items() if port not in change.freed}


class MemoryVault:
    """`ports.Vault` in memory: the same names, limits and numbers, nothing sealed. Lives as long as the object."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        """`values` are there from the start, as version 1."""
        self._values: dict[str, dict[int, str]] = {name: {1: value} for name, value in (values or {}).items()}
        self._last = dict.fromkeys(self._values, 1)

    def __repr__(self) -> str:
        return f"MemoryVault({sorted(self._values)})"

    async def set(self, name: str, value: str) -> int:
        """Keep a new version; returns its number, from 1. Raises UserError for a bad name or value."""
        admit_name(name)
        admit_value(name, value)
        self._last[name] = self._last.get(name, 0) + 1
        self._values.setdefault(name, {})[self._last[name]] = value
        return self._last[name]

    async def versions(self) -> Mapping[str, int]:
        """Name -> newest version."""
        return {name: max(versions) for name, versions in sorted(self._values.items())}

    async def get(self, name: str, version: int | None = None) -> str:
        """A value; the newest without `version`. Raises NotFound. Gives way to other tasks once, as a real one does."""
        await asyncio.sleep(0)
        if name not in self._values:
            raise unknown(name, self._values)
        versions = self._values[name]
        version = max(versions) if version is None else version
        if version not in versions:
            raise unknown_version(name, version, max(versions))
        return versions[version]

    async def remove(self, name: str) -> None:
        """Remove every version of a secret. Raises NotFound."""
        if self._values.pop(name, None) is None:
            raise unknown(name, self._values)
