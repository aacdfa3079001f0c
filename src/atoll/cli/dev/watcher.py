"""Watches folders, and says in batches which paths below them changed. Linux' inotify, by `watchfiles`.

One watch a folder that matters, never a whole tree: `node_modules` alone would use up what the kernel allows a user.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from watchfiles import Change
from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError  # documented: folders without what is below

from atoll.cli.failed import Failed

if TYPE_CHECKING:
    from collections.abc import Callable

# Of quiet, up to twice so much, before a batch is told. An editor's save by a rename takes a few; a pause that is too short
# costs a build that is superseded, a longer one everybody's time at each edit.
QUIET_MS = 80
MOST_MS = 5000  # somebody writes all the time: what changed by then is a batch
GIT_S = 30.0  # a checkout that holds its lock for longer was killed
LOOK_MS = 500  # for `look_again`
_LIMITS = Path("/proc/sys/fs/inotify")


class Watcher:
    """Tells `changed` of each batch of changed paths (absolute; with a slash at the end what is, or was, a folder).

    `folders` says what to watch; it is asked at the beginning, whenever a folder came or went, and after `look_again`.
    Raises Failed from the start when the kernel refuses; what goes wrong later is told to `failed`.
    """

    def __init__(
        self,
        folders: Callable[[], frozenset[str]],
        changed: Callable[[frozenset[str], float], None],
        failed: Callable[[Exception], None],
        git: Path,
    ) -> None:
        """`changed` also gets the monotonic time of the last change; `git` is the folder whose index.lock is waited for."""
        self._folders, self._changed, self._failed = folders, changed, failed
        self._busy = git / "index.lock"
        self._now = folders()
        self._notify = _watching(self._now)
        self._again = threading.Event()
        threading.Thread(target=self._run, name="watcher", daemon=True).start()

    def look_again(self) -> None:
        """What is to be watched may be different now."""
        self._again.set()

    def _run(self) -> None:
        try:
            while True:
                self._tell(self._wait())
        except Exception as exc:  # noqa: BLE001  a thread's error belongs to the command
            self._failed(exc)

    def _wait(self) -> set[str]:
        """The next batch; empty when only `look_again` was called."""
        paths = self._paths(LOOK_MS)  # no stop event: it would drop what has changed so far
        until = time.monotonic() + GIT_S
        while paths and self._busy.exists() and time.monotonic() < until:  # a checkout is one change, however long
            paths |= self._paths(QUIET_MS)
        return paths

    def _paths(self, within_ms: int) -> set[str]:
        raw = self._notify.watch(MOST_MS, QUIET_MS, within_ms, None)
        if isinstance(raw, str):
            return set()
        passing = {path for kind, path in raw if kind == Change.added} & {
            p for kind, p in raw if kind == Change.deleted
        }
        return {path for _, path in raw if path not in passing or os.path.lexists(path)}  # what editors save through

    def _tell(self, paths: set[str]) -> None:
        at_s = time.monotonic() - QUIET_MS / 1000
        folders = {path for path in paths if path in self._now or os.path.isdir(path)}  # noqa: PTH112 (thousands)
        if folders or self._again.is_set():
            self._again.clear()
            found = self._follow()
            folders |= found & self._now
            paths |= found
        if paths:
            self._changed(frozenset(paths - folders | {f"{path}/" for path in folders}), at_s)

    def _follow(self) -> set[str]:
        """Watch what there is now; returns folders that are new, and what changed while one watcher replaced the other."""
        wanted = self._folders()
        if wanted == self._now:
            return set()
        after = _watching(wanted)
        late = self._paths(1)  # what the old one still saw
        self._notify.close()
        fresh = wanted - self._now
        self._notify, self._now = after, wanted
        return late | fresh


def _watching(folders: frozenset[str]) -> RustNotify:
    there = sorted(folder for folder in folders if os.access(folder, os.R_OK | os.X_OK))
    try:
        return RustNotify(there, False, False, 0, False, False)  # the last one: it would let the limit pass in silence
    except (FileNotFoundError, PermissionError):
        return _watching(folders)  # one went between two lines
    except (OSError, WatchfilesRustInternalError) as exc:
        if "watch limit" in str(exc):
            raise _refused(len(there), "max_user_watches", 524_288) from exc
        if "Too many open files" in str(exc):
            raise _refused(len(there), "max_user_instances", 512) from exc
        raise


def _refused(count: int, limit: str, enough: int) -> Failed:
    try:
        now = int((_LIMITS / limit).read_text())
    except (OSError, ValueError):
        now = 0
    return Failed(
        f"the workspace's {count} folders cannot be watched",
        f"this user has reached the kernel's limit: fs.inotify.{limit}" + (f" = {now}" if now else ""),
        f"`sudo sysctl fs.inotify.{limit}={max(4 * now, enough)}`; or name the services that you edit: `atoll dev SERVICE`",
        id="watch-limit",
    )
