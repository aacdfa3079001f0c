"""A Markdown summary: for `$GITHUB_STEP_SUMMARY`, for a comment at a pull request."""

import re
from collections.abc import Iterator

from atoll.model.records import CiResult, Outcome, TaskResult

_ROWS = 100  # a longer table nobody reads, and GitHub takes 1 MiB
_OUTPUT = 4000  # characters of each failure; GitHub shows the job's log for the rest
_MOST_FAILURES = 20
_MARKS: dict[Outcome, str] = {
    "passed": "✅ passed",
    "flaky": "⚠️ flaky",
    "failed": "❌ failed",
    "timed-out": "❌ timed out",
    "cancelled": "⏹️ cancelled",
    "skipped": "⏭️ skipped",
}
_RED = {"failed", "timed-out"}
_ORDER: tuple[Outcome, ...] = ("failed", "timed-out", "flaky", "cancelled", "skipped", "passed")
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def summary(result: CiResult) -> str:
    """A sentence, the table of tasks with the worst first, and the end of what each failed one printed."""
    return "\n".join(_lines(result)) + "\n"


def headline(result: CiResult) -> str:
    """`2 failed, 5 passed, 12 cached in 34 s; 3 min saved`."""
    counts = {
        "failed": result.failed, "flaky": result.flaky, "passed": result.passed, "cached": result.cached,
        "skipped": result.skipped, "cancelled": result.cancelled,
    }  # fmt: skip
    said = ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "nothing to do"
    saved = f"; {took(result.saved_s)} saved" if result.saved_s >= 1 else ""
    return f"{said} in {took(result.seconds)}{saved}"


def took(seconds: float) -> str:
    """`0.42 s`, `12 s`, `5 min`."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _lines(result: CiResult) -> Iterator[str]:
    yield f"### {'✅' if result.ok else '❌'} atoll ci: {headline(result)}"
    ordered = sorted(result.tasks, key=lambda task: (_ORDER.index(task.outcome), task.cached, task.task))
    if ordered:
        yield from ("", "| service | task | outcome | why | seconds | cached |", "|---|---|---|---|--:|---|")
        yield from (_row(task) for task in ordered[:_ROWS])
    if len(ordered) > _ROWS:
        yield from ("", f"And {len(ordered) - _ROWS} more.")
    if result.unaffected:
        yield from ("", f"Not affected: {result.unaffected} service{'s' if result.unaffected > 1 else ''}.")
    for task in [task for task in ordered if task.outcome in _RED][:_MOST_FAILURES]:
        yield from _failure(task)


def _row(task: TaskResult) -> str:
    attempts = f" ({task.attempts} attempts)" if task.attempts > 1 else ""
    why = task.reason if task.outcome in _RED and task.reason else task.why
    cells = (
        *(task.service, task.name, _MARKS[task.outcome] + attempts, why),
        "" if task.cached or task.outcome in {"skipped", "cancelled"} else took(task.seconds),
        f"yes, {took(task.seconds)} saved" if task.cached else "",
    )
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _failure(task: TaskResult) -> Iterator[str]:
    output = _COLOURS.sub("", task.output).strip("\n")
    if len(output) > _OUTPUT:
        output = "…" + output[-_OUTPUT:]
    ticks = max((len(found) for found in re.findall(r"`+", output)), default=0)
    fence = "`" * max(3, ticks + 1)  # a longer one than any in it
    reason = f": {task.reason}" if task.reason else ""
    yield from ("", f"<details><summary>{_html(task.task)} {task.outcome.replace('-', ' ')}{_html(reason)}</summary>")
    yield from ("", f"{fence}text", output, fence, "", "</details>")


def _cell(text: str) -> str:
    return _html(" ".join(text.split())).replace("\\", "\\\\").replace("|", "\\|")


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
