"""`atoll help`."""

from __future__ import annotations

import click

from atoll.cli.session import common_options, completing


@click.command
@click.argument("names", nargs=-1, metavar="[COMMAND]...", shell_complete=completing("commands"))
@common_options
def command(names: tuple[str, ...]) -> None:
    """Show the help of a command.

    The same as --help behind it: usage, what it does, examples, options, exit codes, variables. `man atoll` has all of it
    in one page, where the installation put it on the manual's path.

    Example:
      atoll help deploy
      atoll help secret set
    """
    ctx = click.get_current_context().find_root()
    found: click.Command = ctx.command
    for name in names:
        if not isinstance(found, click.Group):
            raise click.UsageError(f"'{ctx.command_path}' has no further commands", ctx)
        _, child, _ = found.resolve_command(ctx, [name])
        assert child is not None
        ctx = click.Context(child, parent=ctx, info_name=name, terminal_width=ctx.terminal_width)
        found = child
    click.echo(found.get_help(ctx))
