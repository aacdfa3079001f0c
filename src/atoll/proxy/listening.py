"""Which ports are listened on. `EnvoyProxy` calls it: Envoy acknowledges a listener before its workers have it.

Read from the kernel's table, because a connection to try would reach the service behind a TCP edge. Where there is no
such table (outside Linux) every port counts as listened on.
"""

from collections.abc import Iterable
from pathlib import Path

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTEN = "0A"


def not_listening(ports: Iterable[int]) -> set[int]:
    """Those of `ports` on which nobody listens, on whatever address."""
    wanted = set(ports)
    for table in _TABLES:
        if not wanted:
            break
        try:
            rows = table.read_text().splitlines()[1:]
        except OSError:
            return set()
        for row in rows:
            _, local, _, state, *_ = row.split(maxsplit=4)
            if state == _LISTEN:
                wanted.discard(int(local.rpartition(":")[2], 16))
    return wanted
