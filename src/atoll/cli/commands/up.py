"""`atoll up`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from atoll.cli.drafts import build, chosen, first_failure, new_key
from atoll.cli.failed import Failed
from atoll.cli.main import report
from atoll.cli.output import console, print_json
from atoll.cli.progress import exit_code, follow
from atoll.cli.receipt import headline
from atoll.cli.session import Session, common_options, json_option, service_argument, takes_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.model.spec import WorkspaceSpec
    from atoll.model.wire import OperationView, UpView


@click.command
@service_argument(nargs=-1)
@click.option("--detach", is_flag=True, help="Do not wait until the services are live.")
@common_options
@json_option
@takes_session
def command(session: Session, services: tuple[str, ...], detach: bool) -> int:
    """Start the environment and deploy what is not running.

    Without SERVICE: every service of the workspace. What runs already is left alone, also when its files changed since:
    `atoll deploy` is for that.

    Example:
      atoll up
      atoll up orders payments
    """
    from atoll.cli.git import author
    from atoll.model.wire import UpRequest

    workspace = session.load()
    names = chosen(workspace, services)
    session.hooks.ensure_running(session.places, workspace, session.say)
    drafts = build(session, workspace, names)
    request = UpRequest(drafts=tuple(drafts.ready.values()), author=author(session.root), key=new_key())
    begun = session.client.up(request)
    failures = dict(drafts.failures)
    for name, error in begun.refused.items():
        failures[name] = Failed(error.what, error.why, error.fix, kind=error.kind, exit_code=error.exit_code)
    operations = list(begun.operations) if detach else follow(session, begun.operations)
    _show(session, workspace, begun, operations, failures)
    return first_failure(failures.values()) or (0 if detach else exit_code(operations))


def _show(
    session: Session,
    workspace: WorkspaceSpec,
    begun: UpView,
    operations: Sequence[OperationView],
    failures: dict[str, Failed],
) -> None:
    for failed in failures.values():
        report(failed, ())
    if session.json:
        left = {"unchanged": begun.unchanged, "edited": begun.edited}
        print_json({"operations": operations, **left, "failures": {name: one.view() for name, one in failures.items()}})
        return
    from atoll.cli.commands.status import screen

    for operation in operations:
        if operation.ended and not operation.good:
            session.warn(f"{headline(operation)}: {operation.text}\n{operation.output}".rstrip())
    status = session.client.status()
    console().print(screen(status))
    for service in status.services:
        if service.state != "down" and service.name not in workspace.services:
            session.warn(f"{service.name} runs, but the workspace has it no more; `atoll down {service.name}` stops it")
    for name in begun.edited:
        session.warn(f"{name}: its files changed since it was deployed; `atoll deploy {name}` deploys them")
