"""Ports for tests, below the range from which the kernel takes its own. What runs on this machine at the same time, in other
workers and other checkouts, gets others.
"""

import fcntl
import itertools
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

_FIRST, _COUNT, _SLOTS = 12000, 500, 20
_held = ExitStack()  # until this process ends


@contextmanager
def ports() -> Iterator[tuple[int, int]]:
    """A number that nobody else on this machine has, and the first of its 500 ports."""
    for slot in range(_SLOTS):
        with Path(f"/tmp/atoll-lab-ports-{slot}").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            first = _FIRST + _COUNT * slot
            # By what a run left that was killed: without it, every later one would fail by that.
            if _listened_at(first):
                continue
            yield slot, first
            return
    raise AssertionError("every range of test ports is in use")


def free_port() -> int:
    """A port that nobody has now, and that only this process may ask for."""
    for port in itertools.islice(_own(), _COUNT):
        with socket.socket() as probe:
            try:
                probe.bind(("", port))  # without SO_REUSEADDR: nor one whose connections have just ended
            except OSError:
                continue
            return port
    raise AssertionError(f"all {_COUNT} test ports of this process are in use")


@cache
def _own() -> Iterator[int]:
    _, first = _held.enter_context(ports())
    return itertools.cycle(range(first, first + _COUNT))


def _listened_at(port: int) -> bool:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
