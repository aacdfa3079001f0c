"""A keeper of one's own for each test, and a way to see that nothing of it is left."""

import itertools
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atoll.engines.process import ProcessHost
from atoll.keeper.client import KeeperClient, KeeperError, proc, start_keeper

PATIENCE_S = 30.0
_marks = itertools.count(1)


def wait_for[T](condition: Callable[[], T], what: str, patience_s: float = PATIENCE_S) -> T:
    deadline = time.monotonic() + patience_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.02)
    return value
