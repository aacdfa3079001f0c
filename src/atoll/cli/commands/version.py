"""`atoll version`."""

from __future__ import annotations

import platform

import click

from atoll import __version__
from atoll.cli.output import print_json
from atoll.cli.session import Session, common_options, json_option, takes_session


@click.command
@common_options
@json_option
@takes_session
def command(session: Session) -> None:
    """Show the version.

    Python's and the system's are in it, too; `atoll --version` shows Atoll's alone.

    Example:
      atoll version
    """
    facts = {"version": __version__, "python": platform.python_version(), "system": platform.system()}
    if session.json:
        from atoll.cli.outputs import VersionOutput

        print_json(VersionOutput(**facts))
    else:
        click.echo(f"atoll {facts['version']} (Python {facts['python']}, {facts['system']})")
