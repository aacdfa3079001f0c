"""Makes an environment of a backup, or only tries whether that would work. Nothing of it runs meanwhile, nor is started.

All of it is unpacked, checked and opened aside, in the state folder itself. Only then is each file moved to its place, under
a mark that `refuse_unfinished` knows: an environment that a kill left between two files does not start, and the next
`restore` finishes it. What was there before is moved aside, never removed. Blocking; it runs an event loop of its own.
"""

import asyncio
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Final, NamedTuple

import msgspec

from atoll.backup import keys
from atoll.backup import manifest as m
from atoll.backup.opening import DUMPS, KEYS, led, opened, standing, unpacked, view_of, without_secrets
from atoll.backup.reading import Archive
from atoll.model.errors import Conflict, UserError
from atoll.model.rows import Change, Saved
from atoll.model.state import Artifact, Author, Event
from atoll.model.wire_backup import RestoreView
from atoll.pipeline.artifacts import Artifacts, disk_trouble, flush, remove_tree
from atoll.pipeline.cache.tree import Entry, Tree, write
from atoll.pipeline.lock import POLL_S, Lock, try_lock
from atoll.pipeline.ship.rehome import moved, rehomed
from atoll.store.key_file import read_key
from atoll.store.leadership import LeaderLock
from atoll.store.sqlite import LOCK

MARK: Final = "restoring"  # in the state folder, from the first file that is moved to the last
STAGING: Final = ".restore-"
_BUSY_S: Final = 60.0  # that somebody else may build or remove the same artifact
_BESIDES: Final = ("", "-wal", "-shm", "-journal")  # what SQLite keeps beside a database


class Target(NamedTuple):
    """Where an environment is to be."""

    state: Path
    artifacts: Path


class Wish(NamedTuple):
    """How a backup is to be restored."""

    without_secrets: bool = False  # leave their values out: each is to be set again
    replace: bool = False  # also over an environment that is there, whose files are moved aside
    actor: str = ""  # who does it, for the ledger


def refuse_unfinished(state: Path) -> None:
    """Raise UserError when a restore was broken off between two files: what is there is of two environments."""
    if (state / MARK).exists():
        raise UserError(
            "a restore of this environment was broken off",
            "some of its files are the restored ones, others are not",
            "run the same `atoll restore` once more: it finishes what was begun",
            id="restore-unfinished",
        )


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
        unpacked(archive, key, staging, lambda digest: (stage.temporary / digest).open("wb"), keep_dumps=True)
        forgotten = () if key is not None else without_secrets(staging, archive, allowed=wish.without_secrets)
        found = asyncio.run(opened(staging, secrets=key is not None))._replace(forgotten=forgotten)
        settle(staging)
        if key is None or (state / m.ACCESS).exists():
            # Who may do what is the machine's to say; what anybody may have written into a backup says it nowhere.
            (staging / m.ACCESS).unlink(missing_ok=True)
        stands, lacking = standing(archive.manifest, place.root)
        there = {
            each.record.artifact.key: _put(
                place, each, archive.trees[each.record.artifact.key], pythons, stage.temporary
            )
            for each, pythons in stands
        }
        asyncio.run(_told(staging, found.saved, there, _event(archive.manifest, wish.actor)))
        view = msgspec.structs.replace(view_of(archive, found, signed=key is not None), lacking=lacking)
        aside = _moved(staging, state, archive.manifest.id, unfinished=unfinished)
        dumps = state / f"{DUMPS}-{archive.manifest.id}" if view.dumps else None
        return msgspec.structs.replace(view, restored=True, aside=str(aside or ""), dumps_in=str(dumps or ""))


# --- what becomes of it -----------------------------------------------------------------------------------------------


async def _told(staging: Path, saved: Saved, there: Mapping[str, Artifact], event: Event) -> None:
    """Releases know where their artifacts lie now, and the ledger what came in between."""
    changed = [
        msgspec.structs.replace(release, artifact=to)
        for release in saved.releases
        if (to := there.get(release.artifact.key)) is not None
        and release.artifact.image is None
        and (to.path, to.digest) != (release.artifact.path, release.artifact.digest)
    ]
    async with led(staging) as store:
        await store.commit(Change(puts=tuple(changed), events=(event,)))


def _own_key(state: Path, manifest: m.Manifest) -> bytes | None:
    """The key of the environment that is there, when the backup was made with it."""
    aside = state / (state / MARK).read_text() if (state / MARK).exists() else state
    for folder in (state, aside):
        key = read_key(folder / m.KEY_FILE)
        if key is not None and keys.id_of(key) == manifest.key_id:
            return key
    return None


def _event(manifest: m.Manifest, actor: str) -> Event:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(manifest.made_wall))
    return Event(
        kind="environment.restored",
        message=f"restored from a backup of {manifest.title}, made {when} UTC; what happened since then is not in it",
        author=Author(actor=actor),
        wall=time.time(),
        data={"backup": manifest.id, "made_wall": manifest.made_wall},
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
        (staging, sum(e.size_bytes for e in manifest.files) + sum(e.size_bytes for e in manifest.dumps)),
    ):
        if (free := shutil.disk_usage(folder).free) < needed:
            raise UserError(
                f"the disk that holds {folder} is full",
                f"what is in the backup takes {needed / 2**20:.0f} MiB there, {free / 2**20:.0f} MiB are free",
                "free some space there",
                id="disk-full",
            )


def _put(place: Artifacts, given: m.ArtifactIn, tree: Tree, pythons: Mapping[str, str], contents: Path) -> Artifact:
    """Make the artifact complete, unless the same is there; it is made to fit another folder than that of its build."""
    record = given.record
    key, folder = record.artifact.key, place.folder(record.artifact.key)
    others = {link: pythons[link] for link, leads in _links(tree) if pythons.get(link, leads) != leads}
    home = rehomed(
        tree, record.artifact.path, str(folder), others, lambda entry: (contents / entry.content).read_bytes()
    )
    artifact = moved(record.artifact, str(folder), home.tree.digest)

    def content(entry: Entry, to: int) -> None:
        with os.fdopen(to, "wb", closefd=False) as out:
            if (own := home.contents.get(entry.path)) is not None:
                out.write(own)
                return
            with (contents / entry.content).open("rb") as file:
                shutil.copyfileobj(file, out)

    with _locked(place.lock_path(key)):
        there = place.find(key)
        if there is not None and there.artifact.digest == artifact.digest:
            return there.artifact
        place.remove(key)
        try:
            write(home.tree, folder, content, threading.Event())
            place.finish(msgspec.structs.replace(record, artifact=artifact))
        except BaseException:
            place.remove(key)
            raise
    return artifact


def _links(tree: Tree) -> Iterator[tuple[str, str]]:
    return ((entry.path, entry.content) for entry in tree.entries if entry.kind == "link")


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


def _moved(staging: Path, state: Path, id: str, *, unfinished: bool) -> Path | None:
    """Put each file in its place, the state last; returns the folder where what was there lies now, None for nothing."""
    mark = state / MARK
    if not unfinished:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        (staging / MARK).write_text(f"replaced-{stamp}-{secrets.token_hex(2)}")
    flush(staging)
    if not unfinished:
        (staging / MARK).rename(mark)
        flush(state)
    aside = state / mark.read_text()
    names = [name for name in (*m.PLAIN, m.SIGNALS, *m.DATABASES, *KEYS) if (staging / name).exists()]
    for name in sorted({*names, *m.DATABASES, *KEYS}):
        for suffix in _BESIDES:
            old = state / f"{name}{suffix}"
            to = aside / f"{name}{suffix}"
            if old.exists() and not to.exists():  # else it is a restored one, of a restore that was broken off
                to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                old.rename(to)
    if (staging / DUMPS).exists():
        # Not into the services' own folders: they own those, and whoever loads a dump says when.
        remove_tree(state / f"{DUMPS}-{id}")
        (staging / DUMPS).rename(state / f"{DUMPS}-{id}")
    for name in sorted(names, key=lambda name: name == m.STATE):
        (state / name).parent.mkdir(mode=0o700, exist_ok=True)
        (staging / name).replace(state / name)
    flush(state)
    mark.unlink()
    flush(state)
    return aside if aside.exists() else None
