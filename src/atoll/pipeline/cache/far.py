"""Remote caches: a directory that machines share, or S3. Names in, files out; no check of what is in them.

A remote is asked in a thread of its own with a time limit, since a network file system may hang for ever. The first
failure of a kind is told, and that kind of asking is over for this run: a build waits for a bad remote once.
"""

import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Literal, Protocol

from atoll.model.cache import Remote
from atoll.pipeline.inputs import Stopped

STALL_S = 15.0  # without a byte: beyond it the build is the better bet
FETCH_S = 180.0  # for one result in all: the same
SEND_S = 300.0
LOOK_S = 0.2  # how soon somebody who gives up is heard
CHUNK_BYTES = 1 << 20


class Trouble(Exception):
    """A remote did not do what it was asked; the text says why, for a person. `closed`: it does not let us."""

    def __init__(self, text: str, *, closed: bool = False) -> None:
        super().__init__(text)
        self.closed = closed


class Far(Protocol):
    """A remote cache. Both methods block and may raise Trouble; `beat` is called as often as something moved."""

    text: str  # what people see of it; no credentials

    def fetch(self, name: str, to: IO[bytes], beat: Callable[[], None]) -> bool:
        """Write what has this name into `to`. False when there is nothing."""
        ...

    def send(self, name: str, file: Path, beat: Callable[[], None]) -> None:
        """Put the file under this name, as a whole or not at all."""
        ...


class Directory:
    """A directory, perhaps on a network file system."""

    def __init__(self, path: Path) -> None:
        self.path, self.text = path, os.fspath(path)

    def fetch(self, name: str, to: IO[bytes], beat: Callable[[], None]) -> bool:
        """See `Far`."""
        try:
            with (self.path / name).open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    to.write(chunk)
                    beat()
        except FileNotFoundError:
            self._there()
            return False
        except OSError as exc:
            raise _of_directory(exc) from exc
        return True

    def send(self, name: str, file: Path, beat: Callable[[], None]) -> None:
        """See `Far`. Beside the name first, then renamed: nobody reads half of it."""
        self._there()
        path = self.path / name
        swap = path.with_name(f".{secrets.token_hex(6)}.part")
        try:
            path.parent.mkdir(exist_ok=True)
            try:
                with file.open("rb") as reading, swap.open("wb") as writing:
                    while chunk := reading.read(CHUNK_BYTES):
                        writing.write(chunk)
                        beat()
                    writing.flush()
                    os.fsync(writing.fileno())
                swap.replace(path)
            finally:
                swap.unlink(missing_ok=True)
        except OSError as exc:
            raise _of_directory(exc) from exc

    def _there(self) -> None:
        """An unmounted network file system must not look like an empty cache, nor be written to beneath its mount."""
        if not self.path.is_dir():
            raise Trouble("there is no such directory; make it, or mount it")


def _of_directory(exc: OSError) -> Trouble:
    return Trouble(exc.strerror or str(exc), closed=isinstance(exc, PermissionError))


def far(remote: Remote, root: Path) -> Far:
    """The remote cache. A relative directory is relative to the workspace `root`. Raises Trouble: a library is missing."""
    if remote.kind == "directory":
        return Directory((root / Path(remote.path).expanduser()).absolute())
    try:
        from atoll.pipeline.cache.s3 import S3
    except ImportError as exc:
        raise Trouble("it needs a library beside Atoll: pip install obstore") from exc
    return S3(remote)


Way = Literal["fetch", "send"]


class Patient:
    """A remote as `Cache` asks it: within time limits, and no more after a failure. Any thread may call it."""

    def __init__(self, far: Far, tell: Callable[[str], None]) -> None:
        self.text = far.text
        self._far, self._tell = far, tell
        self._over: set[Way] = set()
        self._lock = threading.Lock()

    def fetch(self, name: str, to: IO[bytes], stop: threading.Event) -> bool:
        """Whether it was there, and `to` has it. False, too, when that cannot be found out. Raises Stopped."""
        call = _Call(lambda beat: self._far.fetch(name, to, beat), stop)
        return self._ask("fetch", call, FETCH_S, STALL_S)

    def send(self, name: str, file: Path) -> bool:
        """Whether it is there now."""

        def work(beat: Callable[[], None]) -> bool:
            self._far.send(name, file, beat)
            return True

        return self._ask("send", _Call(work, threading.Event()), SEND_S, SEND_S)

    def _ask(self, way: Way, call: "_Call", limit_s: float, stall_s: float) -> bool:
        if way in self._over:
            return False
        try:
            return call.within(limit_s, stall_s)
        except Trouble as exc:
            self._give_up(way, exc)
            return False

    def _give_up(self, way: Way, trouble: Trouble) -> None:
        """The other way is given up, too, unless it is one of rights: many may read what few may write."""
        with self._lock:
            over: set[Way] = {way} if trouble.closed else {"fetch", "send"}
            new = over - self._over
            self._over |= new
        if new:
            what = {"fetch": "read", "send": "written"}[way] if trouble.closed else "used"
            self._tell(f"the remote cache {self.text} is not {what} in this run: {trouble}")


class _Call:
    """One call in a thread that is left behind when it does not come back; it ends with the process."""

    def __init__(self, work: Callable[[Callable[[], None]], bool], stop: threading.Event) -> None:
        self._work, self._stop = work, stop
        self._done = threading.Event()
        self._result = False
        self._failed: Trouble | None = None
        self._moved = 0.0

    def within(self, limit_s: float, stall_s: float) -> bool:
        """Its result. Raises the Trouble that it raised, or that it takes too long, and Stopped."""
        began = self._moved = time.monotonic()
        threading.Thread(target=self._run, daemon=True, name="remote cache").start()
        while not self._done.wait(LOOK_S):
            if self._stop.is_set():
                raise Stopped
            if time.monotonic() > began + limit_s:
                raise Trouble(f"it took longer than {limit_s:g} s")
            if time.monotonic() > self._moved + stall_s:
                raise Trouble(f"nothing came for {stall_s:g} s")
        if self._failed is not None:
            raise self._failed
        return self._result

    def _beat(self) -> None:
        self._moved = time.monotonic()

    def _run(self) -> None:
        try:
            self._result = self._work(self._beat)
        except Trouble as exc:
            self._failed = exc
        except Exception as exc:  # noqa: BLE001 (whatever a remote does, the build goes on)
            self._failed = Trouble(f"{type(exc).__name__}: {exc}")
        finally:
            self._done.set()
