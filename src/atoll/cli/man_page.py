"""Writes the manual page: `python -m atoll.cli.man_page > docs/atoll.1`. It comes with the wheel; a test fails when it lags."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from atoll import __version__
from atoll.cli.group import COMMANDS, SECTIONS
from atoll.cli.help_parts import EXIT_CODES, VARIABLES
from atoll.cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMMON = {"workspace", "env", "quiet", "help"}


def page() -> str:
    """The whole page in man(7)."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    root = click.Context(cli, info_name="atoll")
    yield r".\" Generated: python -m atoll.cli.man_page > docs/atoll.1"
    yield f'.TH ATOLL 1 "" "atoll {__version__}" "Atoll"'
    yield from (".SH NAME", r"atoll \- build, deploy, supervise and protect services, each on its own")
    yield from (".SH SYNOPSIS", r"\fBatoll\fR [\fIOPTIONS\fR] \fICOMMAND\fR [\fIARGS\fR]...")
    yield ".SH DESCRIPTION"
    yield from _prose(_parts(cli)[0])
    for section, names in SECTIONS.items():
        yield f".SS {section}"
        for name, text in names.items():
            yield from (".TP", rf"\fB{_text(name)}\fR", _text(text))
    yield ".SH OPTIONS"
    yield "These may stand before or after the name of the command."
    yield from _options(cli, root, own=False)
    yield ".SH COMMANDS"
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None
        yield from _command(command, click.Context(command, info_name=name, parent=root))
    yield ".SH EXIT STATUS"
    for code, text in EXIT_CODES.items():
        yield from (".TP", rf"\fB{code}\fR", _text(text))
    yield ".SH ENVIRONMENT"
    for name, text in VARIABLES.items():
        yield from (".TP", rf"\fB{_text(name)}\fR", _text(text))
    yield ".SH FILES"
    yield from (".TP", r"\fIatoll.toml\fR", "marks the workspace, at the top of the repository")
    yield from (".TP", r"\fIservice.toml\fR", "describes a service, in its folder")


def _command(command: click.Command, ctx: click.Context) -> Iterator[str]:
    yield f".SS {_text(ctx.command_path)}"
    pieces = " ".join(command.collect_usage_pieces(ctx))
    yield rf"\fB{_text(ctx.command_path)}\fR {_text(pieces)}"
    text, examples = _parts(command)
    yield from _prose(text)
    yield from _options(command, ctx, own=True)
    yield from (".PP", "Examples:", ".PP", ".nf", ".RS")
    yield from (_text(line) for line in examples)
    yield from (".RE", ".fi")
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            child = command.get_command(ctx, name)
            assert child is not None
            yield from _command(child, click.Context(child, info_name=name, parent=ctx))


def _options(command: click.Command, ctx: click.Context, *, own: bool) -> Iterator[str]:
    for option in command.params:
        wanted = option.name not in _COMMON if own else option.name not in {"help", "version"}
        record = option.get_help_record(ctx) if isinstance(option, click.Option) and wanted else None
        if record is not None:
            yield from (".TP", rf"\fB{_text(record[0])}\fR", _text(" ".join(record[1].split())))


def _parts(command: click.Command) -> tuple[str, list[str]]:
    """A command's text and its examples."""
    text, _, examples = (command.help or "").partition("\b\nExample:\n")
    return text.strip(), [line.strip() for line in examples.strip().splitlines()]


def _prose(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        yield from (".PP", _text(" ".join(paragraph.split())))


def _text(text: str) -> str:
    """Such that troff sees no request, no escape and no typographic hyphen or quote in it."""
    safe = text.replace("\\", r"\e").replace("-", r"\-")
    safe = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", safe).replace("'", r"\(aq")
    return rf"\&{safe}" if safe.startswith((".", "'")) else safe


if __name__ == "__main__":
    click.echo(page(), nl=False)
