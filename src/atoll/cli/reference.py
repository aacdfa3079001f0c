"""Writes the command line's reference page: `python -m atoll.cli.reference > docs/cli.md`. A test fails when it lags."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from atoll.cli.group import COMMANDS, SECTIONS
from atoll.cli.help_parts import EXIT_CODES, VARIABLES
from atoll.cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Iterator


def page() -> str:
    """The whole page, from click's own tree."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield from ("# The command line", "", "<!-- Generated: python -m atoll.cli.reference > docs/cli.md -->", "")
    root = click.Context(cli, info_name="atoll")
    for section, names in SECTIONS.items():
        links = ", ".join(f"[{name}](#atoll-{name})" for name in names)
        yield f"- {section}: {links}"
    yield from ("", "These options may stand before or after the command's name:", "")
    yield from _options(cli, root)
    yield from ("", "Errors are three lines on stderr: what, with the error's id in brackets, why, the fix.")
    yield from ("[Troubleshooting](troubleshooting.md) has a section for each id, and `atoll explain ID` prints it.",)
    yield from ("With `--json` stdout also gets them as one object: `id`, `kind`, `what`, `why`, `fix`, `exit_code`.",)
    yield from ("Progress goes to stderr, results to stdout.", "")
    yield from ("## Exit codes", "", "| code | meaning |", "|---|---|")
    yield from (f"| {code} | {text} |" for code, text in EXIT_CODES.items())
    yield from ("", "## Variables", "", "| variable | meaning |", "|---|---|")
    yield from (f"| `{name}` | {text} |" for name, text in VARIABLES.items())
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None
        yield from _command(command, click.Context(command, info_name=name, parent=root), "##")


def _command(command: click.Command, ctx: click.Context, heading: str) -> Iterator[str]:
    yield from ("", f"{heading} {ctx.command_path}", "")
    text, _, example = (command.help or "").partition("\b\nExample:\n")
    yield text.strip()
    group = isinstance(command, click.Group)
    yield from ("", "```text", f"{ctx.command_path} {' '.join(command.collect_usage_pieces(ctx))}", "```", "")
    yield from _options(command, ctx)
    yield from ("", "```sh", *(line.strip() for line in example.strip().splitlines()), "```")
    if group:
        assert isinstance(command, click.Group)
        for name in command.list_commands(ctx):
            child = command.get_command(ctx, name)
            assert child is not None
            yield from _command(child, click.Context(child, info_name=name, parent=ctx), "###")


def _options(command: click.Command, ctx: click.Context) -> Iterator[str]:
    common = {"workspace", "env", "quiet", "help"} if ctx.parent else {"help", "version"}
    own = [option for option in command.params if isinstance(option, click.Option) and option.name not in common]
    if own:
        yield from ("| option | |", "|---|---|")
    for option in own:
        record = option.get_help_record(ctx)
        if record is not None:
            yield f"| `{record[0]}` | {' '.join(record[1].split()).replace('|', chr(92) + '|')} |"


if __name__ == "__main__":
    click.echo(page(), nl=False)
