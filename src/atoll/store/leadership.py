"""Who leads an environment: a lock file for the machine, an epoch in the database for what a lock cannot see.

The kernel frees the lock when its process ends, however it ends. The epoch fences a leader that lost its lock without
knowing (the file was removed, or lies on a file system without locks). Called by `sqlite` only.
"""

import fcntl
import os
from pathlib import Path

from sqlalchemy import Connection, select, update

from atoll.model.errors import Conflict, Fenced
from atoll.store.failures import unusable
from atoll.store.schema import leader


class LeaderLock:
    """`leader.lock`, held from construction to `release`. Raises Conflict, naming the pid that has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise unusable(path.parent, exc) from exc
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as exc:
            holder = os.pread(self._fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise Conflict(
                "Another daemon leads this environment",
                f"pid {holder} holds {path}",
                "use that one, or stop it first",
                id="second-daemon",
            ) from exc
        except OSError as exc:
            os.close(self._fd)
            raise unusable(path.parent, exc) from exc

    def release(self) -> None:
        """Let go of it; the file stays, since removing it would let two processes lock two files of one name."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def raise_epoch(connection: Connection, wall: float) -> int:
    """Become the leader inside this transaction; returns the new epoch."""
    epoch = int(connection.execute(select(leader.c.epoch)).scalar_one()) + 1
    connection.execute(update(leader).values(epoch=epoch, pid=os.getpid(), since_wall=wall, clean=0))
    return epoch


def verify_epoch(connection: Connection, epoch: int) -> None:
    """Raise Fenced unless `epoch` still leads."""
    found, pid = connection.execute(select(leader.c.epoch, leader.c.pid)).one()
    if found != epoch:
        raise Fenced(
            f"another daemon (pid {pid}) leads this environment now: epoch {found}, this one has {epoch}",
            id="second-daemon",
        )
