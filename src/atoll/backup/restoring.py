"""Makes an environment of a backup, or only tries whether that would work. Nothing of it runs meanwhile, nor is started.

All of it is unpacked, checked and opened aside, in the state folder itself. Only then is each file moved to its place, under
a mark that `refuse_unfinished` knows: an environment that a kill left between two files does not start, and the next
`restore` finishes it. What was there before is moved aside, never removed. Blocking; it runs an event loop of its own.
"""

import asyncio
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import IO, Final, NamedTuple

import msgspec

from atoll.backup import keys
from atoll.backup import manifest as m
from atoll.backup.reading import Archive, Place, nowhere
from atoll.model.errors import Conflict, NotFound, UserError
from atoll.model.state import Author, Event
from atoll.model.wire import RestoreView
from atoll.pipeline.artifacts import Artifacts, Record, disk_trouble, flush, remove_tree
from atoll.pipeline.cache.tree import Entry, Tree, write
from atoll.pipeline.lock import POLL_S, Lock, try_lock
from atoll.ports import Change, Saved
from atoll.store.key_file import as_text, read_key
from atoll.store.leadership import LeaderLock
from atoll.store.sqlite import LOCK, SqliteStore
from atoll.store.vault import SqliteVault, without_values

MARK: Final = "restoring"  # in the state folder, from the first file that is moved to the last
STAGING: Final = ".restore-"
_BUSY_S: Final = 60.0  # that somebody else may build or remove the same artifact
_BESIDES: Final = ("", "-wal", "-shm", "-journal")  # what SQLite keeps beside a database
_KEYS: Final = (m.KEY_FILE, *m.FURTHER_KEYS)


class Target(NamedTuple):
    """Where an environment is to be."""

    state: Path
    artifacts: Path


class Wish(NamedTuple):
    """How a backup is to be restored."""

    without_secrets: bool = False  # leave their values out: each is to be set again
    replace: bool = False  # also over an environment that is there, whose files are moved aside
    actor: str = ""  # who does it, for the ledger


class _Opened(NamedTuple):
    """What is in the databases of a backup that was unpacked."""

    saved: Saved
    secrets: int
    forgotten: tuple[str, ...] = ()  # names of secrets whose values were left out


def refuse_unfinished(state: Path) -> None:
    """Raise UserError when a restore was broken off between two files: what is there is of two environments."""
    if (state / MARK).exists():
        raise UserError(
            "a restore of this environment was broken off",
            "some of its files are the restored ones, others are not",
            "run the same `atoll restore` once more: it finishes what was begun",
            id="restore-unfinished",
        )


def checked(file: Path, key: bytes | None) -> RestoreView:
    """Try everything but the last step: read it to the end, open its databases and, with the key, every secret.

    Raises UserError (`backup-damaged`, `backup-key`, `database-newer`, ...).
    """
    with Archive(file) as archive, TemporaryDirectory(prefix="atoll-check-") as folder:
        staging = Path(folder)
        _unpacked(archive, key, staging, nowhere)
        return _view(archive, asyncio.run(_opened(staging, secrets=key is not None)), signed=key is not None)


def restored(file: Path, key: bytes | None, target: Target, wish: Wish, settle: Callable[[Path], None]) -> RestoreView:
    """Make the environment at `target` of the backup. Nothing of that environment may run.

    Args:
        file: the backup.
        key: the vault's; None where the environment has it still, or its secrets are left out.
        target: where it goes.
        wish: see `Wish`.
        settle: called with the folder of the unpacked files: what depends on the place is corrected there.

    Raises UserError, Conflict (it runs). Then nothing has changed, or `refuse_unfinished` tells.
    """
    state = target.state
    with ExitStack() as after, Archive(file) as archive:
        after.enter_context(_alone(state))
        unfinished = (state / MARK).exists()
        if (state / m.STATE).exists() and not wish.replace and not unfinished:
            raise _not_empty(state)
        if key is None and not wish.without_secrets:
            key = _own_key(state, archive.manifest)
        for left in state.glob(f"{STAGING}*"):
            remove_tree(left)
        staging = Path(mkdtemp(prefix=STAGING, dir=state))
        after.callback(shutil.rmtree, staging, ignore_errors=True)
        place = Artifacts(target.artifacts.resolve())
        place.prepare()
        _refuse_a_full_disk(archive.manifest, place, staging)
        stage = place.stage()
        after.callback(place.drop, stage)
        _unpacked(archive, key, staging, lambda digest: (stage.temporary / digest).open("wb"))
        forgotten = () if key is not None else _without_secrets(staging, archive, allowed=wish.without_secrets)
        opened = asyncio.run(_opened(staging, secrets=key is not None, event=_event(archive.manifest, wish.actor)))
        settle(staging)
        for each in archive.manifest.artifacts:
            _put(place, each.record, archive.trees[each.record.artifact.key], stage.temporary)
        view = _view(archive, opened._replace(forgotten=forgotten), signed=key is not None)
        aside = _moved(staging, state, unfinished=unfinished)
        return msgspec.structs.replace(view, restored=True, aside=str(aside) if aside else "")


# --- what is in it ----------------------------------------------------------------------------------------------------


def _unpacked(archive: Archive, key: bytes | None, staging: Path, content: Place) -> None:
    """Its files in the folder `staging`, checked, and with the key their keys beside them."""
    if key is not None:
        archive.authenticate(key)

    def file(name: str) -> IO[bytes]:
        path = staging / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")

    archive.walk(file, content)
    sealed = staging / m.SEALED_KEYS
    if key is not None:
        further = keys.unseal(keys.derived(key, "keys"), sealed.read_bytes(), archive.manifest.id.encode())
        if further is None:
            raise m.damaged(archive.path, "its further keys cannot be opened")
        for name, each in {m.KEY_FILE: key, **msgspec.json.decode(further, type=dict[str, bytes])}.items():
            if name in _KEYS:
                with file(name) as to:
                    to.write(as_text(each))
    sealed.unlink()


async def _opened(staging: Path, *, secrets: bool, event: Event | None = None) -> _Opened:
    """Every row, and with `secrets` every secret. Migrates the store, and writes the event into its ledger."""
    store = SqliteStore(staging)
    await store.lead()
    try:
        saved = await store.load()
        if event is not None:
            await store.commit(Change(events=(event,)))
    finally:
        await store.close()
        (staging / LOCK).unlink(missing_ok=True)
    count = 0
    for folder in (staging, staging / "tls") if secrets else ():
        if (folder / m.VAULT).exists():
            count += await _secrets(SqliteVault(folder))
    return _Opened(saved, count)


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


def _without_secrets(staging: Path, archive: Archive, *, allowed: bool) -> tuple[str, ...]:
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


def _own_key(state: Path, manifest: m.Manifest) -> bytes | None:
    """The key of the environment that is there, when the backup was made with it."""
    key = read_key(state / m.KEY_FILE)
    return key if key is not None and keys.id_of(key) == manifest.key_id else None


def _event(manifest: m.Manifest, actor: str) -> Event:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(manifest.made_wall))
    return Event(
        kind="environment.restored",
        message=f"restored from a backup of {manifest.title}, made {when} UTC; what happened since then is not in it",
        author=Author(actor=actor),
        wall=time.time(),
        data={"backup": manifest.id, "made_wall": manifest.made_wall},
    )


def _view(archive: Archive, opened: _Opened, *, signed: bool) -> RestoreView:
    manifest, saved = archive.manifest, opened.saved
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
        secrets=opened.secrets,
        forgotten=opened.forgotten,
        left=tuple(f"{each.name}: {each.text}" for each in manifest.left),
    )


# --- where it goes ----------------------------------------------------------------------------------------------------


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """No daemon leads there, nor can one begin to. Raises Conflict, UserError."""
    try:
        lock = LeaderLock(state / LOCK)
    except Conflict as exc:
        raise Conflict(
            "the environment runs", exc.why, "end it with `atoll down` first", id="environment-not-empty"
        ) from exc
    try:
        yield
    except OSError as exc:
        raise disk_trouble(exc, state) from exc
    finally:
        lock.release()


def _not_empty(state: Path) -> UserError:
    return UserError(
        "there is an environment already",
        f"{state / m.STATE} is what it knows",
        "to go back to the backup, add --replace: what is there is moved aside, not removed",
        id="environment-not-empty",
    )


def _refuse_a_full_disk(manifest: m.Manifest, place: Artifacts, staging: Path) -> None:
    """Before anything is unpacked. Contents lie beside the artifacts until all of those are written."""
    there = place.keys()
    artifacts = sum(e.record.size_bytes for e in manifest.artifacts if e.record.artifact.key not in there)
    for folder, needed in (
        (place.root, manifest.contents_bytes + artifacts),
        (staging, sum(each.size_bytes for each in manifest.files)),
    ):
        if (free := shutil.disk_usage(folder).free) < needed:
            raise UserError(
                f"the disk that holds {folder} is full",
                f"what is in the backup takes {needed / 2**20:.0f} MiB there, {free / 2**20:.0f} MiB are free",
                "free some space there",
                id="disk-full",
            )


def _put(place: Artifacts, record: Record, tree: Tree, contents: Path) -> None:
    """Make the artifact complete at its place, unless the same is there."""

    def content(entry: Entry, to: int) -> None:
        with (contents / entry.content).open("rb") as file, open(to, "wb", closefd=False) as out:
            shutil.copyfileobj(file, out)

    key = record.artifact.key
    with _locked(place.lock_path(key)):
        there = place.find(key)
        if there is not None and there.artifact.digest == record.artifact.digest:
            return
        place.remove(key)
        try:
            write(tree, place.folder(key), content, threading.Event())
            place.finish(record)
        except BaseException:
            place.remove(key)
            raise


def _locked(path: Path) -> Lock:
    deadline = time.monotonic() + _BUSY_S
    while (lock := try_lock(path)) is None:
        if time.monotonic() > deadline:
            raise Conflict(
                "an artifact of the backup is being built or removed",
                f"{path} is locked for {_BUSY_S:g} s now",
                "wait for the build, then try again",
                id="build-busy",
            )
        time.sleep(POLL_S)
    return lock


def _moved(staging: Path, state: Path, *, unfinished: bool) -> Path | None:
    """Put each file in its place, the state last; returns the folder where what was there lies now, None for nothing."""
    mark = state / MARK
    if not unfinished:
        (staging / MARK).write_text(f"replaced-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
        (staging / MARK).chmod(0o600)
        flush(staging)
        (staging / MARK).rename(mark)
        flush(state)
    aside = state / mark.read_text()
    names = [name for name in (*m.PLAIN, m.SIGNALS, *m.DATABASES, *_KEYS) if (staging / name).exists()]
    for name in sorted({*names, *m.DATABASES, *_KEYS}):
        for suffix in _BESIDES:
            old = state / f"{name}{suffix}"
            to = aside / f"{name}{suffix}"
            if old.exists() and not to.exists():  # else it is a restored one, of a restore that was broken off
                to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                old.rename(to)
    for name in sorted(names, key=lambda name: name == m.STATE):
        (state / name).parent.mkdir(mode=0o700, exist_ok=True)
        (staging / name).replace(state / name)
    flush(state)
    mark.unlink()
    flush(state)
    return aside if aside.exists() else None
