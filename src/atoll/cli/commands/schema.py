"""`atoll schema`."""

from __future__ import annotations

import click

from atoll.cli.session import Session, common_options, takes_session


@click.command
@click.argument("file", type=click.Choice(("service", "workspace")), default="service", metavar="[service|workspace]")
@common_options
@takes_session
def command(session: Session, file: str) -> None:  # noqa: ARG001  the same for every workspace
    """Print the JSON Schema of service.toml or atoll.toml.

    Editors that read TOML through Taplo (Even Better TOML, Zed, Helix) complete and check with it: keep it in a file,
    and name that in the first line of a service.toml: `#:schema ../service.schema.json`.

    Example:
      atoll schema > service.schema.json
      atoll schema workspace > atoll.schema.json
    """
    from atoll.workspace.schema import text

    click.echo(text(file), nl=False)
