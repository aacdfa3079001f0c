"""The tree of a result as data: what lies where, and the digests of its contents. Says what may be a tree at all."""

import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from atoll.pipeline.artifacts import digested, files_of
from atoll.pipeline.inputs import Stopped

MOST_FILES = 2_000_000  # far beyond any artifact: a manifest that says more was not written by us
_PAST = 1 << 63  # what no file system has
_TREE = msgspec.json.Encoder()


class Unusable(Exception):
    """What lies in the cache, or came from another machine, is not what it should be; the text says in what way."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One thing in a tree; folders stand only where nothing lies in them."""

    path: str  # relative, POSIX
    kind: Literal["file", "program", "link", "folder"]
    content: str = ""  # the SHA-256 of a file, the target of a link
    size_bytes: int = 0
    mtime_ns: int = 0  # of a file: byte code of Python and ETags of servers are made of it


class Tree(msgspec.Struct, frozen=True):
    """Everything in a sealed result, in the order of `artifacts.seal`."""

    entries: tuple[Entry, ...]

    @property
    def digest(self) -> str:
        """That which `artifacts.seal` gave it."""
        whole = hashlib.sha256()
        for entry in self.entries:
            if entry.kind != "folder":
                whole.update(digested(entry.path, entry.kind, entry.content))
        return whole.hexdigest()

    @property
    def files(self) -> Iterator[Entry]:
        """The entries that have a content."""
        return (entry for entry in self.entries if entry.kind in {"file", "program"})

    @property
    def size_bytes(self) -> int:
        """Of all files as they lie in the folder."""
        return sum(entry.size_bytes for entry in self.files)

    def encoded(self) -> bytes:
        """As bytes, equal for equal trees."""
        return _TREE.encode(self)


def decoded(data: bytes) -> Tree:
    """The tree that these bytes say, checked: restored, it leaves its folder nowhere. Raises Unusable."""
    try:
        tree = msgspec.json.decode(data, type=Tree)
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise Unusable("its list of files cannot be read") from exc
    if len(tree.entries) > MOST_FILES:
        raise Unusable(f"it has {len(tree.entries)} files")
    known: dict[str, str] = {}
    for entry in tree.entries:
        if not _within(entry.path) or known.setdefault(entry.path, entry.kind) != entry.kind:
            raise Unusable(f"it names the path {entry.path!r}")
        sized = 0 <= entry.size_bytes < _PAST and -_PAST < entry.mtime_ns < _PAST
        if not sized or (entry.kind in {"file", "program"} and not _is_digest(entry.content)):
            raise Unusable(f"its entry of {entry.path!r} makes no sense")
        if entry.kind == "link" and (not entry.content or "\0" in entry.content):
            raise Unusable(f"its link {entry.path!r} leads nowhere")
    if len(known) != len(tree.entries):
        raise Unusable("it names a path twice")
    for path in known:
        above = path
        while above := above.rpartition("/")[0]:
            if above in known:  # a link there would lead whatever is below it out of the folder
                raise Unusable(f"{path!r} lies below {above!r}, which is no folder")
    return tree


def read(folder: Path, content: Callable[[str], str]) -> Tree:
    """The tree of the sealed folder. `content` is given the path of each file and returns its SHA-256.

    Raises Unusable for a name that is not UTF-8, OSError, and what `content` raises.
    """
    base = os.fspath(folder)
    entries: list[Entry] = []
    for path, status in files_of(base):
        try:
            path.encode()
        except UnicodeEncodeError as exc:
            raise Unusable(f"the file name {os.fsencode(path)!r} is not UTF-8") from exc
        if stat.S_ISLNK(status.st_mode):
            entries.append(Entry(path, "link", os.readlink(os.path.join(base, path))))
        else:
            kind: Literal["program", "file"] = "program" if status.st_mode & 0o111 else "file"
            digest = content(os.path.join(base, path))
            entries.append(Entry(path, kind, digest, status.st_size, status.st_mtime_ns))
    for here, folders, files in os.walk(base):
        if not folders and not files and here != base:
            entries.append(Entry(os.path.relpath(here, base), "folder"))
    return Tree(tuple(entries))


def write(tree: Tree, to: Path, content: Callable[[Entry, int], None], stop: threading.Event) -> None:
    """Write the tree as the folder `to`, which must not be there, sealed like `artifacts.seal` does.

    Args:
        tree: one that `read` or `decoded` gave, so that nothing of it lies outside.
        to: absolute; what was written of it is left when an error is raised.
        content: writes a file's content to a descriptor.
        stop: set when nobody waits any more; then Stopped is raised.

    Raises OSError, and what `content` raises.
    """
    base = os.fspath(to)
    folders = {base: None}
    os.mkdir(base, 0o755)
    for entry in tree.entries:
        if stop.is_set():
            raise Stopped
        path = f"{base}/{entry.path}"
        above = path if entry.kind == "folder" else os.path.dirname(path)
        if above not in folders:
            os.makedirs(above, 0o755, exist_ok=True)
            while above not in folders:
                folders[above] = None
                above = os.path.dirname(above)
        if entry.kind == "link":
            os.symlink(entry.content, path)
        elif entry.kind != "folder":
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                content(entry, fd)
                os.fchmod(fd, 0o555 if entry.kind == "program" else 0o444)
                os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
            finally:
                os.close(fd)
    for folder in folders:
        os.chmod(folder, 0o555)  # noqa: S103 (services may run under users of their own)


def _within(path: str) -> bool:
    return bool(path) and "\0" not in path and all(part not in {"", ".", ".."} for part in path.split("/"))


def _is_digest(text: str) -> bool:
    return len(text) == 64 and not text.strip("0123456789abcdef")
