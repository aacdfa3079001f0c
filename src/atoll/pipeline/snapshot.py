"""What `keys` found the last time, in one file: only a cache, which any process may replace at any time.

It is written whole and put in place at once, so that each reader sees what one process found at one time; two that write
at once lose one of two true answers. A file that is damaged, or of another workspace, machine, Python or version of
Atoll, does not exist. marshal reads 20,000 files in 2 ms, and pickle, msgspec and SQLite in 6 to 40; it is only
given what this user wrote, behind a checksum.
"""

import marshal
import os
import sys
import threading
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

MAGIC = b"atoll snapshot 1\n"  # raised when something in it comes to mean something else
_CHECK_BYTES = 4

_CODE = ("pipeline", "builders", "workspace", "model", "decide", "ports.py")  # may each decide a key


def recall(path: Path, around: tuple[object, ...]) -> dict[str, Any]:
    """What was remembered in the same surroundings; {} when nothing was."""
    try:
        data = memoryview(path.read_bytes())  # megabytes: no slice shall copy them
        head = len(MAGIC) + _CHECK_BYTES
        if data[: len(MAGIC)] != MAGIC or data[len(MAGIC) : head] != _check(data[head:]):
            return {}
        known = marshal.loads(data[head:])  # noqa: S302 (our own, checked)
    except (OSError, EOFError, ValueError, TypeError):
        return {}
    return known if isinstance(known, dict) and known.get("surroundings") == around else {}


def remember(path: Path, found: dict[str, Any]) -> None:
    """Keep it for the next time. A disk that is full, or closed to us, costs the next one some time and nothing else.

    `found["surroundings"]` must be what they were before anything was looked at.
    """
    body = marshal.dumps(found)
    swap = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # It holds what services say of themselves, with plain environment values: nobody else's business, as in state.db.
        with open(swap, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.writelines((MAGIC, _check(body), body))
        swap.replace(path)
    except OSError:
        with suppress(OSError):
            swap.unlink(missing_ok=True)


def surroundings(root: str) -> tuple[object, ...]:
    """What must be the same for anything remembered to hold: workspace, machine, interpreter and Atoll's own code."""
    machine = os.uname()
    libc = os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else None
    return (root, machine.sysname, machine.machine, libc or machine.release, sys.version, *_code())


def _code() -> tuple[object, ...]:
    """Atoll's code as the file system shows it: a version number does not tell of a checkout that is being edited."""
    top = os.path.dirname(os.path.dirname(__file__))
    found: list[object] = []
    todo = [os.path.join(top, name) for name in _CODE]
    while todo:
        path = todo.pop()
        if path.endswith(".py"):
            status = os.stat(path)
            found.append((path, status.st_mtime_ns, status.st_size))
            continue
        with os.scandir(path) as items:
            todo += sorted(
                item.path for item in items if item.name.endswith(".py") or (item.is_dir() and item.name[0] != "_")
            )
    return tuple(found)


def _check(body: bytes | memoryview) -> bytes:
    return zlib.crc32(body).to_bytes(_CHECK_BYTES, "big")
