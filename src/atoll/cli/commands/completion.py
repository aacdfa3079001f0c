"""`atoll completion`."""

from __future__ import annotations

import click


@click.command
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of a shell.

    Commands, options and the names of services in the workspace's files complete.

    Example:
      atoll completion bash >> ~/.bashrc
      atoll completion fish > ~/.config/fish/completions/atoll.fish
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(click.get_current_context().find_root().command, {}, "atoll", "_ATOLL_COMPLETE").source())
