"""What became of tasks, in one SQLite file of the workspace, shared by any number of processes.

`work` writes it; atoll affected, `why`, gates and reports read it. It is history and cache: no result depends on it
(results have completion records of their own, see `artifacts`), so a damaged file is put aside and begun anew. Blocking;
one object may be used from several threads. `atoll affected` comes through here when nothing changed: what only others
need is imported where it is used.
"""

from __future__ import annotations

import os
import threading
import time
import zlib
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from atoll.model.errors import UserError
    from atoll.model.records import TaskRecord
    from atoll.pipeline.key import Manifest

T = TypeVar("T")

TRUSTED = ("trusted",)
BUSY_S = 30.0  # a writer holds the file for milliseconds; so long means that it was stopped in the middle
_SHM_BYTES = 32 * 1024  # its least size, https://www.sqlite.org/walformat.html#the_wal_index_file_format
KEPT_RUNS = 100  # of each task; the green ones that still count are kept whatever came after
KEPT_MANIFEST_S = 90 * 86_400.0  # unused for longer: an explanation is lost, nothing else
PRUNED_EVERY = 500  # runs
_GREEN = frozenset({"passed", "flaky"})  # as `model.records` has them
RECENT = 5  # runs whose median is how long a task takes

# One list of statements for each version of the schema; a file of version n has had the first n. Never changed, only added to.
MIGRATIONS: Sequence[Sequence[str]] = (
    (
        """CREATE TABLE runs (
            id INTEGER PRIMARY KEY, task TEXT NOT NULL, key TEXT NOT NULL, outcome TEXT NOT NULL, seconds REAL NOT NULL,
            wall REAL NOT NULL, attempts INTEGER NOT NULL, digest TEXT NOT NULL, namespace TEXT NOT NULL,
            reason TEXT NOT NULL, actor TEXT NOT NULL, commit_id TEXT NOT NULL, commit_wall REAL, dirty INTEGER NOT NULL,
            UNIQUE (task, wall, key, namespace))""",
        "CREATE INDEX runs_by_key ON runs (key, wall)",
        "CREATE INDEX runs_by_wall ON runs (wall)",
        # The last green run of each task: asked for at each call, and so not searched for among all runs.
        """CREATE TABLE greens (
            task TEXT, namespace TEXT, run INTEGER NOT NULL, wall REAL NOT NULL, PRIMARY KEY (task, namespace)
        ) WITHOUT ROWID""",
        "CREATE TABLE manifests (key TEXT PRIMARY KEY, wall REAL NOT NULL, manifest BLOB NOT NULL)",
    ),
)
_ADD = """INSERT OR IGNORE INTO runs (task, key, outcome, seconds, wall, attempts, digest, namespace, reason, actor, commit_id,
    commit_wall, dirty) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_WHICH = "SELECT id FROM runs WHERE task = ? AND wall = ? AND key = ? AND namespace = ?"
_LAST = """INSERT INTO greens VALUES (?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET run = excluded.run, wall = excluded.wall WHERE excluded.wall >= wall"""
# A task that fails with the very key of its last green run (it asks something outside, or its result had to be made anew) is
# green no more; the one before, with another key, is what its files are compared with.
_FALLEN = """DELETE FROM greens WHERE task = ?1 AND namespace = ?2
    AND run IN (SELECT id FROM runs WHERE key = ?3 AND wall <= ?4)"""
_BEFORE = """INSERT INTO greens SELECT task, namespace, id, wall FROM runs WHERE task = ?1 AND namespace = ?2 AND key <> ?3
    AND outcome IN ('passed', 'flaky') ORDER BY wall DESC LIMIT 1"""


class Records:
    """The records of a workspace. Opens its file when it is first asked; `close` it, or use it as a context manager.

    Every method raises UserError when the file cannot be used. `told` takes a sentence when a damaged one was put aside.
    """

    def __init__(self, path: Path, told: Callable[[str], None] = lambda _: None) -> None:
        self.path, self._told = path, told
        self._lock = threading.RLock()
        self._opened: sqlite3.Connection | None = None
        self._added = 0

    def __enter__(self) -> Records:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go. The next question opens it again."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    # --- writing --------------------------------------------------------------------------------------------------

    def add(self, record: TaskRecord, manifest: Manifest | None) -> None:
        """Keep a run, and what its key stands for."""
        self._write([record], {} if manifest is None else {record.key: manifest})

    def merge(self, records: Iterable[TaskRecord], namespace: str) -> int:
        """Take over what other machines recorded, as the namespace's; returns how many were new."""
        from msgspec.structs import replace

        return self._write([replace(each, namespace=namespace) for each in records], {})

    def renew(self, green: Mapping[str, TaskRecord], namespace: str) -> None:
        """Tasks whose files are as in an earlier run that passed, of their own or of a twin's: it is their last one now."""
        from msgspec.structs import replace

        def work(db: sqlite3.Connection) -> None:
            with _transaction(db):
                for task, record in green.items():
                    own = replace(record, task=task, namespace=namespace)
                    db.execute(_ADD, _row(own))
                    (run,) = db.execute(_WHICH, (task, own.wall, own.key, namespace)).fetchone()
                    db.execute(_LAST, (task, namespace, run, time.time()))

        self._ask(work)

    def prune(self) -> None:
        """Forget what is too old or too much. `add` does so by itself, now and then."""

        def work(db: sqlite3.Connection) -> None:
            with _transaction(db):
                db.execute(
                    "DELETE FROM runs WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER"
                    " (PARTITION BY task ORDER BY wall DESC) AS nth FROM runs) WHERE nth > ?)"
                    " AND id NOT IN (SELECT run FROM greens)",
                    (KEPT_RUNS,),
                )
                db.execute(
                    "DELETE FROM manifests WHERE wall < ? AND key NOT IN (SELECT key FROM runs)",
                    (time.time() - KEPT_MANIFEST_S,),
                )

        self._ask(work)

    def _write(self, records: Sequence[TaskRecord], manifests: Mapping[str, Manifest]) -> int:
        import msgspec

        from atoll.model.records import GREEN

        packed = [(key, time.time(), zlib.compress(msgspec.json.encode(each), 1)) for key, each in manifests.items()]

        def work(db: sqlite3.Connection) -> int:
            new = 0
            with _transaction(db):
                for record in records:
                    done = db.execute(_ADD, _row(record))
                    if done.rowcount != 1:
                        continue  # known already
                    new += 1
                    whose = record.task, record.namespace
                    if record.outcome in GREEN:
                        db.execute(_LAST, (*whose, done.lastrowid, record.wall))
                    elif db.execute(_FALLEN, (*whose, record.key, record.wall)).rowcount:
                        db.execute(_BEFORE, (*whose, record.key))
                db.executemany("INSERT OR REPLACE INTO manifests VALUES (?, ?, ?)", packed)
            return new

        new = self._ask(work)
        self._added += new
        if self._added >= PRUNED_EVERY:
            self._added = 0
            self.prune()
        return new

    # --- reading --------------------------------------------------------------------------------------------------

    def green(self, task: str, namespaces: Collection[str] = TRUSTED) -> TaskRecord | None:
        """The last run of the task that passed, of those namespaces."""
        found = self._rows(
            "SELECT runs.* FROM greens JOIN runs ON runs.id = greens.run WHERE greens.task = ?"
            " AND greens.namespace IN (SELECT value FROM json_each(?)) ORDER BY greens.wall DESC LIMIT 1",
            (task, _listed(namespaces)),
        )
        return _record(found[0]) if found else None

    def ran(self, task: str) -> bool:
        """Whether the task ever came to an end of its own, whichever, in whatever namespace."""
        return bool(
            self._rows("SELECT 1 FROM runs WHERE task = ? AND outcome NOT IN ('skipped', 'cancelled') LIMIT 1", (task,))
        )

    def greens(self, namespaces: Collection[str] = TRUSTED) -> Mapping[str, TaskRecord]:
        """Task -> its last run that passed, of those namespaces."""
        rows = self._rows(
            "SELECT runs.* FROM greens JOIN runs ON runs.id = greens.run"
            " WHERE greens.namespace IN (SELECT value FROM json_each(?)) ORDER BY greens.wall",
            (_listed(namespaces),),
        )
        return {row[1]: _record(row) for row in rows}

    def green_keys(self, namespaces: Collection[str] = TRUSTED) -> Mapping[str, tuple[str, float]]:
        """Of the last run of each task that passed: its key, and how many seconds it took."""
        rows = self._rows(
            "SELECT greens.task, runs.key, runs.seconds FROM greens JOIN runs ON runs.id = greens.run"
            " WHERE greens.namespace IN (SELECT value FROM json_each(?)) ORDER BY greens.wall",
            (_listed(namespaces),),
        )
        return {task: (key, seconds) for task, key, seconds in rows}

    def passed(self, keys: Collection[str], namespaces: Collection[str] = TRUSTED) -> Mapping[str, TaskRecord]:
        """Key -> the last run with it, of those namespaces, where that one passed."""
        rows = self._rows(
            "SELECT runs.* FROM runs WHERE key IN (SELECT value FROM json_each(?))"
            " AND namespace IN (SELECT value FROM json_each(?)) ORDER BY wall, id",
            (_listed(keys), _listed(namespaces)),
        )
        return {key: _record(row) for key, row in {row[2]: row for row in rows}.items() if row[3] in _GREEN}

    def manifest(self, key: str) -> Manifest | None:
        """What the key stands for; None when that was forgotten."""
        import msgspec

        from atoll.pipeline.key import Manifest

        for (packed,) in self._rows("SELECT manifest FROM manifests WHERE key = ?", (key,)):
            try:
                return msgspec.json.decode(zlib.decompress(packed), type=Manifest)
            except (zlib.error, msgspec.MsgspecError):
                return None  # of another version of Atoll
        return None

    def contents(self, keys: Collection[str]) -> Mapping[str, Mapping[str, str]]:
        """Key -> path -> content of what went into it, as in its manifest; without those that were forgotten.

        For who cannot wait for the import that `manifest` needs.
        """
        import json

        query = "SELECT key, manifest FROM manifests WHERE key IN (SELECT value FROM json_each(?))"
        found: dict[str, dict[str, str]] = {}
        for key, packed in self._rows(query, (_listed(keys),)):
            with suppress(zlib.error, ValueError, KeyError, TypeError):  # of another version of Atoll
                inputs = json.loads(zlib.decompress(packed))["inputs"]
                found[key] = {path: content for path, _, content in inputs}
        return found

    def durations(self) -> Mapping[str, float]:
        """Task -> how long it takes, in seconds: the median of its last 5 runs that passed."""
        from statistics import median

        rows = self._rows(
            "SELECT task, seconds FROM (SELECT task, seconds, row_number() OVER (PARTITION BY task ORDER BY wall DESC)"
            " AS nth FROM runs WHERE outcome IN ('passed', 'flaky')) WHERE nth <= ?",
            (RECENT,),
        )
        taken: dict[str, list[float]] = {}
        for task, seconds in rows:
            taken.setdefault(task, []).append(seconds)
        return {task: median(each) for task, each in taken.items()}

    def history(self, *, service: str | None = None, limit: int = 100) -> Sequence[TaskRecord]:
        """Runs, the last one first; of one service when it is named."""
        rows = self._rows(
            "SELECT runs.* FROM runs WHERE ?1 IS NULL OR substr(task, 1, length(?1) + 1) = ?1 || '.'"
            " ORDER BY wall DESC, id DESC LIMIT ?2",
            (service, limit),
        )
        return [_record(row) for row in rows]

    def export(self, after_wall: float = 0.0) -> Iterator[TaskRecord]:
        """Runs that ended after `after_wall` (seconds since the epoch), the first one first."""
        rows = self._rows("SELECT runs.* FROM runs WHERE wall > ? ORDER BY wall, id", (after_wall,))
        return iter([_record(row) for row in rows])

    def _rows(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        return self._ask(lambda db: db.execute(query, values).fetchall())

    # --- the file -------------------------------------------------------------------------------------------------

    def _ask(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something with the file; once more with a new one when it turns out to be damaged."""
        import sqlite3

        with self._lock:
            for last in (False, True):
                try:
                    return work(self._connection())
                except sqlite3.DatabaseError as exc:
                    if last or not _damaged(exc):
                        raise self._trouble(exc) from exc
                    self._set_aside()
        raise AssertionError("the loop returns or raises")

    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            import sqlite3

            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as exc:
                from atoll.pipeline.artifacts import disk_trouble

                raise disk_trouble(exc, self.path.parent) from exc
            self._made_ours()
            db = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            try:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = NORMAL")
                self._migrate(db)
            except BaseException:
                db.close()
                raise
            self._opened = db
        return self._opened

    def _made_ours(self) -> None:
        """Manifests hold the variables of builds: nobody else's business. The -wal and -shm files inherit the mode."""
        with suppress(OSError):  # SQLite says it better
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))

    def _migrate(self, db: sqlite3.Connection) -> None:
        if _version(db) == len(MIGRATIONS):
            return
        with _transaction(db):
            version = _version(db)  # again: another process may just have done it
            if version > len(MIGRATIONS):
                from atoll.model.errors import UserError

                raise UserError(
                    f"{self.path} was written by a newer Atoll",
                    f"its schema is of version {version}, this Atoll knows {len(MIGRATIONS)}",
                    "use that Atoll, or move the file away: it is history and cache, and begun anew",
                    id="database-newer",
                )
            for statements in MIGRATIONS[version:]:
                for statement in statements:
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def _set_aside(self) -> None:
        """Move a damaged file out of the way, one process at a time: the next one meets a new file that is well."""
        import fcntl
        import sqlite3

        from atoll.pipeline.artifacts import disk_trouble

        self.close()
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
        try:
            with self.path.with_name(f"{self.path.name}.lock").open("wb") as alone:
                fcntl.flock(alone, fcntl.LOCK_EX)
                if _whole(self.path):
                    return
                for ending in ("-wal", "-shm"):
                    self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
                self.path.rename(aside)
        except (OSError, sqlite3.Error) as exc:
            raise disk_trouble(exc if isinstance(exc, OSError) else OSError(str(exc)), self.path.parent) from exc
        self._told(f"the records of tasks were damaged, and begin anew; what is left of them is in {aside}")

    def _trouble(self, exc: sqlite3.DatabaseError) -> UserError:
        import sqlite3

        from atoll.model.errors import UserError

        code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and self._no_space()):
            free = "free some space, or remove old artifacts"
            return UserError(f"the disk that holds {self.path} is full", str(exc), free, id="disk-full")
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            fix = "look who holds it: `fuser` names the process"
            return UserError(
                f"{self.path} is busy", f"another process held it for {BUSY_S:g} s", fix, id="database-busy"
            )
        fix = "make it writable for the user who builds, or move it away: it is begun anew"
        return UserError(f"{self.path} cannot be used", str(exc), fix, id="folder-unusable")

    def _no_space(self) -> bool:
        """Whether there is no room for the index of SQLite's log: that is an I/O error to it, not a full disk."""
        try:
            found = os.statvfs(self.path.parent)
        except OSError:
            return False
        return found.f_bavail * found.f_frsize < _SHM_BYTES


class _transaction:  # noqa: N801  reads like the function that it stands for
    """BEGIN IMMEDIATE: who will write waits for other writers at the beginning, where waiting is possible."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._db.execute("COMMIT")
        elif self._db.in_transaction:
            self._db.execute("ROLLBACK")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _whole(path: Path) -> bool:
    import sqlite3

    try:
        with closing(sqlite3.connect(path, timeout=BUSY_S)) as db:
            return bool(db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.DatabaseError as exc:
        if _damaged(exc):
            return False
        raise


def _damaged(exc: sqlite3.DatabaseError) -> bool:
    import sqlite3

    return getattr(exc, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _listed(values: Collection[str]) -> str:
    """Any number of values as one parameter."""
    import json

    return json.dumps(list(values))


def _row(record: TaskRecord) -> tuple[Any, ...]:
    author = record.author
    return (
        *(record.task, record.key, record.outcome, record.seconds, record.wall, record.attempts, record.digest),
        *(record.namespace, record.reason, author.actor, author.commit, author.commit_wall, int(author.dirty)),
    )


def _record(row: tuple[Any, ...]) -> TaskRecord:
    from atoll.model.records import TaskRecord
    from atoll.model.state import Author

    task, key, outcome, seconds, wall, attempts, digest, namespace, reason, actor, commit, commit_wall, dirty = row[
        1:14
    ]
    return TaskRecord(
        task=task,
        key=key,
        outcome=outcome,
        seconds=seconds,
        wall=wall,
        attempts=attempts,
        digest=digest,
        namespace=namespace,
        reason=reason,
        author=Author(actor=actor, commit=commit, commit_wall=commit_wall, dirty=bool(dirty)),
    )
