"""A service's inputs: which of its files go into a build, their content hashes, and the copy that is built.

Called by `build`. A key must describe what was built, so the copy's hashes are those of the very bytes written
(`copy`); hashes of the originals (`fingerprint`) only serve to find an artifact that is there already.
"""

import hashlib
import os
import stat
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import msgspec

from atoll.model.errors import UserError
from atoll.pipeline.globs import EVERYTHING, bases, matcher
from atoll.pipeline.ignore import NEVER, Ignore, above
from atoll.pipeline.stamps import RACY_NS

Kind = Literal["file", "program", "link"]
CHUNK_BYTES = 1 << 20
NOTHING: Mapping[str, str] = MappingProxyType({})
TRIES = 5  # to copy a file that is being written


class Input(msgspec.Struct, frozen=True, array_like=True):
    """One file of a service. `content` is its SHA-256, or a symbolic link's target."""

    path: str  # relative, POSIX
    kind: Kind
    content: str


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A file that was selected, as it was found."""

    path: str
    kind: Kind
    status: tuple[int, int, int, int]  # size, mtime_ns, ctime_ns, inode: equal means unchanged


class Stopped(Exception):
    """The work was given up because nobody waits for it any more."""


# --- which files --------------------------------------------------------------------------------------------------


def select(
    folder: Path,
    patterns: Sequence[str],
    *,
    root: Path,
    skip: frozenset[str] = frozenset(),
    artifacts: Path | None = None,
) -> list[Entry]:
    """The files of `folder` (absolute) that the patterns mean, sorted by path, less what git ignores.

    Args:
        folder: the service's folder, absolute.
        patterns: `build.inputs`.
        root: the folder of the workspace, or of the service's root, where .gitignore files begin when there is no git.
        skip: paths that are no inputs.
        artifacts: the artifacts folder, which may lie within `folder`.

    Raises UserError for a pattern list that means nothing, and a folder that cannot be read. What of them may really go in
    `check_entries` tells, once a context that many services share is cut to one's own.
    """
    meant = matcher(patterns)
    base = os.fspath(folder)
    found: list[Entry] = []
    try:
        for path, item in _walk(base, above(folder, root), os.fspath(artifacts) if artifacts else "", bases(patterns)):
            if path in skip or not meant(path):
                continue
            status = item.stat(follow_symlinks=False)
            if kind := kind_of(status.st_mode):
                found.append(Entry(path, kind, (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)))
    except OSError as exc:
        if trouble := walk_trouble(exc, base):
            raise trouble from exc
        raise
    if not found:
        refuse_nothing(patterns)
    found.sort(key=lambda entry: entry.path)
    return found


def kind_of(mode: int) -> Kind | None:
    """What a file of that mode is as an input; None for sockets and pipes, which are no source."""
    if stat.S_ISLNK(mode):
        return "link"
    if not stat.S_ISREG(mode):
        return None
    return "program" if mode & 0o111 else "file"


def check_entries(folder: Path, entries: Iterable[Entry]) -> None:
    """Raise UserError for one of `folder` that cannot be an input: a name that is not UTF-8, a link out of it. OSError."""
    base = os.fspath(folder)
    for entry in entries:
        _check_name(entry.path)
        if entry.kind == "link":
            check_link(base, entry.path)


def walk_trouble(exc: OSError, base: str) -> UserError | None:
    """What a person should know of an error while the folder `base` was walked; None when it is of no known kind."""
    if isinstance(exc, PermissionError):
        return UserError(f"{exc.filename} cannot be read", str(exc.strerror), "make it readable", id="file-unreadable")
    if not isinstance(exc, (FileNotFoundError, NotADirectoryError)):
        return None
    if os.path.isdir(base):
        return UserError(f"{base} changed while it was read", str(exc), "build again", id="inputs-changed")
    return UserError(
        f"there is no folder {base}", "a service is built from its folder", "check out the files", id="no-inputs"
    )


def refuse_nothing(patterns: Sequence[str]) -> None:
    """Raise UserError when no file was found, although the patterns were written by somebody who meant some."""
    if tuple(patterns) != EVERYTHING:
        shown = ", ".join(patterns)
        why = f"[build] inputs = {shown} means no file"
        raise UserError("the service has no inputs", why, "correct the patterns", id="no-inputs")


def _walk(base: str, rules: Ignore, artifacts: str, reach: Sequence[str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every file that lies in the folder at or below a path of `reach`, or may, and that git does not ignore."""
    narrow = "" not in reach
    todo = [("", rules)]
    while todo:
        prefix, here = todo.pop()
        with os.scandir(os.path.join(base, prefix) if prefix else base) as items:
            for item in items:
                if item.name in NEVER or item.path == artifacts:
                    continue
                folder = item.is_dir(follow_symlinks=False)
                if here.ignores(f"{base}/{prefix}{item.name}", folder=folder):
                    continue
                if folder:
                    if not narrow or _leads(f"{prefix}{item.name}/", reach):
                        todo.append((f"{prefix}{item.name}/", here.within(item.path)))
                else:
                    yield prefix + item.name, item


def _leads(folder: str, reach: Sequence[str]) -> bool:
    return any(f"{each}/".startswith(folder) or folder.startswith(f"{each}/") for each in reach)


def _check_name(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError as exc:
        raise UserError(
            f"the file name {os.fsencode(path)!r} is not UTF-8", "artifacts need it", "rename it", id="file-unreadable"
        ) from exc


def check_link(base: str, path: str) -> None:
    """Raise UserError for a link out of the folder: it must stay within, both as written and as it resolves now: the copy has nothing else."""
    target = os.readlink(os.path.join(base, path))
    written = os.path.normpath(os.path.join(os.path.dirname(path), target))
    real = os.path.realpath(os.path.join(base, path))
    top = os.path.realpath(base)
    if os.path.isabs(target) or written.split("/", 1)[0] == ".." or not (real == top or real.startswith(top + "/")):
        raise UserError(
            f"{path} is a symbolic link out of the service's folder",
            f"it points to {target}, which would not be part of the artifact",
            "copy the file into the folder, or leave the link out with [build] inputs",
            id="link-outside",
        )


# --- their content ------------------------------------------------------------------------------------------------


class Seen(msgspec.Struct):
    """The stat cache of one folder: what a file's hash was when it last looked so."""

    files: dict[str, tuple[tuple[int, int, int, int], str]] = {}


def fingerprint(
    folder: Path,
    entries: Sequence[Entry],
    memory: Path,
    stop: threading.Event,
    rewritten: Mapping[str, str] = NOTHING,
) -> tuple[Input, ...]:
    """The inputs as they are now. Only what looks different from what the file `memory` knows is read.

    `rewritten` holds the text that takes the place of a file's own. A file that vanished since it was selected is no
    input. Raises UserError for one that cannot be read, and Stopped.
    """
    known = _recall(memory)
    fresh = Seen()
    inputs: list[Input] = []
    settled_ns = time.time_ns() - RACY_NS
    for entry in entries:
        if entry.path in rewritten:
            inputs.append(Input(entry.path, "file", _digest(rewritten[entry.path])))
            continue
        seen = known.files.get(entry.path)
        if entry.kind == "link":
            inputs.append(Input(entry.path, entry.kind, os.readlink(folder / entry.path)))
            continue
        if seen is not None and seen[0] == entry.status:
            content = seen[1]
        elif (read := _read(folder / entry.path, None, stop)) is None:
            continue
        else:
            content = read
        if max(entry.status[1], entry.status[2]) < settled_ns:
            fresh.files[entry.path] = (entry.status, content)
        inputs.append(Input(entry.path, entry.kind, content))
    if fresh.files != known.files:
        _remember(memory, fresh)
    return tuple(inputs)


def copy(
    folder: Path,
    entries: Sequence[Entry],
    to: Path,
    stop: threading.Event,
    rewritten: Mapping[str, str] = NOTHING,
) -> tuple[Input, ...]:
    """Copy the inputs into the empty folder `to`; returns what was really copied, whatever is edited meanwhile.

    `rewritten` holds the text that takes the place of a file's own. A file that vanished since is no input. Raises UserError for one that does not come to rest, OSError, and Stopped.
    """
    inputs: list[Input] = []
    made: set[str] = set()
    for entry in entries:
        source, target = folder / entry.path, to / entry.path
        parent = os.path.dirname(entry.path)
        if parent not in made:
            target.parent.mkdir(parents=True, exist_ok=True)
            made.add(parent)
        if entry.path in rewritten:
            target.write_bytes(rewritten[entry.path].encode())
            target.chmod(0o644)
            inputs.append(Input(entry.path, "file", _digest(rewritten[entry.path])))
            continue
        if entry.kind == "link":
            content = os.readlink(source)
            target.symlink_to(content)
        elif (read := _read(source, target, stop)) is None:
            continue
        else:
            content = read
            target.chmod(0o755 if entry.kind == "program" else 0o644)
        inputs.append(Input(entry.path, entry.kind, content))
    return tuple(inputs)


def read_content(file: Path, stop: threading.Event) -> str | None:
    """The SHA-256 of a file; None when it is gone. Raises UserError when it cannot be read or keeps changing, and Stopped."""
    return _read(file, None, stop)


def _read(source: Path, target: Path | None, stop: threading.Event) -> str | None:
    """The SHA-256 of a file, copied to `target` on the way, with its times; read again while somebody writes it.

    None when it is gone. Raises UserError when it cannot be read or keeps changing.
    """
    for _ in range(TRIES):
        try:
            file = open(source, "rb", buffering=0, opener=_no_follow)  # noqa: SIM115 (closed below)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise UserError(
                f"{source} cannot be read", str(exc.strerror), "make it a readable file", id="file-unreadable"
            ) from exc
        with file as reading:
            before = os.fstat(reading.fileno())
            if target is None:
                content = _pump(reading.fileno(), None, stop)
            else:
                with open(target, "wb", buffering=0) as writing:
                    content = _pump(reading.fileno(), writing.fileno(), stop)
                os.utime(target, ns=(before.st_mtime_ns, before.st_mtime_ns))  # sendfile's ETags are made of it
            after = os.fstat(reading.fileno())
        if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
            return content
        time.sleep(0.05)
    raise UserError(
        f"{source} keeps changing",
        f"read {TRIES} times, different each time",
        "stop what writes it",
        id="inputs-changed",
    )


def _pump(reading: int, writing: int | None, stop: threading.Event) -> str:
    hashed = hashlib.sha256()
    while chunk := os.read(reading, CHUNK_BYTES):
        if stop.is_set():
            raise Stopped
        hashed.update(chunk)
        while writing is not None and chunk:
            chunk = chunk[os.write(writing, chunk) :]
    return hashed.hexdigest()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _no_follow(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _recall(memory: Path) -> Seen:
    try:
        return msgspec.json.decode(memory.read_bytes(), type=Seen)
    except (FileNotFoundError, msgspec.MsgspecError):
        return Seen()  # only a cache: what is not known is read again


def _remember(memory: Path, seen: Seen) -> None:
    swap = memory.with_name(f"{memory.name}.{os.getpid()}.{threading.get_ident()}")
    swap.write_bytes(msgspec.json.encode(seen))
    swap.replace(memory)
