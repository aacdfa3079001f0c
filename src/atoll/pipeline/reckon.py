"""Reckons the keys of tasks from the files as they lie in the work tree: the slow side of `keys`, for what has changed.

Only `keys` calls it, and imports it only then: it knows builders and asks tools. What it reckons must be what `order` makes
of a clean copy of the same bytes.
"""

import hashlib
import os
import threading
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import NamedTuple

import msgspec

from atoll.model.building import Toolchain
from atoll.pipeline.artifacts import Artifacts, disk_trouble
from atoll.pipeline.detect import TOOLCHAINS
from atoll.pipeline.globs import matcher
from atoll.pipeline.inputs import Entry, Input, kind_of, refuse_nothing, walk_trouble
from atoll.pipeline.key import Manifest
from atoll.pipeline.order import OURS, Order, Work, folder_of, is_alone, is_ours, kit, narrowed, order, patterns_of
from atoll.pipeline.scope import Scoped
from atoll.pipeline.toolchains import asked_language
from atoll.pipeline.tree import Ground
from atoll.pipeline.wishes import pin_files


class Taken(NamedTuple):
    """What goes into a task. `watched`: see `Reckoned`."""

    inputs: tuple[Input, ...]
    watched: tuple[str, ...] | None


class Reckoned(NamedTuple):
    """A task's key, and what it depends on besides files that the tree sees changing."""

    key: str
    digest: str  # of its inputs
    links: tuple[str, ...]  # those among them, relative: what they lead to may change while they do not
    pins: tuple[str, ...]  # absolute paths of files that may name a version of its toolchain
    # Of a service that was cut out of its context: absolute paths at or below which contents count. Besides them it matters
    # which files the context has, not what is in them. None: all that its patterns reach counts.
    watched: tuple[str, ...] | None


class _Shelf:
    """The toolchains that were fetched for the workspace; `provide`, which fetches them, is imported where there are some."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.records = Artifacts(folder).records

    def homes(self, toolchain: Toolchain) -> list[str]:
        """As `provide.Shelf`."""
        if not self.records.is_dir():
            return []
        from atoll.pipeline.provide import Shelf

        return Shelf(self._folder).homes(toolchain)


class Reckoning:
    """One call's. `reach` are the absolute paths at or below which a task's inputs lie."""

    def __init__(self, root: Path, artifacts: Path, toolchains: Path, caller: Mapping[str, str]) -> None:
        self._root = root
        self._artifacts = Artifacts(artifacts)
        self._artifacts.prepare()
        self._shelf = _Shelf(toolchains)
        self._kit = kit(root, self._artifacts, self._shelf.homes, caller)
        self._stop = threading.Event()  # nobody stops it: a key is reckoned in milliseconds
        self._languages: dict[str, Toolchain] = {}
        self._paths: set[str] = set()  # values of PATH that were searched
        self._selected: dict[object, tuple[list[Entry], frozenset[str]]] = {}

    def inputs(self, work: Work, ground: Ground, reach: tuple[str, ...]) -> Taken:
        """What goes into a task. Raises UserError like `order.files_of` and `inputs.copy`."""
        folder = folder_of(work, self._root)
        found, names = self._found(work, folder, ground, reach)
        cut = narrowed(work, found, folder, names)
        base = os.fspath(folder).rstrip("/")
        inputs = []
        for entry in cut.entries:
            if entry.path in cut.rewritten:
                content = hashlib.sha256(cut.rewritten[entry.path].encode()).hexdigest()
                inputs.append(Input(entry.path, "file", content))
            elif (read := ground.content(f"{base}/{entry.path}", entry.kind, self._stop)) is not None:
                inputs.append(Input(entry.path, entry.kind, read))
        return Taken(tuple(inputs), None if cut.scope is None else _watched(cut, base))

    def _found(
        self, work: Work, folder: Path, ground: Ground, reach: tuple[str, ...]
    ) -> tuple[list[Entry], frozenset[str]]:
        """What `inputs.select` would find. Many services share a context: it is looked through once."""
        base, patterns, alone = os.fspath(folder), patterns_of(work), is_alone(work)
        asked = (base, ground.top, patterns, alone)
        if asked not in self._selected:
            found = []
            meant = matcher(patterns)
            try:
                if not folder.is_dir():
                    raise FileNotFoundError(base)
                for path, mode in _below(base.rstrip("/"), ground, reach):
                    skipped = path in OURS if alone else is_ours(path)
                    if not skipped and meant(path) and (kind := kind_of(mode)):
                        found.append(Entry(path, kind, (0, 0, 0, 0)))
            except OSError as exc:
                raise walk_trouble(exc, base) or disk_trouble(exc, self._artifacts.root) from exc
            if not found:
                refuse_nothing(patterns)
            found.sort(key=lambda entry: entry.path)
            self._selected[asked] = found, frozenset(entry.path for entry in found)
        return self._selected[asked]

    def order(self, work: Work, taken: Taken, needs: Mapping[str, str]) -> Order:
        """What would be run. Raises UserError."""
        ordered = order(work, taken.inputs, folder_of(work, self._root), needs=needs, kit=self._kit, fresh=False)
        if language := self._language(work, ordered):
            self._languages[language.name] = language
        self._paths.add(ordered.env.get("PATH", self._kit.path))
        return ordered

    def reckon(self, work: Work, taken: Taken, needs: Mapping[str, str]) -> Reckoned:
        """The key. Raises UserError."""
        ordered = self.order(work, taken, needs)
        language = self._language(work, ordered)
        return Reckoned(
            key=ordered.key,
            digest=digest(taken),
            links=tuple(item.path for item in taken.inputs if item.kind == "link"),
            pins=tuple(map(os.fspath, pin_files(work.spec, language, self._root))) if language else (),
            watched=taken.watched,
        )

    def manifest(self, work: Work, taken: Taken, needs: Mapping[str, str]) -> Manifest:
        """What the key stands for."""
        return self.order(work, taken, needs).manifest

    def equipment(self) -> tuple[set[str], float]:
        """The paths on which the identity of all tools so far rests, and when the oldest of their answers was given."""
        tools = self._kit.tools
        paths = {folder for path in (self._kit.path, *self._paths) for folder in path.split(":") if folder}
        paths |= tools.found | {os.fspath(self._shelf.records)}
        for language in self._languages.values():
            paths |= set(self._kit.toolchains.looked_at(language))
        return paths, tools.oldest_wall

    def _language(self, work: Work, ordered: Order) -> Toolchain | None:
        return asked_language(work.spec, TOOLCHAINS) or ordered.plan.builder.toolchain


def digest(taken: Taken) -> str:
    """Equal for equal inputs."""
    return hashlib.sha256(msgspec.json.encode(taken.inputs)).hexdigest()


def _below(base: str, ground: Ground, reach: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """The files that lie there, relative to the context `base`, with their modes."""
    for place in reach:
        for path, mode in ground.files(place):
            yield path[len(base) + 1 :], mode


def _watched(cut: Scoped, base: str) -> tuple[str, ...]:
    """The fewest paths that hold all that was cut out, and all that was read to cut it."""
    assert cut.scope is not None
    folders = set(cut.scope.folders)
    places = folders | {*cut.scope.files, *cut.scope.reads, *(entry.path for entry in cut.entries)}
    alone = (place for place in places if place in folders or not _is_below(place, folders))
    return tuple(base if place == "." else f"{base}/{place}" for place in sorted(alone))


def _is_below(path: str, folders: AbstractSet[str]) -> bool:
    return "." in folders or any(path[:at] in folders for at, char in enumerate(path) if char == "/")
