"""The durable memory of one supervised process: what it is, under which pid it runs, how it ended.

One file per process, one JSON record a line, only ever appended to; a torn last line is ignored. Its blocks are
reserved when it is made, so that an exit can be written to a full disk. Written by the shim (and by the keeper after
the shim's death), read by a keeper that adopts.
"""

import json
import os
from contextlib import suppress

from atoll.keeper.wire import Message

RESERVED_BYTES = 8192


class Journal:
    """Appends records to the file at `path`."""

    def __init__(self, path: str, fd: int, end: int) -> None:
        self.path = path
        self._fd = fd
        self._end = end

    @classmethod
    def create(cls, paths: list[str]) -> "Journal":
        """A new one at the first of `paths` that has room. Raises the last OSError."""
        problem: OSError | None = None
        for path in paths:
            try:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            except OSError as exc:
                problem = exc
                continue
            try:
                os.posix_fallocate(fd, 0, RESERVED_BYTES)
            except OSError as exc:
                problem = exc
                os.close(fd)
                with suppress(OSError):
                    os.unlink(path)
                continue
            return cls(path, fd, 0)
        assert problem is not None
        raise problem

    @classmethod
    def reopen(cls, path: str) -> "Journal":
        """The one at `path`, to append after its last complete record. Raises OSError."""
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        data = os.pread(fd, 1 << 20, 0)
        return cls(path, fd, data.rstrip(b"\0").rfind(b"\n") + 1)

    def append(self, record: Message) -> bool:
        """Write one record; it survives this process. False when there is no room for it."""
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        try:
            written = os.pwrite(self._fd, line, self._end)
            if written < len(line):
                return False
            self._end += len(line)
        except OSError:
            return False
        return True

    def sync(self) -> None:
        """Make what was appended survive a power cut."""
        with suppress(OSError):
            os.fdatasync(self._fd)

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def add(path: str, record: Message) -> None:
    """Append one record to an existing journal, best effort: for the keeper, after a shim's death."""
    with suppress(OSError):
        journal = Journal.reopen(path)
        journal.append(record)
        journal.close()


def replay(path: str) -> Message:
    """All records of a journal merged in order (later fields win); {} when there is none that is complete."""
    merged: Message = {}
    try:
        with open(path, "rb") as file:
            data = file.read(1 << 20)
    except OSError:
        return merged
    for line in data.split(b"\n")[:-1]:
        with suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict):
                merged.update(record)
    return merged
