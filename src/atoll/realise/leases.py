"""Which port number comes next. A lease is stored before its first use and freed when nothing holds it."""

import socket
from collections.abc import Container

from atoll.model.errors import Retryable


class Ports:
    """Hands out numbers of a range, in turn, so that one just freed is used again as late as possible."""

    def __init__(self, first: int, last: int, start: int = 0) -> None:
        """`first`..`last` inclusive, outside the kernel's ephemeral range; `start` is where in it to begin."""
        self._first, self._count = first, last - first + 1
        self._next = start % self._count

    def take(self, taken: Container[int]) -> int:
        """A number that is not in `taken` and on which nobody listens now. Raises Retryable when all are in use."""
        for _ in range(self._count):
            port = self._first + self._next
            self._next = (self._next + 1) % self._count
            if port not in taken and _free(port):
                return port
        raise Retryable(
            f"no free port in {self._first}-{self._first + self._count - 1}", after_s=5.0, id="no-free-port"
        )


def _free(port: int) -> bool:
    """Whether a listener could be opened now, on loopback and on all addresses (a stranger on 0.0.0.0 counts)."""
    for host in ("127.0.0.1", "0.0.0.0"):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True
