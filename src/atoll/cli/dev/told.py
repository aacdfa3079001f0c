"""What `atoll dev` tells: one event for whatever happens, as a line or a few for a person, as one JSON object a line else."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import msgspec

from atoll.cli.dev.where import plain, where
from atoll.cli.lines import LogPrinter
from atoll.cli.output import colored, duration, print_line
from atoll.model.errors import Problem
from atoll.model.hosted import LogLine
from atoll.model.wire import ErrorView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.cli.failed import Failed
    from atoll.cli.session import Session
    from atoll.model.spec import ServiceSpec

SHOWN_LINES = 8  # of what a failed build printed; the whole of it is in its log
SHOWN_FILES = 3
SLOW_S = 1.0  # a build that takes longer says that it is at work

What = Literal[
    "watching",  # all is set up; `services` are watched
    "building",  # a build takes longer than an instant; `text` is its step
    "live",  # all traffic is on `release`, `seconds` after the last edit
    "unchanged",  # what was edited makes no difference; `release` goes on
    "reloaded",  # the command of `dev.reload` ran
    "failed",  # a build, a deploy, a reload, or what was live already; `release` goes on ("" when nothing of it runs)
    "mistakes",  # in the workspace's files: `problems`; what was read before holds
    "mended",  # there are none any more
    "added",  # a service.toml came
    "removed",  # one went; what runs of it goes on
    "log",  # a service printed `line`
    "ended",
]


class DevEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened."""

    event: What
    wall: float = 0.0
    service: str = ""
    services: tuple[str, ...] = ()
    files: tuple[str, ...] = ()  # that were edited, relative to the build's context
    beside: bool = False  # none of them in the service's own folder, all in the context that it shares
    release: str = ""  # "r8"
    seconds: float | None = None
    again: bool = False  # it had failed before
    text: str = ""
    place: str = ""  # where to look: "orders/server.py:12", relative to the workspace
    output: tuple[str, ...] = ()  # the end of what was printed
    error: ErrorView | None = None
    problems: tuple[Problem, ...] = ()
    line: LogLine | None = None


def failure(failed: Failed, spec: ServiceSpec, root: Path, output: str) -> dict[str, object]:
    """The fields of an event about something that went wrong: the place, what is wrong there, and what was printed."""
    context = Path(os.path.normpath(root / spec.folder / spec.build.context))
    found = where(output, str(context), lambda path: not path.startswith(("/", "../")) and (context / path).is_file())
    name, _, line = found.place.rpartition(":")
    place = f"{os.path.relpath(context / name, root)}:{line}" if name else ""
    return {
        "place": place,
        "text": found.text if output else failed.why,
        "output": tuple(plain(output, str(context))[-SHOWN_LINES:]),
        "error": failed.view(),
    }


class Teller:
    """Writes events to stdout. `logs`: what services print is shown, so that no failure needs to repeat it."""

    def __init__(self, session: Session, services: Sequence[str], *, logs: bool) -> None:
        self._session, self._logs, self._color = session, logs, colored(sys.stdout)
        self._printer = LogPrinter(services, terminal=sys.stdout.isatty(), color=self._color, timestamps=False)

    def tell(self, event: DevEvent) -> None:
        """One event."""
        if self._session.json:
            print_line(msgspec.json.encode(event))
        elif event.line is not None:
            click.echo(self._printer.line(event.line), color=True)
        else:
            for text in self._lines(event):
                click.echo(text, color=True)
        sys.stdout.flush()

    def _lines(self, event: DevEvent) -> list[str]:
        name = self._style(event.service, fg=self._printer.color_of(event.service)) if event.service else ""
        files = self._files(event.files)
        match event.event:
            case "building":
                return [] if self._session.quiet else [f"{name} builds: {event.text}{files}"]
            case "live":
                took = f" in {duration(event.seconds)}" if event.seconds is not None else ""
                return [f"{name} {event.release} {self._good('live')}{took}{files}{self._again(event)}"]
            case "unchanged":
                if not event.again and (event.beside or all(path.endswith("/") for path in event.files)):
                    return []
                return [f"{name} {event.release} goes on: nothing differs{files}{self._again(event)}"]
            case "reloaded":
                return [
                    f"{name} {event.release} {self._good('reloaded')} in {duration(event.seconds or 0.0)}{files}{self._again(event)}"
                ]
            case "failed":
                return self._failed(event, name, files)
            case "mistakes":
                return [
                    self._bad("the workspace's files have mistakes; what was read before holds"),
                    *(
                        f"  {self._place(_at(one))}  {one.what}" + (f" ({one.fix})" if one.fix else "")
                        for one in event.problems
                    ),
                ]
            case "mended":
                return [self._good("the workspace's files are right again")]
            case "added":
                return [f"{name} is new{files}"]
            case "removed":
                return [f"{name} has no service.toml any more; `atoll down {event.service}` stops what runs of it"]
            case _:
                return [self._session.here(event.text)]

    def _failed(self, event: DevEvent, name: str, files: str) -> list[str]:
        assert event.error is not None
        on = f"; {event.release} goes on" if event.release else "; nothing of it runs"
        what = event.error.what.removeprefix(f"{event.service}: ").removeprefix(f"{event.service} ")
        lines = [f"{name} {self._bad(what)}{files}{on}"]
        if event.place or event.text:
            lines.append("  " + "  ".join(part for part in (self._place(event.place), event.text) if part))
        if not (self._logs and event.error.kind in {"DeployFailed", "Crashed"}):
            line = ":" + event.place.rpartition(":")[2]
            shown = [one for one in event.output if event.text not in one and not (event.place and line in one)]
            lines += [self._style(f"    {one}", dim=True) for one in shown if not one.startswith("$ ")]
        if event.error.fix and not event.place:
            lines.append(f"  fix: {self._session.here(event.error.fix)}")
        return lines

    def _files(self, files: Sequence[str]) -> str:
        if not files:
            return ""
        more = len(files) - SHOWN_FILES
        return f" ({', '.join(files[:SHOWN_FILES])}{f' and {more} more' if more > 0 else ''})"

    def _again(self, event: DevEvent) -> str:
        return self._good("; it is well again") if event.again else ""

    def _good(self, text: str) -> str:
        return self._style(text, fg="green")

    def _bad(self, text: str) -> str:
        return self._style(text, fg="red")

    def _place(self, text: str) -> str:
        return self._style(text, bold=True) if text else ""

    def _style(self, text: str, **style: object) -> str:
        return click.style(text, **style) if self._color else text  # type: ignore[arg-type]


def _at(problem: Problem) -> str:
    return f"{problem.file}:{problem.line}" if problem.line else problem.file
