"""Reading what replicas printed, from files in the format of `atoll.keeper.linelog`.

A process' shim writes them as it goes; a container's output is put into one when the container is removed.
"""

import asyncio
import glob
import heapq
import os
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Literal

from atoll.model.hosted import LogLine

BLOCK_BYTES = 64 * 1024
POLL_S = 0.1
STREAMS: dict[bytes, Literal["stdout", "stderr"]] = {b"o": "stdout", b"e": "stderr"}


def parse(service: str, replica: str, line: bytes) -> LogLine | None:
    """One line of a log file; None when it is torn."""
    wall, _, rest = line.partition(b" ")
    mark, _, text = rest.partition(b" ")
    try:
        return LogLine(
            service=service,
            replica=replica,
            wall=float(wall),
            stream=STREAMS[mark],
            text=text.rstrip(b"\r").decode("utf-8", "replace"),
            cursor=f"{wall.decode()}:{replica}",
        )
    except (ValueError, KeyError):
        return None


def _open(path: Path) -> int:
    """Its descriptor; -1 when it is not there."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def _close(*files: int) -> None:
    for fd in files:
        if fd >= 0:
            os.close(fd)


def _inode(at: Path | int) -> int:
    """-1 when there is no file."""
    try:
        return (os.fstat(at) if isinstance(at, int) else at.stat()).st_ino
    except OSError:
        return -1


def _pair(path: Path) -> tuple[int, int]:
    """Descriptors of the file before this one and of this one as they were at one moment; -1 for what is not there.

    By name, one after the other, a rotation in between would hide a file.
    """
    before, tries = path.with_name(path.name + ".1"), 10  # one that cannot be opened is as good as none
    older, newer = _open(before), _open(path)
    while _inode(before) != _inode(older) and (tries := tries - 1):
        _close(older, newer)
        older, newer = _open(before), _open(path)
    return older, newer


def _backwards(fd: int, end: int) -> Iterator[bytes]:
    """Complete lines before offset `end`, the last one first."""
    rest, at = b"", end
    while at > 0:
        size = min(BLOCK_BYTES, at)
        at -= size
        first, *lines = (os.pread(fd, size, at) + rest).split(b"\n")
        yield from reversed(lines)
        rest = first
    yield rest


def newest(path: Path, service: str, count: int, since_wall: float, until_wall: float | None = None) -> list[LogLine]:
    """The last `count` lines of one replica's log, in order, between these times."""
    tail = Tail(path, service, from_end=True)
    try:
        return tail.past(count, since_wall, until_wall)
    finally:
        tail.close()


class Tail:
    """Follows one replica's log across rotations, also across two between two looks. To be closed."""

    def __init__(self, path: Path, service: str, *, from_end: bool) -> None:
        self.path = path
        self._service, self._replica = service, path.name.removesuffix(".log")
        self._older, self._fd = _pair(path)
        if self._older >= 0 and (self._fd < 0 or not from_end):
            self._older, self._fd = self._fd, self._older
        self._offset = os.fstat(self._fd).st_size if from_end and self._fd >= 0 else 0
        if not from_end:
            self._forget()

    def past(self, count: int, since_wall: float, until_wall: float | None = None) -> list[LogLine]:
        """The last `count` lines before those that will be followed from the end, in order, between these times. Once."""
        files = [(self._fd, self._offset)] if self._fd >= 0 else []
        files += [(self._older, os.fstat(self._older).st_size)] if self._older >= 0 else []
        found: list[LogLine] = []
        for raw in chain.from_iterable(_backwards(fd, end) for fd, end in files):
            line = parse(self._service, self._replica, raw)
            if line is None or (until_wall is not None and line.wall > until_wall):
                continue
            if len(found) >= count or line.wall < since_wall:
                break
            found.append(line)
        self._forget()
        return found[::-1]

    def _forget(self) -> None:
        _close(self._older)
        self._older = -1

    def lines(self) -> list[LogLine]:
        """What is new."""
        found = self._read()
        while (now := _inode(self.path)) >= 0 and (self._fd < 0 or now != _inode(self._fd)):
            if (following := self._following()) < 0:
                break
            found += self._read()  # written between the last read and the rotation
            _close(self._fd)
            self._fd, self._offset = following, 0
            found += self._read()
        return found

    def _following(self) -> int:
        """The file that is written after the one that is read; -1 when that is not there yet, or is the same."""
        older, newer = _pair(self.path)
        own = _inode(self._fd) if self._fd >= 0 else -1
        following, other = (newer, older) if older < 0 or _inode(older) == own else (older, newer)
        _close(other)
        if following >= 0 and _inode(following) == own:
            _close(following)
            return -1
        return following

    def _read(self) -> list[LogLine]:
        found: list[LogLine] = []
        if self._fd < 0:
            return found
        while data := os.pread(self._fd, 16 * BLOCK_BYTES, self._offset):
            end = data.rfind(b"\n") + 1
            if end == 0:
                break
            self._offset += end
            parsed = (parse(self._service, self._replica, raw) for raw in data[: end - 1].split(b"\n"))
            found += [line for line in parsed if line is not None]
        return found

    def close(self) -> None:
        """Let go of the files."""
        self._forget()
        _close(self._fd)
        self._fd = -1


def is_chosen(id: str, replica: str | None) -> bool:
    """Whether `replica` (an id, with a dot at its end the beginning of ids, None is all) means this one."""
    return replica is None or id == replica or (replica.endswith(".") and id.startswith(replica))


def chosen(folder: Path, replica: str | None) -> list[Path]:
    """The files of those that `replica` means, which need not be there. Who asks may be a stranger to the machine: no path is one."""
    if replica is not None and "/" in replica:
        return []
    if replica is not None and replica.endswith("."):
        return sorted(folder.glob(f"{glob.escape(replica)}*.log"))
    if replica is not None:
        return [folder / f"{replica}.log"]
    return sorted(folder.glob("*.log"))


async def _in_thread(work: Callable[[], list[LogLine]]) -> list[LogLine]:
    """Off the loop; when cancelled, not before the thread has let go of the files."""
    task = asyncio.create_task(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def read(
    folder: Path,
    service: str,
    replica: str | None,
    tail: int,
    follow: bool,
    since_wall: float,
    until_wall: float | None = None,
) -> AsyncIterator[LogLine]:
    """The last `tail` lines of a service by time, then, with `follow`, each new one within a fraction of a second."""
    tails: dict[Path, Tail] = {}

    def past() -> list[LogLine]:
        for path in chosen(folder, replica):
            tails[path] = Tail(path, service, from_end=True)
        found = [each.past(tail, since_wall, until_wall) for each in tails.values()]
        return list(heapq.merge(*found, key=lambda line: line.wall))[-tail:] if tail > 0 else []

    def news() -> list[LogLine]:
        for path in chosen(folder, replica):
            if path not in tails:
                tails[path] = Tail(path, service, from_end=False)
        return list(heapq.merge(*(each.lines() for each in tails.values()), key=lambda line: line.wall))

    try:
        for line in await _in_thread(past):
            yield line
        while follow:
            await asyncio.sleep(POLL_S)
            for line in await _in_thread(news):
                yield line
    finally:
        for each in tails.values():
            each.close()
