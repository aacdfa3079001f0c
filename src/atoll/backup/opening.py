"""Unpacks a backup aside and opens all that is in it: what a restore begins with, and all of it that a check does.

It writes into the folder that it is given, and nowhere else. Blocking; it runs an event loop of its own.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Final, NamedTuple

import msgspec

from atoll.backup import keys
from atoll.backup import manifest as m
from atoll.backup.reading import Archive, Place, nowhere
from atoll.model.errors import NotFound, Refused, UserError
from atoll.model.rows import Saved
from atoll.model.wire_backup import RestoreView
from atoll.pipeline.ship.footing import footing
from atoll.store.key_file import as_text
from atoll.store.sqlite import LOCK, SqliteStore
from atoll.store.vault import SqliteVault, without_values

DUMPS: Final = "dumps"
KEYS: Final = (m.KEY_FILE, *m.FURTHER_KEYS)


class Opened(NamedTuple):
    """What is in the databases of a backup that was unpacked."""

    saved: Saved
    secrets: int
    forgotten: tuple[str, ...] = ()  # names of secrets whose values were left out


def checked(file: Path, key: bytes | None) -> RestoreView:
    """Try everything but the last step: read it to the end, open its databases and, with the key, every secret.

    Raises UserError (`backup-damaged`, `backup-key`, `database-newer`, ...).
    """
    with Archive(file) as archive, TemporaryDirectory(prefix="atoll-check-") as folder:
        staging = Path(folder)
        unpacked(archive, key, staging, nowhere)
        view = view_of(archive, asyncio.run(opened(staging, secrets=key is not None)), signed=key is not None)
        return msgspec.structs.replace(view, lacking=standing(archive.manifest, staging)[1])


def unpacked(archive: Archive, key: bytes | None, staging: Path, content: Place, *, keep_dumps: bool = False) -> None:
    """Its files in the folder `staging`, checked, and with the key their keys beside them; what services handed over in
    `staging/dumps`, with `keep_dumps`.
    """
    if key is not None:
        archive.authenticate(key)

    def file(name: str) -> IO[bytes]:
        path = staging / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")

    def dump(name: str) -> IO[bytes]:
        return file(f"{DUMPS}/{name}") if keep_dumps else nowhere(name)

    archive.walk(file, content, dump)
    sealed = staging / m.SEALED_KEYS
    if key is not None:
        further = keys.unseal(keys.derived(key, "keys"), sealed.read_bytes(), archive.manifest.id.encode())
        if further is None:
            raise m.damaged(archive.path, "its further keys cannot be opened")
        for name, each in {m.KEY_FILE: key, **msgspec.json.decode(further, type=dict[str, bytes])}.items():
            if name in KEYS:
                with file(name) as to:
                    to.write(as_text(each))
    sealed.unlink()


@asynccontextmanager
async def led(staging: Path) -> AsyncIterator[SqliteStore]:
    """The store of a backup that was unpacked, checked and migrated."""
    store = SqliteStore(staging)
    await store.lead()
    try:
        yield store
    finally:
        await store.close()
        (staging / LOCK).unlink(missing_ok=True)


async def opened(staging: Path, *, secrets: bool) -> Opened:
    """Every row, and with `secrets` every secret."""
    async with led(staging) as store:
        saved = await store.load()
    count = 0
    for folder in (staging, staging / "tls") if secrets else ():
        if (folder / m.VAULT).exists():
            count += await _secrets(SqliteVault(folder))
    return Opened(saved, count)


async def _secrets(vault: SqliteVault) -> int:
    """How many versions there are; each is opened. Raises UserError for one that cannot be."""
    count = 0
    for name, newest in (await vault.versions()).items():
        for version in range(1, newest + 1):
            try:
                await vault.get(name, version)
                count += 1
            except NotFound:
                continue  # removed, and set again later
    return count


def without_secrets(staging: Path, archive: Archive, *, allowed: bool) -> tuple[str, ...]:
    """Leave out what nobody could open. Raises UserError where nobody said so, and there is something."""
    names = tuple(
        name
        for folder in (staging, staging / "tls")
        if (folder / m.VAULT).exists()
        for name in without_values(folder / m.VAULT)
    )
    if names and not allowed:
        raise UserError(
            f"the secrets in {archive.path} are sealed",
            f"{len(names)} of them, with a key that is not in it",
            "name the key file with --key, or leave their values out with --without-secrets, and set each again",
            id="backup-key",
        )
    return names


def standing(
    manifest: m.Manifest, artifacts: Path
) -> tuple[list[tuple[m.ArtifactIn, Mapping[str, str]]], tuple[str, ...]]:
    """The artifacts that run on this machine, each with its interpreters; and of the others why they do not.

    Of `artifacts`, where they shall lie, nothing is run to be asked for its version.
    """
    stands: list[tuple[m.ArtifactIn, Mapping[str, str]]] = []
    lacking: list[str] = []
    for each in manifest.artifacts:
        record = each.record
        try:
            pythons = footing(record.service, record.artifact, each.needs, artifacts).pythons
            if record.artifact.path == os.fspath(artifacts / record.artifact.key):  # it stays what it was, where it can
                places = {need.by: need.what for need in each.needs if need.kind == "python"}
                own = {link: place for link, place in places.items() if os.access(place, os.X_OK)}
                pythons = {**pythons, **own}
            stands.append((each, pythons))
        except Refused as exc:
            lacking.append(f"{record.service}, artifact {record.artifact.key[:10]}: {exc.what}: {exc.why}")
    return stands, tuple(lacking)


def view_of(archive: Archive, found: Opened, *, signed: bool) -> RestoreView:
    """What a person is told of it."""
    manifest, saved = archive.manifest, found.saved
    return RestoreView(
        id=manifest.id,
        workspace=manifest.workspace,
        environment=manifest.environment,
        made_wall=manifest.made_wall,
        version=manifest.version,
        signed=signed,
        services=tuple(sorted({release.service for release in saved.releases})),
        releases=len(saved.releases),
        artifacts=len(manifest.artifacts),
        artifacts_bytes=manifest.artifacts_bytes,
        events=saved.last_event,
        secrets=found.secrets,
        forgotten=found.forgotten,
        dumps=tuple(f"{each.service}/{each.name}" for each in manifest.dumps),
        left=tuple(f"{each.name}: {each.text}" for each in manifest.left),
    )
