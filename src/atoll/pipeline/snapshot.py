"""What `keys` found the last time, in two files: only a cache, which any process may replace at any time.

The snapshot is written whole and put in place at once, so that each reader sees what one process found at one time; two that
write at once lose one of two true answers. What differs from it after an edit, a few of thousands of entries, goes into a
small file beside it (docs/adr/0036), which says which snapshot it is about. A file that is damaged, or of another workspace,
machine, Python or version of Atoll, does not exist. marshal reads 20,000 files in 2 ms, and pickle, msgspec and SQLite in 6
to 40; it is only given what this user wrote, behind a checksum.
"""

import marshal
import os
import sys
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

MAGIC = b"atoll snapshot 2\n"  # raised when something in it comes to mean something else
_CHECK_BYTES = 4
_FEW = 8  # edits take at most this part of the snapshot, or it is written anew

_CODE = ("pipeline", "builders", "workspace", "model", "decide", "ports.py")  # may each decide a key

_Path = tuple[Any, ...]  # the names under which something lies, from the outermost mapping on
_Which = tuple[int, int, bytes]  # a file as it was written once: inode, mtime, checksum
_NONE: _Which = (0, 0, b"")
_GONE = ...  # in the place of a value; marshal knows it, and nothing that is found is it


class Snapshot:
    """What was found the last time in the same surroundings, `known`; {} when nothing was."""

    def __init__(self, path: Path, around: tuple[object, ...]) -> None:
        self.path = path
        self.known: dict[str, Any] = {}
        self._edits: dict[_Path, Any] = {}  # how `known` differs from the file
        self._which, self._bytes = _NONE, 0
        found, which, size = _read(path)
        if isinstance(found, dict) and found.get("surroundings") == around:
            self.known, self._which, self._bytes = found, which, size
            edits = _read(_beside(path))[0]
            if isinstance(edits, tuple) and edits[0] == which:
                self._edits = edits[1]
                _apply(self._edits, found)

    def keep(self, found: dict[str, Any], path: Path) -> None:
        """Remember what is not as it was remembered, at `path`.

        A disk that is full, or closed to us, costs the next one some time and nothing else. `found["surroundings"]` must
        be what they were before anything was looked at.
        """
        edits = dict(_differences(self.known, found)) if self.known and path == self.path else None
        if edits == {}:
            return
        with suppress(OSError):
            if edits is not None:
                earlier = {
                    at: value for at, value in self._edits.items() if at not in edits
                }  # the later ones stand last
                body = marshal.dumps((self._which, earlier | edits))
                if len(body) * _FEW <= self._bytes:
                    _write(_beside(path), body)
                    return
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, marshal.dumps(found))
            _beside(path).unlink(missing_ok=True)


def _differences(before: Mapping[Any, Any], now: Mapping[Any, Any], at: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    """The fewest values that make of one the other."""
    for name, value in now.items():
        known = before.get(name, _GONE)
        if known is value:
            continue
        if isinstance(known, dict) and isinstance(value, dict):
            yield from _differences(known, value, (*at, name))
        elif known != value:
            yield (*at, name), value
    for name in before.keys() - now.keys():
        yield (*at, name), _GONE


def _apply(edits: Mapping[_Path, Any], to: dict[Any, Any]) -> None:
    for (*way, name), value in edits.items():
        place = to
        for each in way:
            place = place[each]
        if value is _GONE:
            place.pop(name, None)
        else:
            place[name] = value


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.edits")


def _read(path: Path) -> tuple[Any, _Which, int]:
    """What was written there, which writing of it this is, and its size; None when it is not to be believed."""
    try:
        with path.open("rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            data = memoryview(file.read())  # megabytes: no slice shall copy them
        head = len(MAGIC) + _CHECK_BYTES
        if data[: len(MAGIC)] != MAGIC or data[len(MAGIC) : head] != _check(data[head:]):
            return None, _NONE, 0
        found = marshal.loads(data[head:])  # noqa: S302 (our own, checked)
    except (OSError, EOFError, ValueError, TypeError):
        return None, _NONE, 0
    return found, (status.st_ino, status.st_mtime_ns, bytes(data[len(MAGIC) : head])), len(data)


def _write(path: Path, body: bytes) -> None:
    """Put a file in place at once. Raises OSError."""
    swap = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        # It holds what services say of themselves, with plain environment values: nobody else's business, as in state.db.
        with open(swap, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.writelines((MAGIC, _check(body), body))
        swap.replace(path)
    except OSError:
        with suppress(OSError):
            swap.unlink(missing_ok=True)
        raise


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
