"""Which user a service runs as: one of its own, stable across restarts, when this process is root.

The numbers are kept beside the keeper's state. Whether that user can read the service's files is judged when it
starts (by the kernel, in `atoll.keeper.spawn`).
"""

import json
import os
import pwd
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

FIRST_UID, COUNT = 61000, 4000
_NAME = "users.json"
NOT_ROOT = "shares the user of Atoll with all other services: only root can give each service a user of its own"


class Users:
    """The users of one environment's services. `others` are the state folders of environments beside it on the machine."""

    def __init__(self, state_dir: Path, others: Callable[[], Iterable[Path]] = tuple) -> None:
        self._file = state_dir / _NAME
        self._others = others
        self._uids = _read(self._file)

    def uid(self, service: str) -> int:
        """The service's user id, the same each time; no other service, of this environment or the others, has it."""
        known = self._uids.get(service)
        if known is not None:
            return known
        taken = {*self._uids.values(), *self._elsewhere()}
        wish = zlib.crc32(service.encode()) % COUNT
        uid = next(
            candidate
            for candidate in (FIRST_UID + (wish + step) % COUNT for step in range(COUNT))
            if candidate not in taken and not _is_somebody(candidate)
        )
        self._uids[service] = uid
        self._save()
        return uid

    def _elsewhere(self) -> Iterator[int]:
        for state in self._others():
            if (file := state / _NAME) != self._file:
                yield from _read(file).values()

    def _save(self) -> None:
        temporary = self._file.with_suffix(".new")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(self._uids), encoding="utf-8")
            temporary.replace(self._file)
        except OSError:
            temporary.unlink(missing_ok=True)  # a full disk: kept in memory, and derived from the name next time


def _read(file: Path) -> dict[str, int]:
    try:
        found: dict[str, int] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # absent, or torn by a power cut: the numbers follow from the names again
        return {}
    return found


def _is_somebody(uid: int) -> bool:
    """Whether the system knows that user: an account, or a dynamic user of systemd (61184 and up)."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return os.path.lexists(f"/run/systemd/dynamic-uid/{uid}")
    return True
