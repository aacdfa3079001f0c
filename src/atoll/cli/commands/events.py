"""`atoll events`."""

from __future__ import annotations

import sys

import click

from atoll.cli.lines import event_line
from atoll.cli.output import colored, print_line, width
from atoll.cli.session import Session, common_options, completing, json_option, takes_session

NARROW = 70  # columns; below, most events would take three lines


@click.command
@click.argument("service", required=False, metavar="[SERVICE]", shell_complete=completing("known"))
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now on.")
@click.option("--after", type=click.IntRange(min=0), metavar="SEQ", help="Only what came after this event.")
@click.option("-n", "--tail", type=click.IntRange(min=0), default=50, show_default=True, help="How many of the newest.")
@common_options
@json_option
@takes_session
def command(session: Session, service: str | None, follow: bool, after: int | None, tail: int) -> None:
    """Show the ledger: what happened, who did it.

    With --json one event a line; its `seq` is what --after takes, so that a reader can go on where it stopped.

    Example:
      atoll events -f
      atoll events orders --after 120 --json
    """
    if after is None:
        after = max(0, session.client.status().last_event - tail)
    color, narrow = colored(sys.stdout), sys.stdout.isatty() and width() < NARROW
    for event, raw in session.client.events(after=after, service=service, follow=follow):
        if session.json:
            print_line(raw)
        else:
            click.echo(event_line(event, color=color, narrow=narrow), color=color)
