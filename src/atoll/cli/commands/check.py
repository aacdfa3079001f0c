"""`atoll check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from atoll.cli.failed import USER
from atoll.cli.output import counted, print_json
from atoll.cli.session import Session, common_options, json_option, takes_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.model.environment import WorkspaceSpec
    from atoll.model.errors import Problem

_SHOWN = 3
_UNDECLARED = {
    "process": "nothing keeps a process from calling what it does not declare: all share 127.0.0.1; "
    'engine = "docker" keeps services apart',
    "docker": "calls of other services that are not declared fail; what listens on all addresses of this machine, or "
    "outside, is reached without being declared",
}


@click.command
@common_options
@json_option
@takes_session
def command(session: Session) -> int:
    """Check the workspace's files and show every problem.

    Needs no daemon and changes nothing. Ends with 2 when there is a problem.

    Example:
      atoll check
      atoll check --env production --json
    """
    from atoll.model.errors import InvalidWorkspace

    try:
        workspace = session.load()
    except InvalidWorkspace as exc:
        _show(session, sorted(exc.problems, key=lambda problem: (problem.file, problem.line or 0, problem.field)))
        return USER
    names = sorted(workspace.services)
    warnings = (*workspace.warnings, *session.hooks.unable(workspace))
    notes = notes_on(workspace)
    if session.json:
        from atoll.cli.outputs import CheckOutput

        print_json(
            CheckOutput(ok=True, workspace=workspace.name, services=tuple(names), problems=warnings, notes=notes)
        )
    else:
        _tell(warnings)
        shared = f" and {counted(len(workspace.libraries), 'library')}" if workspace.libraries else ""
        click.echo(f"{workspace.name}: {counted(len(names), 'service')}{shared} fine for '{session.environment}'")
        _tell_schedules(workspace)
        for note in notes:
            click.echo(click.style(f"    note: {note}", dim=True))
        if not names:
            click.echo(
                f"    no service.toml was found below {session.root}; `services` in atoll.toml says where to look"
            )
    return 0


def notes_on(workspace: WorkspaceSpec) -> tuple[str, ...]:
    """What is not enforced of `calls`, where services declare some of each other."""
    declared = any(call.url is None for spec in workspace.services.values() for call in spec.calls)
    return (_UNDECLARED[workspace.environment.engine],) if declared else ()


def _tell_schedules(workspace: WorkspaceSpec) -> None:
    """When each scheduled job would run next, three times: a mistaken expression shows."""
    scheduled = [(name, job) for name, spec in workspace.services.items() for job in spec.jobs if job.schedule]
    if not scheduled:
        return
    import time

    from atoll.cli.commands.jobs import when
    from atoll.decide.schedule import next_due

    for name, job in scheduled:
        due, wall = list[str](), time.time()
        while len(due) < _SHOWN and (following := next_due(job, wall)) is not None:
            wall = following
            due.append(when(wall, job.time_zone))
        click.echo(f"    {name} {job.name} ({job.schedule}): {', '.join(due)}")


def _show(session: Session, problems: Sequence[Problem]) -> None:
    if session.json:
        from atoll.cli.outputs import CheckOutput

        print_json(CheckOutput(ok=False, problems=tuple(problems)))
        return
    _tell(problems)
    click.echo(f"{counted(len(problems), 'problem')} found")


def _tell(problems: Sequence[Problem]) -> None:
    """Each with its place, its page and its fix; `what` names the field."""
    for problem in problems:
        where = f"{problem.file}:{problem.line}" if problem.line else problem.file
        level = "warning: " if problem.level == "warning" else ""
        page = click.style(f"[{problem.id}]", dim=True)
        click.echo(f"{click.style(where, bold=True)}: {level}{problem.what}  {page}")
        if problem.fix:
            click.echo(f"    fix: {problem.fix}")
