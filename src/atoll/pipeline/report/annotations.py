"""Where in the files a failure lies, out of what tools print, and how GitHub shows it there.

Told is only what is sure: the text must look like a tool's own line, and the file must be there. A wrong place in a
review costs more than none.
"""

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, zip_longest
from typing import NamedTuple

from atoll.model.records import CiResult, TaskResult

MOST = 10  # GitHub shows so many errors of a step, and drops the rest
_MESSAGE = 500  # characters
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_COPY = re.compile(r"^.*/[0-9a-f]{40}/")  # the folder of a task's clean copy
_RED = {"failed", "timed-out"}

_FILE = r"(?P<file>(?:[\w.@+$~\[\]-]|[/\\](?![/\\]))+\.[A-Za-z]\w{0,5})"
_WORDS = r"(?:fatal error|error|ERROR)"
# Each finds file, line, and what it can of column and text. Warnings are no failures.
_LINES = (
    # tsc: src/a.ts(3,5): error TS2322: text       and, pretty: src/a.ts:3:5 - error TS2322: text
    re.compile(rf"^{_FILE}\((?P<line>\d+),(?P<column>\d+)\): error (?P<text>.+)$"),
    re.compile(rf"^{_FILE}:(?P<line>\d+):(?P<column>\d+) - error (?P<text>.+)$"),
    # Maven: [ERROR] /home/x/A.java:[3,5] text
    re.compile(rf"^\[ERROR\] {_FILE}:\[(?P<line>\d+),(?P<column>\d+)\] (?P<text>.+)$"),
    # pytest's last line of a failure: tests/test_a.py:3: AssertionError
    re.compile(rf"^{_FILE}:(?P<line>\d+): (?P<text>[A-Za-z_.]+(?:Error|Exception|Failed|Exit|Warning|Interrupt))$"),
    # javac, mypy, gcc: A.java:3: error: text
    re.compile(rf"^{_FILE}:(?P<line>\d+):(?:(?P<column>\d+):)? {_WORDS}:? (?P<text>.+)$"),
    # ruff, flake8: a.py:3:5: E501 text          go build, go vet: ./main.go:3:5: text
    re.compile(rf"^{_FILE}:(?P<line>\d+):(?P<column>\d+): (?P<text>[A-Z]+\d+ .+)$"),
    re.compile(r"^(?:vet: )?(?P<file>[\w./@+-]+\.go):(?P<line>\d+):(?P<column>\d+): (?P<text>.+)$"),
    # go test:     main_test.go:3: text
    re.compile(r"^\s+(?P<file>[\w./@+-]+_test\.go):(?P<line>\d+): (?P<text>.+)$"),
    # a panic of Rust: thread 'x' panicked at src/lib.rs:3:5:
    re.compile(rf"^thread '.*'(?: \(\d+\))? panicked at {_FILE}:(?P<line>\d+):(?P<column>\d+):(?P<text>)$"),
)
_RUSTC = re.compile(rf"^\s*--> {_FILE}:(?P<line>\d+):(?P<column>\d+)$")
_RUSTC_ERROR = re.compile(r"^error(?:\[E\d+\])?: (?P<text>.+)$")
_FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+)')
_RAISED = re.compile(r"^(?P<text>[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Warning|Failure)(?::.*)?)$")
_NODE_FRAME = re.compile(r"^\s+at (?:.* \()?(?:file://)?(?P<file>/[^():]+):(?P<line>\d+):(?P<column>\d+)\)?$")
_NODE_RAISED = re.compile(r"^\s*(?:Uncaught )?(?P<text>(?:\w*Error|AssertionError)(?: \[\w+\])?: .+)$")
_PYTEST_SAYS = re.compile(r"^E\s{3,}(?P<text>\S.*)$")


class Annotation(NamedTuple):
    """A place in a file, and what is wrong there. `file` is relative to the repository; "" is no place."""

    task: str
    file: str
    line: int
    column: int
    text: str


Resolve = Callable[[str, str], str]  # (service, file as it was printed) -> relative to the repository; "" is not sure


def resolver(folders: Callable[[str], Iterable[str]], exists: Callable[[str], bool]) -> Resolve:
    """How printed files become those of the repository.

    Args:
        folders: service -> the folders, relative to the repository, that its tasks may run in or name files from.
        exists: whether a path relative to the repository is a file.
    """

    def resolve(service: str, printed: str) -> str:
        inside = _COPY.sub("", printed.replace("\\", "/"))
        if inside.startswith("/"):
            return ""
        paths = (posixpath.normpath(posixpath.join(folder, inside)) for folder in folders(service))
        return next((path for path in paths if not path.startswith("../") and exists(path)), "")

    return resolve


def annotations(result: CiResult, resolve: Resolve) -> list[Annotation]:
    """Of each failed task; one of which no place is sure has one without. At most `MOST`, the first of each task first."""
    each = [_of_task(task, resolve) for task in result.tasks if task.outcome in _RED]
    rounds = chain.from_iterable(zip_longest(*each))
    return [found for found in rounds if found is not None][:MOST]


def _of_task(task: TaskResult, resolve: Resolve) -> list[Annotation]:
    places = dict.fromkeys(_places(task, resolve))
    return list(places) or [Annotation(task.task, "", 0, 0, task.reason or task.outcome.replace("-", " "))]


def _places(task: TaskResult, resolve: Resolve) -> Iterator[Annotation]:
    lines = [_COLOURS.sub("", line.rstrip()) for line in task.output.splitlines()]
    frame: re.Match[str] | None = None  # the innermost one of a traceback that is ours
    said = ""  # what a tool said before it names the place
    for line in lines:
        if found := _FRAME.match(line):
            frame = found if resolve(task.service, found["file"]) else frame
        elif frame is not None and (raised := _RAISED.match(line)):
            yield from _at(task, frame, raised["text"], resolve)
            frame = None
        elif found := _PYTEST_SAYS.match(line) or _RUSTC_ERROR.match(line) or _NODE_RAISED.match(line):
            said = said if said and line.startswith("E ") else found["text"]  # pytest: the first E line is the error
        elif found := _RUSTC.match(line) or _NODE_FRAME.match(line):
            if said and resolve(task.service, found["file"]):
                yield from _at(task, found, said, resolve)
                said = ""  # the rest of its frames, or notes
        elif found := next(filter(None, (pattern.match(line) for pattern in _LINES)), None):
            yield from _at(task, found, said or found["text"] or "panicked", resolve)
            said = ""


def _at(task: TaskResult, found: re.Match[str], text: str, resolve: Resolve) -> Iterator[Annotation]:
    if file := resolve(task.service, found["file"]):
        column = int(found.groupdict().get("column") or 0)
        yield Annotation(task.task, file, int(found["line"]), column, text.strip()[:_MESSAGE])


def github(found: Sequence[Annotation]) -> list[str]:
    """As commands of GitHub Actions, which it reads from what a step prints."""
    return [_command(each) for each in found]


def _command(each: Annotation) -> str:
    fields = {"title": f"{each.task} failed"}
    if each.file:
        fields = (
            {"file": each.file, "line": str(each.line)} | ({"col": str(each.column)} if each.column else {}) | fields
        )
    return f"::error {','.join(f'{name}={_property(value)}' for name, value in fields.items())}::{_data(each.text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
