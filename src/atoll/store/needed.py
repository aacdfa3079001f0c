"""Which artifacts an environment needs, and which of its services shall run: read from its `state.db` while a daemon runs or not.

For whoever removes artifacts, or starts the daemon with something else. It leads nothing and migrates nothing: an older or newer
file is read as far as it can be.
"""

import sqlite3
from pathlib import Path

from atoll.store.sqlite import FILE

WAIT_S = 5.0  # for a daemon that writes


def artifact_keys(state: Path) -> frozenset[str]:
    """The keys of the artifacts of all kept releases; empty for an environment that never ran.

    Args:
        state: the environment's folder of state.

    Raises:
        sqlite3.Error: it cannot be read, so that nothing may be removed.
    """
    return _column(state, "releases", "SELECT json_extract(body, '$.artifact.key') FROM releases")


def wanted(state: Path) -> frozenset[str]:
    """The services that shall run; empty for an environment that never ran.

    Args:
        state: the environment's folder of state.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    return _column(state, "intents", "SELECT service FROM intents WHERE target IS NOT NULL")


def _column(state: Path, table: str, query: str) -> frozenset[str]:
    file = state / FILE
    if not file.exists():
        return frozenset()
    connection = sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=WAIT_S)
    try:
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).fetchone():
            return frozenset()  # its first daemon is being started right now, or was killed in the middle of that
        rows = connection.execute(query).fetchall()
    finally:
        connection.close()
    return frozenset(str(value) for (value,) in rows)
