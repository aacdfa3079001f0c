"""What the suite must know of one engine, and how it reaches what runs there. A new engine is a subclass.

Everything else goes the way of every person: files are loaded, checked and built by the hooks of the command line, and
the daemon is asked through its API.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from atoll.model.wire import StatusView
from atoll.testing.steady import Connection, Send

PROGRAM: Final = Path(__file__).with_name("program.py")
WITHIN_S: Final = 60.0  # for anything that must happen at all; machines are slow and busy


class Stream(Protocol):
    """One upgraded connection through the gateway."""

    def ask(self, data: bytes) -> bytes:
        """Send it; what comes back first. b"" when the other side has ended it."""
        ...

    def close(self) -> None: ...


class Platform:
    """An engine as the suite sees it. This one is right for whatever listens at a real gateway."""

    name: str
    python: str  # in a `run` line, where the program runs
    lacks: Mapping[str, str] = {}  # capability -> a piece of what `atoll check` says when it is asked for
    lacks_here: Mapping[str, str] = {}  # the same, on this machine only
    keeps_data: bool = True  # over `down`
    many_requests: int = 10_000  # of the test with most load

    def __init__(self, hooks: Any = None) -> None:
        """`hooks` are the command line's (`cli.hooks.Hooks`); None are the real ones."""
        from atoll.app.hooks import AppHooks

        self.hooks = hooks or AppHooks()

    def environment(self, slot: int) -> str:  # noqa: ARG002  others need it
        """Lines of atoll.toml; `slot` is a small number that no other lab of this machine has now."""
        return ""

    def furnish(self, folder: Path) -> Sequence[str]:
        """Put the program into a service's folder; further lines of its service.toml."""
        shutil.copy(PROGRAM, folder / "program.py")
        return ()

    def connect(self, url: str, deadline_s: float) -> Send:
        """A way to send requests to the gateway, for one thread."""
        return Connection(url, deadline_s)

    def grpc(self, url: str, method: str, request: bytes) -> bytes:
        """Call a method at the gateway."""
        import grpc

        with grpc.insecure_channel(url.removeprefix("http://")) as channel:
            return bytes(channel.unary_unary(method)(request, timeout=WITHIN_S))

    def websocket(self, url: str, path: str) -> Stream:
        """An upgraded connection."""
        return _Socket(url, path)

    def daemon(self, status: StatusView) -> int:
        """Which daemon said so: its pid."""
        return next(part.pid for part in status.parts if part.name == "daemon" and part.pid)

    def kill_daemon(self, status: StatusView) -> None:
        """Kill -9."""
        os.kill(self.daemon(status), signal.SIGKILL)

    @contextmanager
    def foreign(self, folder: Path) -> Iterator[Callable[[], bool]]:  # noqa: ARG002  others put it there
        """Something of the engine's kind that is not ours, in the block; whether it is still there as it was."""
        command = [sys.executable, "-S", str(PROGRAM), "worker"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd="/", env={}) as process:
            try:
                yield lambda: process.poll() is None
            finally:
                process.kill()

    def left_behind(self, root: Path) -> Sequence[str]:
        """What is still there of the environments of the workspace at `root`, in a person's words."""
        raise NotImplementedError


class _Socket:
    def __init__(self, url: str, path: str) -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        self._line = socket.create_connection((host, int(port)), timeout=WITHIN_S)
        self._line.sendall(
            f"GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Key: eHh4eHh4eHh4eHh4eHh4eA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = self._line.recv(4096)
        if b"101 " not in head:
            raise ConnectionError(f"not upgraded: {head!r}")

    def ask(self, data: bytes) -> bytes:
        try:
            self._line.sendall(data)
            return self._line.recv(4096)
        except ConnectionError:
            return b""

    def close(self) -> None:
        self._line.close()
