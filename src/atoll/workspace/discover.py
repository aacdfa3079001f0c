"""In which folders of a workspace services lie: the globs of `services`, walked without following loops.

Called by the loader. Hidden folders and `node_modules` match only a pattern that names them; nothing is read here.
"""

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from atoll.model.errors import Problem

SERVICE_FILE = "service.toml"
_PRUNED = frozenset({"node_modules", "__pycache__"})  # a `**` would spend its time there


def service_folders(
    root: Path, patterns: Sequence[str], *, declared: bool, looked: set[str] | None = None
) -> tuple[list[str], list[Problem]]:
    """Folders with a service.toml, relative and POSIX, sorted, each real folder once; and what could not be looked at.

    `declared`: the patterns were written by somebody, so that one that finds nothing is told about. `looked` gets the path of
    every file that was looked for, and of every folder whose folders were listed, with a slash: while these are the same, so
    is the answer.
    """
    found: dict[str, str] = {}  # real path -> relative folder
    problems: list[Problem] = []
    seen = _Seen(problems, set() if looked is None else looked)
    for index, pattern in enumerate(patterns):
        any_here = False
        parts = [part for part in pattern.split("/") if part not in {"", "."}]
        for folder in sorted(set(_walk(root, "", parts, seen)), key=lambda f: ((root / f).is_symlink(), f)):
            if _has_service(root, folder, seen):
                any_here = True
                found.setdefault(os.path.realpath(root / folder), folder or ".")
        if declared and not any_here:
            problems.append(_nothing_there(index, pattern))
    unique = {(problem.file, problem.what): problem for problem in problems}
    return sorted(found.values()), list(unique.values())


def _nothing_there(index: int, pattern: str) -> Problem:
    wild = any(mark in pattern for mark in "*?[")
    return Problem(
        file="atoll.toml",
        field=f"services[{index}]",
        what=f'services: no folder with a {SERVICE_FILE} at "{pattern}"',
        fix=f"add a {SERVICE_FILE} there, or take the entry out",
        level="warning" if wild else "error",
        id="no-service-there",
    )


class _Seen(NamedTuple):
    """What a walk came upon."""

    problems: list[Problem]
    looked: set[str]


def _has_service(root: Path, folder: str, seen: _Seen) -> bool:
    """Whether the file is there, be it readable or not (a dangling link is there, too)."""
    file = root / folder / SERVICE_FILE
    seen.looked.add(os.fspath(file))
    try:
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as exc:
        seen.problems.append(_closed(folder, exc))
        return False
    return True


def _closed(folder: str, exc: OSError) -> Problem:
    return Problem(
        file=folder or ".",
        what=f"cannot be looked into: {exc.strerror or exc}",
        fix="allow it to your user, or leave the folder out of `services` in atoll.toml",
        id="file-unreadable",
    )


def _walk(root: Path, folder: str, parts: Sequence[str], seen: _Seen) -> Iterator[str]:
    """Folders below `folder` that match the rest of a pattern."""
    if not parts:
        yield folder
        return
    part, rest = parts[0], parts[1:]
    if part == "**":
        yield from _walk(root, folder, rest, seen)
        for name in _folders(root, folder, seen, links=False):
            if not name.startswith(".") and name not in _PRUNED:
                yield from _walk(root, _join(folder, name), parts, seen)
    elif any(mark in part for mark in "*?["):
        for name in _folders(root, folder, seen, links=True):
            if fnmatchcase(name, part) and (not name.startswith(".") or part.startswith(".")):
                yield from _walk(root, _join(folder, name), rest, seen)
    elif (root / folder / part).is_dir():
        yield from _walk(root, _join(folder, part), rest, seen)
    else:
        seen.looked.add(os.fspath(root / folder / part))


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _folders(root: Path, folder: str, seen: _Seen, *, links: bool) -> list[str]:
    """Names of the folders in a folder; a link that leads nowhere or in a circle is none."""
    names: list[str] = []
    seen.looked.add(f"{root / folder}/")
    try:
        with os.scandir(root / folder) as entries:
            for entry in entries:
                try:
                    if entry.is_dir(follow_symlinks=links):
                        names.append(entry.name)
                except OSError:
                    continue  # a circle of links
    except OSError as exc:
        seen.problems.append(_closed(folder, exc))
    return names
