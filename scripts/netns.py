"""Network namespaces for one thread: its sockets, and all that it starts, are in there.

The Dockers on one machine rewrite each other's rules in the kernel, and so would a test of a firewall.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """In a new network that nothing connects to any other."""
    with _and_back():
        if LIBC.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "no network of its own")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """In the network that `ip netns add NAME` made."""
    there = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        with _and_back():
            if LIBC.setns(there, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"cannot enter the network {name}")
            yield
    finally:
        os.close(there)


@contextlib.contextmanager
def _and_back() -> Iterator[None]:
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        yield
    finally:
        LIBC.setns(here, CLONE_NEWNET)
        os.close(here)
