"""What of a context above a service goes into it: what the service reaches by its workspace's own declarations.

Called by `build`, and by whoever tells a key without building: both must see the same files. `scoped` is the way in;
where many services share a context, `scope_of` with its file names made once, and `cut`. What a scope is in one
language is its builder's business.
"""

import posixpath
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from atoll.model.building import Scope
from atoll.model.errors import UserError
from atoll.model.spec import ServiceSpec
from atoll.pipeline.detect import choose
from atoll.pipeline.globs import EVERYTHING, matcher
from atoll.pipeline.inputs import NOTHING, Entry

_PATH = attrgetter("path")


class Scoped(NamedTuple):
    """A service's files: those that go in, the text that takes the place of some, and why (None: all of the context)."""

    entries: list[Entry]
    rewritten: Mapping[str, str] = NOTHING
    scope: Scope | None = None


def scoped(spec: ServiceSpec, entries: list[Entry], folder: Path) -> Scoped:
    """Of all files of the context `folder`, sorted by path, those that the service reaches."""
    scope = scope_of(spec, frozenset(entry.path for entry in entries), folder)
    return Scoped(entries) if scope is None else cut(spec, entries, folder, scope)


def scope_of(spec: ServiceSpec, files: frozenset[str], folder: Path) -> Scope | None:
    """What the service reaches of the context `folder` with `files`; None is all of it, as `inputs` means it."""
    if is_by_hand(spec):
        return None
    if spec.build.shared == EVERYTHING:
        return Scope(folders=(".",), why={".": "[build] shared says so"})
    try:
        return choose(spec, files).scope(spec, files, folder)
    except UserError:
        return None  # its build will say so


def is_by_hand(spec: ServiceSpec) -> bool:
    """Whether no scope is looked for: inputs or steps that are written by hand know better than we what they need."""
    return spec.inside == "." or bool(spec.build.steps) or spec.build.inputs != EVERYTHING


def cut(spec: ServiceSpec, entries: list[Entry], folder: Path, scope: Scope) -> Scoped:
    """The entries (sorted by path) that are in the scope or `shared`, and those that links among them lead to."""
    kept: dict[str, Entry] = {}
    todo = [*scope.folders, *scope.files]
    if spec.build.shared:
        meant = matcher(spec.build.shared)
        todo += [entry.path for entry in entries if meant(entry.path)]
    while todo:
        for entry in _below(entries, todo.pop()):
            if entry.path not in kept:
                kept[entry.path] = entry
                if entry.kind == "link" and (target := _target(folder, entry.path)):
                    todo.append(target)
    rewritten = {path: text for path, text in scope.rewritten.items() if path in kept}
    return Scoped(sorted(kept.values(), key=_PATH), rewritten, scope)


def _target(folder: Path, link: str) -> str:
    """Where a link leads to, relative to the context; "" when it is gone by now."""
    try:
        return posixpath.normpath(posixpath.join(posixpath.dirname(link), (folder / link).readlink()))
    except OSError:
        return ""


def _below(entries: Sequence[Entry], path: str) -> Iterator[Entry]:
    """The file of that path, and those in the folder of that path: by bisection, since contexts are large."""
    if path == ".":
        yield from entries
    at = bisect_left(entries, path, key=_PATH)
    if at < len(entries) and entries[at].path == path:
        yield entries[at]
    prefix = f"{path}/"
    for index in range(bisect_left(entries, prefix, key=_PATH), len(entries)):
        if not entries[index].path.startswith(prefix):
            return
        yield entries[index]
