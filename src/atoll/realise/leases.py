"""Which port number, or which address, comes next. Either is stored before its first use."""

import ipaddress
import socket
from collections.abc import Container, Iterable, Sequence

from atoll.model.errors import Retryable
from atoll.model.spec import Port

_FIRST_NUMBER = 8080  # what most programs and images listen on unless told otherwise; no privilege is needed for it


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


def free_address(network: str, taken: Sequence[str]) -> str:
    """An address in the lower half of `network`, the next one after the last of `taken` that is not among them.

    In turn, so that one just freed is used again as late as possible. The network's first is the gateway; its upper half
    belongs to whoever else starts something there. Raises Retryable when all are in use.
    """
    whole = ipaddress.ip_network(network)
    first, count = int(whole.network_address) + 2, whole.num_addresses // 2 - 2
    last = int(ipaddress.ip_address(taken[-1])) - first if taken and ipaddress.ip_address(taken[-1]) in whole else -1
    for step in range(1, count + 1):
        address = str(ipaddress.ip_address(first + (last + step) % count))
        if address not in taken:
            return address
    raise Retryable(f"no free address in the lower half of {network}", after_s=5.0, id="no-free-port")


def own_numbers(ports: Iterable[Port]) -> dict[str, int]:
    """Numbers of a replica's ports at an address of its own: those it insists on, the others from 8080 on."""
    declared = list(ports)
    fixed = {port.number for port in declared if port.number is not None}
    free = (number for number in range(_FIRST_NUMBER, 65_536) if number not in fixed)
    return {port.name: next(free) if port.number is None else port.number for port in declared}


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
