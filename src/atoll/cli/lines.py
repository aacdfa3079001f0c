"""Log lines and events as a person reads them on a terminal, and as a pipe gets them. `logs` and `events` use it.

On a terminal a line that is a JSON object is shown as level, message and fields; a pipe gets what the service printed.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import click

from atoll.cli.output import clock, told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.model.hosted import LogLine
    from atoll.model.state import Event

_COLORS = ("cyan", "green", "magenta", "blue", "yellow", "bright_cyan", "bright_green", "bright_magenta", "bright_blue")
_LEVELS = ("level", "lvl", "severity", "levelname", "log.level")
_MESSAGES = ("message", "msg", "event", "text")
_TIMES = ("time", "ts", "timestamp", "@timestamp", "asctime", "datetime")
_NUMBERS = {10: "trace", 20: "debug", 30: "info", 40: "warn", 50: "error", 60: "fatal"}  # of pino and bunyan
_LEVEL_COLORS = (
    (("fatal", "crit", "panic", "emerg", "alert", "error", "err"), "red"),
    (("warn",), "yellow"),
    (("info", "notice"), "green"),
    (("debug", "trace"), "bright_black"),
)
LEVELS = ("trace", "debug", "info", "warn", "error", "fatal")
_RANKS = tuple((words, LEVELS.index(name)) for words, name in (
    (("fatal", "crit", "panic", "emerg", "alert"), "fatal"),
    (("err",), "error"),
    (("warn",), "warn"),
    (("info", "notice"), "info"),
    (("debug",), "debug"),
    (("trace",), "trace"),
))  # fmt: skip
_STYLES = re.compile(r"\x1b\[[0-9;:]*m")
_WIDEST = 32  # columns for a replica's name; longer ones push their line to the right
_EVENT_COLORS = (
    (("failed", "crash", "undo", "undone", "refused", "lost", "exited"), "red"),
    (("warning", "drain", "down", "superseded", "stopp"), "yellow"),
    (("live", "ready", "certified"), "green"),
    (("secret", "intent"), "magenta"),
)


class LogPrinter:
    """Lines of one call of `logs`: each service has its colour, names stand in one column. `color`: styles are wanted."""

    def __init__(self, services: Sequence[str], *, terminal: bool, color: bool, timestamps: bool) -> None:
        self._terminal, self._color, self._timestamps = terminal, color, timestamps
        self._of: dict[str, str] = {}
        self._width = 0
        for service in services:
            self.color_of(service)

    def color_of(self, service: str) -> str:
        """The same for all lines of a service; another one for each service, as long as there are."""
        return self._of.setdefault(service, _COLORS[len(self._of) % len(_COLORS)])

    def line(self, line: LogLine) -> str:
        """One line, ready to be written."""
        if self._terminal:
            self._width = max(self._width, min(len(line.replica), _WIDEST))
        when = f"{clock(line.wall)} " if self._timestamps else ""
        name = self._style(line.replica.ljust(self._width), fg=self.color_of(line.service))
        error = line.stream == "stderr"
        bar = self._style("!" if error else "|", fg="red" if error else None, dim=True)
        return f"{when}{name} {bar} {self._text(line.text)}"

    def _text(self, text: str) -> str:
        if not self._terminal:
            return text
        if (shown := self._pretty(text)) is not None:
            return shown
        return text if self._color else _STYLES.sub("", text)

    def _pretty(self, text: str) -> str | None:
        """Level, message, fields; None when it is no JSON object."""
        fields = _object(text)
        if fields is None:
            return None
        word = _word(_taken(fields, _LEVELS))
        message = _taken(fields, _MESSAGES)
        _taken(fields, _TIMES)  # told by --timestamps
        parts = [self._style(f"{word.upper():<5}", fg=_level_color(word))] if word else []
        if message is not None:
            parts.append(_flat(message))
        parts += [f"{self._style(f'{key}=', dim=True)}{_flat(value)}" for key, value in fields.items()]
        return " ".join(parts)

    def _style(self, text: str, **style: Any) -> str:
        return click.style(text, **style) if self._color else text


def level_of(text: str) -> str | None:
    """The level of a line that is a JSON object with one, as a word of LEVELS; None for others."""
    fields = _object(text)
    found = None if fields is None else _taken(fields, _LEVELS)
    word = _word(found).lower()
    return next((LEVELS[rank] for words, rank in _RANKS if word.startswith(words)), None)


def event_line(event: Event, *, color: bool, narrow: bool = False) -> str:
    """One event of the ledger, coloured by its kind; on a `narrow` terminal only when and what."""
    message = told(event.message).replace("\n", " ")  # nor may it look like an event of its own
    if narrow:
        text = message or event.kind
        text = text if event.service in text else f"{event.service}: {text}"
        return f"{clock(event.wall)} {click.style(text, fg=event_color(event.kind)) if color else text}"
    who = f" ({event.author.actor})" if event.author.actor else ""
    subject = event.service + (f" r{event.release}" if event.release is not None else "")
    kind = f"{event.kind:<20}"
    kind = click.style(kind, fg=event_color(event.kind)) if color else kind
    seq = click.style(f"#{event.seq:<6}", dim=True) if color else f"#{event.seq:<6}"
    return f"{clock(event.wall)}  {seq} {kind} {subject:<16} {message}{who}".rstrip()


def event_color(kind: str) -> str:
    """Red for what went wrong, yellow for what ends, green for what is well, cyan for the rest."""
    return next((color for words, color in _EVENT_COLORS if any(word in kind for word in words)), "cyan")


def _object(text: str) -> dict[str, Any] | None:
    """The line as a JSON object; None when it is none."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _word(level: Any) -> str:
    """A level as its logger's word; pino's and bunyan's numbers are words, too."""
    return _NUMBERS.get(level, str(level)) if isinstance(level, int) else _flat(level)


def _taken(fields: dict[str, Any], names: Sequence[str]) -> Any:
    """The first of these fields, removed; None without."""
    return next((fields.pop(name) for name in names if name in fields), None)


def _level_color(word: str) -> str | None:
    return next((color for words, color in _LEVEL_COLORS if word.lower().startswith(words)), None)


def _flat(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
