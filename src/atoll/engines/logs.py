"""Reading what replicas printed, from files in the format of `atoll.keeper.linelog`.

A process' shim writes them as it goes; a container's output is put into one when the container is removed.
"""

import asyncio
import glob
import heapq
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
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


def _backwards(path: Path, end: int) -> Iterator[bytes]:
    """Complete lines before offset `end`, the last one first."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rest, at = b"", end
        while at > 0:
            size = min(BLOCK_BYTES, at)
            at -= size
            first, *lines = (os.pread(fd, size, at) + rest).split(b"\n")
            yield from reversed(lines)
            rest = first
        yield rest
    finally:
        os.close(fd)


def newest(
    path: Path,
    service: str,
    count: int,
    since_wall: float,
    end: int | None = None,
    until_wall: float | None = None,
) -> list[LogLine]:
    """The last `count` lines of one replica's log and the file before it, in order, between these times.

    `end` is the offset in the newest file up to which to read.
    """
    found: list[LogLine] = []
    for file, stop in ((path, end), (path.with_name(path.name + ".1"), None)):
        if stop is None:
            try:
                stop = file.stat().st_size
            except OSError:
                continue
        for raw in _backwards(file, stop):
            line = parse(service, path.name.removesuffix(".log"), raw)
            if line is None or (until_wall is not None and line.wall > until_wall):
                continue
            if len(found) >= count or line.wall < since_wall:
                return found[::-1]
            found.append(line)
    return found[::-1]


class Tail:
    """Follows one replica's log across rotations."""

    def __init__(self, path: Path, service: str, *, from_end: bool) -> None:
        self.path = path
        self.replica = path.name.removesuffix(".log")
        self._service = service
        self._fd = -1
        self.offset = 0
        self._open()
        if from_end and self._fd >= 0:
            self.offset = os.fstat(self._fd).st_size

    def _open(self) -> None:
        with suppress(OSError):
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            self.offset = 0

    def lines(self) -> list[LogLine]:
        """What is new."""
        found = self._read()
        try:
            rotated = self._fd < 0 or self.path.stat().st_ino != os.fstat(self._fd).st_ino
        except OSError:  # pruned, or between two files
            return found
        if rotated:
            found += self._read()  # written between the first read and the rotation
            self.close()
            self._open()
            found += self._read()
        return found

    def _read(self) -> list[LogLine]:
        found: list[LogLine] = []
        if self._fd < 0:
            return found
        while data := os.pread(self._fd, 16 * BLOCK_BYTES, self.offset):
            end = data.rfind(b"\n") + 1
            if end == 0:
                break
            self.offset += end
            parsed = (parse(self._service, self.replica, raw) for raw in data[: end - 1].split(b"\n"))
            found += [line for line in parsed if line is not None]
        return found

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
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
        found = [newest(path, service, tail, since_wall, each.offset, until_wall) for path, each in tails.items()]
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
