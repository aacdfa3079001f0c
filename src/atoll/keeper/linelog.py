"""What a process printed, line by line with its time, in files of a bounded size.

One writer (its shim); readers follow the files. A line reads `1764052345.123456 o text` (`e` for standard error); in
the logs of Atoll's own processes, which people read as they are, `2025-11-25 07:12:25.123 text`.
A full disk costs lines, never the writer: they are dropped, counted, and the count is written when there is room.
"""

import os
import time
from contextlib import suppress

MAX_LINE_BYTES = 64 * 1024  # a longer line is split
FILE_BYTES = 8 * 1024 * 1024  # two files: at most 16 MiB on disk


class LineLog:
    """`path` is written, `path.1` is what was written before."""

    def __init__(self, path: str, file_bytes: int = FILE_BYTES, *, for_people: bool = False) -> None:
        self.path = path
        self._for_people = for_people
        self.dropped = 0
        self._file_bytes = file_bytes
        self._rest = {"o": b"", "e": b""}  # the beginning of a line whose end has not come
        self._torn = False  # a write stopped within a line
        self._fd = -1
        self._size = 0
        self._open()

    def _open(self) -> None:
        try:
            self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._size = os.fstat(self._fd).st_size
        except OSError:
            self._fd = -1

    def write(self, stream: str, chunk: bytes) -> None:
        """Add what was read from one stream ("o" or "e"). Never raises."""
        data = self._rest[stream] + chunk
        end = data.rfind(b"\n")
        body, rest = data[: end + 1], data[end + 1 :]
        while len(rest) >= MAX_LINE_BYTES:
            body += rest[:MAX_LINE_BYTES] + b"\n"
            rest = rest[MAX_LINE_BYTES:]
        self._rest[stream] = rest
        if body:
            self._append(stream, body)

    def finish(self) -> None:
        """Write the lines whose end never came, and close."""
        for stream, rest in self._rest.items():
            if rest:
                self._append(stream, rest + b"\n")
        self._rest = {"o": b"", "e": b""}
        if self.dropped:
            self._append("e", b"")
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, stream: str, body: bytes) -> None:
        first = body.find(b"\n")
        if first > MAX_LINE_BYTES:  # only the first line can be: it alone spans two reads
            line = body[:first]
            parts = [line[at : at + MAX_LINE_BYTES] for at in range(0, first, MAX_LINE_BYTES)]
            body = b"\n".join(parts) + body[first:]
        prefix = self._prefix(stream)
        text = prefix + body[:-1].replace(b"\n", b"\n" + prefix) + b"\n" if body else b""
        if self.dropped:
            missing = f"[{self.dropped} lines are missing here: the disk was full]\n"
            text = self._prefix("e") + missing.encode() + text
        if self._torn:
            text = b"\n" + text
        if self._size + len(text) > self._file_bytes:
            self._rotate()
        if self._put(text):
            self.dropped = 0
        else:
            self.dropped += body.count(b"\n")

    def _prefix(self, stream: str) -> bytes:
        now = time.time()
        if not self._for_people:
            return f"{now:.6f} {stream} ".encode()
        return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(now))}.{int(now * 1000) % 1000:03} ".encode()

    def _put(self, text: bytes) -> bool:
        if self._fd < 0:
            self._open()
        try:
            written = os.write(self._fd, text)
        except OSError:
            return False
        self._size += written
        self._torn = written < len(text)
        return not self._torn

    def _rotate(self) -> None:
        if self._size == 0:
            return
        try:
            os.replace(self.path, self.path + ".1")
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._fd, 0)  # bounded comes first
            self._size = 0
            return
        if self._fd >= 0:
            os.close(self._fd)
        self._torn = False
        self._open()
