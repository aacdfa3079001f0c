"""Runs one step of a build under a reaper, keeping the end of what it prints.

Called by `build` only. Whatever ends the step (its own end, a deadline, a cancellation, kill -9 of this process),
nothing of its process tree is left.
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from atoll.pipeline import reaper

T = TypeVar("T")

HEAD_BYTES = 2 << 20  # of a log on the disk; a build that prints more has its middle left out
TAIL_BYTES = 256 << 10
LINE_CHARS = 300
SHOWN_LINES = 40
END_S = reaper.GRACE_S + 15.0  # how long the reaper may take; beyond it something hangs in the kernel

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|[\x00-\x08\x0b-\x1f\x7f]")


class Output:
    """What one build prints: a bounded file, and its end in memory. A full disk loses the file, not the build."""

    def __init__(self, path: Path, on_line: Callable[[str], None]) -> None:
        self.path, self._on_line = path, on_line
        self._tail: deque[bytes] = deque()
        self._tail_bytes = self._written = self._dropped = 0
        self._rest = b""
        self._command, self._begun = "", 0  # of the step that prints now, and what was written before it did
        path.unlink(missing_ok=True)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def begin(self, step: str) -> None:
        """Note which command printed what follows; a long one, such as one that writes a file, is shown by its first line."""
        first, *more = step.split("\n")
        self._command = f"$ {first} …" if more else f"$ {first}"
        self._keep(f"$ {step}\n".encode())
        self._begun = self._written

    def write(self, data: bytes) -> None:
        """Take what was printed."""
        self._keep(data)
        lines = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop()[-4 * LINE_CHARS :]
        for line in reversed(lines):
            if text := plain(line.decode("utf-8", "replace")):
                self._on_line(text[:LINE_CHARS])
                break

    def _keep(self, data: bytes) -> None:
        if self._written < HEAD_BYTES:
            self._put(data)
        else:
            self._dropped += len(data)
        self._written += len(data)
        self._tail.append(data)
        self._tail_bytes += len(data)
        while self._tail_bytes - len(self._tail[0]) > TAIL_BYTES:
            self._tail_bytes -= len(self._tail.popleft())

    def last(self) -> str:
        """The last lines of the step that began last, and its command; without colours."""
        printed = self._written - self._begun
        said = b"".join(self._tail)[-printed:] if printed else b""
        text = said.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
        lines = [plain(line)[: 4 * LINE_CHARS] for line in f"{self._command}\n{text}".strip().split("\n")]
        return "\n".join(lines[-SHOWN_LINES:])

    def close(self) -> None:
        """Add the end of what was too much for the file."""
        if self._fd < 0:
            return
        if self._dropped:
            end = b"".join(self._tail)[-self._dropped :]
            self._put(b"\n[... %d bytes left out ...]\n" % (self._dropped - len(end)) + end)
        os.close(self._fd)
        self._fd = -1

    def _put(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:  # the disk is full: what matters is still in memory, and the build will say so itself
            return


def plain(line: str) -> str:
    """A line without terminal escapes."""
    return _ESCAPES.sub("", line).rstrip()


async def run(
    argv: Sequence[str], *, folder: Path, env: Mapping[str, str], output: Output, held: Sequence[int] = ()
) -> int:
    """Run a command in `folder` to its end; returns its exit status (128 + n for signal n, 127: not startable).

    Args:
        argv: the command; the first word is looked up on the PATH of `env`.
        folder: the working directory.
        env: the whole environment.
        output: takes standard output and error.
        held: descriptors of locks that stay held until the last process of the tree is gone.
    """
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(  # noqa: ASYNC220 (a few milliseconds; its waiting is not done here)
            [sys.executable, "-I", "-S", reaper.__file__, ",".join(map(str, held)), *argv],
            cwd=folder,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=writing,
            stderr=writing,
            pass_fds=tuple(held),
            start_new_session=True,
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    try:
        await _drain(reading, process, output)
        return process.returncode if process.returncode >= 0 else 128 - process.returncode
    finally:
        try:
            if process.poll() is None:
                await settle(asyncio.ensure_future(_end(process)))
        finally:
            assert process.stdin is not None
            process.stdin.close()
            os.close(reading)


async def _drain(reading: int, process: "subprocess.Popen[bytes]", output: Output) -> None:
    """Read all that is printed until the reaper has ended."""
    loop = asyncio.get_running_loop()
    closed = asyncio.Event()
    os.set_blocking(reading, False)

    def read() -> None:
        try:
            data = os.read(reading, 1 << 16)
        except BlockingIOError:
            return
        if data:
            output.write(data)
        else:
            loop.remove_reader(reading)
            closed.set()

    loop.add_reader(reading, read)
    try:
        while process.poll() is None:
            if closed.is_set():
                await asyncio.sleep(0.002)  # the reaper closes its end a moment before it is gone
                continue
            try:
                await asyncio.wait_for(closed.wait(), 0.5)
            except TimeoutError:
                continue
    finally:
        loop.remove_reader(reading)


async def _end(process: "subprocess.Popen[bytes]") -> None:
    """Cut the lifeline and wait for the reaper; kill it when even that does not help."""
    assert process.stdin is not None
    process.stdin.close()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + END_S
    while process.poll() is None:
        if loop.time() >= deadline:
            process.send_signal(signal.SIGKILL)
        await asyncio.sleep(0.005)


async def settle(future: "asyncio.Future[T]", on_cancel: Callable[[], None] = lambda: None) -> T:
    """Wait for it to its very end, even when cancelled meanwhile: the cancellation is raised after.

    What runs in a thread, or must not be left half-done, cannot be left behind; `on_cancel` may ask it to hurry.
    """
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as exc:
            cancelled = exc
            on_cancel()
    if cancelled is not None:
        failed = future.exception() if not future.cancelled() else None
        raise cancelled from failed
    return future.result()
