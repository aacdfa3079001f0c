"""Envoy's admin interface over its unix socket: one GET, one connection. `stats` calls it."""

import asyncio
import socket
import struct
from pathlib import Path
from urllib.parse import urlencode

TIMEOUT_S = 3.0


class Admin:
    """A client of an Envoy that may be away."""

    def __init__(self, path: Path) -> None:
        self._socket = str(path)
        self.pid = 0  # of the Envoy that answered last; 0 where the system does not say

    async def get(self, path: str, **query: str) -> bytes | None:
        """The body of a GET; None when Envoy is not there, is cut off, says no, or takes more than `TIMEOUT_S`."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                reply = await self._exchange(f"{path}?{urlencode(query)}")
        except (OSError, TimeoutError):
            return None
        head, _, body = reply.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            return None
        return _joined(body) if b"transfer-encoding: chunked" in head.lower() else body

    async def is_there(self) -> bool:
        """Whether an Envoy listens, be it too busy to answer."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                _, writer = await asyncio.open_unix_connection(self._socket)
        except TimeoutError:
            return True
        except OSError:
            return False
        writer.close()
        return True

    async def _exchange(self, target: str) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self._socket)
        try:
            self.pid = peer(writer.get_extra_info("socket"))
            writer.write(f"GET {target} HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n\r\n".encode())
            return await reader.read()
        finally:
            writer.close()


def peer(connection: socket.socket) -> int:
    """The process at the other end of a unix socket."""
    if not hasattr(socket, "SO_PEERCRED"):
        return 0
    return int(struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])


def _joined(body: bytes) -> bytes | None:
    """The chunks of a body in one piece; None when the last one is missing."""
    parts: list[bytes] = []
    at = 0
    while (end := body.find(b"\r\n", at)) >= 0:
        size = int(body[at:end], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(body[end + 2 : end + 2 + size])
        at = end + 4 + size
    return None
