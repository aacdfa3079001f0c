"""`atoll ci`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from atoll.cli.output import print_json
from atoll.cli.plans import plan_option
from atoll.cli.session import Session, common_options, completing, json_option, takes_session

if TYPE_CHECKING:
    from atoll.model.records import CiResult
    from atoll.pipeline.ci import Asked

TASK_FAILED = 3


@click.command
@click.argument("named", metavar="[SERVICE|TASK]...", nargs=-1, shell_complete=completing("tasks"))
@click.option("--all", "everything", is_flag=True, help="Also of services that are not affected.")
@click.option(
    "-t",
    "--task",
    "kinds",
    metavar="NAME",
    multiple=True,
    shell_complete=completing("kinds"),
    help="Only tasks of that name, and what they need; repeatable.",
)
@click.option("-j", "--jobs", type=click.IntRange(1, 1024), metavar="N", help="Tasks at one time. Default: one a CPU.")
@click.option("--fail-fast", is_flag=True, help="End everything at the first failure.")
@click.option(
    "--audit",
    is_flag=True,
    help="Run all that is asked for under strace, and tell which files were read that nobody declared.",
)
@click.option(
    "--namespace",
    metavar="NAME",
    default="",
    help="Who may believe the results. Default: told from the CI system's variables.",
)
@click.option("--junit", type=click.Path(), metavar="FILE", help="Write the results as JUnit XML.")
@click.option("--summary", type=click.Path(), metavar="FILE", help="Write a summary in Markdown.")
@click.option("--no-annotations", is_flag=True, help="On GitHub: mark no places of failures in the files.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["github", "gitlab", "json"]),
    help="With --plan: a job for each affected service, as this CI system takes it.",
)
@plan_option
@common_options
@json_option
@takes_session
def command(
    session: Session,
    named: tuple[str, ...],
    everything: bool,
    kinds: tuple[str, ...],
    jobs: int | None,
    fail_fast: bool,
    audit: bool,
    namespace: str,
    junit: str | None,
    summary: str | None,
    no_annotations: bool,
    form: str | None,
    plan: bool,
) -> int:
    """Build and test what is affected, from the cache where nothing changed.

    A service is affected when something of a task's key (files, variables, tools, what it needs) is not as it was when that
    task passed last. Without names: every task of the affected services. SERVICE stands for all of its tasks; a TASK is
    called `orders.test`. A failure skips what needs that task and nothing else. Needs no daemon.

    On GitHub and GitLab what failed tasks print is folded; on GitHub their places are marked in the files, and the
    job's page gets the summary. Values of variables in `pass`, and tokens that tasks get besides, are masked
    wherever something is shown or written.

    --audit runs everything that is asked for, cached or not, under strace, and keeps no result; it ends with 3 when a task
    read a file that is neither its input, nor a result of its needs, nor of the system.

    Example:
      atoll ci
      atoll ci orders --task test
      atoll ci --plan
      atoll ci orders --audit
      atoll ci --junit junit.xml --summary summary.md
      atoll ci --plan --format github >> "$GITHUB_OUTPUT"
    """
    from atoll.cli.ci_report import Reports

    if form and not plan:
        raise click.UsageError("--format says how --plan prints; add --plan", click.get_current_context())
    reports = Reports(session, junit, summary, annotate=not no_annotations)
    if not (named or everything or kinds or audit or plan) and (done := _nothing_to_do(session, namespace)):
        return reports.deliver(done)
    from atoll.pipeline.ci import Asked

    asked = Asked(
        named=named, kinds=kinds, all=everything, jobs=jobs, fail_fast=fail_fast, audit=audit, namespace=namespace
    )
    if plan:
        return _plan(session, asked, form)
    from atoll.cli.tasks_shown import tasks_shown

    try:
        with tasks_shown(session) as tell:
            result = session.hooks.ci(session.places, asked, tell, session.warn)
    except KeyboardInterrupt:
        session.warn("cancelled: nothing of it runs any more; what had passed is kept, and not run again")
        raise
    return reports.deliver(result)


def _nothing_to_do(session: Session, given: str) -> CiResult | None:
    """The result of a run in which everything is green, which most runs are, without what only the others need."""
    import os
    import time

    from atoll.pipeline.affected import nothing_to_do
    from atoll.pipeline.namespace import namespace, readable

    began = time.monotonic()
    own = namespace(os.environ, given)
    with session.hooks.records(session.places) as records:
        green = records.green_keys(readable(own))  # first: others look at the files meanwhile
    keys = session.hooks.keyed(session.places, session.root)
    if (saved_s := nothing_to_do(keys, green)) is None:
        return None
    from atoll.model.records import ci_result

    services = {id.partition(".")[0] for id in keys}
    seconds = time.monotonic() - began
    return ci_result((), seconds=seconds, saved_s=saved_s, unaffected=len(services), namespace=own)


def _plan(session: Session, asked: Asked, form: str | None) -> int:
    from atoll.cli.tasks_shown import show_plan

    plan = session.hooks.ci_plan(session.places, asked, session.warn)
    if session.json or form == "json":
        print_json(plan)
    elif form:
        from atoll.pipeline.report import matrix

        click.echo(matrix.github(plan) if form == "github" else matrix.gitlab(plan), nl=False)
    else:
        show_plan(plan)
    return 0
