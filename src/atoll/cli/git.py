"""Who changes something, from what commit: what the client tells the daemon about the author."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from atoll.model.state import Author

GIT_S = 5.0  # a repository that takes longer to answer is deployed without its commit


def author(root: Path) -> Author:
    """The author of a change made now in the workspace at `root`. Without git, or outside a repository, the name only."""
    from atoll.model.state import Author

    name = os.environ.get("SUDO_USER") or os.environ.get("USER") or ""  # the daemon asks the kernel and knows better
    head = _git(root, "log", "-1", "--format=%H %ct")
    if head is None or len(parts := head.split()) != 2:
        return Author(actor=name)
    changes = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return Author(actor=name, commit=parts[0], commit_wall=float(parts[1]), dirty=bool(changes))


def _git(root: Path, *args: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(root), *args]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
