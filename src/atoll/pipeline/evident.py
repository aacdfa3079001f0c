"""Whether edited tasks evidently have other keys than those that passed, told without reckoning a key.

Called by `keys` for who asks only what is affected (docs/adr/0050). A key covers the contents of its inputs: where a file
went into the key that passed and holds something else now, the key is another one, whatever else it is made of. What is not
evident is reckoned, so nothing here may ever claim too much.

Must import nothing heavy: reckoning costs more for its imports than for its work.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

# Nothing of this is remembered, so each call does it again: beyond these, reckoning once is cheaper.
MOST_TASKS = 64
MOST_BYTES = 1 << 20  # of a file


class Passed(NamedTuple):
    """What passed last."""

    green: Mapping[str, tuple[str, float]]  # as `Records.green_keys` says
    contents: Callable[[Collection[str]], Mapping[str, Mapping[str, str]]]  # `Records.contents`


def evidently_other(edited: Mapping[str, Mapping[str, str]], passed: Passed) -> bool:
    """Whether each of these tasks has another key than the one that passed. False where that is not evident.

    Args:
        edited: id -> files that may have been edited, relative to its context -> where they lie. Only tasks whose inputs
            go in as they lie there: the text that takes the place of a file may stay the same when the file does not.
        passed: what to compare with.
    """
    if len(edited) > MOST_TASKS or not all(id in passed.green for id in edited):
        return False
    keys = {id: passed.green[id][0] for id in edited}
    contents = passed.contents(frozenset(keys.values()))
    read: dict[str, str] = {}
    return all(_differs(files, contents.get(keys[id], {}), read) for id, files in edited.items())


def _differs(files: Mapping[str, str], before: Mapping[str, str], read: dict[str, str]) -> bool:
    """Whether one of the files is not what it was. `read` holds what others have read."""
    for name, path in files.items():
        if name not in before:
            continue
        if path not in read:
            read[path] = _content(path)
        if read[path] and read[path] != before[name]:
            return True
    return False


def _content(path: str) -> str:
    """The SHA-256 of a file; "" for one that is large, cannot be read, or is none."""
    try:
        at = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(at, "rb", buffering=0) as file:
            status = os.fstat(at)
            if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_BYTES:
                return ""
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return ""
