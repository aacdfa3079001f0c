"""Which result is which tree: the rows of the cache, in SQLite, for any number of processes at once.

Only rows know namespaces. What a run of one namespace asks for is in its list of namespaces, which it got from
`pipeline.namespace.readable`; what it writes is in its own.
"""

import hashlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from atoll.pipeline.cache.tree import Tree, Unusable, decoded
from atoll.pipeline.cache.zstd import ZstdDecompressor, ZstdError, compress

BUSY_S = 10.0  # another process's transaction takes milliseconds
DAYS_KEPT = 30  # of the counts
_MOST_TREE_BYTES = 512 << 20
_SCHEMA = """
CREATE TABLE IF NOT EXISTS result (
    id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, key TEXT NOT NULL, place TEXT NOT NULL,
    record BLOB NOT NULL, seconds REAL NOT NULL, size_bytes INTEGER NOT NULL, files INTEGER NOT NULL,
    made REAL NOT NULL, used REAL NOT NULL, tree BLOB NOT NULL, tree_digest BLOB NOT NULL,
    UNIQUE (namespace, key, place)
) STRICT;
CREATE TABLE IF NOT EXISTS content (digest TEXT PRIMARY KEY, stored_bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS day (
    day INTEGER PRIMARY KEY, hits INTEGER NOT NULL DEFAULT 0, remote_hits INTEGER NOT NULL DEFAULT 0,
    misses INTEGER NOT NULL DEFAULT 0, saved_s REAL NOT NULL DEFAULT 0
) STRICT;
"""
_SELECT = "SELECT id, namespace, key, place, record, seconds, size_bytes, files, made, used FROM result"


class Row(NamedTuple):
    """A result. Times are seconds since the epoch."""

    id: int
    namespace: str
    key: str
    place: str
    record: bytes
    seconds: float  # that it took to make
    size_bytes: int
    files: int
    made: float
    used: float


class Counts(NamedTuple):
    """What was asked for in the last DAYS_KEPT days, and the seconds of making it that were saved."""

    hits: int
    remote_hits: int
    misses: int
    saved_s: float


def is_damage(exc: sqlite3.Error) -> bool:
    """Whether the file is no database any more; subclasses are about locks, disks and statements."""
    return type(exc) is sqlite3.DatabaseError


class Index:
    """The rows of one cache folder. All methods may raise sqlite3.Error; any thread may call them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._open: sqlite3.Connection | None = None

    def close(self) -> None:
        """Let go of the file; the next call opens it again."""
        with self._lock:
            if self._open is not None:
                self._open.close()
                self._open = None

    def erase(self) -> None:
        """Begin anew, after it was found damaged: results that nobody can find any more are made again."""
        self.close()
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def trouble(self) -> str:
        """What is wrong with the file; "" is nothing."""
        try:
            with self._reading() as database:
                said: str = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.DatabaseError as exc:
            if not is_damage(exc):
                raise
            said = str(exc)
        return "" if said == "ok" else said

    def find(self, namespace: str, key: str, place: str) -> Row | None:
        """The result of exactly that."""
        with self._reading() as database:
            found = database.execute(
                f"{_SELECT} WHERE namespace = ? AND key = ? AND place = ?", (namespace, key, place)
            ).fetchone()
        return None if found is None else Row(*found)

    def tree(self, row: Row) -> Tree | None:
        """What is in it; None when the row is gone. Raises Unusable."""
        with self._reading() as database:
            found = database.execute("SELECT tree, tree_digest FROM result WHERE id = ?", (row.id,)).fetchone()
        if found is None:
            return None
        packed, digest = found
        if hashlib.sha256(packed).digest() != digest:
            raise Unusable("its list of files has changed")
        try:
            return decoded(ZstdDecompressor().decompress(packed, max_length=_MOST_TREE_BYTES))
        except ZstdError as exc:
            raise Unusable("its list of files is damaged") from exc

    def add(
        self,
        namespace: str,
        key: str,
        place: str,
        *,
        tree: Tree,
        record: bytes,
        seconds: float,
        stored: Mapping[str, int],
    ) -> None:
        """Write the row of a result whose contents are there already, over one that was there."""
        packed, now = compress(tree.encoded()), time.time()
        values = (namespace, key, place, record, seconds, tree.size_bytes, sum(1 for _ in tree.files), now, now, packed)
        with self._writing() as database:
            database.execute(
                "INSERT OR REPLACE INTO result (namespace, key, place, record, seconds, size_bytes, files, made, used,"
                " tree, tree_digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, hashlib.sha256(packed).digest()),
            )
            database.executemany("INSERT OR IGNORE INTO content VALUES (?, ?)", stored.items())

    def drop(self, rows: Sequence[int], contents: Sequence[str] = ()) -> None:
        """Remove rows by their ids, and contents."""
        with self._writing() as database:
            database.executemany("DELETE FROM result WHERE id = ?", [(row,) for row in rows])
            database.executemany("DELETE FROM content WHERE digest = ?", [(digest,) for digest in contents])

    def count(self, row: Row | None, *, remote: bool = False) -> None:
        """Count a hit (`row` is used now, too), or a miss."""
        today = int(time.time() // 86_400)
        hit, far, saved_s = (1, int(remote), row.seconds) if row else (0, 0, 0.0)
        with self._writing() as database:
            if row:
                database.execute("UPDATE result SET used = ? WHERE id = ?", (time.time(), row.id))
            database.execute("INSERT OR IGNORE INTO day (day) VALUES (?)", (today,))
            database.execute(
                "UPDATE day SET hits = hits + ?, remote_hits = remote_hits + ?, misses = misses + ?, saved_s = saved_s + ?"
                " WHERE day = ?",
                (hit, far, 1 - hit, saved_s, today),
            )
            database.execute("DELETE FROM day WHERE day <= ?", (today - DAYS_KEPT,))

    def counts(self) -> Counts:
        """Of the last days."""
        with self._reading() as database:
            sums = database.execute("SELECT sum(hits), sum(remote_hits), sum(misses), sum(saved_s) FROM day").fetchone()
        return Counts(*(value or 0 for value in sums))

    def rows(self) -> Sequence[Row]:
        """All results, the least recently used first."""
        with self._reading() as database:
            return [Row(*found) for found in database.execute(f"{_SELECT} ORDER BY used, id")]

    def stored(self) -> tuple[int, int]:
        """How many contents there are, and the bytes that they take."""
        with self._reading() as database:
            count, total = database.execute("SELECT count(*), sum(stored_bytes) FROM content").fetchone()
        return count, total or 0

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._open is None:
                self._open = _opened(self.path)
            yield self._open

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                if database.in_transaction:  # a full disk has ended it already
                    database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")


def _opened(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None, timeout=BUSY_S, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")  # where a file system cannot have it, it stays as it was
        database.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last rows: they are made anew
        database.executescript(_SCHEMA)
    except BaseException:
        database.close()
        raise
    return database
