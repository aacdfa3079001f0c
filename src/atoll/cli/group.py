"""The list of commands, and a click group that imports a command only when it is called.

`--help` must import nothing else, so the one-line helps stand here; a test compares them with the commands' own.
"""

from collections.abc import Mapping
from importlib import import_module
from inspect import cleandoc
from typing import Any

import click

from atoll.cli.help_parts import EXIT_CODES, VARIABLES, exits, related

SECTIONS: Mapping[str, Mapping[str, str]] = {
    "Begin": {
        "init": "Write the files that make a repository a workspace.",
    },
    "Run": {
        "check": "Check the workspace's files and show every problem.",
        "ci": "Build and test what is affected, from the cache where nothing changed.",
        "up": "Start the environment and deploy what is not running.",
        "dev": "Bring everything up, then move each service to what its files say, at every edit.",
        "deploy": "Build services and move all traffic to the new releases.",
        "rollback": "Go back to an earlier release.",
        "rollout": "See and steer the rollout of a service that is under way.",
        "restart": "Replace every replica by a fresh one of the same release.",
        "run": "Run a job of a service now, and show what it prints.",
        "scale": "Set the number of replicas by hand, or give it back.",
        "down": "Stop services, or the whole environment.",
    },
    "Look": {
        "status": "Show the environment on one screen.",
        "top": "Show requests, failures and latencies of now, each second until Ctrl-C.",
        "jobs": "Show jobs: when they run, how they ran last; or the runs of one.",
        "logs": "Show what replicas and jobs print.",
        "events": "Show the ledger: what happened, who did it.",
        "releases": "Show a service's releases, newest first.",
        "graph": "Show who calls whom, and which stores and topics they use.",
        "affected": "Show the services whose files are not those that passed last.",
        "why": "Explain why a service, a release or a task is as it is.",
        "explain": "Explain an error by its id: what it means, its causes and their fixes.",
        "doctor": "Check this machine and the environment.",
    },
    "Work": {
        "fault": "Break something on purpose, for a while.",
        "exec": "Run a command in a replica's surroundings.",
        "records": "List, export and import records: which tasks ran, with which files, how they ended.",
        "access": "Show who may do what here, and who you are to it.",
        "secret": "Set, list and remove secrets.",
        "backup": "Write a backup of the environment into one file.",
        "restore": "Make an environment of a backup, or try whether that works.",
        "store": "See, change and remove the stores that Atoll runs.",
        "cache": "Show what is in the cache of results, and what it was good for.",
        "toolchain": "List, fetch and remove compilers and interpreters.",
        "install": "Have this machine serve an environment from boot on, under systemd.",
        "uninstall": "Have this machine serve an environment no more.",
        "eject": "Write compose and systemd files that run the same services without Atoll.",
        "schema": "Print the JSON Schema of service.toml or atoll.toml, or of a command's --json.",
        "completion": "Print or install the completion script of a shell.",
        "help": "Show the help of a command.",
        "version": "Show the version.",
    },
}
COMMANDS: Mapping[str, str] = {name: text for section in SECTIONS.values() for name, text in section.items()}

# What changes nothing of a workspace or an environment; a test sees that every other command has --plan. `exec` is whatever
# its own command does, `dev` whatever its files will say.
READING = frozenset(
    {
        "affected",
        "backup",
        "check",
        "status",
        "logs",
        "events",
        "releases",
        "why",
        "doctor",
        "dev",
        "exec",
        "jobs",
        "records list",
        "records export",
        "secret list",
        "store list",
        "store status",
        "rollout show",
        "schema",
        "completion",
    }
    | {"explain", "graph", "help", "toolchain list", "top", "version"}
)


class ReaderGone(Exception):
    """The other end of stdout was closed. Not an OSError, for which click has an answer of its own."""


class LazyGroup(click.Group):
    """Finds a command by importing `atoll.cli.commands.NAME`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _keep_examples(self)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as exc:
            raise ReaderGone from exc

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"atoll.cli.commands.{cmd_name}").command
        assert isinstance(command, click.Command)
        _keep_examples(command)
        for each in (command, *(command.commands.values() if isinstance(command, click.Group) else ())):
            each.format_epilog = _Page(cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=1, cutoff=0.5)
            hint = f"did you mean 'atoll {near[0]}'?" if near else "`atoll --help` lists the commands"
            raise click.UsageError(f"there is no command '{args[0]}'; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Names and helps from the list: click would import every command."""
        from click.shell_completion import CompletionItem

        if incomplete and not incomplete[0].isalnum():
            return super().shell_complete(ctx, incomplete)
        return [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl(list(commands.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's
        _write(formatter, "Exit codes", [(str(code), text) for code, text in EXIT_CODES.items()])
        _write(formatter, "Variables", list(VARIABLES.items()))


class _Page:
    """What follows the options in a command's help."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        _write(formatter, "Exit codes", list(exits(self._name)))
        _write(formatter, "Variables", list(VARIABLES.items())[:5])
        others = [(f"atoll {name}", COMMANDS[name]) for name in related(self._name)]
        _write(formatter, "See also", others)


def _write(formatter: click.HelpFormatter, title: str, rows: list[tuple[str, str]]) -> None:
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows)


def _keep_examples(command: click.Command) -> None:
    """Mark the example of a command's docstring as what click must not fold into a paragraph."""
    text = cleandoc(command.help or "")
    command.help = text if "\b" in text else text.replace("\n\nExample:\n", "\n\n\b\nExample:\n")
    for child in command.commands.values() if isinstance(command, click.Group) else ():
        _keep_examples(child)
