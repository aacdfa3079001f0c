"""A run of a job followed to its end: what it prints as it comes, and how it ended. `atoll run` uses it."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from typing import TYPE_CHECKING

from atoll.cli.failed import UNREACHABLE, Failed
from atoll.cli.inbox import awaited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from atoll.cli.client import Client
    from atoll.model.hosted import LogLine
    from atoll.model.wire_jobs import JobRunView

_ALL_LINES = 100_000

_Line = tuple[str, str, str]


def follow(client: Client, run: JobRunView, show: Callable[[str, bool], None] | None) -> JobRunView:
    """Wait for the end of a run; `show(line, is_error)` gets what it prints. Raises what went wrong on the way."""
    inbox: queue.Queue[object] = queue.Queue()
    shown: Counter[_Line] = Counter()
    followers = [lambda: _watch(client, run.id, inbox)]
    if show is not None:
        followers.append(lambda: _read(client, run, inbox))
    for work in followers:  # daemon threads: each only reads from its own connection, and Ctrl-C may abandon them
        threading.Thread(target=_guarded, args=(work, inbox), daemon=True).start()
    while True:
        match awaited(inbox):
            case Exception() as problem:
                raise problem
            case tuple() as news:
                kind, value = news
                if kind == "line" and show is not None:
                    _show(value, shown, show)
                elif kind == "end":
                    break
    if show is not None:  # what was printed last may not have come over the other line yet
        left = shown.copy()
        for line in _lines(client, run, follow=False):
            if left[_identity(line)] > 0:
                left[_identity(line)] -= 1
            else:
                _show(line, shown, show)
    ended: JobRunView = value
    return ended


def _watch(client: Client, run: str, inbox: queue.Queue[object]) -> None:
    for view in client.watch_run(run):
        if view.ended:
            inbox.put(("end", view))
            return
    lost = "the daemon no longer reports on this run"
    raise Failed(
        lost, f"run {run}", "look with `atoll jobs`", kind="Lost", exit_code=UNREACHABLE, id="daemon-unreachable"
    )


def _read(client: Client, run: JobRunView, inbox: queue.Queue[object]) -> None:
    for line in _lines(client, run, follow=True):
        inbox.put(("line", line))


def _guarded(work: Callable[[], None], inbox: queue.Queue[object]) -> None:
    try:
        work()
    except Exception as exc:  # noqa: BLE001  a thread's error belongs to the command: `follow` raises it
        inbox.put(exc)


def _lines(client: Client, run: JobRunView, *, follow: bool) -> Iterator[LogLine]:
    lines = client.logs([run.service], replica=f"{run.id}.", tail=_ALL_LINES, follow=follow, since_wall=0.0)
    return (line for line, _ in lines)


def _show(line: LogLine, shown: Counter[_Line], show: Callable[[str, bool], None]) -> None:
    shown[_identity(line)] += 1
    show(line.text, line.stream == "stderr")


def _identity(line: LogLine) -> _Line:
    return line.replica, line.cursor, line.text
