"""What tasks there are, as a snapshot remembers it or as the files say now. Part of a look at all keys (`keys`).

Must import nothing heavy at the top: most calls find everything as it was.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from atoll.pipeline.stamps import changed, stamps

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from atoll.model.environment import WorkspaceSpec
    from atoll.pipeline.order import Work
    from atoll.pipeline.tree import Base


class Outline(NamedTuple):
    """What of a task's definition is needed to see whether its key still stands."""

    id: str
    service: str
    task: str
    base: Base
    reach: tuple[str, ...]  # absolute paths at or below which its inputs lie
    needs: tuple[str, ...]  # ids
    inherit: tuple[str, ...]  # variables whose values count
    whole: bool  # as `order.is_whole`


class Defined:
    """The tasks of a workspace: an `Outline` of each at once, its definition (`work`) when it is asked for."""

    def __init__(
        self,
        known: Mapping[str, Any],
        root: Path,
        environment: str,
        load: Callable[[set[str]], WorkspaceSpec],
        settled_ns: int,
    ) -> None:
        """`known` is the last snapshot; the files that it looked at are read again when one of them looks different.

        Raises InvalidWorkspace, NotFound (no such environment).
        """
        same = bool(known) and not changed(known["looked"])
        if same and environment in known["environments"]:
            self.found = {name: known[name] for name in ("environments", "looked", "definitions", "outlines")}
        else:
            self.found = _read(root, {*(known["environments"] if same else ()), environment}, load, settled_ns)
        self.outlines: dict[str, Outline] = {row[0]: Outline._make(row) for row in self.found["outlines"]}
        self._decoded: dict[str, Any] = {}

    def work(self, id: str) -> Work:
        """A task with its definition."""
        import msgspec

        from atoll.model.spec import ServiceSpec
        from atoll.model.task import BUILD, IMAGE, Task
        from atoll.pipeline.order import build_of, image_of, task_of

        outline = self.outlines[id]
        if outline.service not in self._decoded:
            spec, tasks = self.found["definitions"][outline.service]
            own = msgspec.msgpack.decode(tasks, type=tuple[Task, ...])
            self._decoded[outline.service] = msgspec.msgpack.decode(spec, type=ServiceSpec), own
        service, own = self._decoded[outline.service]
        if outline.task == BUILD:
            return build_of(service)
        if outline.task == IMAGE and service.image is not None:
            return image_of(service, service.image)
        return task_of(service, next(task for task in own if task.name == outline.task))


def _read(
    root: Path, environments: Collection[str], load: Callable[[set[str]], WorkspaceSpec], settled_ns: int
) -> dict[str, Any]:
    """What to remember. It is the same in each environment without images; `environments` are those known to be declared."""
    import msgspec

    from atoll.pipeline.order import works_of

    looked: set[str] = set()
    workspace = load(looked)
    works = works_of(workspace)
    encode = msgspec.msgpack.encode
    return {
        "environments": tuple(sorted(environments)),
        "looked": stamps(looked, settled_ns),
        "definitions": {
            name: (encode(spec), encode(workspace.tasks.get(name, ()))) for name, spec in workspace.worked_on.items()
        },
        "outlines": [tuple(_outline(work, root)) for work in works.values()],
    }


def _outline(work: Work, root: Path) -> Outline:
    from atoll.pipeline.globs import bases
    from atoll.pipeline.order import folder_of, is_whole, patterns_of

    folder = os.fspath(folder_of(work, root))
    top = folder.rstrip("/")
    return Outline(
        id=work.id,
        service=work.spec.name,
        task=work.task.name,
        base=(folder, os.path.normpath(root / work.spec.root)),
        reach=tuple(f"{top}/{each}" if each else top for each in bases(patterns_of(work))),
        needs=tuple(work.needs.values()),
        inherit=work.task.inherit,
        whole=is_whole(work),
    )
