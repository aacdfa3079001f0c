"""`atoll logs`."""

from __future__ import annotations

import re
import sys
import time

import click

from atoll.cli.failed import Failed
from atoll.cli.lines import LEVELS, LogPrinter, level_of
from atoll.cli.output import colored, print_line
from atoll.cli.session import Session, common_options, completing, json_option, service_argument, takes_session

TAIL = 100
FILTERED_TAIL = 10_000  # who filters looks for something; a few MiB a service at the daemon
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@click.command
@service_argument(known=True, nargs=-1)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is printed from now on.")
@click.option(
    "-n", "--tail", type=click.IntRange(min=0), help="Newest lines a service. Default: 100; 10000 with a filter."
)
@click.option("--since", metavar="TIME", help="Only lines since then: 90s, 10m, 2h, 1d, or an ISO 8601 time.")
@click.option("--until", metavar="TIME", help="Only lines up to then; the same forms.")
@click.option("--replica", metavar="ID", shell_complete=completing("replicas"), help="Only of this replica.")
@click.option(
    "--job",
    metavar="JOB",
    shell_complete=completing("jobs"),
    help="Only of the runs of this job; needs one SERVICE. `before`: before releases.",
)
@click.option("-g", "--grep", metavar="REGEX", help="Only lines of which a part matches; `(?i)` first ignores case.")
@click.option("--level", type=click.Choice(LEVELS), help="Only JSON lines of this level or a graver one.")
@click.option("-t", "--timestamps", is_flag=True, help="Show when each line was printed.")
@common_options
@json_option
@takes_session
def command(
    session: Session,
    services: tuple[str, ...],
    follow: bool,
    tail: int | None,
    since: str | None,
    until: str | None,
    replica: str | None,
    job: str | None,
    grep: str | None,
    level: str | None,
    timestamps: bool,
) -> None:
    """Show what replicas and jobs print.

    Without SERVICE: of all services. Lines of ended replicas are kept, too. On a terminal each service has its colour, and
    a line that is a JSON object is shown as level, message and fields; a pipe gets it as it was printed. --grep and
    --level look at the lines that --tail, --since and --until leave. -f goes on when the daemon was replaced: no line
    is lost, none comes twice. With --json one line a line.

    Example:
      atoll logs orders -f
      atoll logs -f --grep '(?i)error|timeout'
      atoll logs orders payments --since 10m --level warn
      atoll logs orders --job nightly
    """
    if follow and until is not None:
        raise Failed("--follow has no end", "--until asks for one", "leave one of them out", id="usage")
    if job is not None:
        if len(services) != 1 or replica is not None:
            fix = "such as `atoll logs orders --job nightly`"
            raise Failed("--job needs one service", "a job belongs to a service", fix, id="usage")
        replica = f"{services[0]}.{job}."
    now = time.time()
    filtered = any(given is not None for given in (since, until, grep, level))
    lines = session.client.logs(
        services,
        replica=replica,
        tail=tail if tail is not None else FILTERED_TAIL if filtered else TAIL,
        follow=follow,
        since_wall=0.0 if since is None else wall(since, now, "--since"),
        until_wall=None if until is None else wall(until, now, "--until"),
    )
    wanted = None if grep is None else _pattern(grep)
    least = LEVELS[LEVELS.index(level) :] if level else None
    tty = sys.stdout.isatty()
    printer = LogPrinter(services, terminal=tty, color=colored(sys.stdout), timestamps=timestamps)
    for line, raw in lines:
        if wanted is not None and not wanted.search(line.text):
            continue
        if least is not None and level_of(line.text) not in least:
            continue
        if session.json:
            print_line(raw)
        else:
            click.echo(printer.line(line), color=True)  # whatever the service printed; ours are the printer's choice


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as exc:
        raise Failed(
            f"'{text}' is no regular expression", str(exc), "put a backslash before ( [ * + ? .", id="usage"
        ) from exc


def wall(text: str, now: float, option: str = "--since") -> float:
    """`10m` before `now`, or an ISO 8601 time (local unless it names a zone), in seconds since the epoch. Raises Failed."""
    if found := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip()):
        return now - float(found[1]) * _UNITS[found[2]]
    from datetime import datetime

    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError as exc:
        raise Failed(
            f"'{text}' is no time",
            f"{option} takes an age or a time",
            "such as 10m, or 2026-05-01T12:00",
            id="usage",
        ) from exc
