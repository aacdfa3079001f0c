"""Writes a backup as a stream of bytes: a tar (ustar) in zstd, with its manifest first, signed with the vault's key.

    manifest.json, manifest.mac
    files/NAME             of the state folder; databases as they were at one instant
    artifacts/KEY.json     the list of an artifact's files
    contents/SHA256        each file of any artifact once
    dumps/N                the files that services handed over, in the order of the manifest

Databases are copied by SQLite itself, in one read transaction each, so that whoever writes meanwhile waits for nobody and
what is copied is what one commit left. Artifacts do not change; their times of use are renewed, so that no collection takes one
away meanwhile. Nothing is locked but other backups. Blocking; run it in a thread.
"""

import hashlib
import secrets
import shutil
import sqlite3
import tarfile
import threading
from collections.abc import Container, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import mkdtemp
from typing import Final, NamedTuple

import msgspec

from atoll import __version__
from atoll.backup import dumps, keys
from atoll.backup import manifest as m
from atoll.model.errors import Conflict, UserError
from atoll.model.spec import Command
from atoll.model.state import Artifact
from atoll.pipeline.artifacts import Artifacts, Record, disk_trouble, remove_tree
from atoll.pipeline.cache.contents import CHUNK_BYTES
from atoll.pipeline.cache.tree import Unusable
from atoll.pipeline.cache.zstd import ZstdCompressor
from atoll.pipeline.lock import Lock, try_lock
from atoll.pipeline.ship.survey import Surveyed, survey
from atoll.store import failures
from atoll.store.key_file import read_key
from atoll.store.vault import SqliteVault

LOCK: Final = "backup.lock"
STAGING: Final = ".backup-"  # what a killed one leaves in the state folder; the next takes it away
LEVEL: Final = 3  # as the cache's
SPARE_BYTES: Final = 64 * 2**20  # that others may need meanwhile
_BUSY_S: Final = 20.0  # for another program that locks a database


class Source(NamedTuple):
    """Which environment, and where it keeps its state."""

    workspace: str
    environment: str
    root: str
    state: Path


class _Spec(msgspec.Struct, frozen=True):
    store: str = ""
    run: Command | None = None


class _Release(msgspec.Struct, frozen=True):
    """Of a release's row, what matters here: rows of an older or newer Atoll have it, too."""

    service: str
    n: int
    artifact: Artifact
    spec: _Spec = _Spec()


class Backup:
    """One backup under way. Made, it has all that may be refused behind it; then `chunks`; in any case `close`.

    Raises UserError (no state, a disk that is full or cannot be written, a damaged database, an unusable key), Conflict
    (another backup is under way), Retryable.
    """

    def __init__(self, source: Source, *, signals: bool, now_wall: float) -> None:
        """`signals`: with the golden signals of the last month, which are most of a small environment's bytes."""
        self._source = source
        self._lock = _alone(source.state)
        self._staging = Path()
        self._dumps: list[dumps.Dump] = []
        try:
            self._staging = Path(mkdtemp(prefix=STAGING, dir=source.state))
            self.manifest = self._prepared(signals=signals, now_wall=now_wall)
        except OSError as exc:
            self.close()
            raise disk_trouble(exc, source.state) from exc
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Take away what was put aside, and let others begin. Twice is fine."""
        dumps.close(self._dumps)
        if self._staging.name:
            shutil.rmtree(self._staging, ignore_errors=True)
        self._lock.release()

    def chunks(self) -> Iterator[bytes]:
        """The file. Raises UserError when an artifact is no longer what it was a moment ago."""
        packing = ZstdCompressor(level=LEVEL)
        for plain in self._plain():
            if packed := packing.compress(plain):
                yield packed
        yield packing.flush()

    # --- what goes in -----------------------------------------------------------------------------------------------

    def _prepared(self, *, signals: bool, now_wall: float) -> m.Manifest:
        source, staging = self._source, self._staging
        _refuse_a_full_disk(source.state, [*m.DATABASES, *((m.SIGNALS,) if signals else ())])
        self._key = SqliteVault(source.state).key()
        for name in (*m.DATABASES, *((m.SIGNALS,) if signals else ())):
            if (source.state / name).exists():
                snapshot(source.state / name, _below(staging, name))
        for name in m.PLAIN:
            if (source.state / name).exists():
                shutil.copyfile(source.state / name, _below(staging, name))
        further = {name: key for name in m.FURTHER_KEYS if (key := read_key(source.state / name)) is not None}
        id = secrets.token_hex(8)
        sealed = keys.seal(keys.derived(self._key, "keys"), msgspec.json.encode(further), id.encode())
        (staging / m.SEALED_KEYS).write_bytes(sealed)

        releases = _releases(staging / m.STATE)
        self._artifacts, left = self._looked_at(releases)
        lists = [seen.tree.encoded() for _, seen in self._artifacts]
        self._dumps, refused = dumps.found(source.state / "data")
        names = [name for name in (*m.DATABASES, *m.PLAIN, m.SIGNALS, m.SEALED_KEYS) if (staging / name).exists()]
        self._contents = {e.content: e.size_bytes for _, seen in self._artifacts for e in seen.tree.files}
        return m.Manifest(
            id=id,
            version=__version__,
            workspace=source.workspace,
            environment=source.environment,
            root=source.root,
            state=str(source.state),
            made_wall=now_wall,
            key_id=keys.id_of(self._key),
            releases=len(releases),
            files=tuple(_file_in(staging, name) for name in names),
            artifacts=tuple(
                m.ArtifactIn(
                    record=record,
                    needs=seen.needs,
                    named=seen.named,
                    tree=hashlib.sha256(data).hexdigest(),
                    tree_bytes=len(data),
                )
                for (record, seen), data in zip(self._artifacts, lists, strict=True)
            ),
            contents=len(self._contents),
            contents_bytes=sum(self._contents.values()),
            dumps=tuple(dump.told for dump in self._dumps),
            left=(*left, *refused, *_data_left(source.state, releases, {dump.told.service for dump in self._dumps})),
        )

    def _looked_at(self, releases: Iterable[_Release]) -> tuple[list[tuple[Record, Surveyed]], list[m.Left]]:
        """The artifacts of the releases, each once, read and checked; and why some are not in it."""
        found: dict[str, tuple[Record, Surveyed]] = {}
        left: dict[str, m.Left] = {}
        for release in releases:
            artifact, name = release.artifact, f"{release.service} r{release.n}"
            if artifact.image is not None:
                text = "its image: push it to a registry, or `docker save` it"
                left[artifact.image.id] = m.Left(kind="image", name=name, text=text)
            if artifact.key in found or artifact.key in left:
                continue
            if artifact.in_place:
                left[artifact.key] = m.Left(
                    kind="folder", name=name, text=f"runs in {artifact.path}, where it is edited"
                )
                continue
            folder = Path(artifact.path)
            try:
                record = Artifacts(folder.parent).find(artifact.key)
                if record is None:
                    raise Unusable("is not there any more")
                seen = survey(record.artifact, release.spec.run, threading.Event())
                if seen.tree.digest != record.artifact.digest:
                    raise Unusable("was changed since it was built")
                found[artifact.key] = (record, seen)
            except (FileNotFoundError, Unusable) as exc:
                if release.spec.store or artifact.image is not None:
                    continue  # a store's program is the machine's
                why = exc if isinstance(exc, Unusable) else "is not there any more"
                left[artifact.key] = m.Left(kind="artifact", name=name, text=f"its artifact {folder} {why}")
        return list(found.values()), list(left.values())

    # --- how it is written ------------------------------------------------------------------------------------------

    def _plain(self) -> Iterator[bytes]:
        """The tar, before it is compressed."""
        manifest = msgspec.json.encode(self.manifest)
        mac = keys.mac(self._key, manifest)
        yield from _member(m.MANIFEST, (manifest,), len(manifest))
        yield from _member(m.MAC, (mac,), len(mac))
        for file in self.manifest.files:
            yield from _member(f"files/{file.name}", _parts(self._staging / file.name), file.size_bytes, file.sha256)
        for record, seen in self._artifacts:
            data = seen.tree.encoded()
            yield from _member(f"artifacts/{record.artifact.key}.json", (data,), len(data))
        missing = dict(self._contents)
        for record, seen in self._artifacts:
            folder = Path(record.artifact.path)
            Artifacts(folder.parent).find(record.artifact.key)  # counts as a use, once more: this may take long
            for entry in seen.tree.files:
                if missing.pop(entry.content, None) is not None:
                    parts = _parts(folder / entry.path)
                    yield from _member(f"contents/{entry.content}", parts, entry.size_bytes, entry.content)
        for number, (told, opened) in enumerate(self._dumps):
            opened.seek(0)
            parts = iter(lambda: opened.read(CHUNK_BYTES), b"")  # noqa: B023 (read to its end before the next one)
            yield from _member(f"dumps/{number}", parts, told.size_bytes, told.sha256)
        yield tarfile.NUL * (2 * tarfile.BLOCKSIZE)


def snapshot(database: Path, to: Path) -> None:
    """Copy a database as one commit left it, while others write; `to` is not there. Raises UserError (damaged), Retryable."""
    with failures.translated(database):
        to.touch(mode=0o600)
        source = sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, timeout=_BUSY_S)
        with closing(source), closing(sqlite3.connect(to, timeout=_BUSY_S)) as copy:
            source.backup(copy)
            if (found := copy.execute("PRAGMA quick_check(3)").fetchall()) != [("ok",)]:
                raise failures.damaged(database, "; ".join(str(row[0]) for row in found))


def sweep(state: Path) -> None:
    """Take away what killed backups left. Nobody makes one."""
    for each in state.glob(f"{STAGING}*"):
        remove_tree(each)


def _alone(state: Path) -> Lock:
    if not (state / m.STATE).exists():
        raise UserError(
            "there is nothing to back up",
            f"no environment keeps its state in {state}",
            "start it (`atoll up`, or its unit where the machine serves it), or name another one with --env",
            id="environment-not-running",
        )
    try:
        lock = try_lock(state / LOCK)
        if lock is not None:
            sweep(state)
    except OSError as exc:
        raise disk_trouble(exc, state) from exc
    if lock is None:
        raise Conflict(
            "another backup of this environment is under way",
            "one at a time is made",
            "wait for it; `atoll status` tells when it is done",
            id="environment-busy",
        )
    return lock


def _releases(state: Path) -> list[_Release]:
    with closing(sqlite3.connect(state)) as database:
        rows = database.execute("SELECT body FROM releases ORDER BY service, n").fetchall()
    return [msgspec.json.decode(body, type=_Release) for (body,) in rows]


def _data_left(state: Path, releases: Iterable[_Release], handed: Container[str]) -> Iterator[m.Left]:
    """What services and stores keep in folders of their own: a copy of files that are being written is no backup."""
    stores = {release.service: release.spec.store for release in releases if release.spec.store}
    for name, kind in sorted(stores.items()):
        yield m.Left(kind="store", name=name, text=f"the data of the store ({kind}): dump them with its own tools")
    but = f", but {dumps.FOLDER}/"
    data = state / "data"
    for folder in sorted(data.iterdir()) if data.is_dir() else ():
        if folder.name not in stores and folder.is_dir() and _holds_something(folder):
            yield m.Left(
                kind="data",
                name=folder.name,
                text=f"what it keeps in {folder}{but if folder.name in handed else ''}",
            )


def _holds_something(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except PermissionError:
        return True


def _below(folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def _file_in(folder: Path, name: str) -> m.FileIn:
    return m.FileIn(name=name, sha256=_digest_of(str(folder / name)), size_bytes=(folder / name).stat().st_size)


def _digest_of(path: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parts(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while part := file.read(CHUNK_BYTES):
            yield part


def _member(name: str, parts: Iterable[bytes], size: int, sha256: str = "") -> Iterator[bytes]:
    """One file of the tar. Raises UserError when its bytes are not those that were said; `sha256` "" looks at the size only."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    yield info.tobuf(tarfile.GNU_FORMAT)  # USTAR ends at 8 GiB
    written, hashed = 0, hashlib.sha256()
    for part in parts:
        written += len(part)
        hashed.update(part)
        yield part
    if written != size or (sha256 and hashed.hexdigest() != sha256):
        raise UserError(
            f"the backup was broken off: {name} changed while it was read",
            "an artifact never changes by itself; a file that is handed over is written aside, then renamed",
            "make another one; an artifact that was changed is built again by `atoll deploy`",
            id="backup-damaged",
        )
    if rest := size % tarfile.BLOCKSIZE:
        yield tarfile.NUL * (tarfile.BLOCKSIZE - rest)


def _refuse_a_full_disk(state: Path, names: Iterable[str]) -> None:
    """Copies of the databases lie beside them for a while; a disk that they fill stops the daemon from writing."""
    needed = sum((state / name).stat().st_size for name in names if (state / name).exists())
    if (free := shutil.disk_usage(state).free) < needed + SPARE_BYTES:
        raise UserError(
            f"the disk that holds {state} is full",
            f"copies of the databases take {needed / 2**20:.0f} MiB for a while, {free / 2**20:.0f} MiB are free, and "
            f"{SPARE_BYTES / 2**20:.0f} MiB stay free",
            "free some space there",
            id="disk-full",
        )
