"""The file of signals: a row an edge and minute, kept for 30 days, and the seconds of the last hour for the next daemon.

SQLite of its own, so that measuring never makes the ledger wait. One writer, no fsync a commit: a lost minute is no data.
Bounded by age and bytes; what is oldest goes first. A file that cannot be read, or is another version's, is put aside and begun
anew, one that cannot be written is told; neither ever stops the daemon. All methods block; one at a time has the file.

Minutes are numbered along one axis that only grows: boot time plus an anchor, chosen once a boot near the wall clock's
minute and after all that is there. So a clock that is set back puts no two minutes in one row. Each row has the wall
clock's time for people, too.
"""

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from atoll.model.signals import EdgeKey, Point
from atoll.model.state import Now
from atoll.telemetry.memory import Stored
from atoll.telemetry.minute import MINUTE_S, Second, check, pack_second, together, unpack, unpack_second

_log = logging.getLogger(__name__)
KEEP_MINUTES = 30 * 24 * 60
SECONDS_MINUTES = 60  # so long the seconds of a minute stay
LIMIT_BYTES = 128 * 2**20  # a month of 40 busy edges, a week of 200
EVERYWHERE = EdgeKey("", 0, "", 0)  # not an edge: the seconds in which anything was seen
_PAGE_BYTES = 4096
_FORMAT = 1  # raised with the schema, or with how `minute` packs: an old file is put aside, not migrated
_TIDY_EVERY = 10  # minutes
_T = TypeVar("_T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS edge (
    id INTEGER PRIMARY KEY, caller TEXT NOT NULL, caller_release INTEGER NOT NULL,
    callee TEXT NOT NULL, callee_release INTEGER NOT NULL, UNIQUE (callee, callee_release, caller, caller_release));
CREATE TABLE IF NOT EXISTS boot (id TEXT PRIMARY KEY, anchor INTEGER NOT NULL, first INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS minute (
    edge INTEGER NOT NULL, minute INTEGER NOT NULL, wall INTEGER NOT NULL, seen INTEGER NOT NULL,
    sums BLOB, seconds BLOB, PRIMARY KEY (edge, minute)) WITHOUT ROWID;
"""


class History:
    """One file. `problem` is what a person should know of it; "" is nothing."""

    def __init__(self, path: Path, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self.problem = ""
        self._path, self._limit_bytes = path, limit_bytes
        self._db: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._ids: dict[EdgeKey, int] = {}
        self._anchor, self._first = 0, 0  # of this boot: what is added to its minutes, and the first of them
        self._tidied = 0

    def load(self, now: Now) -> list[Stored]:
        """The last hour of this boot."""
        minute = int(now.boot_s) // MINUTE_S
        return self._guarded(now, lambda db: self._recent(db, minute), [])

    def save(self, rows: Sequence[Stored], now: Now) -> bool:
        """Write these minutes over what is there of them; whether it could be done."""
        return self._guarded(now, lambda db: self._write(db, rows, now), False)

    def read(self, keys: Iterable[EdgeKey], from_wall: float, to_wall: float, now: Now) -> list[Point]:
        """These edges together, minute by minute; a minute that is not there was not seen."""
        wanted = set(keys)
        return self._guarded(now, lambda db: self._points(db, wanted, from_wall, to_wall), [])

    def edges(self, now: Now) -> list[EdgeKey]:
        """All that there are rows of."""
        return self._guarded(now, lambda _: sorted(key for key in self._ids if key != EVERYWHERE), [])

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    # --- how it is done --------------------------------------------------------------------------------------------

    def _guarded(self, now: Now, do: Callable[[sqlite3.Connection], _T], otherwise: _T) -> _T:
        """`do`, whatever the file's state: an error is told, a broken file is put aside."""
        with self._lock:
            return self._done(now, do, otherwise)

    def _done(self, now: Now, do: Callable[[sqlite3.Connection], _T], otherwise: _T) -> _T:
        try:
            if self._db is None:
                self._db = self._opened(now)
            with self._db:
                done = do(self._db)
        except sqlite3.OperationalError as exc:  # full, read-only, locked, no folder: may be better the next time
            self._tell(f"the history of signals is not kept for now: {exc} ({self._path})")
            if "full" in str(exc):
                self._shrink()
            self._close()
            return otherwise
        except (sqlite3.DatabaseError, ValueError) as exc:
            self._put_aside(exc)
            return otherwise
        if self.problem.startswith("the history of signals is not kept"):
            self.problem = ""
        return done

    def _tell(self, text: str) -> None:
        if text != self.problem:
            _log.warning("%s", text)
        self.problem = text

    def _put_aside(self, exc: Exception) -> None:
        self._close()
        broken = self._path.with_name(self._path.name + ".broken")
        with contextlib.suppress(OSError):
            self._path.replace(broken)
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(OSError):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self._tell(f"the history of signals was unreadable ({exc}) and was begun anew; the old file is {broken}")

    def _opened(self, now: Now) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=2.0, check_same_thread=False)
        try:
            self._path.chmod(0o600)
            db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA journal_size_limit = 4194304")
            # A quarter above what `_tidy` keeps: the last resort.
            db.execute(f"PRAGMA max_page_count = {self._limit_bytes * 5 // 4 // _PAGE_BYTES}")
            if db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None:
                db.execute(f"PRAGMA user_version = {_FORMAT}")
            elif db.execute("PRAGMA user_version").fetchone() != (_FORMAT,):
                raise ValueError("it is of another version of Atoll")
            db.executescript(_SCHEMA)
            rows = db.execute("SELECT caller, caller_release, callee, callee_release, id FROM edge").fetchall()
            self._ids = {EdgeKey(*row[:4]): row[4] for row in rows}
            self._anchor, self._first = self._anchored(db, now)
        except BaseException:
            db.close()
            raise
        return db

    def _anchored(self, db: sqlite3.Connection, now: Now) -> tuple[int, int]:
        found = db.execute("SELECT anchor, first FROM boot WHERE id = ?", (now.boot_id,)).fetchone()
        if found is not None:
            return int(found[0]), int(found[1])
        (last,) = db.execute("SELECT max(minute) FROM minute").fetchone()
        boot = int(now.boot_s) // MINUTE_S
        first = max(int(now.wall) // MINUTE_S, (last or 0) + 1)
        with db:
            db.execute("DELETE FROM boot")  # a boot that ended does not come back
            db.execute("INSERT INTO boot VALUES (?, ?, ?)", (now.boot_id, first - boot, first))
        return first - boot, first

    def _id(self, db: sqlite3.Connection, key: EdgeKey) -> int:
        if key not in self._ids:
            values = (key.caller, key.caller_release, key.callee, key.callee_release)
            sql = "INSERT INTO edge (caller, caller_release, callee, callee_release) VALUES (?, ?, ?, ?) RETURNING id"
            self._ids[key] = db.execute(sql, values).fetchone()[0]
        return self._ids[key]

    def _write(self, db: sqlite3.Connection, rows: Sequence[Stored], now: Now) -> bool:
        known = dict(self._ids)
        try:
            values = []
            seen: dict[int, int] = {}
            for row in rows:
                values.append(self._row(db, row, now))
                seen[row.minute] = seen.get(row.minute, 0) | row.seen
            values += [self._row(db, Stored(EVERYWHERE, minute, bits, b"", b""), now) for minute, bits in seen.items()]
            sql = (
                "INSERT INTO minute VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET wall = excluded.wall, "
                "seen = minute.seen | excluded.seen, sums = excluded.sums, seconds = excluded.seconds"
            )
            db.executemany(sql, values)
            minute = int(now.boot_s) // MINUTE_S
            if minute >= self._tidied + _TIDY_EVERY:
                self._tidied = minute
                self._tidy(db, minute + self._anchor)
        except BaseException:
            self._ids = known  # what was rolled back has no id
            raise
        return True

    def _row(self, db: sqlite3.Connection, row: Stored, now: Now) -> tuple[int, int, int, int, bytes | None, bytes]:
        wall = round(now.wall - now.boot_s) + row.minute * MINUTE_S
        number = row.minute + self._anchor
        return self._id(db, row.key), number, wall, row.seen, row.sums, row.seconds

    def _recent(self, db: sqlite3.Connection, minute: int) -> list[Stored]:
        keys = {number: key for key, number in self._ids.items() if key != EVERYWHERE}
        first = max(self._first, minute - SECONDS_MINUTES + self._anchor)
        sql = "SELECT edge, minute, seen, seconds FROM minute WHERE edge = ? AND minute >= ? AND seconds IS NOT NULL"
        rows = [row for number in keys for row in db.execute(sql, (number, first))]
        for row in rows:
            check(row[3])
        return [Stored(keys[edge], number - self._anchor, seen, seconds) for edge, number, seen, seconds in rows]

    def _points(self, db: sqlite3.Connection, wanted: set[EdgeKey], from_wall: float, to_wall: float) -> list[Point]:
        sql = (
            "SELECT minute, wall, seen, sums, seconds FROM minute "
            "WHERE edge = ? AND wall >= ? AND wall < ? ORDER BY minute"
        )
        span = (int(from_wall), int(to_wall))
        found: dict[int, tuple[int, int, list[Second]]] = {}
        for number, wall, seen, *_ in db.execute(sql, (self._ids.get(EVERYWHERE, -1), *span)):
            found[number] = (wall, seen.bit_count(), [])
        for key in wanted & self._ids.keys():
            for number, wall, seen, sums, seconds in db.execute(sql, (self._ids[key], *span)):
                row = found.setdefault(number, (wall, seen.bit_count(), []))
                row[2].append(_sum(sums, seconds))
        points = []
        for _, (wall, seconds, many) in sorted(found.items()):
            counts, inflight_s = together(many)
            points.append(Point(wall=wall, seconds=seconds, counts=counts, inflight_s=inflight_s))
        return points

    def _tidy(self, db: sqlite3.Connection, minute: int) -> None:
        """Drop what is too old, the seconds of what is older than an hour, and rows in which nothing happened."""
        hour = minute - SECONDS_MINUTES - 1
        for key, number in list(self._ids.items()):
            db.execute("DELETE FROM minute WHERE edge = ? AND minute < ?", (number, minute - KEEP_MINUTES))
            span = (number, hour - 3 * _TIDY_EVERY, hour)
            sql = "SELECT minute, seconds FROM minute WHERE edge = ? AND minute BETWEEN ? AND ? AND sums IS NULL"
            for at, seconds in db.execute(sql, span).fetchall():  # its daemon died before it ended
                values = (pack_second(_sum(None, seconds)), number, at)
                db.execute("UPDATE minute SET sums = ? WHERE edge = ? AND minute = ?", values)
            if key != EVERYWHERE:
                db.execute("DELETE FROM minute WHERE edge = ? AND minute BETWEEN ? AND ? AND sums = x''", span)
            db.execute("UPDATE minute SET seconds = NULL WHERE edge = ? AND minute BETWEEN ? AND ?", span)
            if db.execute("SELECT 1 FROM minute WHERE edge = ? LIMIT 1", (number,)).fetchone() is None:
                db.execute("DELETE FROM edge WHERE id = ?", (number,))
                del self._ids[key]
        while self._bytes(db) > self._limit_bytes and self._drop_oldest(db):
            pass

    def _drop_oldest(self, db: sqlite3.Connection) -> bool:
        """An eighth of the time that there is; whether there was anything."""
        low, high = db.execute("SELECT min(minute), max(minute) FROM minute").fetchone()
        if low is None:
            return False
        return db.execute("DELETE FROM minute WHERE minute <= ?", (low + (high - low) // 8,)).rowcount > 0

    def _shrink(self) -> None:
        """It was full all the same."""
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error), self._db:
                self._drop_oldest(self._db)

    def _bytes(self, db: sqlite3.Connection) -> int:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        (free,) = db.execute("PRAGMA freelist_count").fetchone()
        return int(pages - free) * _PAGE_BYTES


def _sum(sums: bytes | None, seconds: bytes | None) -> Second:
    """A minute's; one that was open when it was written has its seconds only."""
    return together(list(unpack(seconds or b"").values())) if sums is None else unpack_second(sums)
