"""The keys of all tasks as the files are now: what `atoll affected`, `atoll ci` and deploy gates compare with what passed.

Nothing is reckoned twice: a snapshot holds what each key was made of, and as long as stat shows no difference in it (files,
service.toml, tools, variables) the key stands, without a TOML file read or a builder asked. Whatever is not seen to be the same
is reckoned anew (`reckon`), so that a cold call and a warm one always agree. Only what tools say of themselves is believed for an
hour, as everywhere (`tools.REMEMBERED_S`): a switcher's configuration may lie anywhere. A run never relies on these
keys for what it makes: it reckons its own from the very copy that it runs in.

Must import nothing heavy at the top: most calls find nothing to reckon.
"""

from __future__ import annotations

import hashlib
import os
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from atoll.pipeline.defined import Defined, Outline
from atoll.pipeline.snapshot import Snapshot, surroundings
from atoll.pipeline.stamps import changed, settled_before, stamps
from atoll.pipeline.tree import Advance, Ground

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from atoll.model.environment import WorkspaceSpec
    from atoll.model.errors import UserError
    from atoll.pipeline.evident import Passed
    from atoll.pipeline.ignore import Ignore
    from atoll.pipeline.key import Manifest
    from atoll.pipeline.order import Work
    from atoll.pipeline.reckon import Reckoning, Taken
    from atoll.pipeline.tree import Base

BELIEVED_S = 3600.0  # what tools said of themselves, as `tools.REMEMBERED_S`
ANOTHER = "another"  # in the place of a key of which only that is known: it is not the one that passed
_IMAGE = "image"  # as `model.task.IMAGE`, whose import takes longer than all of ours


class Premises(NamedTuple):
    """The workspace whose keys are asked for."""

    root: Path  # absolute, links resolved
    artifacts: Path
    toolchains: Path
    snapshot: Path  # a file of our own
    environment: str  # its name must be known; keys depend on it only where its services are images
    load: Callable[[set[str]], WorkspaceSpec]  # for the environment; adds the paths that it looked at
    caller: Mapping[str, str] = os.environ
    now_ns: Callable[[], int] = time.time_ns

    @property
    def place(self) -> tuple[object, ...]:
        """What looks at the same workspace have in common."""
        return self[:5]


class Keyed:
    """A task and its key."""

    __slots__ = ("_look", "_outline", "id", "key", "service", "task")

    def __init__(self, look: Look, outline: Outline, key: str) -> None:
        self._look, self._outline = look, outline
        self.id, self.service, self.task = outline.id, outline.service, outline.task
        self.key = key

    @property
    def needs(self) -> Mapping[str, str]:
        """Id -> key, of what it needs."""
        return {need: self._look.keys[need] for need in self._outline.needs}

    @property
    def manifest(self) -> Manifest:
        """What the key stands for. Made when it is asked for, which takes a while. Raises UserError when the files change."""
        return self._look.manifest(self.id, self.needs)


def keyed(premises: Premises, begun: Look | None = None, passed: Passed | None = None) -> dict[str, Keyed | UserError]:
    """The key of each task by its id, or why it has none. A look that has `begun` is gone on with, or else ended.

    Who asks only which keys are not those that `passed` gets ANOTHER for them where that is evident: then no key is
    reckoned, and nothing remembered. Such a task has no manifest to ask for.

    Raises InvalidWorkspace for definitions with mistakes, NotFound for an environment that was not declared.
    """
    if begun is not None and begun.premises.place != premises.place:
        begun.end()
        begun = None
    look = begun or Look(premises)
    try:
        return look.keyed(passed)
    finally:
        look.end()


class Look:
    """One look at everything. It begins when it is made, in other processes where there is much to see: `end` it.

    What it says is true of some time between then and the end of `keyed`.
    """

    def __init__(self, premises: Premises) -> None:
        self.premises = premises
        now_ns = premises.now_ns()
        self.now, self.settled_ns = now_ns / 1e9, settled_before(now_ns)
        # Where services are images, there are other tasks than elsewhere, and the environment is part of their keys.
        self.own = premises.snapshot.with_name(f"{premises.snapshot.name}-{premises.environment}")
        # The snapshot to be. What surrounds us is told first: what is edited from now on will differ the next time.
        self.found: dict[str, Any] = {"surroundings": surroundings(os.fspath(premises.root))}
        file = self.own if self.own.exists() else premises.snapshot
        self.snapshot = Snapshot(file, self.found["surroundings"])
        self.known = self.snapshot.known
        self.walked = {place: self.ground_at(place) for place in self.known.get("tree", ())}
        self.advance = Advance(self.walked.values())
        self.keys: dict[str, str] = {}
        self.errors: dict[str, UserError] = {}
        self.results: dict[str, tuple[Any, ...]] = {}  # `Reckoned`, as plain tuples

    def end(self) -> None:
        """Nobody looks any more."""
        self.advance.end()

    def keyed(self, passed: Passed | None = None) -> dict[str, Keyed | UserError]:
        """Definitions, files, then the keys of what changed and of what needs it."""
        self.define()
        self.walk(_nothing if passed else _prepare)
        touched = self.touched()
        if passed and touched and self.evident(touched, passed):
            results = self.known["results"]
            return {
                id: Keyed(self, outline, ANOTHER if id in touched else results[id][0])
                for id, outline in self.outlines.items()
            }
        self.results = {id: each for id, each in self.known.get("results", {}).items() if id in self.outlines}
        for id in self.outlines:
            self.settle(id, touched)
        self.keep()
        return {
            id: self.errors[id] if id in self.errors else Keyed(self, outline, self.keys[id])
            for id, outline in self.outlines.items()
        }

    def manifest(self, id: str, needs: Mapping[str, str]) -> Manifest:
        """What a key stands for."""
        work, taken = self.inputs(id)
        return self.reckoning.manifest(work, taken, needs)

    def define(self) -> None:
        """What tasks there are."""
        premises = self.premises
        defined = Defined(self.known, premises.root, premises.environment, premises.load, self.settled_ns)
        self.found |= defined.found
        self.outlines, self.work = defined.outlines, defined.work
        self.redefined = self.found["outlines"] != self.known.get("outlines")

    # --- files ----------------------------------------------------------------------------------------------------

    def walk(self, stirred: Callable[[], None]) -> None:
        """Look at all files that may be inputs. `stirred` is called while others look, when something seems to have changed."""
        known, settled = self.known, self.settled_ns
        self.advance.report(stirred)
        same = not self.redefined and not changed(known["ignores"])
        if same and all(os.path.exists(git) == there for git, there in known["gits"].items()):
            self.found |= {name: known[name] for name in ("gits", "ignores", "grounds")}
            if not all(ground.stands() for ground in self.walked.values()):
                self.look()
            if all(base[0] in self.ground(base).kept[0] or self.ground(base).closed for base in self.bases):
                return
        from atoll.pipeline.grounds import ground_of, ways

        gits, ignores = ways(self.bases)  # where rules begin is no longer known, or a folder became a link
        rules: dict[tuple[str, str], Ignore] = {}
        self.found |= {
            "gits": gits,
            "ignores": stamps(ignores, settled),
            "grounds": {base: ground_of(base, rules) for base in self.bases},
        }
        self.look()

    def look(self) -> None:
        """Walk every ground."""
        reach: dict[tuple[str, str], set[str]] = {}
        for outline in self.outlines.values():
            reach.setdefault(self.found["grounds"][outline.base], set()).update(outline.reach)
        before, self.walked = self.walked, {}
        for place, paths in reach.items():
            self.walked[place] = before.get(place) or self.ground_at(place)
            self.walked[place].walk(paths)

    def ground_at(self, place: tuple[str, str]) -> Ground:
        """A ground that nobody looked at yet."""
        top, root = place
        kept = tuple(self.known.get(name, {}).get(place, {}) for name in ("tree", "contents"))
        return Ground(top, Path(root), os.fspath(self.premises.artifacts), kept, self.settled_ns)

    @cached_property
    def bases(self) -> set[Base]:
        """Every folder of which files go in."""
        return {outline.base for outline in self.outlines.values()}

    def ground(self, base: Base) -> Ground:
        """Where its files were found."""
        return self.walked[self.found["grounds"][base]]

    # --- what changed ---------------------------------------------------------------------------------------------

    def touched(self) -> dict[str, bool]:
        """The tasks whose key may not stand -> whether that is for more than their files."""
        from_files = dict.fromkeys(self.by_files(), False)
        known = self.known
        names, value = _variables(self.premises.caller, known.get("variables", ({}, ""))[0])
        self.found["variables"] = (names, value)
        fresh = bool(known) and known["variables"][1] == value and known["asked"] <= self.now < known["expires"]
        if not fresh or changed(known["equipment"]):
            self.found |= {"equipment": {}, "asked": self.now, "expires": self.now + BELIEVED_S}
            return dict.fromkeys(self.outlines, True)
        self.found |= {name: known[name] for name in ("equipment", "asked", "expires")}
        return from_files | dict.fromkeys(self.by_rest(), True)

    def by_rest(self) -> Iterator[str]:
        """The tasks of which something else than a file changed that may decide the key."""
        known, defined = self.known, self.found["definitions"]
        before = {row[0]: row for row in known["outlines"]} if self.redefined else {}
        same = known["definitions"] is defined
        pins = set(changed(known["pins"]))
        inherited = _values(self.premises.caller, self.outlines.values())
        unequal = {name for name, each in inherited.items() if known["inherited"].get(name) != each}
        for id, outline in self.outlines.items():
            result = known["results"].get(id)
            if (
                result is None
                or (self.redefined and before.get(id) != outline)
                or not (same or known["definitions"].get(outline.service) == defined[outline.service])
                or not (pins.isdisjoint(result[3]) and unequal.isdisjoint(outline.inherit))
                or not self.sound(outline, result[2])
            ):
                yield id

    def by_files(self) -> Iterator[str]:
        """The tasks of which a file changed that may be an input."""
        edited = {each for ground in self.walked.values() for path in ground.edited for each in _upwards(path)}
        named = {each for ground in self.walked.values() for path in ground.named for each in _upwards(path)}
        if not self.known or not (edited or named):
            return
        results = self.known["results"]
        for id, outline in self.outlines.items():
            watched = results[id][4] if id in results else None
            if not named.isdisjoint(outline.reach) or not edited.isdisjoint(
                outline.reach if watched is None else watched
            ):
                yield id

    def sound(self, outline: Outline, links: Iterable[str]) -> bool:
        """Whether all links among the inputs still lead to where they may."""
        if not links:
            return True
        from atoll.model.errors import UserError
        from atoll.pipeline.inputs import check_link

        try:
            for link in links:
                check_link(outline.base[0], link)
        except (UserError, OSError):
            return False
        return True

    def evident(self, touched: Mapping[str, bool], passed: Passed) -> bool:
        """Whether all that was touched evidently has another key than the one that passed, and all else the one it had."""
        outlines = self.outlines
        if any(more or not outlines[id].whole for id, more in touched.items()):
            return False
        if any(id not in touched and not touched.keys().isdisjoint(each.needs) for id, each in outlines.items()):
            return False
        from atoll.pipeline.evident import evidently_other

        paths = [path for ground in self.walked.values() for path in ground.edited]
        edited = {}
        for id in touched:
            top = f"{outlines[id].base[0].rstrip('/')}/"
            edited[id] = {path.removeprefix(top): path for path in paths if path.startswith(top)}
        return evidently_other(edited, passed)

    # --- keys -----------------------------------------------------------------------------------------------------

    def settle(self, id: str, touched: Mapping[str, bool]) -> bool:
        """Have the key of a task, after those of what it needs; returns whether it is another one than the last time."""
        if id in self.moved:
            return self.moved[id]
        needs = self.outlines[id].needs
        self.moved[id] = False
        moved = [need for need in needs if self.settle(need, touched)] if needs else ()
        lacking = next((need for need in needs if need in self.errors), None) if needs else None
        before = self.results.get(id)
        if lacking is not None:
            self.fail(id, _lacks(lacking, self.errors[lacking]))
        elif moved or before is None or id in touched:
            self.reckon(id, None if moved or before is None or touched.get(id, True) else before)
        else:
            self.keys[id] = before[0]
        self.moved[id] = id in self.errors or before is None or before[0] != self.keys[id]
        return self.moved[id]

    @cached_property
    def moved(self) -> dict[str, bool]:
        """Tasks that were settled -> whether their keys are other ones."""
        return {}

    def reckon(self, id: str, before: tuple[Any, ...] | None) -> None:
        """Reckon a key; that of the result `before` stands when the inputs turn out to be the same."""
        from atoll.model.errors import UserError
        from atoll.pipeline.reckon import digest

        try:
            work, taken = self.inputs(id)
            if before is None or before[1] != digest(taken):
                needs = {need: self.keys[need] for need in self.outlines[id].needs}
                before = tuple(self.reckoning.reckon(work, taken, needs))
        except UserError as exc:
            self.fail(id, exc)
        else:
            self.results[id], self.keys[id] = before, before[0]

    def inputs(self, id: str) -> tuple[Work, Taken]:
        """A task and what goes into it."""
        outline = self.outlines[id]
        work = self.work(id)
        return work, self.reckoning.inputs(work, self.ground(outline.base), outline.reach)

    def fail(self, id: str, error: UserError) -> None:
        """A task without a key; it is looked at again each time."""
        self.errors[id] = error
        self.results.pop(id, None)

    @cached_property
    def reckoning(self) -> Reckoning:
        """The slow side."""
        from atoll.pipeline.reckon import Reckoning

        self.reckoned = True
        return Reckoning(self.premises.root, self.premises.artifacts, self.premises.toolchains, self.premises.caller)

    reckoned = False

    # --- the next time --------------------------------------------------------------------------------------------

    def keep(self) -> None:
        """Remember what is not as it was remembered."""
        found = self.found
        if self.reckoned:
            paths, oldest = self.reckoning.equipment()
            found["equipment"] = {**found["equipment"], **stamps(paths, self.settled_ns)}
            found["expires"] = min(found["expires"], oldest + BELIEVED_S)
        found["results"] = self.results
        found["inherited"] = _values(self.premises.caller, self.outlines.values())
        found["pins"] = stamps({pin for result in self.results.values() for pin in result[3]}, self.settled_ns)
        found["tree"] = {place: ground.kept[0] for place, ground in self.walked.items()}
        found["contents"] = {place: ground.kept[1] for place, ground in self.walked.items()}
        of_images = any(outline.task == _IMAGE for outline in self.outlines.values())
        self.snapshot.keep(found, self.own if of_images else self.snapshot.path)


def _prepare() -> None:
    """Import the slow side: something will be reckoned."""
    import atoll.pipeline.reckon  # noqa: F401


def _nothing() -> None:
    """It may well be that nothing will be reckoned."""


def _variables(caller: Mapping[str, str], known: Mapping[str, bool]) -> tuple[dict[str, bool], str]:
    """Which variables reach tools, and a digest of those: what tools say of themselves may depend on them."""
    names = {name: known[name] for name in caller if name in known}
    if len(names) < len(caller):
        from atoll.pipeline.environment import passes

        names |= {name: passes(name) for name in caller if name not in names}
    passed = sorted((name, caller[name]) for name, reaches in names.items() if reaches)
    return names, hashlib.sha256(repr(passed).encode("utf-8", "surrogateescape")).hexdigest()


def _upwards(path: str) -> Iterator[str]:
    """A path and the folders that it lies in."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _values(caller: Mapping[str, str], outlines: Iterable[Outline]) -> dict[str, str]:
    """A digest of each variable whose value counts; "" for one that is not set."""
    names = {name for outline in outlines for name in outline.inherit}
    return {
        name: hashlib.sha256(os.fsencode(caller[name])).hexdigest() if name in caller else "" for name in sorted(names)
    }


def _lacks(need: str, error: UserError) -> UserError:
    from atoll.model.errors import UserError

    return UserError(f"it needs {need}, which cannot be told", f"{error.what}: {error.why}", error.fix, id=error.id)
