"""Files' contents under their digests, compressed. A content is whole or not there: written aside, flushed, renamed.

What is read is hashed on the way, so that a file which a disk, a power cut or a person changed is never used.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from atoll.pipeline.artifacts import flush
from atoll.pipeline.cache.tree import Unusable
from atoll.pipeline.cache.zstd import ZstdCompressor, ZstdDecompressor, ZstdError, compress
from atoll.pipeline.lock import try_lock

CHUNK_BYTES = 1 << 20
LEVEL = 3  # zstd's default: on the shop's artifacts 6 takes 5 % less room, and two and a half times as long


class Contents:
    """The contents of one cache folder, shared by any number of processes."""

    def __init__(self, root: Path) -> None:
        self.root, self.tmp = root / "contents", root / "tmp"

    def prepare(self) -> None:
        """Make the folders. Raises OSError."""
        for each in (self.root, self.tmp):
            each.mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> str:
        """Where a content is, or would be."""
        return f"{self.root}/{digest[:2]}/{digest[2:]}.zst"

    def stored_bytes(self, digest: str) -> int | None:
        """How much room it takes; None when it is not there."""
        try:
            return os.stat(self.path(digest)).st_size
        except FileNotFoundError:
            return None

    def write(self, digest: str, size_bytes: int, to: int) -> None:
        """Write the content to a descriptor. Raises Unusable (missing, damaged, of another size), OSError."""
        self.read(digest, size_bytes, lambda chunk: write_all(to, chunk))

    def read(self, digest: str, size_bytes: int, put: Callable[[bytes], object]) -> None:
        """Hand the content on, part by part; that it is sound is known at its end. Raises like `write`."""
        try:
            file = open(self.path(digest), "rb", buffering=0)  # noqa: SIM115 (closed below)
        except FileNotFoundError as exc:
            raise Unusable("a content is missing") from exc
        with file:
            hashed, size = hashlib.sha256(), 0
            for chunk in _inflated(file):
                hashed.update(chunk)
                if (size := size + len(chunk)) > size_bytes:
                    break  # a small file may say that it unpacks to more than any disk holds
                put(chunk)
        if size != size_bytes or hashed.hexdigest() != digest:
            raise Unusable("a content has changed")

    def check(self, digest: str) -> None:
        """Read it to its end. Raises Unusable, OSError."""
        with open(self.path(digest), "rb", buffering=0) as file:
            hashed = hashlib.sha256()
            for chunk in _inflated(file):
                hashed.update(chunk)
        if hashed.hexdigest() != digest:
            raise Unusable("a content has changed")

    def drop(self, digest: str) -> None:
        """Forget it. One that is not there is fine."""
        Path(self.path(digest)).unlink(missing_ok=True)

    def all(self) -> Iterator[tuple[str, int]]:
        """Every content's digest and how much room it takes."""
        for folder in sorted(os.scandir(self.root), key=lambda each: each.name):
            for item in os.scandir(folder):
                try:
                    yield folder.name + item.name.removesuffix(".zst"), item.stat().st_size
                except FileNotFoundError:
                    continue

    def sweep(self) -> None:
        """Remove what dead processes were writing."""
        for item in os.scandir(self.tmp):
            if not item.is_dir(follow_symlinks=False):
                continue
            if (lock := try_lock(Path(f"{item.path}.lock"))) is not None:
                with lock:
                    shutil.rmtree(item.path, ignore_errors=True)
                    lock.path.unlink(missing_ok=True)


class Batch:
    """Contents that are being written. Nobody sees one before `commit`; left without it, nothing of them remains."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self.folder = contents.tmp / secrets.token_hex(8)
        self._new: list[str] = []
        self.stored: dict[str, int] = {}  # digest -> the room that it takes, of all that were added

    def __enter__(self) -> "Batch":
        lock = try_lock(self.folder.with_name(f"{self.folder.name}.lock"))
        assert lock is not None, "a name that nobody else has"
        self._lock = lock
        self.folder.mkdir(mode=0o700)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.path.unlink(missing_ok=True)
        self._lock.release()

    def add(self, path: str, needle: bytes = b"") -> tuple[str, bool]:
        """Take a file's content; returns its SHA-256 and whether it holds the bytes `needle`. Raises OSError."""
        with open(path, "rb", buffering=0) as file:
            data = file.read(CHUNK_BYTES)
            if len(data) < CHUNK_BYTES:
                digest, found = hashlib.sha256(data).hexdigest(), bool(needle) and needle in data
                if self._wanted(digest):
                    self._keep(digest, (compress(data, LEVEL),))
                return digest, found
            digest, found = _look_through(file, data, needle)
            if self._wanted(digest):
                file.seek(0)
                self._keep(digest, deflated(file))
        return digest, found

    def adopt(self, digest: str, size_bytes: int, data: IO[bytes], length: int) -> None:
        """Take a content as another cache stores it: `length` bytes of `data`. Raises Unusable when it is another one."""
        if not self._wanted(digest):
            data.seek(length, os.SEEK_CUR)
            return
        left, size, hashed, unpacking = length, 0, hashlib.sha256(), ZstdDecompressor()
        with open(self.folder / digest, "wb") as file:
            while left:
                if not (chunk := data.read(min(CHUNK_BYTES, left))):
                    raise Unusable("it ends too early")
                left -= len(chunk)
                file.write(chunk)
                for part in _parts(unpacking, chunk):
                    hashed.update(part)
                    if (size := size + len(part)) > size_bytes:
                        raise Unusable("a content is larger than it says")
        if not unpacking.eof or unpacking.unused_data or hashed.hexdigest() != digest:
            raise Unusable("a content has changed")
        self._new.append(digest)
        self.stored[digest] = length

    def commit(self) -> None:
        """Make all of it visible, after it is on the disk. Raises OSError."""
        if not self._new:
            return
        flush(self.folder)
        for digest in self._new:
            path = self._contents.path(digest)
            try:
                os.rename(self.folder / digest, path)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                os.rename(self.folder / digest, path)
        self._new.clear()

    def _wanted(self, digest: str) -> bool:
        if digest in self.stored:
            return False
        if (stored := self._contents.stored_bytes(digest)) is not None:
            self.stored[digest] = stored
            return False
        return True

    def _keep(self, digest: str, parts: Iterable[bytes]) -> None:
        stored = 0
        with open(self.folder / digest, "wb", buffering=0) as file:
            for part in parts:
                write_all(file.fileno(), part)
                stored += len(part)
        self._new.append(digest)
        self.stored[digest] = stored


def _look_through(file: IO[bytes], first: bytes, needle: bytes) -> tuple[str, bool]:
    """The SHA-256 of a file whose beginning was read, and whether `needle` is in it."""
    hashed, found, tail, chunk = hashlib.sha256(), False, b"", first
    while chunk:
        hashed.update(chunk)
        if needle and not found:
            found = needle in chunk or needle in tail + chunk[: len(needle)]
            tail = (tail + chunk)[-len(needle) :]
        chunk = file.read(CHUNK_BYTES)
    return hashed.hexdigest(), found


def deflated(file: IO[bytes]) -> Iterator[bytes]:
    """A file compressed as it is kept, in parts: the same for the same content, by one version of zstd. Raises OSError."""
    packing = ZstdCompressor(level=LEVEL)
    while chunk := file.read(CHUNK_BYTES):
        if packed := packing.compress(chunk):
            yield packed
    yield packing.flush()


def _inflated(file: IO[bytes]) -> Iterator[bytes]:
    """What a compressed file holds, in parts. Raises Unusable, OSError."""
    unpacking = ZstdDecompressor()
    while data := file.read(CHUNK_BYTES):
        yield from _parts(unpacking, data)
    if not unpacking.eof:
        raise Unusable("a content is cut off")
    if unpacking.unused_data:
        raise Unusable("a content has something behind it")


def _parts(unpacking: ZstdDecompressor, data: bytes) -> Iterator[bytes]:
    try:
        if unpacking.eof:
            raise Unusable("a content has something behind it")
        yield unpacking.decompress(data, max_length=CHUNK_BYTES)
        while not unpacking.needs_input and not unpacking.eof:
            yield unpacking.decompress(b"", max_length=CHUNK_BYTES)
    except ZstdError as exc:
        raise Unusable("a content is damaged") from exc


def write_all(to: int, data: bytes) -> None:
    """Write all of it to a descriptor. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(to, view) :]
