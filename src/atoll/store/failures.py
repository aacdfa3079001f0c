"""SQLite's errors in Atoll's classes: which of them pass, which a person must mend, and which are bugs."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError

from atoll.model.errors import AtollError, Retryable, UserError

# Primary result codes, https://www.sqlite.org/rescode.html
_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_PASSING: Final = {
    sqlite3.SQLITE_FULL: "there is no space left on its disk",
    sqlite3.SQLITE_IOERR: "its disk does not read or write",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_PERM: "access to it is denied",
    sqlite3.SQLITE_BUSY: "another program keeps it locked",
    sqlite3.SQLITE_LOCKED: "another program keeps it locked",
    sqlite3.SQLITE_NOMEM: "there is no memory left",
}


_ANEW: Final = "start again, and deploy each service"


def damaged(path: Path, why: str, anew: str = _ANEW) -> UserError:
    """The database is broken; Atoll never moves it aside by itself, since it may be the only copy. `anew`: what an empty one needs."""
    return UserError(
        f"The database {path} is damaged",
        why,
        f"put back a copy of it, or begin anew: `cd {path.parent} && mv {path.name} {path.name}.damaged && rm -f {path.name}-*`, {anew}",
        id="database-damaged",
    )


def unusable(folder: Path, exc: OSError) -> UserError:
    """The state folder cannot be written."""
    return UserError(
        f"The state folder {folder} cannot be used",
        exc.strerror or str(exc),
        "give it space and write permission, or choose another state folder",
        id="folder-unusable",
    )


def explain(exc: BaseException, path: Path, anew: str = _ANEW) -> AtollError | None:
    """What a foreign error means for the caller; None is a bug, to be raised as it is."""
    cause = exc.orig if isinstance(exc, DBAPIError) else exc
    if not isinstance(cause, sqlite3.Error):
        return None
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF  # the primary code of an extended one
    if code in _DAMAGED:
        return damaged(path, str(cause), anew)
    if code in _PASSING:
        return Retryable(f"{path} cannot be used now: {_PASSING[code]} ({cause})", after_s=1.0, id="database-busy")
    return None


@contextmanager
def translated(path: Path, anew: str = _ANEW) -> Iterator[None]:
    """Raise what `explain` says, chained."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as exc:
        error = explain(exc, path, anew)
        if error is None:
            raise
        raise error from exc
