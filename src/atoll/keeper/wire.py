"""Lines of JSON over unix sockets: framing without blocking, paths of any length, and who is at the other end.

Used by keeper, shims and client. Knows nothing of what the messages mean.
"""

import json
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

Message = dict[str, Any]
MAX_LINE_BYTES = 8 * 1024 * 1024  # an environment with its secrets; 1 MiB of output, escaped
MAX_QUEUED_BYTES = 32 * 1024 * 1024  # a peer that does not read is dropped
SUN_PATH_BYTES = 100  # the kernel's limit is 108


@contextmanager
def _address(path: str) -> Iterator[str]:
    """A name for `path` that fits in a socket address."""
    if len(os.fsencode(path)) <= SUN_PATH_BYTES:
        yield path
        return
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(path)}"
    finally:
        os.close(folder)


def listen(path: str) -> socket.socket:
    """A listening socket at `path`, for this user only, in place of a stale one."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with suppress(FileNotFoundError):
        os.unlink(path)
    umask = os.umask(0o177)
    try:
        with _address(path) as address:
            server.bind(address)
    finally:
        os.umask(umask)
    server.listen(128)
    server.setblocking(False)
    return server


def connect(path: str) -> socket.socket:
    """A connection in blocking mode. Raises OSError when nobody listens (at once: it never waits)."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        with _address(path) as address:
            sock.connect(address)
        sock.setblocking(True)
    except OSError:
        sock.close()
        raise
    return sock


def is_trusted(sock: socket.socket) -> bool:
    """Whether the peer is this user or root."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", credentials)
    return uid in {0, os.geteuid()}


class Wire:
    """One connection: complete messages in, queued messages out. Never blocks."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._in = bytearray()
        self._out = bytearray()
        self.broken = False

    def fileno(self) -> int:
        """For selectors."""
        return self.sock.fileno()

    def receive(self) -> list[Message]:
        """What has arrived. Sets `broken` at the end of the stream, on an error and on what is no message."""
        messages: list[Message] = []
        try:
            data = self.sock.recv(262144)
        except (BlockingIOError, InterruptedError):
            return messages
        except OSError:
            data = b""
        if not data:
            self.broken = True
            return messages
        self._in += data
        *lines, rest = self._in.split(b"\n") if b"\n" in data else [self._in]
        self._in = bytearray(rest)
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if not isinstance(message, dict):
                self.broken = True
                return messages
            messages.append(message)
        if len(self._in) > MAX_LINE_BYTES:
            self.broken = True
        return messages

    def send(self, message: Message) -> None:
        """Queue a message and send what the peer takes now."""
        if self.broken:
            return
        self._out += json.dumps(message, separators=(",", ":")).encode() + b"\n"
        if len(self._out) > MAX_QUEUED_BYTES:
            self.broken = True
        self.flush()

    def flush(self) -> None:
        """Send what is queued, as far as the peer takes it."""
        while self._out and not self.broken:
            try:
                sent = self.sock.send(self._out)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self.broken = True
                return
            del self._out[:sent]

    @property
    def pending(self) -> bool:
        """Whether something waits for the peer to read."""
        return bool(self._out) and not self.broken

    def saved(self) -> Message:
        """All of it, for `restored` in another program of this process."""
        return {"fd": self.fileno(), "in": self._in.decode("latin-1"), "out": self._out.decode("latin-1")}

    @classmethod
    def restored(cls, words: Message) -> "Wire":
        """The connection that was `saved`."""
        wire = cls(socket.socket(fileno=words["fd"]))
        wire._in += words["in"].encode("latin-1")
        wire._out += words["out"].encode("latin-1")
        return wire

    def close(self) -> None:
        """Hang up."""
        self.sock.close()
