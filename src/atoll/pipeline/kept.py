"""What earlier runs made, for `making`: a result is restored to the artifacts folder, or handed on to the cache.

The cache is opened at the first question: most calls find all that they need in the artifacts folder.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from atoll.model.cache import CacheSpec
from atoll.model.task import BUILD
from atoll.pipeline.artifacts import Artifacts, Record
from atoll.pipeline.cache.cache import FINISH_S, Cache, opened, remote_of
from atoll.pipeline.cache.upkeep import tidy
from atoll.pipeline.order import Order, Work

HURRY_S = 2.0  # that somebody who pressed Ctrl-C still waits


class _Past(msgspec.Struct, frozen=True):
    """What the cache keeps beside the tree."""

    digest: str
    attempts: int
    wall: float


class Found(NamedTuple):
    """A result that is complete in the artifacts folder now."""

    record: Record
    source: str  # "the cache", or the remote's address


class Kept:
    """The cache of one run, between it and the artifacts folder. Any thread may call it."""

    def __init__(
        self, root: Path, spec: CacheSpec, *, workspace: Path, namespace: str, tell: Callable[[str], None]
    ) -> None:
        """See `cache.opened`. Raises UserError for an ATOLL_CACHE that names none."""
        self._root, self._spec, self._remote = root, spec, remote_of(spec, os.environ)
        self._workspace, self._namespace, self._tell = workspace, namespace, tell
        self._lock = threading.Lock()
        self._cache: Cache | None = None
        self._grew = False
        self._missed: set[str] = set()  # a remote is asked once for what is not there

    def restore(
        self,
        artifacts: Artifacts,
        key: str,
        complete: Callable[[str, int, float, int], Record],
        *,
        anywhere: bool,
        stop: threading.Event,
    ) -> Found | None:
        """Find a result and make it complete at its final place; None when there is none. Key locked.

        Args:
            artifacts: where it goes.
            key: what it is the result of.
            complete: makes its record of digest, size in bytes, seconds and attempts that it took.
            anywhere: see `Cache.get`.
            stop: set when nobody waits any more; then Stopped is raised.
        """
        if key in self._missed:
            return None
        artifacts.remove(key)  # what an interrupted build left
        folder = artifacts.folder(key)
        if (restored := self.cache.get(key, folder, anywhere=anywhere, stop=stop)) is None:
            self._missed.add(key)
            return None
        try:
            past = msgspec.json.decode(restored.record, type=_Past)
            if past.digest != restored.digest:
                raise msgspec.ValidationError("it is of another result")
            record = complete(restored.digest, restored.size_bytes, restored.seconds, past.attempts)
            artifacts.finish(record)
        except msgspec.MsgspecError:
            artifacts.remove(key)
            return None  # of another version of Atoll
        except BaseException:
            artifacts.remove(key)
            raise
        return Found(record, restored.source)

    def keep(self, record: Record, *, anywhere: bool) -> None:
        """Hand a complete result on, in the background."""
        self._grew = True
        artifact = record.artifact
        past = msgspec.json.encode(_Past(artifact.digest, record.attempts, record.wall))
        self.cache.put(
            artifact.key, Path(artifact.path), past, digest=artifact.digest, anywhere=anywhere, seconds=record.seconds
        )

    def close(self, *, hurry: bool = False) -> None:
        """Wait for what is being kept and sent, within limits, and tidy up. `hurry`: somebody pressed Ctrl-C."""
        if self._cache is not None:
            self._cache.close(HURRY_S if hurry else FINISH_S)
            if self._grew and not hurry:
                tidy(self._root, self._spec)

    @property
    def cache(self) -> Cache:
        """The cache itself."""
        with self._lock:
            if self._cache is None:
                self._cache = opened(
                    self._root,
                    self._remote,
                    workspace=self._workspace,
                    namespace=self._namespace,
                    tell=self._tell,
                )
            return self._cache


def shared(work: Work) -> bool:
    """Whether the results of a task are for the cache: not those that depend on what lies around, or on the day.

    An image is dockerd's; what other machines get of it is for a registry to keep.
    """
    return work.task.cache and not work.task.in_place and work.image is None


def anywhere(work: Work, ordered: Order) -> bool:
    """Whether a result works in another folder than that in which it was made, as far as its builder knows."""
    if not work.task.outputs:
        return True  # nothing is in it
    return work.task.name == BUILD and ordered.plan.builder.relocatable and not work.spec.build.steps
