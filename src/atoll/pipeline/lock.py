"""Locks between processes: flock(2) on a file, gone with the process that holds it, however that ended.

A lock's descriptor is handed to the build's reaper, too, so that it is held until the last process of the build is
gone, even when the builder itself was killed. Called by `artifacts`; nothing here knows what is locked.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

POLL_S = 0.05  # flock cannot be awaited, and a thread blocked in it cannot be cancelled


class Lock:
    """A lock that is held; `fd` may be passed on. Released when every descriptor of it is closed."""

    def __init__(self, fd: int, path: Path) -> None:
        self.fd, self.path = fd, path

    def release(self) -> None:
        """Let go, once. What it was passed on to still holds it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def try_lock(path: Path, *, shared: bool = False) -> Lock | None:
    """The lock, or None when somebody else holds it. The file is made when missing. Raises OSError.

    `shared` excludes only those who do not share it: for looking at what they change.
    """
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            if _same(fd, path):
                return Lock(fd, path)
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # somebody removed the file while we waited for it: the next one is the lock


async def lock(path: Path, timeout_s: float, *, shared: bool = False) -> Lock:
    """Wait for the lock. Raises TimeoutError after `timeout_s` seconds, and OSError."""
    import asyncio  # who only looks, as `keys` does, need not pay for it

    async with asyncio.timeout(timeout_s):
        while (held := try_lock(path, shared=shared)) is None:
            await asyncio.sleep(POLL_S)
        return held


def _same(fd: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    ours = os.fstat(fd)
    return (there.st_ino, there.st_dev) == (ours.st_ino, ours.st_dev)
