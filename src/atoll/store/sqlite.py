"""`ports.Store` on SQLite: state tables and ledger in `state.db`, one leader, durable when a commit returns.

WAL with `synchronous=FULL`: one fsync per transaction, shared by all commits that wait meanwhile (`writer`). Reads have
a thread and a connection of their own. Built by `app`, used by the daemon.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, delete, select
from sqlalchemy.dialects.sqlite import insert

from atoll.model.errors import Conflict, Fenced
from atoll.model.records import TaskRecord
from atoll.model.rows import Change, Lease, Saved
from atoll.model.state import Event, Intent, JobRun, Receipt, Release, ReplicaRecord, Rollout
from atoll.store import database, failures, ledger, rows
from atoll.store.leadership import LeaderLock, raise_epoch, verify_epoch
from atoll.store.schema import intents, leases
from atoll.store.writer import Writer

FILE: Final = "state.db"
LOCK: Final = "leader.lock"
_SWEEP_EVERY_S: Final = 6 * 3600.0  # retention counts days
_SWEEP_STEP_S: Final = 0.2  # between the slices of one sweep, so that commits come first
_FIRST_SWEEP_S: Final = 60.0  # a daemon that just came back has better things to do

_T = TypeVar("_T")
_TAKE_PORT: Final = insert(leases).on_conflict_do_nothing()


class SqliteStore:
    """The store of one environment in `state_dir`, made when missing. Nothing is touched before `lead`."""

    def __init__(self, state_dir: Path, *, wall: Callable[[], float] = time.time) -> None:
        """`wall` is the time by which old events expire."""
        self.path = state_dir / FILE
        self._dir, self._wall = state_dir, wall
        self._threads = ThreadPoolExecutor(1, "atoll-store-reader")
        self._lock: LeaderLock | None = None
        self._write_engine: Engine | None = None
        self._read_engine: Engine | None = None
        self._writer: Writer | None = None
        self._inode = (0, 0)
        self._epoch = 0
        self._swept = 0
        self._closed = False

    async def lead(self) -> int:
        """Take the lock, look for damage after a crash, migrate, raise the epoch. Returns the epoch.

        Raises Conflict when another process leads; UserError when the folder or the database cannot be used.
        """
        if self._lock is not None or self._closed:
            raise RuntimeError("a store leads once; make another one")
        return await self._in_thread(self._lead)

    async def load(self) -> Saved:
        """All rows, as of one instant. Raises UserError naming a row that cannot be read."""
        return await self._read(_saved)

    async def commit(self, change: Change) -> int:
        """Write `change` all or nothing; returns once it is on the disk, with the newest event's seq.

        In this order: `expect`, puts, drops, leases, freed ports, events. Raises Conflict (an expected generation does
        not stand, a port has another holder), Fenced, and Retryable when the disk is full or failing: nothing of the
        change was written then, and the same change may be given again. Cancelled, it may or may not be written.
        """
        if self._writer is None or self._closed:
            raise self._misused()
        return await asyncio.wrap_future(self._writer.submit(_prepared(change)))

    async def events(
        self, *, after: int = 0, limit: int = 1000, service: str | None = None, newest: bool = False
    ) -> Sequence[Event]:
        """Events with a seq above `after`, in order; with `newest`, the last `limit` of them."""
        return await self._read(
            lambda connection: ledger.read(connection, after=after, limit=limit, service=service, last=newest)
        )

    async def close(self) -> None:
        """Finish what is queued, fold the write-ahead log into the file, let go of the lock. Twice is fine."""
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._threads, self._close)
        self._threads.shutdown(wait=False)

    def _lead(self) -> int:
        try:
            self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise failures.unusable(self._dir, exc) from exc
        lock = LeaderLock(self._dir / LOCK)
        engine: Engine | None = None
        try:
            with failures.translated(self.path):
                engine = database.connect(self.path)
                database.prepare(engine, self.path)
                with engine.begin() as connection:
                    self._epoch = raise_epoch(connection, self._wall())
        except BaseException as exc:
            if engine is not None:
                engine.dispose()
            lock.release()
            if isinstance(exc, OSError):
                raise failures.unusable(self._dir, exc) from exc
            raise
        self._inode = _inode(self.path)
        self._read_engine = database.connect(self.path, readonly=True)
        self._writer = Writer(engine, self.path, self._guard, self._sweep, _FIRST_SWEEP_S)
        self._lock, self._write_engine = lock, engine
        return self._epoch

    def _guard(self, connection: Connection) -> None:
        # A file that was removed or replaced would swallow commits without a sound: SQLite holds the old inode.
        if _inode(self.path) != self._inode:
            raise Fenced(
                f"{self.path} was removed or replaced while this daemon led; what it did is not in the new one",
                id="second-daemon",
            )
        verify_epoch(connection, self._epoch)

    def _sweep(self, connection: Connection) -> float:
        """One slice of retention; returns the seconds until the next."""
        after = ledger.sweep(connection, self._swept, self._wall())
        self._swept = after or 0
        return _SWEEP_EVERY_S if after is None else _SWEEP_STEP_S

    async def _read(self, work: Callable[[Connection], _T]) -> _T:
        engine = self._read_engine
        if engine is None or self._closed:
            raise self._misused()

        def run() -> _T:
            with failures.translated(self.path), engine.begin() as connection:
                return work(connection)

        return await self._in_thread(run)

    def _misused(self) -> RuntimeError:
        return RuntimeError("the store is closed" if self._closed else "the store is not led")

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _close(self) -> None:
        try:
            if self._writer is not None:
                self._writer.submit(database.mark_clean)  # refused when fenced: then there is nothing to say
                self._writer.stop()
                self._writer = None
        finally:
            for engine in (self._read_engine, self._write_engine):  # the last to go folds the log into the file
                if engine is not None:
                    engine.dispose()
            self._read_engine = self._write_engine = None
            if self._lock is not None:
                self._lock.release()


def _inode(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return (0, 0)
    return (found.st_dev, found.st_ino)


def _prepared(change: Change) -> Callable[[Connection], int]:
    """What the writer shall do for `change`. Encodes at once: the caller's mistake is raised at the caller."""
    puts = [rows.put(row) for row in change.puts]
    drops = [rows.drop(kind, key) for kind, key in change.drops]
    events: list[dict[str, Any]] = [ledger.values(event) for event in change.events]

    def work(connection: Connection) -> int:
        for service, generation in change.expect.items():
            _expect(connection, service, generation)
        for statement, values in puts:
            connection.execute(statement, values)
        for drop in drops:
            connection.execute(drop)
        for lease in change.leases:
            _take_port(connection, lease)
        if change.freed:
            connection.execute(delete(leases).where(leases.c.port.in_(change.freed)))
        return ledger.append(connection, events)

    return work


def _expect(connection: Connection, service: str, generation: int) -> None:
    query = select(intents.c.generation).where(intents.c.service == service)
    found = connection.execute(query).scalar() or 0
    if found != generation:
        raise Conflict(
            f"{service} was changed meanwhile",
            f"its intent is at generation {found}, the request was made for {generation}",
            "look at `atoll status`, then ask again",
            id="changed-meanwhile",
        )


def _take_port(connection: Connection, lease: Lease) -> None:
    if connection.execute(_TAKE_PORT, {"port": lease.port, "holder": lease.holder}).rowcount:
        return
    holder = connection.execute(select(leases.c.holder).where(leases.c.port == lease.port)).scalar_one()
    if holder != lease.holder:
        raise Conflict(
            f"Port {lease.port} cannot be leased to {lease.holder}",
            f"{holder} holds it",
            "this is a mistake in Atoll: please report it with `atoll events`",
            id="bug",
        )


def _saved(connection: Connection) -> Saved:
    return Saved(
        releases=tuple(rows.load(connection, Release)),
        intents=tuple(rows.load(connection, Intent)),
        rollouts=tuple(rows.load(connection, Rollout)),
        replicas=tuple(rows.load(connection, ReplicaRecord)),
        receipts=tuple(rows.load(connection, Receipt)),
        runs=tuple(rows.load(connection, JobRun)),
        records=tuple(rows.load(connection, TaskRecord)),
        leases=tuple(
            Lease(port=port, holder=holder)
            for port, holder in connection.execute(select(leases.c.port, leases.c.holder).order_by(leases.c.port))
        ),
        last_event=ledger.newest(connection),
    )
