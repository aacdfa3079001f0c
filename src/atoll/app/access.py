"""`access.json` of an environment's state folder: which groups of the machine hold which role.

Root writes it, when the environment is installed; the daemon reads it. It belongs to the machine and never comes over the API or from a
workspace's files: who may do what is not said by those who are judged by it.
"""

import os
import stat
from pathlib import Path

import msgspec

from atoll.model.access import Access
from atoll.model.errors import UserError

_NAME = "access.json"
_MAX_BYTES = 64 * 2**10


def path_of(state: Path) -> Path:
    """Where it lies."""
    return state / _NAME


def read(state: Path) -> Access:
    """Who holds which role; nobody where there is no such file. Raises UserError when it cannot be trusted or understood."""
    path = path_of(state)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return Access()
    except OSError as exc:
        raise _unusable(path, exc.strerror or str(exc)) from exc
    with os.fdopen(fd, "rb") as file:
        there = os.fstat(fd)
        if not stat.S_ISREG(there.st_mode):
            raise _unusable(path, "it is not a file")
        if there.st_uid not in {0, os.geteuid()}:
            raise _unusable(path, f"it belongs to user {there.st_uid}, who could make anybody an admin")
        if there.st_mode & 0o022:
            raise _unusable(path, "others than its owner may write to it")
        text = file.read(_MAX_BYTES)
    try:
        return msgspec.json.decode(text, type=Access)
    except msgspec.MsgspecError as exc:
        raise _unusable(path, str(exc)) from exc


def write(state: Path, access: Access) -> bool:
    """Write it, atomically, readable by everybody; False when it said the same already. An unusable one is replaced."""
    try:
        if path_of(state).exists() and read(state) == access:
            return False
    except UserError:
        pass
    fresh = state / f"{_NAME}.{os.getpid()}~"
    fresh.unlink(missing_ok=True)
    # Exclusively: root writes here in a folder of the daemon's user, who may have put a link in the way.
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o644)  # whatever the umask
        file.write(msgspec.json.format(msgspec.json.encode(access)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path_of(state))
    return True


def _unusable(path: Path, why: str) -> UserError:
    fix = "as root, write it anew: `atoll install` with --readers, --deployers and --admins"
    return UserError(f"{path} cannot be used", why, fix, id="access-unusable")
