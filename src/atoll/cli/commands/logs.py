"""`atoll logs`."""

from __future__ import annotations

import re
import sys
import time

import click

from atoll.cli.failed import Failed
from atoll.cli.lines import LogPrinter
from atoll.cli.output import colored, print_line
from atoll.cli.session import Session, common_options, completing, json_option, service_argument, takes_session

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@click.command
@service_argument(known=True, nargs=-1)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is printed from now on.")
@click.option("-n", "--tail", type=click.IntRange(min=0), default=100, show_default=True, help="Lines a service.")
@click.option("--since", metavar="TIME", help="Only lines since then: 90s, 10m, 2h, 1d, or an ISO 8601 time.")
@click.option("--replica", metavar="ID", shell_complete=completing("replicas"), help="Only of this replica.")
@click.option("-g", "--grep", metavar="REGEX", help="Only lines of which a part matches; `(?i)` first ignores case.")
@click.option("-t", "--timestamps", is_flag=True, help="Show when each line was printed.")
@common_options
@json_option
@takes_session
def command(
    session: Session,
    services: tuple[str, ...],
    follow: bool,
    tail: int,
    since: str | None,
    replica: str | None,
    grep: str | None,
    timestamps: bool,
) -> None:
    """Show what replicas print.

    Without SERVICE: of all services. Lines of ended replicas are kept, too. On a terminal each service has its colour, and
    a line that is a JSON object is shown as level, message and fields; a pipe gets it as it was printed. --grep looks
    at the lines that --tail and --since leave. With --json one line a line.

    Example:
      atoll logs orders -f
      atoll logs -f --grep '(?i)error|timeout'
      atoll logs orders payments --since 10m
    """
    since_wall = 0.0 if since is None else wall(since, time.time())
    wanted = None if grep is None else _pattern(grep)
    tty = sys.stdout.isatty()
    printer = LogPrinter(services, terminal=tty, color=colored(tty), timestamps=timestamps)
    lines = session.client.logs(services, replica=replica, tail=tail, follow=follow, since_wall=since_wall)
    for line, raw in lines:
        if wanted is not None and not wanted.search(line.text):
            continue
        if session.json:
            print_line(raw)
        else:
            click.echo(printer.line(line), color=True)  # whatever the service printed; ours are the printer's choice


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as exc:
        raise Failed(f"'{text}' is no regular expression", str(exc), "put a backslash before ( [ * + ? .") from exc


def wall(text: str, now: float) -> float:
    """`10m` before `now`, or an ISO 8601 time (local unless it names a zone), in seconds since the epoch. Raises Failed."""
    if found := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip()):
        return now - float(found[1]) * _UNITS[found[2]]
    from datetime import datetime

    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError as exc:
        raise Failed(
            f"'{text}' is no time", "--since takes an age or a time", "such as 10m, or 2026-05-01T12:00"
        ) from exc
