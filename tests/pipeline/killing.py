"""For tests that kill what builds, and look at what is left."""

import itertools
import os
import time
from collections.abc import Callable

_numbers = itertools.count()


def eventually(what: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until it is true. Raises AssertionError when it does not come true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def own_seconds() -> str:
    """Seconds to sleep, more than an hour, that no other process on this machine sleeps, whatever else is tested on it."""
    return f"{4800 + next(_numbers)}.{os.getpid():07}"
