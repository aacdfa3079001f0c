"""The artifacts folder: immutable results under their keys, and the order of steps that keeps half-made ones apart.

    ARTIFACTS/<key>/             a result, read-only once complete; built here, since venvs do not relocate
    ARTIFACTS/.records/<key>     the completion marker: written last, after all else is on the disk; removed first
    ARTIFACTS/.locks/<key>       held while somebody builds or removes it
    ARTIFACTS/.staging/<id>/     inputs being copied, and the build's temporary files; locked by .locks/<id>
    ARTIFACTS/.logs/, .cache/    the output of builds; hashes of files and versions of tools

What has no record does not exist: kill -9 or a power cut at any instant leaves, at worst, a folder that `sweep` removes.
Called by `build` and `collect`, which hold the locks. Blocking; run it in a thread.
"""

import errno
import hashlib
import os
import re
import stat
import sys
import threading
from collections.abc import Callable, Container, Iterator
from pathlib import Path

import msgspec

from atoll.model.errors import UserError
from atoll.model.state import Artifact
from atoll.pipeline.inputs import CHUNK_BYTES, Stopped
from atoll.pipeline.key import KEY_LENGTH, Manifest
from atoll.pipeline.lock import Lock, try_lock

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
UNWRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


_KEY = re.compile(rf"[0-9a-f]{{{KEY_LENGTH}}}")


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a complete artifact. Its file is the completion marker; its mtime is the last use."""

    artifact: Artifact
    manifest: Manifest
    service: str
    size_bytes: int
    seconds: float
    wall: float
    attempts: int = 1  # more than one: the task is flaky
    namespace: str = "trusted"  # who may believe it, see `model.records`


class Stage:
    """A private place for one build: `tree` for the copy of the inputs, `temporary` for TMPDIR."""

    def __init__(self, root: Path, lock: Lock) -> None:
        self.root, self.lock = root, lock
        self.tree, self.temporary = root / "tree", root / "tmp"


class Artifacts:
    """One artifacts folder, shared by any number of processes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.records, self.locks, self.staging = root / ".records", root / ".locks", root / ".staging"
        self.logs, self.cache = root / ".logs", root / ".cache"

    def prepare(self) -> None:
        """Make the folders. Raises UserError when that is not possible, before anything else is tried."""
        try:
            if not self.root.is_dir():
                self.root.mkdir(parents=True, exist_ok=True)
                self.root.chmod(0o755)  # services may run under users of their own
            for folder in (self.records, self.locks, self.staging, self.logs, self.cache):
                folder.mkdir(exist_ok=True)
            probe = self.cache / f"probe-{os.getpid()}"
            try:
                probe.write_bytes(b"x" * 4096)
            finally:
                probe.unlink(missing_ok=True)
        except OSError as exc:
            raise disk_trouble(exc, self.root) from exc

    def folder(self, key: str) -> Path:
        """Where the artifact of that key is, or would be."""
        return self.root / key

    def pushed_path(self, key: str) -> Path:
        """The file that says under which name a registry has the image of that key."""
        return self.cache / f"pushed-{key}"

    def tree_path(self, key: str) -> Path:
        """The file that says what lies in the artifact of that key, where it was built elsewhere."""
        return self.cache / f"tree-{key}"

    def lock_path(self, key: str) -> Path:
        """The file whose lock belongs to the key."""
        return self.locks / key

    def find(self, key: str, *, use: bool = True, believed: Container[str] | None = None) -> Record | None:
        """The record of a complete artifact, else None. `use` counts as a use, for `collect`. Key locked, if used.

        `believed`: namespaces whose results count, all without; to others it is not there.
        """
        path = self.records / key
        try:
            record = msgspec.json.decode(path.read_bytes(), type=Record)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError:
            return None  # damaged: built again, at the same place
        folder = self.folder(key)
        if record.artifact.path != os.fspath(folder) or not folder.is_dir():
            return None  # the artifacts folder was moved: what was built elsewhere does not run here
        if believed is not None and record.namespace not in believed:
            return None
        if use:
            try:
                os.utime(path)
            except OSError:  # somebody else's, or read-only: it still can be used
                pass
        return record

    # --- making one ---------------------------------------------------------------------------------------------

    def stage(self) -> Stage:
        """A new private place, locked. Raises OSError."""
        import secrets  # here and below: who only looks, as `keys` does, need not pay for it

        lock = None
        while lock is None:  # another process' `sweep` may hold the lock of a name that was given just now
            name = f"stage-{secrets.token_hex(6)}"
            lock = try_lock(self.lock_path(name))
        stage = Stage(self.staging / name, lock)
        try:
            stage.root.mkdir(mode=0o700)
            stage.tree.mkdir(mode=0o755)
            stage.temporary.mkdir(mode=0o700)
        except BaseException:
            self.drop(stage)
            raise
        return stage

    def drop(self, stage: Stage) -> None:
        """Remove a stage and its lock."""
        remove_tree(stage.root)
        stage.lock.path.unlink(missing_ok=True)
        stage.lock.release()

    def place(self, stage: Stage, key: str) -> Path:
        """Move the copied inputs to their final place, over whatever an interrupted build left there. Key locked."""
        folder = self.folder(key)
        (self.records / key).unlink(missing_ok=True)
        remove_tree(folder)
        stage.tree.rename(folder)
        return folder

    def finish(self, record: Record) -> None:
        """Write the completion marker, after everything that it vouches for is on the disk. Key locked."""
        folder = self.folder(record.artifact.key)
        flush(folder)
        path = self.records / record.artifact.key
        swap = path.with_name(f".{path.name}")
        with open(swap, "wb") as file:
            file.write(msgspec.json.encode(record))
            file.flush()
            os.fsync(file.fileno())
        swap.replace(path)
        _sync_folder(self.records)

    # --- and unmaking -------------------------------------------------------------------------------------------

    def remove(self, key: str) -> None:
        """Remove it, whole or half; the marker first. Key locked."""
        path = self.records / key
        self.pushed_path(key).unlink(missing_ok=True)
        self.tree_path(key).unlink(missing_ok=True)
        if path.exists():
            path.unlink()
            _sync_folder(self.records)
        remove_tree(self.folder(key))

    def sweep(self) -> None:
        """Remove what interrupted builds left: results without a record and stages without a process."""
        names = {item.name for item in os.scandir(self.staging)}
        names |= {item.name for item in os.scandir(self.root) if _KEY.fullmatch(item.name)}
        names |= {item.name for item in os.scandir(self.locks)}
        for name in names:
            if (self.records / name).exists():
                continue
            if (lock := try_lock(self.lock_path(name))) is None:
                continue
            with lock:
                if (self.records / name).exists():
                    continue  # finished just before we got the lock
                remove_tree(self.root / name)
                remove_tree(self.staging / name)
                lock.path.unlink(missing_ok=True)

    def keys(self) -> frozenset[str]:
        """The keys of all that is complete, or was a moment ago: one look for any number of tasks."""
        try:
            return frozenset(os.listdir(self.records))
        except FileNotFoundError:
            return frozenset()

    def complete(self) -> Iterator[tuple[str, float]]:
        """Every complete artifact's key with the time of its last use, seconds since the epoch."""
        for item in os.scandir(self.records):
            if not item.name.startswith("."):
                try:
                    yield item.name, item.stat().st_mtime
                except FileNotFoundError:
                    continue


# --- trees --------------------------------------------------------------------------------------------------------


def seal(tree: Path, meant: Callable[[str], bool], stop: threading.Event) -> tuple[str, int]:
    """Drop what is not `meant`, make the rest read-only for everybody, and return its digest and size in bytes.

    The digest is a SHA-256 over paths, kinds and contents in order of path; times do not count. Files that share their
    content with others by hard links get a copy of their own first: else a package cache would become read-only, too.
    """
    whole = hashlib.sha256()
    size = 0
    base = os.fspath(tree)
    for relative, status in files_of(base):
        if stop.is_set():
            raise Stopped
        path = os.path.join(base, relative)
        regular = stat.S_ISREG(status.st_mode)
        if not meant(relative) or not (regular or stat.S_ISLNK(status.st_mode)):
            os.unlink(path)
            continue
        if regular:
            kind, content = ("program" if status.st_mode & 0o111 else "file"), _seal_file(path, status)
            size += status.st_size
        else:
            kind, content = "link", os.readlink(path)
        whole.update(digested(relative, kind, content))
    for folder, _, _ in os.walk(base, topdown=False, onerror=_raise):
        if folder != base and not os.listdir(folder) and not meant(os.path.relpath(folder, base)):
            os.rmdir(folder)
        else:
            os.chmod(folder, 0o555)  # noqa: S103 (services may run under users of their own)
    return whole.hexdigest(), size


def files_of(base: str) -> Iterator[tuple[str, os.stat_result]]:
    """Every file and link below the folder `base`: its path in it and its status, in the order of the digest of `seal`."""
    for folder, folders, files in os.walk(base, onerror=_raise):
        linked = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = sorted(set(folders).difference(linked))  # nor is one entered whose link the caller drops
        for name in sorted([*files, *linked], key=os.fsencode):
            path = os.path.join(folder, name)
            yield os.path.relpath(path, base), os.lstat(path)


def digested(relative: str, kind: str, content: str) -> bytes:
    """A file's part of the digest of `seal`; `content` is its SHA-256, or a link's target."""
    content = os.fsencode(content).hex() if kind == "link" else content
    return b"\0".join((os.fsencode(relative), kind.encode(), content.encode(), b""))


def _raise(exc: OSError) -> None:
    raise exc


def _seal_file(path: str, status: os.stat_result) -> str:
    if status.st_nlink > 1:
        import shutil

        swap = path + ".atoll-own"
        shutil.copy2(path, swap)
        os.replace(swap, path)
    hashed = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            hashed.update(chunk)
        os.fchmod(file.fileno(), 0o555 if status.st_mode & 0o111 else 0o444)
    return hashed.hexdigest()


def remove_tree(tree: Path) -> None:
    """Remove a folder, read-only or not. One that is not there is fine. Raises OSError."""
    import shutil

    if not os.path.lexists(tree):
        return
    os.chmod(tree, 0o700)
    for folder, folders, _ in os.walk(tree):
        for name in folders:
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                os.chmod(path, 0o700)
    shutil.rmtree(tree)


def flush(folder: Path) -> None:
    """Bring everything of the folder's file system onto the disk: one call instead of one for each of 10,000 files."""
    if sys.platform != "linux":
        os.sync()
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), os.fspath(folder))
    finally:
        os.close(fd)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def disk_trouble(exc: OSError, root: Path) -> UserError:
    """What a person should know of an error of the file system below `root`."""
    if exc.errno in FULL:
        free = "free some space, or remove old artifacts"
        return UserError(f"the disk that holds {root} is full", str(exc.strerror), free, id="disk-full")
    if exc.errno in UNWRITABLE:
        return UserError(
            f"{root} cannot be written",
            f"{exc.filename}: {exc.strerror}",
            "make it writable for the user who writes there; it may be mounted read-only",
            id="folder-unusable",
        )
    return UserError(f"{root} cannot be used", str(exc), "look at the file system that holds it", id="folder-unusable")
