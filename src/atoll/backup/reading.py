"""Reads a backup, and believes nothing of it: names, sizes and digests are those of the manifest, and whoever has the key
knows that the manifest is the one that was written. What comes too early, twice, too long or not at all is an error.

The tar is read by hand: what a header of somebody else's making says (links, devices, paths, further headers) is never acted on.
"""

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import msgspec

from atoll.backup import keys
from atoll.backup import manifest as m
from atoll.backup.dumps import NAME
from atoll.model.errors import UserError
from atoll.pipeline.cache.contents import CHUNK_BYTES
from atoll.pipeline.cache.tree import Tree, Unusable, decoded
from atoll.pipeline.cache.zstd import ZstdError, ZstdFile
from atoll.pipeline.key import KEY_LENGTH

_MOST_MANIFEST_BYTES: Final = 64 * 2**20
_MAC_BYTES: Final = 64
_KEY: Final = re.compile(f"[0-9a-f]{{{KEY_LENGTH}}}")  # a folder's name, once restored
_ID: Final = re.compile(r"[0-9a-f]{16}")  # a part of one
_TITLE: Final = re.compile(r"[^/\0-\x1f\x7f.][^/\0-\x1f\x7f]{0,99}")  # a part of a file's, where it is kept
_MOST_WALL: Final = 253_402_300_799.0  # the end of the year 9999

Place = Callable[[str], AbstractContextManager[IO[bytes]]]  # a name -> where its bytes go


class Archive:
    """An open backup. `manifest` is there at once, the rest after `walk`. Raises UserError `backup-damaged`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trees: dict[str, Tree] = {}  # by the artifact's key, once walked
        try:
            self._file = path.open("rb")
        except OSError as exc:
            raise UserError(
                f"{path} cannot be read", exc.strerror or str(exc), "name the backup's file", id="file-unreadable"
            ) from exc
        try:
            self._stream = ZstdFile(self._file)
            self._raw = self._whole(m.MANIFEST, _MOST_MANIFEST_BYTES)
            self._mac = self._whole(m.MAC, _MAC_BYTES)
            self.manifest = self._understood()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._file.close()

    def authenticate(self, key: bytes) -> None:
        """Make sure that whoever had `key` wrote it. Raises UserError: another key, or something was changed."""
        if keys.id_of(key) != self.manifest.key_id:
            raise UserError(
                f"the key is not that of the backup {self.path}",
                f"it was made with the key {self.manifest.key_id}, this one is {keys.id_of(key)}",
                f"name the key file of the environment {self.manifest.title}",
                id="backup-key",
            )
        if not keys.same(keys.mac(key, self._raw), self._mac):
            raise m.damaged(self.path, "it was changed after it was made: its signature is not that of its key")

    def walk(self, file: Place, content: Place, dump: Place) -> None:
        """Read it to its end, once.

        Args:
            file: where a file goes, one of `manifest.FILES`.
            content: where the content of this SHA-256 goes.
            dump: where a file that a service handed over goes, `SERVICE/NAME`.

        What came is sound only when this returns. Raises UserError, and what the places raise.
        """
        for each in self.manifest.files:
            with file(each.name) as to:
                self._take(f"files/{each.name}", each.size_bytes, each.sha256, to)
        wanted: dict[str, int] = {}
        for artifact in self.manifest.artifacts:
            key = artifact.record.artifact.key
            data = io.BytesIO()
            self._take(f"artifacts/{key}.json", artifact.tree_bytes, artifact.tree, data)
            try:
                self.trees[key] = tree = decoded(data.getvalue())
            except Unusable as exc:
                raise self._damaged(f"the list of files of the artifact {key}: {exc}") from exc
            if tree.digest != artifact.record.artifact.digest:
                raise self._damaged(f"the list of files of the artifact {key} is of another one")
            wanted |= {entry.content: entry.size_bytes for entry in tree.files}
        while wanted:
            name, size = self._header()
            digest = name.removeprefix("contents/")
            if name == digest or wanted.pop(digest, None) != size:
                raise self._damaged(f"it holds {name[:80]!r}, which nothing asks for")
            with content(digest) as to:
                self._copy(name, size, digest, to)
        for number, handed in enumerate(self.manifest.dumps):
            with dump(f"{handed.service}/{handed.name}") as to:
                self._take(f"dumps/{number}", handed.size_bytes, handed.sha256, to)
        for _ in range(2):
            if self._exactly(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                raise self._damaged("something stands where its end should be")
        if self._read(1) or self._file.read(1):
            raise self._damaged("something stands behind its end")

    # --- the tar ----------------------------------------------------------------------------------------------------

    def _whole(self, name: str, most: int) -> bytes:
        """A member that no digest is known of yet."""
        found, size = self._header()
        if found != name or size > most:
            raise self._damaged(f"it does not begin as a backup does: where {name} should be, there is {found[:80]!r}")
        data = self._exactly(size)
        self._padding(size)
        return data

    def _take(self, name: str, size: int, sha256: str, to: IO[bytes]) -> None:
        found = self._header()
        if found != (name, size):
            raise self._damaged(f"where {name} should be, there is {found[0][:80]!r}")
        self._copy(name, size, sha256, to)

    def _copy(self, name: str, size: int, sha256: str, to: IO[bytes]) -> None:
        hashed = hashlib.sha256()
        for part in self._parts(size):
            hashed.update(part)
            to.write(part)
        if hashed.hexdigest() != sha256:
            raise self._damaged(f"{name} is not what it was")
        self._padding(size)

    def _padding(self, size: int) -> None:
        if self._exactly(-size % tarfile.BLOCKSIZE).strip(tarfile.NUL):
            raise self._damaged("something stands between its parts")

    def _header(self) -> tuple[str, int]:
        try:
            info = tarfile.TarInfo.frombuf(self._exactly(tarfile.BLOCKSIZE), "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError) as exc:
            raise self._damaged("a part of it is missing, or is none of its own") from exc
        if info.type != tarfile.REGTYPE or info.size < 0:
            raise self._damaged(f"it holds {info.name[:80]!r}, which is no file")
        return info.name, info.size

    def _exactly(self, size: int) -> bytes:
        return b"".join(self._parts(size))

    def _parts(self, size: int) -> Iterator[bytes]:
        while size:
            if not (part := self._read(min(size, CHUNK_BYTES))):
                raise self._damaged("it is cut off")
            size -= len(part)
            yield part

    def _read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except EOFError as exc:
            raise self._damaged("it is cut off") from exc
        except (ZstdError, OSError) as exc:
            raise self._damaged(f"it cannot be read: {exc}") from exc

    def _understood(self) -> m.Manifest:
        try:
            made = msgspec.json.decode(self._raw, type=_Formatted).format
            if made > m.FORMAT:
                raise UserError(
                    f"the backup {self.path} was made by a newer Atoll",
                    f"its format is {made}, this version knows {m.FORMAT}",
                    "use the newer version",
                    id="versions-differ",
                )
            found = msgspec.json.decode(self._raw, type=m.Manifest)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise self._damaged(f"its manifest is not understood: {exc}") from exc
        names = [each.name for each in found.files]
        if not m.FILES.issuperset(names) or len({*names}) < len(names) or m.STATE not in names:
            raise self._damaged(f"its manifest names the files {', '.join(names)[:200]}")
        titles = (found.workspace, found.environment)
        if not (_ID.fullmatch(found.id) and all(map(_TITLE.fullmatch, titles)) and 0 <= found.made_wall <= _MOST_WALL):
            raise self._damaged("what its manifest calls itself is no name")
        found_keys = [each.record.artifact.key for each in found.artifacts]
        if not all(map(_KEY.fullmatch, found_keys)) or len({*found_keys}) < len(found_keys):
            raise self._damaged("its manifest names artifacts by what are no keys")
        handed = [(each.service, each.name) for each in found.dumps]
        if not all(NAME.fullmatch(name) for pair in handed for name in pair) or len({*handed}) < len(handed):
            raise self._damaged("its manifest names what services handed over by what are no names")
        return found

    def _damaged(self, why: str) -> UserError:
        return m.damaged(self.path, why)


class _Formatted(msgspec.Struct):
    """What any format of a manifest has."""

    format: int


def nowhere(_: str) -> IO[bytes]:
    """For what is only to be checked."""
    return Path(os.devnull).open("wb")
