"""Looks at many things in several processes at once, for whom one process takes long: a walk through a large work tree.

Called by `tree`. Such a walk is system calls and little work between them, so two processes need half the time, and threads
more than one: they hand the interpreter's lock to and fro at each call. The scouts are forked, so that they know all that the
caller knows, and look while it does something else; then it joins them. Each takes the next chunk of the work from one queue,
and says only what it found. What is not said, because a scout was killed or could not be started, the caller looks at
itself: that costs time and no truth.
"""

import marshal
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NoReturn

_EACH = 384  # things that are worth a process: a fork takes 1 ms, and looking at so many folders ten times as long
_MOST = 3  # more would wait for each other in the kernel
_CHUNKS = 256  # numbers in the queue are bytes
_GIVEN_UP_S = 10.0  # a chunk takes milliseconds: a scout that says nothing for so long was stopped
_READ_BYTES = 1 << 16
_KNOCK = b"!"  # a scout's first word, as soon as it has something to say; marshal begins no dict so
_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


def scouts_for(count: int) -> int:
    """How many processes beside our own looking at so many things is worth; none beside threads, which a fork would cut off."""
    if count < _EACH or threading.active_count() > 1 or not hasattr(os, "sched_getaffinity"):
        return 0
    return min(len(os.sched_getaffinity(0)) - 1, count // _EACH, _MOST)


class Scouts:
    """Processes that look at 0 ... `count - 1` from now on; `report` joins them.

    Whoever makes one must `end` it, also when it never asks for the report.

    Args:
        count: how many there are.
        look: returns None for "nothing to say", else something that marshal knows. It is called in whichever process.
        others: processes beside this one.
    """

    def __init__(self, count: int, look: Callable[[int], Any], others: int) -> None:
        self._count, self._look = count, look
        self._queue = _queue(min(count, _CHUNKS))
        self._sent: list[_Scout] = []
        try:
            for _ in range(others):
                self._sent.append(_forked(self._queue, count, look))
        except OSError:
            pass  # no process or descriptor is to be had: we look alone
        except BaseException:
            self.end()
            raise

    def report(self, stirred: Callable[[], None]) -> dict[int, Any]:
        """What `look` returns for each; those that raised OSError, or were looked at by nobody, are left out. Ends them.

        `stirred` is called here, once, as soon as anybody found something to say; the others go on looking meanwhile.
        """
        seen: dict[int, Any] = {}
        quiet = True
        try:
            for chunk in _taken(self._queue, self._count):
                said = _look(chunk, self._look, seen)
                if quiet and (said or any(each.knocked() for each in self._sent)):
                    quiet = False
                    stirred()
            for each in self._sent:
                seen |= each.report()
            return seen
        finally:
            self.end()

    def end(self) -> None:
        """End them, whatever they do. Done twice it does nothing."""
        if self._queue >= 0:
            os.close(self._queue)
            self._queue = -1
        while self._sent:
            self._sent.pop().end()


class _Scout:
    """One forked process, as the caller knows it."""

    def __init__(self, pid: int, ear: int) -> None:
        self._pid, self._ear = pid, ear
        self._said = bytearray()
        os.set_blocking(ear, False)

    def knocked(self) -> bool:
        """Whether it has found something by now."""
        with suppress(BlockingIOError):
            self._said += os.read(self._ear, _READ_BYTES)
        return self._said.startswith(_KNOCK)

    def report(self) -> dict[int, Any]:
        """All that it saw, once it is done; {} when it did not come so far."""
        while select.select([self._ear], [], [], _GIVEN_UP_S)[0]:
            before = len(self._said)
            self._said += os.read(self._ear, _READ_BYTES)
            if len(self._said) == before:
                break
        try:
            seen: dict[int, Any] = marshal.loads(self._said.removeprefix(_KNOCK))  # noqa: S302 (our own process)
            return seen
        except (EOFError, ValueError, TypeError):
            return {}

    def end(self) -> None:
        """End it, whatever it does, and forget it."""
        os.close(self._ear)
        with suppress(ProcessLookupError, ChildProcessError):  # whoever called us may have SIGCHLD ignored
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)


def _forked(queue: int, count: int, look: Callable[[int], Any]) -> _Scout:
    """A new scout. Raises OSError. What would end the command ends its scouts, at once and without a word."""
    ear, mouth = os.pipe()
    open_to = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        if (pid := os.fork()) == 0:
            _serve(queue, mouth, count, look)
    except OSError:
        os.close(ear)
        raise
    finally:
        os.close(mouth)
        signal.pthread_sigmask(signal.SIG_SETMASK, open_to)
    return _Scout(pid, ear)


def _serve(queue: int, mouth: int, count: int, look: Callable[[int], Any]) -> NoReturn:
    """The life of a scout. Nothing of it may reach the caller's code: that would go on twice."""
    try:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        seen: dict[int, Any] = {}
        quiet = True
        for chunk in _taken(queue, count):
            if _look(chunk, look, seen) and quiet:
                quiet = False
                os.write(mouth, _KNOCK)
        with os.fdopen(mouth, "wb") as out:
            out.write(marshal.dumps(seen))
    finally:
        os._exit(0)


def _queue(chunks: int) -> int:
    """A pipe with the numbers of all chunks, of which each reader gets the next: its reading end."""
    queue, filling = os.pipe()
    os.write(filling, bytes(range(chunks)))
    os.close(filling)
    return queue


def _taken(queue: int, count: int) -> Iterator[range]:
    """The chunks that nobody took before us, one by one."""
    chunks = min(count, _CHUNKS)
    while number := os.read(queue, 1):
        yield range(number[0] * count // chunks, (number[0] + 1) * count // chunks)


def _look(chunk: range, look: Callable[[int], Any], seen: dict[int, Any]) -> bool:
    """Look at a chunk; returns whether there is something to say."""
    stirred = False
    for at in chunk:
        with suppress(OSError):
            seen[at] = look(at)
            stirred = stirred or seen[at] is not None
    return stirred
