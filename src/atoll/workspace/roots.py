"""Where a workspace's services lie: its own folders, and those of the other repositories that `roots` names.

Called by the loader. Folders are POSIX paths relative to the workspace, absolute where `roots` says so.
"""

import os
import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from atoll.model.environment import Root
from atoll.model.errors import Problem
from atoll.workspace.discover import service_folders
from atoll.workspace.fields_workspace import DEFAULT_SERVICES


class Place(NamedTuple):
    """A folder with a service.toml, and the root that it was found in; "." is the workspace itself."""

    folder: str
    root: str


class Found(NamedTuple):
    """All places, each real folder once. `absent`: some root is not there, so that services may be missing."""

    places: list[Place]
    problems: list[Problem]
    absent: bool


def find(
    workspace: Path, services: Sequence[str] | None, roots: Sequence[Root], looked: set[str] | None = None
) -> Found:
    """The folders of every root, then the workspace's own: a root within the workspace has what lies in it.

    `looked` gets the paths on which the answer rests, as `service_folders` says.
    """
    looked = set() if looked is None else looked
    known: dict[str, Place] = {}  # by real path
    problems: list[Problem] = []
    absent = False
    for index, root in enumerate(roots):
        at = _normal(root.path)
        base = workspace / at
        if at == "." or not base.is_dir():
            looked.add(str(base))
            problems.append(_unfit(root, f"roots[{index}]", base))
            absent = absent or at != "."
            continue
        folders, wrong = service_folders(base, root.services or DEFAULT_SERVICES, declared=False, looked=looked)
        problems += [replace(problem, file=posixpath.join(at, problem.file)) for problem in wrong]
        if not folders:
            problems.append(_empty(root, f"roots[{index}]"))
        for folder in folders:
            known.setdefault(os.path.realpath(base / folder), Place(_normal(posixpath.join(at, folder)), at))
    folders, wrong = service_folders(
        workspace, services or DEFAULT_SERVICES, declared=services is not None, looked=looked
    )
    for folder in folders:
        known.setdefault(os.path.realpath(workspace / folder), Place(folder, "."))
    return Found(sorted(known.values()), problems + wrong, absent)


def _normal(path: str) -> str:
    """Without `~`, `.` and needless `..`."""
    return posixpath.normpath(os.path.expanduser(path))  # noqa: PTH111  an unknown home stays as it is, and is not there


def _unfit(root: Root, field: str, base: Path) -> Problem:
    if root.optional and not base.exists():
        what = f'roots: "{root.path}" is not there; its services are left out, and calls to them get 503'
        fix = "clone it there to have them"
        return Problem(file="atoll.toml", field=field, what=what, fix=fix, id="root-missing", level="warning")
    if base.is_dir():
        what = f'roots: "{root.path}" is the workspace itself'
        return Problem(file="atoll.toml", field=field, what=what, fix="take it out", id="wrong-value")
    what = f'roots: "{root.path}" is not {"a folder" if base.exists() else "there"}'
    fix = f'clone it to {base.absolute()}; or, when some people do without it: {{ path = "{root.path}", optional = true }}'
    return Problem(file="atoll.toml", field=field, what=what, fix=fix, id="root-missing")


def _empty(root: Root, field: str) -> Problem:
    looked = ", ".join(f'"{pattern}"' for pattern in root.services or DEFAULT_SERVICES)
    what = f'roots: no folder with a service.toml in "{root.path}" at {looked}'
    fix = f'run `atoll init` there, or say where they are: {{ path = "{root.path}", services = ["apps/*"] }}'
    return Problem(file="atoll.toml", field=field, what=what, fix=fix, id="no-service-there", level="warning")
