"""`atoll schema`."""

from __future__ import annotations

import click

from atoll.cli.failed import Failed
from atoll.cli.session import Session, common_options, completing, takes_session


@click.command
@click.argument("file", type=click.Choice(("service", "workspace")), default="service", metavar="[service|workspace]")
@click.option(
    "--output",
    metavar="COMMAND",
    shell_complete=completing("outputs"),
    help="Of what that command prints with --json instead; also `plan` and `error`.",
)
@common_options
@takes_session
def command(session: Session, file: str, output: str | None) -> None:  # noqa: ARG001  the same for every workspace
    """Print the JSON Schema of service.toml or atoll.toml, or of a command's --json.

    Editors that read TOML through Taplo (Even Better TOML, Zed, Helix) complete and check with it: keep it in a file,
    and name that in the first line of a service.toml: `#:schema ../service.schema.json`.

    Example:
      atoll schema > service.schema.json
      atoll schema workspace > atoll.schema.json
      atoll schema --output status
    """
    if output is not None:
        _show_output(output)
        return
    from atoll.workspace.schema import text

    click.echo(text(file), nl=False)


def _show_output(name: str) -> None:
    from atoll.cli.output import print_json
    from atoll.cli.outputs import OUTPUTS, schema
    from atoll.model.suggest import did_you_mean

    wanted = name.replace(" ", "-")
    if wanted not in OUTPUTS:
        raise Failed(
            f"no command '{name}' prints JSON",
            "--output takes a command's name",
            did_you_mean(wanted, OUTPUTS),
            id="usage",
        )
    print_json(schema(wanted))
