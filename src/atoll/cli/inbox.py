"""What a command's threads say, awaited by its main thread.

`dev` and `run` use it. Python acts upon a signal in the main thread, between two steps; one that comes just before a wait in the
kernel, or that another thread receives, ends no such wait. Ctrl-C would do nothing until somebody says something.
"""

from __future__ import annotations

import queue
from typing import TypeVar

_T = TypeVar("_T")
_LISTENS_S = 1.0  # between two looks whether a signal came


def awaited(inbox: queue.Queue[_T] | queue.SimpleQueue[_T]) -> _T:
    """The next thing that is said, however long that takes. Raises KeyboardInterrupt within a second of Ctrl-C."""
    while True:
        try:
            return inbox.get(timeout=_LISTENS_S)
        except queue.Empty:
            continue
