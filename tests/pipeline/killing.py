"""For tests that kill what builds, and look at what is left."""

import time
from collections.abc import Callable


def eventually(what: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until it is true. Raises AssertionError when it does not come true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
