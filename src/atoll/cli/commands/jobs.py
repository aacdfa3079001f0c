"""`atoll jobs`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from atoll.cli.client import jobs_path
from atoll.cli.output import age, console, duration, escape, print_json, table
from atoll.cli.session import Session, common_options, completing, json_option, takes_session

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from atoll.model.wire_jobs import JobRunView, JobView

_STYLE = {
    "succeeded": "green",
    "running": "cyan",
    "starting": "cyan",
    "stopping": "cyan",
    "queued": "cyan",
    "failed": "bold red",
    "missed": "yellow",
}


@click.command
@click.argument("service", metavar="[SERVICE]", required=False, shell_complete=completing("known"))
@click.argument("job", metavar="[JOB]", required=False, shell_complete=completing("jobs"))
@common_options
@json_option
@takes_session
def command(session: Session, service: str | None, job: str | None) -> None:
    """Show jobs: when they run, how they ran last; or the runs of one.

    With JOB: its kept runs, the newest first, and the last output of the newest if it failed. `before` is what ran before
    releases. With --json: the API's JobView of each; with JOB of that one, with its runs.

    Example:
      atoll jobs
      atoll jobs orders
      atoll jobs orders nightly
    """
    if session.json:
        print_json(session.client.raw(jobs_path(service, job)))
    elif service and job:
        [view] = session.client.jobs(service, job)
        _show_runs(view.runs)
    else:
        _show_jobs(session.client.jobs(service))


def _show_jobs(views: list[JobView]) -> None:
    from rich.text import Text

    out = console()
    if not views:
        out.print("no service here has a job: they are `[jobs]` in service.toml", markup=False)
        return
    columns = ("service", "job", "schedule", "next", "last run", ">took", "")
    out.print(table(columns, (tuple(_job_row(view)) for view in views)))
    for text in dict.fromkeys(view.text for view in views if view.text):
        out.print(Text(f"! {text}", "yellow"))


def _job_row(view: JobView) -> Iterator[str]:
    last = view.last
    yield f"[bold]{escape(view.service)}[/]"
    yield escape(view.job)
    yield escape(f"{view.schedule} {view.time_zone}".strip()) or "by hand"
    yield when(view.next_wall, view.time_zone) if view.next_wall is not None else "-"
    yield f"{_state(last)} {_ago(last)}" if last else "never"
    yield duration(last.seconds) if last and last.started_wall is not None else ""
    yield escape(last.reason) if last else ""


def _show_runs(runs: Sequence[JobRunView]) -> None:
    from rich.text import Text

    out = console()
    if not runs:
        out.print("it has not run yet", markup=False)
        return
    columns = ("run", "release", "by", "state", "when", ">took", "")
    out.print(table(columns, (tuple(_run_row(run)) for run in runs)))
    if runs[0].output:
        out.print(Text("the last output of the newest:", "dim"))
        for line in runs[0].output.splitlines():
            out.print(Text(f"    {line}"))


def _run_row(run: JobRunView) -> Iterator[str]:
    attempts = f" (attempt {run.attempt} of {run.attempts})" if run.attempts > 1 else ""
    yield escape(run.id)
    yield run.release
    yield escape(run.author.actor) or run.trigger
    yield _state(run) + attempts
    yield _ago(run)
    yield duration(run.seconds) if run.started_wall is not None else ""
    yield escape(run.reason)


def _state(run: JobRunView) -> str:
    style = _STYLE.get(run.state)
    return f"[{style}]{run.state}[/]" if style else run.state


def _ago(run: JobRunView) -> str:
    return f"{age(run.ended_wall or run.created_wall)} ago"


def when(wall: float, time_zone: str) -> str:
    """`Fri 27 Nov 03:00 CET`, in the schedule's own zone; how far away when that is less than a day."""
    from zoneinfo import ZoneInfo

    zone = UTC if time_zone in {"", "UTC"} else ZoneInfo(time_zone)
    at = datetime.fromtimestamp(wall, zone)
    left_s = wall - time.time()
    seconds = f":{at:%S}" if at.second else ""
    soon = f" (in {duration(left_s)})" if 0 <= left_s < 86_400 else ""
    return f"{at:%a %d %b %H:%M}{seconds} {at:%Z}{soon}"
