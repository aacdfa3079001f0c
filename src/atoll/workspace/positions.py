"""On which line each key of a TOML document stands; `tomllib` keeps no positions.

Called by the loader, for a file that has a mistake and that `tomllib` accepted: the scanner trusts the syntax and
never judges it. Bounded by the text's length whatever the text is.
"""

import re
import tomllib
from collections.abc import Sequence
from typing import NoReturn

from atoll.workspace.kinds import Step

Path = tuple[Step, ...]

_SPACE = re.compile(r"[ \t\r\n]*(?:#[^\n]*[\r\n \t]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL = re.compile(r"'[^'\n]*'")
_LONG_BASIC = re.compile(r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}', re.DOTALL)
_LONG_LITERAL = re.compile(r"'''(?:[^']|'{1,2}(?!'))*'{3,5}", re.DOTALL)
_TOKEN = re.compile(r"[^,\]}#\r\n]+")


def field_text(path: Sequence[Step]) -> str:
    """A path as it would be written in TOML: `calls.payments.env`, `route[1].path`, `"a b".c`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            key = step if _BARE.fullmatch(step) else '"' + step.replace("\\", "\\\\").replace('"', '\\"') + '"'
            text += f".{key}" if text else key
    return text


def line_of(field: str, lines: dict[str, int]) -> int | None:
    """The line of a field, else of the nearest table or list that it would stand in; None when there is none."""
    while field:
        if field in lines:
            return lines[field]
        cut = max(field.rfind("."), field.rfind("["))
        field = field[:cut] if cut > 0 else ""
    return None


def key_lines(text: str) -> dict[str, int]:
    """The line (from 1) of each key, table header and list item of valid TOML, by `field_text` of its path."""
    return _Scanner(text).document()


class _Lost(Exception):
    """The text is not what `tomllib` accepts: what was found so far stands."""


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.lines: dict[str, int] = {}
        self.tables: dict[Path, int] = {}  # arrays of tables: how many items so far
        self.counted_at, self.line = 0, 1

    def document(self) -> dict[str, int]:
        """Statement by statement: headers and key = value."""
        prefix: Path = ()
        try:
            while self.skip():
                if self.text.startswith("[", self.at):
                    prefix = self.header()
                else:
                    self.pair(prefix)
        except (_Lost, RecursionError):
            pass  # lines are a help: those that were found stand
        return self.lines

    def skip(self) -> bool:
        """Over blanks, newlines and comments. False at the end."""
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return self.at < len(self.text)

    def note(self, path: Path, start: int) -> None:
        """`start` only grows, so that lines are counted once."""
        self.line += self.text.count("\n", self.counted_at, start)
        self.counted_at = start
        self.lines.setdefault(field_text(path), self.line)

    def take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            self.lost()
        self.at = found.end()
        return found[0]

    def lost(self) -> NoReturn:
        raise _Lost

    def key(self) -> list[str]:
        """A dotted key with its parts unquoted."""
        parts: list[str] = []
        while True:
            self.skip()
            if self.text.startswith('"', self.at):
                parts.append(_unquoted(self.take(_BASIC)))
            elif self.text.startswith("'", self.at):
                parts.append(self.take(_LITERAL)[1:-1])
            else:
                parts.append(self.take(_BARE))
            self.skip()
            if not self.text.startswith(".", self.at):
                return parts
            self.at += 1

    def header(self) -> Path:
        """`[a.b]` or `[[a.b]]`; the last item of an array of tables is the one that later headers speak of."""
        start, many = self.at, self.text.startswith("[[", self.at)
        self.at += 2 if many else 1
        keys = self.key()
        path: Path = ()
        for depth, key in enumerate(keys):
            path = (*path, key)
            self.note(path, start)
            last = depth == len(keys) - 1
            if last and many:
                self.tables[path] = self.tables.get(path, 0) + 1
            if path in self.tables:
                path = (*path, self.tables[path] - 1)
                self.note(path, start)
        self.expect("]]" if many else "]")
        return path

    def expect(self, mark: str) -> None:
        self.skip()
        if not self.text.startswith(mark, self.at):
            self.lost()
        self.at += len(mark)

    def pair(self, prefix: Path) -> None:
        """`a.b = value`."""
        start = self.at
        path = prefix
        for key in self.key():
            path = (*path, key)
            self.note(path, start)
        self.expect("=")
        self.value(path)

    def value(self, path: Path) -> None:
        """Over one value, into tables and lists."""
        self.skip()
        text, at = self.text, self.at
        if text.startswith('"""', at):
            self.take(_LONG_BASIC)
        elif text.startswith("'''", at):
            self.take(_LONG_LITERAL)
        elif text.startswith('"', at):
            self.take(_BASIC)
        elif text.startswith("'", at):
            self.take(_LITERAL)
        elif text.startswith("[", at):
            self.items(path)
        elif text.startswith("{", at):
            self.inline(path)
        else:
            self.take(_TOKEN)

    def items(self, path: Path) -> None:
        """`[a, b]`."""
        self.at += 1
        index = 0
        while self.skip() and not self.text.startswith("]", self.at):
            self.note((*path, index), self.at)
            self.value((*path, index))
            index += 1
            if self.skip() and self.text.startswith(",", self.at):
                self.at += 1
        self.expect("]")

    def inline(self, path: Path) -> None:
        """`{ a = 1, b.c = 2 }`."""
        self.at += 1
        while self.skip() and not self.text.startswith("}", self.at):
            self.pair(path)
            if self.skip() and self.text.startswith(",", self.at):
                self.at += 1
        self.expect("}")


def _unquoted(key: str) -> str:
    """A quoted key with its escapes resolved, by the parser itself."""
    if "\\" not in key:
        return key[1:-1]
    try:
        return next(iter(tomllib.loads(f"{key} = 0")))
    except tomllib.TOMLDecodeError as exc:
        raise _Lost from exc
