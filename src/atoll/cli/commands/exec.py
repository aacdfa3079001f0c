"""`atoll exec`."""

from __future__ import annotations

import click

from atoll.cli.output import print_json
from atoll.cli.session import Session, common_options, completing, json_option, service_argument, takes_session

NOT_STARTED = 127  # what a shell says of a program that it does not find


@click.command(context_settings={"ignore_unknown_options": True})
@service_argument(known=True)
@click.argument(
    "argv", nargs=-1, required=True, metavar="-- COMMAND...", type=click.UNPROCESSED, shell_complete=completing("files")
)
@click.option(
    "--replica",
    metavar="ID",
    default="",
    shell_complete=completing("replicas"),
    help="Of this replica. Default: the oldest ready one.",
)
@click.option("--timeout", "timeout_s", type=float, default=60.0, show_default=True, help="Seconds it may take.")
@common_options
@json_option
@takes_session
def command(session: Session, service: str, argv: tuple[str, ...], replica: str, timeout_s: float) -> int:
    """Run a command in a replica's surroundings.

    In its folder, with its environment and its secrets. Ends with the command's own exit code. Its output comes at its
    end, at most 1 MiB of it; it gets no input.

    Example:
      atoll exec orders -- ./orders migrate --dry-run
      atoll exec orders -- env
    """
    from atoll.model.wire import ExecRequest

    view = session.client.exec(service, ExecRequest(argv=argv, replica=replica, timeout_s=timeout_s))
    if session.json:
        print_json(view)
    else:
        click.echo(view.output, nl=False, color=True)  # as it was printed
    if view.exit.code is not None:
        return view.exit.code
    session.warn(f"the command ended: {view.exit.text}")
    if view.exit.signal:
        return 128 + view.exit.signal
    return NOT_STARTED
