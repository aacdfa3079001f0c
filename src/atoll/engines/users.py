"""Which user a service runs as: one of its own, stable across restarts, when this process is root.

The numbers are kept beside the keeper's state. Daemons of several environments choose one after the other. Whether that user
can read the service's files is judged when it starts (by the kernel, in `atoll.keeper.spawn`).
"""

import fcntl
import json
import os
import pwd
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

FIRST_UID, COUNT = 61000, 4000
_NAME = "users.json"
NOT_ROOT = "shares the user of Atoll with all other services: only root can give each service a user of its own"


class Users:
    """The users of one environment's services. `others` are the state folders of environments beside it on the machine, and
    `lock` is the file that whoever chooses there holds meanwhile.
    """

    def __init__(self, state_dir: Path, others: Callable[[], Iterable[Path]] = tuple, lock: Path | None = None) -> None:
        self._file = state_dir / _NAME
        self._others, self._lock = others, lock
        self._uids = _read(self._file)

    def uid(self, service: str) -> int:
        """The service's user id, the same each time; no other service, of this environment or the others, has it."""
        known = self._uids.get(service)
        if known is not None:
            return known
        wish = zlib.crc32(service.encode()) % COUNT
        with self._alone():
            taken = {*self._uids.values(), *self._elsewhere()}
            uid = next(
                candidate
                for candidate in (FIRST_UID + (wish + step) % COUNT for step in range(COUNT))
                if candidate not in taken and not _is_somebody(candidate)
            )
            self._uids[service] = uid
            self._save()
        return uid

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else chooses meanwhile, which takes milliseconds."""
        try:
            held = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) if self._lock else None
        except OSError:
            held = None  # a full disk, on which the others could not read our choice either
        try:
            if held is not None:
                fcntl.flock(held, fcntl.LOCK_EX)
            yield
        finally:
            if held is not None:
                os.close(held)

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
