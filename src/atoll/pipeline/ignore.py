"""What git would ignore: .gitignore files from the top of the repository down, without needing git.

Called by `inputs` only. Reads .gitignore files and nothing else. The rules are gitignore(5)'s, name by name on the way
down, as git itself walks; a property test compares the two. (The pathspec library judges whole paths instead, and
differs: after `x/*` and `!x/` it takes back what lies inside x, too.)
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from atoll.pipeline.globs import name_regex

# Not the service's own: made by tools, or by us. node_modules and .venv are made anew in the artifact.
NEVER = frozenset({".git", ".atoll", "node_modules", ".venv", "__pycache__"})


class Rule(NamedTuple):
    """One line of a .gitignore file."""

    ignores: bool  # False takes back
    folders_only: bool
    regex: re.Pattern[str]  # for the path below the file's folder


class Ignore:
    """The rules in force in one folder: its own .gitignore and those above; the last one that fits decides."""

    def __init__(self, levels: tuple[tuple[str, tuple[Rule, ...]], ...] = ()) -> None:
        self._levels = levels  # (absolute folder with a trailing slash, rules, the last first)

    def within(self, folder: str) -> Ignore:
        """The rules inside `folder`, an absolute path: these and its .gitignore's."""
        try:
            text = Path(folder, ".gitignore").read_bytes().decode("utf-8", "surrogateescape")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return self
        rules = [rule for line in reversed(text.split("\n")) if (rule := parse(line.removesuffix("\r"))) is not None]
        return Ignore((*self._levels, (folder.rstrip("/") + "/", tuple(rules))))

    def ignores(self, path: str, *, folder: bool) -> bool:
        """Whether the absolute `path`, a folder or not, is ignored, given that no folder above it is."""
        for base, rules in reversed(self._levels):
            below = path[len(base) :]
            for rule in rules:
                if (folder or not rule.folders_only) and rule.regex.match(below):
                    return rule.ignores
        return False


def parse(line: str) -> Rule | None:
    """A line of a .gitignore file; None for blanks and comments."""
    while line.endswith(" ") and not line.endswith("\\ "):
        line = line[:-1]
    if not line or line.startswith("#"):
        return None
    taken_back = line.startswith("!")
    pattern = line[1:] if taken_back else line
    folders_only = pattern.endswith("/")
    pattern = pattern.removesuffix("/")
    if not pattern:
        return None
    parts = pattern.split("/")
    if len(parts) == 1:
        parts = ["**", *parts]  # a mere name is meant at any depth
    text = ""
    for index, part in enumerate(parts):
        if part == "**":
            text += ".+" if index == len(parts) - 1 else "(?:[^/]+/)*"
        elif index == 0 and not part:
            continue  # a leading slash only says that the pattern is anchored
        else:
            text += name_regex(part) + ("" if index == len(parts) - 1 else "/")
    return Rule(not taken_back, folders_only, re.compile(text + r"\Z", re.DOTALL))


def above(folder: Path, root: Path) -> Ignore:
    """The rules that hold in `folder` (absolute), from the repository's top, or the workspace's root without git, down.

    A service in a folder that is itself ignored is meant to be built all the same: it starts with no rules.
    """
    top = top_of(folder, root)
    rules = Ignore()
    place = top
    for part in ("", *folder.relative_to(top).parts):
        place = place / part
        if place != top and rules.ignores(os.fspath(place), folder=True):
            return Ignore().within(os.fspath(folder))
        rules = rules.within(os.fspath(place))
    return rules


def top_of(folder: Path, root: Path) -> Path:
    """Where the rules that hold in `folder` begin: see `above`."""
    top = next((place for place in (folder, *folder.parents) if (place / ".git").exists()), None)
    if top is None:
        top = root if folder.is_relative_to(root) else folder
    return top
