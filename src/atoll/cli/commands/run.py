"""`atoll run`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from atoll.cli.drafts import new_key
from atoll.cli.failed import Failed
from atoll.cli.output import duration, print_json
from atoll.cli.plans import plan_option, show
from atoll.cli.session import Session, common_options, completing, json_option, service_argument, takes_session

if TYPE_CHECKING:
    from atoll.model.wire_jobs import JobRunView

JOB_FAILED = 8


@click.command(context_settings={"ignore_unknown_options": True})
@service_argument(known=True)
@click.argument("job", metavar="JOB", shell_complete=completing("jobs"))
@click.argument("args", nargs=-1, metavar="[-- ARGS...]", type=click.UNPROCESSED)
@click.option("--detach", is_flag=True, help="Begin it and return at once.")
@click.option("--stop", "stops", is_flag=True, help="End the run of it that is going on, instead of beginning one.")
@plan_option
@common_options
@json_option
@takes_session
def command(
    session: Session, service: str, job: str, args: tuple[str, ...], detach: bool, stops: bool, plan: bool
) -> int:
    """Run a job of a service now, and show what it prints.

    In the release that has the traffic: its artifact, variables, secrets and calls. ARGS are added to its command. Ends
    with 0, or with 8 when the job failed or was stopped, whatever its own exit code was. Ctrl-C detaches: the run belongs
    to the daemon and goes on; --stop ends it. With --json: the API's JobRunView at its end.

    Example:
      atoll run orders reindex -- --since 2026-01-01
      atoll run orders nightly --detach
      atoll run orders nightly --stop
    """
    from atoll.model.wire_jobs import RunRequest
    from atoll.pipeline.provenance import author

    if stops:
        return _stop(session, service, job)
    request = RunRequest(job=job, args=args, author=author(session.root), key=new_key())
    if plan:
        return show(session, session.client.plan(request, service))
    run = session.client.run(service, request)
    if detach:
        if session.json:
            print_json(run)
        else:
            click.echo(f"{run.id}: begun; `atoll logs {service} --job {job}` shows it, `atoll jobs {service}` its end")
        return 0
    return _finish(session, run)


def _finish(session: Session, run: JobRunView) -> int:
    """Follow it to its end."""
    from atoll.cli.job_output import follow

    try:
        ended = follow(session.client, run, None if session.json else _print)
    except KeyboardInterrupt:
        session.warn(f"detached: {run.id} goes on; `atoll run {run.service} {run.job} --stop` ends it")
        raise
    if session.json:
        print_json(ended)
    if ended.good:
        session.say(f"{ended.job} of {ended.service} {ended.release} succeeded in {duration(ended.seconds)}")
        return 0
    session.warn(f"{ended.job} of {ended.service} {ended.release} {ended.state}: {ended.reason}")
    return JOB_FAILED


def _print(text: str, error: bool) -> None:
    click.echo(text, err=error, color=True)  # whatever the job printed


def _stop(session: Session, service: str, job: str) -> int:
    from atoll.model.wire_jobs import StopRunRequest
    from atoll.pipeline.provenance import author

    going = [run for view in session.client.jobs(service, job) for run in view.runs if not run.ended]
    if not going:
        raise Failed(
            f"{job} of {service} does not run",
            "there is nothing to stop",
            f"see `atoll jobs {service} {job}`",
            id="job-not-running",
        )
    request = StopRunRequest(author=author(session.root), key=new_key())
    stopped = [session.client.stop_run(run.id, request) for run in going]
    ended = [last for run in stopped for last in session.client.watch_run(run.id) if last.ended]
    if session.json:
        print_json(ended)
    else:
        for run in ended:
            click.echo(f"{run.id} {run.state}{f': {run.reason}' if run.reason else ''}")
    return 0
