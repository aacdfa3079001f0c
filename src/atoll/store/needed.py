"""Which artifacts the releases of an environment need, read from its `state.db` while a daemon runs or not.

For whoever removes artifacts. It leads nothing and migrates nothing: an older or newer file is read as far as it can be.
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
    file = state / FILE
    if not file.exists():
        return frozenset()
    connection = sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=WAIT_S)
    try:
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'releases'").fetchone():
            return frozenset()  # its first daemon is being started right now, or was killed in the middle of that
        rows = connection.execute("SELECT json_extract(body, '$.artifact.key') FROM releases").fetchall()
    finally:
        connection.close()
    return frozenset(str(key) for (key,) in rows)
