"""`atoll up`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

import click

from atoll.cli.drafts import Drafts, build, chosen, evident, first_failure, new_key
from atoll.cli.failed import Failed
from atoll.cli.main import report
from atoll.cli.output import print_json, print_screen
from atoll.cli.plans import plan_option, show
from atoll.cli.progress import exit_code, follow
from atoll.cli.receipt import headline
from atoll.cli.session import Session, common_options, json_option, service_argument, takes_session
from atoll.cli.settle import ensure_running, refuse
from atoll.cli.store_drafts import drafts_of, used_by, without_stores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.model.catalogue.ids import ErrorId
    from atoll.model.environment import WorkspaceSpec
    from atoll.model.wire import ServiceView, UpView
    from atoll.model.wire_operations import OperationView

BACK_WITHIN_S = 30.0  # the usual start budget
_LATE = {"failing", "degraded"}


@click.command
@service_argument(nargs=-1)
@click.option("--detach", is_flag=True, help="Do not wait until the services are live.")
@plan_option
@common_options
@json_option
@takes_session
def command(session: Session, services: tuple[str, ...], detach: bool, plan: bool) -> int:
    """Start the environment and deploy what is not running.

    Without SERVICE: every service of the workspace, and every store that Atoll runs. Of a SERVICE its stores are started,
    too, before it. What runs already is left alone, also when its files changed since:
    `atoll deploy` is for that.

    Example:
      atoll up
      atoll up orders payments
      atoll up --plan
    """
    from atoll.model.wire import UpRequest
    from atoll.pipeline.provenance import author

    workspace = session.load()
    names, stores = _asked(workspace, services)
    if plan:
        return _plan(session, workspace, names, stores)
    ensure_running(session, workspace)
    drafts = _drafts(session, workspace, names, stores)
    request = UpRequest(drafts=tuple(drafts.ready.values()), author=author(session.root), key=new_key())
    begun = session.client.up(request)
    failures = dict(drafts.failures)
    for name, error in begun.refused.items():
        failures[name] = Failed.told(error)
    operations = list(begun.operations) if detach else follow(session, begun.operations)
    if not detach:
        for view in _not_back(session, {*begun.unchanged, *begun.edited}):
            failures[view.name] = Failed(
                f"{view.name} is not up: {view.reason}",
                "it was deployed before and could not be brought back",
                f"see `atoll why {view.name}`",
                id=cast("ErrorId", view.reason_id or "not-ready-in-time"),
                kind="DeployFailed",
                exit_code=3,
            )
    _show(session, workspace, begun, operations, failures)
    return first_failure(failures.values()) or (0 if detach else exit_code(operations))


def _asked(workspace: WorkspaceSpec, named: Sequence[str]) -> tuple[list[str], list[str]]:
    """Services, and the stores that they need or that were named themselves; all of both when nothing was named."""
    services = [name for name in named if name not in workspace.servers]
    names = chosen(workspace, services) if services or not named else []
    stores = {*used_by(workspace, names), *(set(named) & workspace.servers.keys())} if named else {*workspace.servers}
    return names, sorted(stores)


def _drafts(
    session: Session, workspace: WorkspaceSpec, names: Sequence[str], stores: Sequence[str], *, send: bool = True
) -> Drafts:
    """The stores come first: each finds its services waiting for it."""
    first = drafts_of(session, workspace, stores)
    return without_stores(workspace, evident(session, workspace, build(session, workspace, names, send=send)), first)


def _not_back(session: Session, services: set[str]) -> list[ServiceView]:
    """Wait for services that were deployed before (after a reboot they start now); those that are not up in time."""
    deadline = time.monotonic() + BACK_WITHIN_S
    while True:
        late = [view for view in session.client.status().services if view.name in services and view.state in _LATE]
        if not late or time.monotonic() >= deadline:
            return late
        time.sleep(0.1)


def _plan(session: Session, workspace: WorkspaceSpec, names: Sequence[str], stores: Sequence[str]) -> int:
    """Builds, since only that tells what would run; starts nothing, not even the environment."""
    from atoll.model.wire import PlanView, UpRequest

    refuse(session, workspace)
    drafts = _drafts(session, workspace, names, stores, send=False)
    if session.places.keeper_alive():
        return show(session, session.client.plan(UpRequest(drafts=tuple(drafts.ready.values()))), drafts.failures)
    session.say(
        f"the environment '{session.environment}' is not running: its keeper, proxy and daemon would start first"
    )
    plans = [
        PlanView(
            service=name,
            kind="deploy",
            replicas=(spec := draft.spec).replicas,
            steps=("bring back the release that ran when it was ended; else start its first",),
            memory_bytes=None if spec.limits.memory_bytes is None else spec.limits.memory_bytes * spec.replicas,
        )
        for name, draft in drafts.ready.items()
    ]
    return show(session, plans, drafts.failures)


def _show(
    session: Session,
    workspace: WorkspaceSpec,
    begun: UpView,
    operations: Sequence[OperationView],
    failures: dict[str, Failed],
) -> None:
    for failed in failures.values():
        failed.fix = session.here(failed.fix)
        report(failed, ())
    if session.json:
        from atoll.cli.outputs import UpOutput

        told = {name: one.view() for name, one in failures.items()}
        left = {"unchanged": begun.unchanged, "edited": begun.edited}
        print_json(UpOutput(operations=tuple(operations), **left, failures=told))
        return
    from atoll.cli.commands.status import screen

    for operation in operations:
        if operation.ended and not operation.good:
            session.warn(f"{headline(operation)}: {operation.text}\n{operation.output}".rstrip())
    status = session.client.status()
    print_screen(screen(status))
    for service in status.services:
        if service.state == "down" or service.name in workspace.services or service.name in workspace.servers:
            continue
        if service.store:
            gone = f"{service.name} runs, but no file names this store any more; `atoll store remove {service.name}` erases it"
            session.warn(gone)
        else:
            session.warn(f"{service.name} runs, but the workspace has it no more; `atoll down {service.name}` stops it")
    for name in begun.edited:
        if name in workspace.servers:
            changed = (
                f"{name}: its settings changed since it was started; `atoll store apply {name}` restarts it with them"
            )
            session.warn(changed)
            continue
        session.warn(f"{name}: its files changed since it was deployed; `atoll deploy {name}` deploys them")
