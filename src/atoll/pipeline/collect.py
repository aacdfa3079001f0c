"""Removes artifacts that nobody needs any more. Called by the CLI and by whoever knows which releases still need theirs.

An image goes with its artifact: by its name, so that one which somebody else names too stays; one that a container has does
so in any case, with its artifact.
"""

import threading
import time
from collections.abc import Set
from pathlib import Path

import msgspec

from atoll.pipeline.artifacts import Artifacts, disk_trouble
from atoll.pipeline.docker import dockerds
from atoll.pipeline.images import tag_of
from atoll.pipeline.lock import try_lock

EVERY_S = 86_400.0  # by itself: looking at all of them takes a second or so
FRESH_S = 600.0  # just built or found: its release is perhaps being made right now


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """What a collection did."""

    removed: tuple[str, ...] = ()  # keys
    freed_bytes: int = 0
    left_bytes: int = 0


def collect(
    artifacts: Path,
    keep: Set[str],
    max_age_s: float,
    max_bytes: int,
    fresh_s: float = FRESH_S,
    *,
    plan: bool = False,
) -> Collected:
    """Remove artifacts unused for longer than `max_age_s`, then the least recently used ones above `max_bytes` in all.

    Never one in `keep` (keys), one that is being built, or one used within the last `fresh_s` seconds. Also removes old
    logs and what interrupted builds left. With `plan` it removes nothing. Blocking. Raises UserError when the folder
    cannot be written.
    """
    place = Artifacts(artifacts.resolve())
    place.prepare()
    now = time.time()
    removed: list[str] = []
    freed_bytes = left_bytes = 0
    try:
        place.sweep()
        used = sorted(place.complete(), key=lambda each: each[1])
        sizes = {key: record.size_bytes for key, _ in used if (record := place.find(key, use=False))}
        left_bytes = sum(sizes.values())
        for key, last_use in used:
            age_s = now - last_use
            if key in keep or age_s < fresh_s or (age_s <= max_age_s and left_bytes <= max_bytes):
                continue
            if plan or _remove(place, key, last_use):
                removed.append(key)
                freed_bytes += sizes.get(key, 0)
                left_bytes -= sizes.get(key, 0)
        for log in place.logs.iterdir():
            if not plan and now - log.stat().st_mtime > max_age_s:
                log.unlink(missing_ok=True)
    except OSError as exc:
        raise disk_trouble(exc, place.root) from exc
    return Collected(removed=tuple(removed), freed_bytes=freed_bytes, left_bytes=left_bytes)


def is_due(artifacts: Path) -> bool:
    """Whether a day has passed since this last said yes: at most one process is told so, once. False without a folder."""
    mark = Artifacts(artifacts.resolve()).cache / "collected"
    try:
        if mark.exists() and time.time() - mark.stat().st_mtime < EVERY_S:
            return False
        mark.touch()
    except OSError:
        return False
    return True


def _remove(place: Artifacts, key: str, last_use: float) -> bool:
    """Whether it is gone. An image goes first: without its result nobody would know of it any more."""
    if (held := try_lock(place.lock_path(key))) is None:
        return False
    with held:
        if dict(place.complete()).get(key) != last_use:
            return False  # used since we looked
        record = place.find(key, use=False)
        if record is not None and record.artifact.image is not None:
            name = tag_of(record.service, key, place.root)
            if not all(docker.let_go(name) for docker in dockerds(place.cache)):
                return False
        place.remove(key)
        held.path.unlink(missing_ok=True)
    return True


class Passing:
    """Artifacts that this process makes and nobody needs for long: one an edit, under `atoll dev`. Any thread.

    Only what it made itself, and nobody else has used since, is ever removed.
    """

    def __init__(self, artifacts: Path) -> None:
        self._place, self._guard = Artifacts(artifacts.resolve()), threading.Lock()
        self._last_use: dict[str, float] = {}

    def __len__(self) -> int:
        """How many are there."""
        return len(self._last_use)

    def note(self, key: str, *, made: bool) -> None:
        """It was built (`made`), or found, just now. A find looks like anybody's use of it, so that one which was found is
        ours no more: another environment may have released it meanwhile, and the daily collection knows of those.
        """
        with self._guard:
            if made:
                self._last_use[key] = dict(self._place.complete()).get(key, 0.0)
            else:
                self._last_use.pop(key, None)

    def drop(self, keep: Set[str]) -> None:
        """Remove those whose key is not in `keep`. A full or failing disk is no matter here: the next build says so."""
        with self._guard:
            for key in self._last_use.keys() - keep:
                last_use = self._last_use.pop(key)
                try:
                    _remove(self._place, key, last_use)
                except OSError:
                    continue
