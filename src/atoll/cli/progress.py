"""Builds and rollouts followed to their end: live on a terminal, a line for what matters elsewhere.

`drafts` shows builds, `up`, `deploy`, `rollback` and `restart` follow rollouts. Progress goes to stderr, so that stdout
holds the result alone. Ctrl-C detaches from rollouts: they belong to the daemon.
"""

from __future__ import annotations

import queue
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from atoll.cli.failed import UNREACHABLE, Failed
from atoll.cli.output import duration, escape, live_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import RenderableType

    from atoll.cli.client import Client
    from atoll.cli.session import Session
    from atoll.model.wire_operations import OperationView
    from atoll.pipeline.progress import Progress

DEPLOY_FAILED = 3
UNDECIDED = 9
REFRESH_S = 0.1
LASTING_S = 1.0  # a phase that passes faster needs no line of its own
TOLD_AT_ONCE = frozenset({"preparing", "starting", "holding", "undoing"})
BUILT = frozenset({"cached", "done", "failed", "skipped"})

_Inbox = queue.Queue["tuple[str, OperationView | Exception]"]


# --- builds -------------------------------------------------------------------------------------------------------


@contextmanager
def builds_shown(session: Session) -> Iterator[Callable[[Progress], None]]:
    """Show builds while they run: yields who is to be told of each step."""
    if session.quiet:
        yield lambda _: None
        return
    if not session.lively:
        said: set[str] = set()

        def say(progress: Progress) -> None:
            line = _build_line(progress)
            if line and line not in said:
                said.add(line)
                click.echo(line, err=True)

        yield say
        return
    rows: dict[str, Progress] = {}
    since: dict[str, float] = {}
    with live_table(lambda: _build_rows(rows, since)) as out:

        def tell(progress: Progress) -> None:
            rows[progress.name] = progress
            if progress.phase in {"building", "waiting"}:
                since.setdefault(progress.name, time.monotonic())
            if progress.phase == "done" or (progress.phase == "cached" and progress.label):
                out.print(unmarked(_build_line(progress)))

        yield tell


def _build_line(progress: Progress) -> str:
    """For each step that takes time and for each artifact; "" for what passes at once, and for failures, told at the end."""
    match progress.phase:
        case "building":
            text = f"building: {progress.label}"
        case "fetching":
            text = progress.label
        case "cached" if progress.label:
            text = progress.label
        case "waiting":
            text = "another process builds the same; waiting for it"
        case "done":
            text = f"built in {duration(progress.took_s)}" + (f": {progress.label}" if progress.label else "")
        case _:
            return ""
    return f"{progress.name}: {text}"


def _build_rows(rows: dict[str, Progress], since: dict[str, float]) -> Iterator[Sequence[RenderableType]]:
    """A row a build; the time is its own, without what it stood in the queue."""
    for name, progress in sorted(rows.items()):
        busy = progress.phase not in BUILT
        mark = spinner() if busy else _mark(progress.phase != "failed")
        took = duration(time.monotonic() - since[name]) if busy and name in since else ""
        text = f"{progress.step}/{progress.steps} {short(progress.label, 28)}" if progress.phase == "building" else ""
        text = "for the same, which another build makes" if progress.phase == "waiting" else text
        text = short(progress.label, 70) if progress.phase == "fetching" else text
        line = f"  [dim]{escape(short(progress.line))}[/]" if progress.line and busy else ""
        yield mark, escape(name), progress.phase, took, escape(text) + line


# --- rollouts -----------------------------------------------------------------------------------------------------


def follow(session: Session, operations: Sequence[OperationView], until: str = "live") -> list[OperationView]:
    """Wait until all are live (or `until` "certified"), or have ended otherwise; returns them in the same order. Raises what went wrong on the way, and KeyboardInterrupt."""
    for operation in operations:
        for warning in operation.warnings:
            session.warn(f"warning: {warning}")
    views = {operation.id: operation for operation in operations}
    waiting = {operation.id for operation in operations if not operation.settled(until)}
    inbox: _Inbox = queue.Queue()
    for name in waiting:  # daemon threads: each only reads from its own connection, and Ctrl-C may abandon them
        threading.Thread(target=_watch, args=(session.client, name, inbox, until), daemon=True).start()
    problem: Exception | None = None
    try:
        with _rollouts_shown(session, views) as show:
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
                    if news.settled(until) or (
                        held(news) and not session.lively
                    ):  # a machine must not wait for a person
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
    """0 when all are good, that of a failed deploy when one was undone, else that of one that waits for a person."""
    if all(operation.good for operation in operations):
        return 0
    return DEPLOY_FAILED if any(operation.ended and not operation.good for operation in operations) else UNDECIDED


def held(view: OperationView) -> bool:
    """Whether it waits for a person, so that nobody knows how long it takes."""
    return not view.ended and view.stepping is not None and view.stepping.paused in {"undecided", "approval"}


def _watch(client: Client, name: str, inbox: _Inbox, until: str) -> None:
    try:
        for view in client.watch(name, until):
            inbox.put((name, view))
            if view.settled(until):
                return
        lost = "the daemon no longer reports on this operation"
        failed = Failed(
            lost,
            f"operation {name}",
            "look with `atoll status`",
            kind="Lost",
            exit_code=UNREACHABLE,
            id="daemon-unreachable",
        )
        inbox.put((name, failed))
    except Exception as exc:  # noqa: BLE001  a thread's error belongs to the command: `follow` raises it
        inbox.put((name, exc))


def _say_detached(session: Session, view: OperationView) -> None:
    session.warn(f"detached: {title(view)} goes on; `atoll status` shows it, `atoll rollback {view.service}` undoes it")


@contextmanager
def _rollouts_shown(session: Session, views: dict[str, OperationView]) -> Iterator[Callable[[], None]]:
    if session.quiet or all(view.phase == "unchanged" for view in views.values()):
        yield lambda: None
    elif session.lively:
        seen: dict[str, tuple[OperationView, float]] = {}
        with live_table(lambda: _rollout_rows(views, seen), lambda: _stepping(views)):
            yield lambda: None
    else:
        lines = _Lines()
        yield lambda: lines.show(views)


def _rollout_rows(
    views: dict[str, OperationView], seen: dict[str, tuple[OperationView, float]]
) -> Iterator[Sequence[RenderableType]]:
    """A row a rollout. The seconds go on between two reports: `seen` remembers when each report came."""
    alone = len(_by_steps(views)) == 1
    for name, view in views.items():
        if name not in seen or seen[name][0] is not view:
            seen[name] = (view, time.monotonic())
        since = 0.0 if view.ended else time.monotonic() - seen[name][1]
        style = "green" if view.good else "red" if view.ended or view.phase == "undoing" else "cyan"
        yield (
            _mark(view.good) if view.ended else spinner(),
            escape(title(view)),
            f"[{style}]{view.phase}[/]",
            duration(view.seconds + since),
            f"{view.ready}/{view.wanted} ready" if view.wanted else "",
            f"{view.requests} sent, {view.failed} failed" if view.requests else "",
            "" if alone and view.phase == "stepping" else escape(short(_going_on(view))),
        )


def _stepping(views: dict[str, OperationView]) -> Iterator[RenderableType]:
    """The whole of the one rollout that moves by steps. Of several there is a line each: a screen has no room for more."""
    from atoll.cli.stepping import parts

    moving = _by_steps(views)
    if len(moving) == 1:
        yield from parts(moving[0])


def _by_steps(views: dict[str, OperationView]) -> Sequence[OperationView]:
    return [view for view in views.values() if view.phase == "stepping" and view.stepping is not None]


class _Lines:
    """Lines for a pipe or a log: what has ended, what goes wrong, and what takes longer than an instant."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[str, str]] = {}
        self._since: dict[tuple[str, str], float] = {}

    def show(self, views: dict[str, OperationView]) -> None:
        """Say what is new. Called often."""
        now = time.monotonic()
        for name, view in views.items():
            stage = view.stepping.step if view.stepping else 0
            news = (view.phase, f"{stage} {view.text} {view.stepping.waits if view.stepping else ''}")
            if self._said.get(name) == news:
                continue
            lasts = now - self._since.setdefault((name, view.phase), now) >= LASTING_S
            if view.ended or lasts or (view.phase in TOLD_AT_ONCE and self._said.get(name, ("", ""))[0] != view.phase):
                self._said[name] = news
                going_on = _going_on(view)
                text = f": {short(going_on)}" if going_on else ""
                click.echo(f"{title(view)} {view.phase} ({duration(view.seconds)}){text}", err=True)


# --- small parts --------------------------------------------------------------------------------------------------


def unmarked(text: str) -> RenderableType:
    """A line to print above a live table. Not by `markup=False`, which would hold for the table, too."""
    from rich.text import Text

    return Text(text)


def spinner() -> RenderableType:
    """Something goes on."""
    from rich.spinner import Spinner

    return Spinner("dots", style="cyan")


def _mark(good: bool) -> str:
    return "[green]✓[/]" if good else "[red]✗[/]"


def title(view: OperationView) -> str:
    """`orders r7 → r8`."""
    arrow = f"{view.previous} → " if view.previous and view.previous != view.release else ""
    return f"{view.service} {arrow}{view.release}".strip()


def _going_on(view: OperationView) -> str:
    """What is going on: of a rollout by steps its step and verdict."""
    from atoll.cli.stepping import line

    if view.stepping is None or view.phase != "stepping":
        return view.text
    return view.text or line(view.stepping)


def short(text: str, most: int = 100) -> str:
    """The first line of a text, as far as it goes."""
    first = text.partition("\n")[0]
    return first if len(first) <= most else first[: most - 1] + "…"
