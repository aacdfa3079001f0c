"""Tasks while they run and when they have ended: what a person must see, of any number of them.

`ci` shows runs. What is cached is counted, not listed; what runs has a row with its last line; what failed shows what
it printed, at the end, where it is not scrolled away.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from atoll.cli.output import counted, duration, escape, live_table, print_screen, table
from atoll.cli.progress import short, spinner, unmarked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import RenderableType

    from atoll.cli.session import Session
    from atoll.model.records import CiPlan, CiResult, TaskResult
    from atoll.pipeline.progress import Progress
    from atoll.pipeline.report.folding import System

_MARKS = {"done": "✓", "flaky": "~", "failed": "✗"}
_ENDED = frozenset({"cached", "done", "failed", "skipped", "cancelled"})
NAMED = 8  # of those that did not run; the others are counted
FAILED = frozenset({"failed", "timed-out"})


@contextmanager
def tasks_shown(session: Session) -> Iterator[Callable[[Progress], None]]:
    """Show tasks while they run: yields who is to be told of each step."""
    if session.quiet:
        yield lambda _: None
    elif session.lively:
        board = _Board()
        with live_table(board.rows, board.counts) as out:
            board.say = lambda text: out.print(unmarked(text))
            yield board.tell
    else:
        said: dict[str, str] = {}

        def tell(progress: Progress) -> None:
            line = _line(progress)
            if line and said.get(progress.id) != line:
                said[progress.id] = line
                click.echo(f"{progress.id}: {line}", err=True)

        yield tell


class _Board:
    """What runs now, and how many have ended how."""

    def __init__(self) -> None:
        self.say: Callable[[str], None] = click.echo
        self._running: dict[str, Progress] = {}
        self._since: dict[str, float] = {}
        self._ended: dict[str, int] = {}

    def tell(self, progress: Progress) -> None:
        """Something is new of a task."""
        name = progress.id
        if progress.phase not in _ENDED:
            self._running[name] = progress
            self._since.setdefault(name, time.monotonic())
            return
        self._running.pop(name, None)
        end = "flaky" if _flaky(progress) else progress.phase
        self._ended[end] = self._ended.get(end, 0) + 1
        if progress.phase in {"done", "failed"}:
            self.say(f"{_MARKS[end]} {name}: {_line(progress)}")

    def rows(self) -> Iterator[Sequence[RenderableType]]:
        """A row a task that runs."""
        now = time.monotonic()
        for name, progress in sorted(self._running.copy().items()):
            line = f"  [dim]{escape(short(progress.line))}[/]" if progress.line else ""
            yield spinner(), escape(name), duration(now - self._since[name], 0), escape(_step(progress)) + line

    def counts(self) -> Iterator[RenderableType]:
        """One line below."""
        words = {
            "done": "passed",
            "cached": "cached",
            "flaky": "flaky",
            "failed": "failed",
            "skipped": "skipped",
            "cancelled": "cancelled",
        }
        said = [f"{self._ended[phase]} {word}" for phase, word in words.items() if phase in self._ended]
        yield f"[dim]{', '.join(said)}[/]"


def show_result(result: CiResult, on: System = "") -> None:
    """How it ended, on stdout: failures with what they printed, what did not run, one line of numbers.

    `on` a CI system that can, what they printed is folded.
    """
    for task in result.tasks:
        if task.outcome in FAILED:
            _show_failure(task, on)
        elif task.outcome == "flaky" and not task.cached:
            click.echo(f"{click.style('~', fg='yellow')} {task.task} is flaky: it passed at attempt {task.attempts}")
    for task in result.tasks:
        if task.undeclared:
            _show_undeclared(task)
    for outcome in ("skipped", "cancelled"):
        those = [task for task in result.tasks if task.outcome == outcome]
        for task in those[:NAMED]:
            click.echo(f"{click.style('-', dim=True)} {task.task} {outcome}: {task.why}")
        if len(those) > NAMED:
            click.echo(f"  and {len(those) - NAMED} more were {outcome}")
    click.echo(summary(result))


def summary(result: CiResult) -> str:
    """`3 passed, 41 cached, 1 failed in 12.3 s; 4 min saved`."""
    counts = ("passed", "cached", "flaky", "failed", "skipped", "cancelled")
    said = [f"{getattr(result, name)} {name}" for name in counts if getattr(result, name)]
    rest = f"; {counted(result.unaffected, 'service')} unaffected" if result.unaffected else ""
    saved = f"; {duration(result.saved_s)} saved" if result.saved_s >= 0.05 else ""
    mark = click.style("✓", fg="green") if result.ok else click.style("✗", fg="red")
    return f"{mark} {', '.join(said) or 'nothing to do'} in {duration(result.seconds)}{rest}{saved}"


def _show_failure(task: TaskResult, on: System) -> None:
    page = click.style(f"[{task.id}]", dim=True) if task.id else ""
    click.echo(f"{click.style('✗', fg='red')} {click.style(task.task, bold=True)}: {task.reason} {page}".rstrip())
    if on in {"github", "gitlab"}:
        from atoll.pipeline.report.folding import folded

        title = f"what {task.task} printed last"
        click.echo(folded(title, task.output, on, wall=time.time(), token=os.urandom(16).hex()), nl=False, color=True)
    else:
        for line in task.output.splitlines():
            click.echo(f"    {line}")
    if task.fix:
        click.echo(f"  fix: {task.fix}")


def _show_undeclared(task: TaskResult) -> None:
    mark = click.style("!", fg="yellow")
    click.echo(f"{mark} {click.style(task.task, bold=True)} read what it does not declare:")
    for one in task.undeclared:
        more = f" ({counted(one.count, 'file')})" if one.count > 1 else ""
        click.echo(f"    {one.path}{more}" + (f", of {one.service}" if one.service not in {"", task.service} else ""))
        click.echo(f"      fix: {one.hint}")


def show_plan(plan: CiPlan) -> None:
    """What would run and why, on stdout."""
    runs = [task for task in plan.tasks if task.runs]
    if runs:
        rows = ((escape(task.task), _expected(task.expected_s), escape(task.why)) for task in runs)
        print_screen(table(("task", ">took", "why"), rows))
    cached = len(plan.tasks) - len(runs)
    saved = sum(task.expected_s for task in plan.tasks if not task.runs)
    rest = f", {counted(plan.unaffected, 'service')} unaffected" if plan.unaffected else ""
    said = f"{counted(len(runs), 'task')} would run, {cached} cached{rest}"
    click.echo(said + (f"; {duration(saved)} saved" if saved >= 0.05 else ""))


def _expected(seconds: float) -> str:
    return duration(seconds) if seconds else ""


def _line(progress: Progress) -> str:
    """For each step that takes time and for each end; "" for what passes at once, and for what is only counted."""
    match progress.phase:
        case "building":
            return f"{progress.step}/{progress.steps} {progress.label}"
        case "fetching" | "retrying":
            return f"{'tried again: ' if progress.phase == 'retrying' else ''}{progress.label}"
        case "waiting":
            return "another process does the same; waiting for it"
        case "done":
            at = f" at attempt {progress.attempts}" if _flaky(progress) else ""
            return f"passed{at} in {duration(progress.took_s)}" + (f": {progress.label}" if progress.label else "")
        case "failed" | "skipped" | "cancelled":
            return f"{progress.phase}: {progress.label}"
        case _:
            return ""


def _flaky(progress: Progress) -> bool:
    """Whether it passed, and not at once."""
    return progress.phase == "done" and progress.attempts > 1


def _step(progress: Progress) -> str:
    """What of it is going on, in the words of its row."""
    if progress.phase in {"building", "fetching", "waiting", "retrying"}:
        return short(_line(progress), 48)
    return progress.phase
