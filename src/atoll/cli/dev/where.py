"""Finds in what a build or a program printed the place that somebody has to look at: a file of the service, and its line.

Pure but for one question, whether a file is there: what is not a file of the service is no place, however it looks.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONGEST = 160
# A builder works on a copy below the artifacts' folder; a program runs there.
_COPY = re.compile(r"/\S*?/artifacts/[0-9a-f]{40}/")
_PYTHON = re.compile(r'File "([^"]+)", line (\d+)')
_OTHERS = re.compile(
    r"""(?:^|[\s("'\[=]|file://)            # Go, Node, Rust, gcc: main.go:12:3
        (?P<a>[\w./@+-]*\w\.\w+)
        (?: :\[?(?P<line>\d+)(?:[:,]\d+)*\]?   # javac in Maven: Main.java:[12,3]
          | \((?P<tsc>\d+),\d+\)               # tsc: main.ts(12,3)
        )""",
    re.VERBOSE,
)
_WRONG = re.compile(r"\b(?:[A-Z]\w*)?(?:Error|Exception)\b|\berror\b|\bpanic:|\bfatal\b", re.IGNORECASE)


class Where(NamedTuple):
    """A place, and what is wrong there; both may be "" when nothing was found."""

    place: str  # "server.py:12", relative to the folder of the sources
    text: str


def plain(output: str, folder: str) -> list[str]:
    """Lines with the service's files as they are called in its own `folder` (absolute), whichever copy they name."""
    return [_COPY.sub("", line.rstrip()).replace(f"{folder}/", "") for line in output.splitlines()]


def where(output: str, folder: str, is_file: Callable[[str], bool]) -> Where:
    """The place that `output` is about. `is_file` says whether a path relative to `folder` is a file of the service."""
    lines = plain(output, folder)
    trace = list(_places(lines, _PYTHON, is_file))
    if trace:  # the innermost frame comes last, what is wrong after it
        index, place = trace[-1]
        return Where(place, _cut(_last(lines[index + 1 :]) or _last(lines)))
    for index, place in _places(lines, _OTHERS, is_file):
        return Where(place, _cut(_said(lines, index)))
    return Where("", _cut(next((line for line in reversed(lines) if _WRONG.search(line)), _last(lines))))


def _places(lines: list[str], pattern: re.Pattern[str], is_file: Callable[[str], bool]) -> Iterator[tuple[int, str]]:
    for index, line in enumerate(lines):
        for found in pattern.finditer(line):
            path, *numbers = (group for group in found.groups() if group)
            path = path.removeprefix("./")
            if is_file(path):
                yield index, f"{path}:{numbers[0]}"


def _said(lines: list[str], index: int) -> str:
    """What is wrong at the place that line `index` names: behind it, before it (Rust, a stack of Node), or after it."""
    rest = re.split(r"[:,(\[]\d+(?:[:,]\d+)*[\])]?:?\s+", lines[index], maxsplit=1)[1:]
    if rest and rest[0].strip():
        return rest[0]
    before = lines[index - 1] if index else ""
    if lines[index].lstrip().startswith("-->") and before.strip():
        return before
    if lines[index].lstrip().startswith("at "):
        above = [line for line in lines[:index] if _WRONG.search(line) and not line.lstrip().startswith("at ")]
        return _last(above)
    return next((line for line in lines[index + 1 :] if _WRONG.search(line)), before or _last(lines))


def _last(lines: list[str]) -> str:
    return next((line for line in reversed(lines) if line.strip()), "")


def _cut(text: str) -> str:
    text = text.strip()
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
