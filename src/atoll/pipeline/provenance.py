"""Who does something, from what commit. Called by the CLI for every mutation; never fails and never waits long."""

import getpass
import os
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from atoll.model.spec import ServiceSpec
from atoll.model.state import Author

BUDGET_S = 2.0  # for all of git's answers: a huge or remote work tree must not delay a deploy

# A hook's GIT_DIR means the repository that the hook runs for, which need not be the workspace's.
_FOREIGN = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"})


def author(root: Path) -> Author:
    """user@host, and the commit of the workspace `root`; its fields are empty without git or without an answer in 2 s.

    `dirty` looks at the workspace's folder only and counts untracked files; when git could not say, it is True: what
    is not known to be clean is not called so.
    """
    deadline = time.monotonic() + BUDGET_S
    head = _git(root, deadline, "log", "-1", "--format=%H %ct")
    if not head:
        return Author(actor=_actor())
    commit, _, wall = head.strip().partition(" ")
    changes = _git(root, deadline, "status", "--porcelain", "--untracked-files=normal", "--", ".")
    return Author(actor=_actor(), commit=commit, commit_wall=float(wall), dirty=changes is None or bool(changes))


class Provenance:
    """From what commit each service of the workspace `root` is: that of the repository which holds it, asked once."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._known: dict[Path, Author] = {}

    def of(self, spec: ServiceSpec) -> Author:
        """Like `author`. A repository within a root (a submodule, a link) counts for the services in it."""
        folder, home = (self._root / spec.folder).resolve(), (self._root / spec.root).resolve()
        top = next((place for place in (folder, *folder.parents) if (place / ".git").exists()), None)
        asked = home if top is None or home.is_relative_to(top) else top
        if asked not in self._known:
            self._known[asked] = author(asked)
        return self._known[asked]


def _actor() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, in a container
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def git_environment() -> dict[str, str]:
    """Variables for git, such that it looks at the folder that it is told of, writes nothing, and speaks English."""
    env = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    return {**env, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}


def _git(root: Path, deadline: float, *arguments: str) -> str | None:
    """What git printed; None when it failed, is not there or took too long."""
    env = git_environment()
    argv = ("git", "-c", "core.fsmonitor=false", "-C", os.fspath(root), *arguments)
    try:
        process = subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, process_group=0
        )
    except OSError:
        return None
    with process:
        try:
            said, _ = process.communicate(timeout=max(0.05, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.communicate()
            return None
    return said.decode("utf-8", "replace") if process.returncode == 0 else None
