"""JUnit XML, as Jenkins, GitLab and GitHub's readers take it: a suite for each service, a case for each task.

After Jenkins' own schema of it (xunit-plugin, junit-10.xsd), which is Surefire's: a flaky task has a `flakyFailure`.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from xml.sax.saxutils import escape, quoteattr

from atoll.model.records import GREEN, CiResult, TaskResult

# What XML 1.0 cannot say, not even escaped. Colours go with their whole sequence.
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NOT_RUN = {"skipped", "cancelled"}


def junit(result: CiResult) -> str:
    """The document. A time-out is an error, another failure a failure; a cached task has passed, in no time."""
    ordered = sorted(result.tasks, key=lambda task: (task.service, task.name))
    suites = [(service, list(tasks)) for service, tasks in groupby(ordered, key=lambda task: task.service)]
    counts = _counts(ordered)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites name="atoll ci" {counts}>',
        *(line for service, tasks in suites for line in _suite(service, tasks)),
        "</testsuites>",
    ]
    return "\n".join(lines) + "\n"


def _suite(service: str, tasks: Sequence[TaskResult]) -> Iterable[str]:
    skipped = sum(task.outcome in _NOT_RUN for task in tasks)
    yield f'  <testsuite name={quoteattr(service)} {_counts(tasks)} skipped="{skipped}">'
    for task in tasks:
        yield from _case(task)
    yield "  </testsuite>"


def _counts(tasks: Sequence[TaskResult]) -> str:
    failures = sum(task.outcome == "failed" or bool(task.undeclared) for task in tasks)
    errors = sum(task.outcome == "timed-out" for task in tasks)
    return f'tests="{len(tasks)}" failures="{failures}" errors="{errors}" time="{sum(map(_seconds, tasks)):.3f}"'


def _case(task: TaskResult) -> Iterable[str]:
    head = f'    <testcase classname={quoteattr(task.service)} name={quoteattr(task.name)} time="{_seconds(task):.3f}"'
    inner = _inner(task)
    if not inner:
        yield f"{head}/>"
        return
    yield f"{head}>"
    yield f"      {inner}"
    yield "    </testcase>"


def _inner(task: TaskResult) -> str:
    message = _attribute(task.reason or task.why)
    if task.undeclared and task.outcome in GREEN:
        read = "\n".join(found.path for found in task.undeclared)
        return f'<failure message="read what is not declared" type="undeclared">{_text(read)}</failure>'
    match task.outcome:
        case "failed":
            return f'<failure message={message} type="failed">{_text(task.output)}</failure>'
        case "timed-out":
            return f'<error message={message} type="timed-out">{_text(task.output)}</error>'
        case "skipped" | "cancelled":
            return f'<skipped message={message} type="{task.outcome}"/>'
        case "flaky":
            told = _attribute(f"passed at attempt {task.attempts}")
            return f'<flakyFailure message={told} type="flaky">{_text(task.output)}</flakyFailure>'
        case "passed":
            return "<system-out>cached: it passed before with the same files</system-out>" if task.cached else ""


def _seconds(task: TaskResult) -> float:
    return 0.0 if task.cached else task.seconds


def _attribute(text: str) -> str:
    return quoteattr(_clean(text))


def _text(text: str) -> str:
    return escape(_clean(text))


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", _COLOURS.sub("", text))
