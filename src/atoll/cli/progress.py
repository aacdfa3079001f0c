"""Operations followed to their end: live on a terminal, a line per change elsewhere; then a receipt for each.

`up`, `deploy`, `rollback` and `restart` use it. Progress goes to stderr, so that stdout holds the result alone. Ctrl-C
detaches: the operations belong to the daemon.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from atoll.cli.failed import UNREACHABLE, Failed
from atoll.cli.output import console, counted, duration, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.table import Table

    from atoll.cli.client import Client
    from atoll.cli.session import Session
    from atoll.model.wire import OperationView

DEPLOY_FAILED = 3
REFRESH_S = 0.1

_Inbox = queue.Queue["tuple[str, OperationView | Exception]"]


def follow(session: Session, operations: Sequence[OperationView]) -> list[OperationView]:
    """Wait until all have ended; returns them in the same order. Raises what went wrong on the way, and KeyboardInterrupt."""
    views = {operation.id: operation for operation in operations}
    waiting = {operation.id for operation in operations if not operation.ended}
    inbox: _Inbox = queue.Queue()
    for name in waiting:  # daemon threads: each only reads from its own connection, and Ctrl-C may abandon them
        threading.Thread(target=_watch, args=(session.client, name, inbox), daemon=True).start()
    problem: Exception | None = None
    try:
        with _display(session, views) as show:
            show()
            while waiting:
                try:
                    name, news = inbox.get(timeout=REFRESH_S)
                except queue.Empty:
                    show()
                    continue
                if isinstance(news, Exception):
                    problem = problem or news
                    waiting.discard(name)
                else:
                    views[name] = news
                    if news.ended:
                        waiting.discard(name)
                show()
    except KeyboardInterrupt:
        for name in sorted(waiting):
            _say_detached(session, views[name])
        raise
    if problem is not None:
        raise problem
    return [views[operation.id] for operation in operations]


def exit_code(operations: Sequence[OperationView]) -> int:
    """0 when all are good, else that of a failed deploy."""
    return 0 if all(operation.good for operation in operations) else DEPLOY_FAILED


def _watch(client: Client, name: str, inbox: _Inbox) -> None:
    try:
        for view in client.watch(name):
            inbox.put((name, view))
            if view.ended:
                return
        lost = "the daemon no longer reports on this operation"
        failed = Failed(lost, f"operation {name}", "look with `atoll status`", kind="Lost", exit_code=UNREACHABLE)
        inbox.put((name, failed))
    except Exception as exc:  # noqa: BLE001  a thread's error belongs to the command: `follow` raises it
        inbox.put((name, exc))


def _say_detached(session: Session, view: OperationView) -> None:
    session.warn(
        f"detached: {_title(view)} goes on; `atoll status` shows it, `atoll rollback {view.service}` undoes it"
    )


@contextmanager
def _display(session: Session, views: dict[str, OperationView]) -> Iterator[Callable[[], None]]:
    if session.quiet:
        yield lambda: None
    elif sys.stderr.isatty():
        from rich.live import Live

        seen: dict[str, tuple[OperationView, float]] = {}
        with Live(console=console(sys.stderr), refresh_per_second=8, transient=True) as live:
            yield lambda: live.update(_live(views, seen))
    else:
        said: dict[str, str] = {}
        yield lambda: _lines(views, said)


def _live(views: dict[str, OperationView], seen: dict[str, tuple[OperationView, float]]) -> Table:
    """The table of a terminal. The seconds go on between two reports: `seen` remembers when each report came."""
    rows = []
    for name, view in views.items():
        if name not in seen or seen[name][0] is not view:
            seen[name] = (view, time.monotonic())
        since = 0.0 if view.ended else time.monotonic() - seen[name][1]
        style = "green" if view.good else "red" if view.ended or view.phase == "undoing" else "cyan"
        replicas = f"{view.ready}/{view.wanted} ready" if view.wanted else ""
        requests = f"{counted(view.requests, 'request')}, {view.failed} failed" if view.requests else ""
        cells = (_title(view), f"[{style}]{view.phase}[/]", replicas, duration(view.seconds + since), requests)
        rows.append((*cells, _short(view.text)))
    return table(("", "", "", ">", "", ""), rows)


def _lines(views: dict[str, OperationView], said: dict[str, str]) -> None:
    for name, view in views.items():
        if said.get(name) != view.phase:
            said[name] = view.phase
            text = f": {_short(view.text)}" if view.text else ""
            click.echo(f"{_title(view)} {view.phase} ({duration(view.seconds)}){text}", err=True)


def _title(view: OperationView) -> str:
    """`orders r7 → r8`."""
    arrow = f"{view.previous} → " if view.previous and view.previous != view.release else ""
    return f"{view.service} {arrow}{view.release}".strip()


def _short(text: str) -> str:
    first = text.partition("\n")[0].replace("[", "\\[")
    return first if len(first) <= 100 else first[:99] + "…"
