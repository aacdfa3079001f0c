"""Opening `state.db`: pragmas, the check after a crash, the migrations. Called by `sqlite`, never on the event loop."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, update
from sqlalchemy.pool import QueuePool

from atoll.model.errors import UserError
from atoll.store import failures
from atoll.store.schema import HEAD, leader

_BUSY_MS: Final = 5000  # somebody else's sqlite3 shell may hold the lock that long
_SHOWN: Final = 3  # of quick_check's findings


def connect(path: Path, *, readonly: bool = False) -> Engine:
    """An engine of one connection. A writer's transactions are IMMEDIATE, so that what they read still stands."""
    if not readonly:
        # Releases hold plain environment values: nobody else's business. The -wal and -shm files inherit the mode.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=QueuePool, pool_size=1, max_overflow=0)

    def prepare(dbapi: Any, _record: object) -> None:
        dbapi.isolation_level = None  # transactions are begun below, not by the driver's guess
        for pragma in (f"busy_timeout={_BUSY_MS}", "journal_mode=WAL", "synchronous=FULL"):
            dbapi.execute(f"PRAGMA {pragma}").close()
        if readonly:
            dbapi.execute("PRAGMA query_only=ON").close()

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return engine


def prepare(engine: Engine, path: Path) -> None:
    """Make the schema current; after an unclean end look for damage first.

    Raises UserError when a newer Atoll wrote the file or when it is damaged.
    """
    with engine.begin() as connection:
        found = _revision(connection)
        if found is not None and (found not in _known() or found > HEAD):
            raise UserError(
                f"The database {path} was written by a newer Atoll",
                f"its schema is {found}, this version knows {HEAD}",
                _way_back(path),
                id="database-newer",
            )
        if found is not None and (found != HEAD or not _clean(connection)):
            check(connection, path)
        if found != HEAD:
            if found is not None:
                _keep(path, found)
            _migrate(connection)


def _keep(path: Path, revision: str) -> None:
    """A copy of what an older version can read: `state.db.0003`, in place of those of upgrades before.

    Nobody writes meanwhile: the caller has the write lock.
    """
    copy, draft = path.with_name(f"{path.name}.{revision}"), path.with_name(f"{path.name}.draft")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(draft)) as target:
        source.backup(target)
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    for older in _copies(path).values():
        older.unlink()
    draft.replace(copy)


def _copies(path: Path) -> dict[str, Path]:
    """Those that are kept beside the database, by their schema."""
    found = {each.name.removeprefix(f"{path.name}."): each for each in path.parent.glob(f"{path.name}.*")}
    return {revision: each for revision, each in found.items() if revision.isdigit()}


def _way_back(path: Path) -> str:
    copies = {revision: copy for revision, copy in _copies(path).items() if revision in _known() and revision <= HEAD}
    if not copies:
        return "start the newer version; a schema never goes back"
    copy = copies[max(copies)]
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(copy.stat().st_mtime))
    return (
        f"start the newer version; or go back to how it was before the upgrade, and forget all since {when}: "
        f"`rm -f {path}-wal {path}-shm && mv {copy} {path}`, then `atoll up`; where the machine serves it, stop its unit before and start it after"
    )


def check(connection: Connection, path: Path) -> None:
    """Raise UserError when SQLite finds damage (`quick_check`: structure without indexes, about 0.3 s per 100 MB)."""
    found = [str(row[0]) for row in connection.exec_driver_sql(f"PRAGMA quick_check({_SHOWN})")]
    if found != ["ok"]:
        raise failures.damaged(path, "; ".join(found))


def mark_clean(connection: Connection) -> None:
    """Say that the leader closed in good order."""
    connection.execute(update(leader).values(clean=1))


def _revision(connection: Connection) -> str | None:
    tables = connection.exec_driver_sql("SELECT name FROM sqlite_schema WHERE name = 'alembic_version'")
    if tables.first() is None:
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if found is None else str(found)


def _clean(connection: Connection) -> bool:
    return connection.exec_driver_sql("SELECT clean FROM leader").scalar() == 1


def _scripts() -> Path:
    return Path(__file__).parent / "migrations"


def _known() -> set[str]:
    return {file.stem[1:].partition("_")[0] for file in (_scripts() / "versions").glob("r*.py")}


def _migrate(connection: Connection) -> None:
    # Imported here: alembic takes longer to load than everything else, and is needed once per schema.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_scripts()).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
