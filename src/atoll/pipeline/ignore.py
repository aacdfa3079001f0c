"""What git would ignore: .gitignore files from the top of the repository down, without needing git.

Called by `inputs` only. Reads .gitignore files and nothing else.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

# Not the service's own: made by tools, or by us. node_modules and .venv are made anew in the artifact.
NEVER = frozenset({".git", ".atoll", "node_modules", ".venv", "__pycache__"})


class Ignore:
    """The rules in force in one folder: its own .gitignore and those above; the deepest that says anything decides."""

    def __init__(self, levels: tuple[tuple[str, GitIgnoreSpec], ...] = ()) -> None:
        self._levels = levels  # (absolute folder with a trailing slash, rules)

    def within(self, folder: str) -> Ignore:
        """The rules inside `folder`, an absolute path: these and its .gitignore's."""
        try:
            text = Path(folder, ".gitignore").read_bytes().decode("utf-8", "surrogateescape")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return self
        from pathspec import GitIgnoreSpec  # takes 30 ms to load, and many services have no .gitignore

        rules = GitIgnoreSpec.from_lines(text.splitlines())
        return Ignore((*self._levels, (folder.rstrip("/") + "/", rules)))

    def ignores(self, path: str, *, folder: bool) -> bool:
        """Whether the absolute `path`, which is a folder or not, is ignored."""
        for base, rules in reversed(self._levels):
            verdict = rules.check_file(path[len(base) :] + ("/" if folder else "")).include
            if verdict is not None:
                return verdict
        return False


def above(folder: Path, root: Path) -> Ignore:
    """The rules that hold in `folder` (absolute), from the repository's top, or the workspace's root without git, down.

    A service in a folder that is itself ignored is meant to be built all the same: it starts with no rules.
    """
    top = next((place for place in (folder, *folder.parents) if (place / ".git").exists()), None)
    if top is None:
        top = root if folder.is_relative_to(root) else folder
    rules = Ignore()
    place = top
    for part in ("", *folder.relative_to(top).parts):
        place = place / part
        if place != top and rules.ignores(os.fspath(place), folder=True):
            return Ignore().within(os.fspath(folder))
        rules = rules.within(os.fspath(place))
    return rules
