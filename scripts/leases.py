"""What processes of one machine share and only one may have at a time, held by locks of files.

A lock ends with its holder, however that one ends. So nothing is ever left taken, and the next one knows by getting the
lock that nobody is there any more who would clear up. Called by dockerd.py, and by tests for their addresses.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

RUN = Path("/run/atoll-test-dockerd")  # root's alone, and short
OTHERS_S = 1800.0  # somebody else may be making every base image
SUBNETS = 128  # environments at a time


def taken(file: int, kind: int) -> bool:
    """Take a lock of this kind (`fcntl.LOCK_EX`, `LOCK_SH`) on an open file, if that needs no waiting."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """The lock of that file for oneself. RuntimeError when others hold it for longer than half an hour."""
    deadline = time.monotonic() + OTHERS_S
    with path.open("a") as file:
        while not taken(file.fileno(), fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise RuntimeError(f"somebody else holds {path} for more than {OTHERS_S:g} s")
            time.sleep(0.1)
        yield


@contextlib.contextmanager
def numbered(kind: str, numbers: range) -> Iterator[tuple[int, Path]]:
    """A number that nobody else has, with its file: what is written there outlives its owner."""
    RUN.mkdir(mode=0o700, exist_ok=True)
    for number in numbers:
        path = RUN / f"{kind}-{number}"
        with path.open("a") as file:
            if taken(file.fileno(), fcntl.LOCK_EX):
                yield number, path
                return
    raise RuntimeError(f"all {len(numbers)} of {RUN}/{kind}-* are in use")


@contextlib.contextmanager
def subnets() -> Iterator[str]:
    """A range of addresses that no other environment of a test has, for networks of 16 services."""
    with numbered("subnets", range(SUBNETS)) as (number, _):
        yield f"10.{202 + number // 16}.{number % 16 * 16}.0/20"
