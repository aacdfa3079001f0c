"""`atoll deploy`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from atoll.cli.drafts import build, chosen, evident, first_failure, new_key
from atoll.cli.failed import Failed
from atoll.cli.main import report
from atoll.cli.plans import plan_option, show
from atoll.cli.results import finish, receipt_options
from atoll.cli.session import Session, common_options, json_option, service_argument, takes_session
from atoll.cli.settle import announce, in_force, settle
from atoll.cli.store_drafts import planned, started

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from atoll.model.wire import DeployRequest, Draft, PlanView, ServiceView
    from atoll.model.wire_operations import OperationView


@click.command
@service_argument(nargs=-1)
@click.option("--affected", is_flag=True, help="Those whose files make another release than the one that runs.")
@click.option("--force", is_flag=True, help="Make a release also when nothing changed.")
@click.option("--note", metavar="TEXT", default="", help="Kept with the release.")
@click.option(
    "--override-freeze", metavar="WHY", default="", help="Go ahead although deploys are frozen; kept in the ledger."
)
@click.option(
    "--override-gate", metavar="WHY", default="", help="Go ahead although a required task is not green; kept as well."
)
@click.option(
    "--wait",
    type=click.Choice(["live", "certified"]),
    default="live",
    show_default=True,
    help="Until it has all of the traffic, or until its bake is over, too.",
)
@receipt_options
@plan_option
@common_options
@json_option
@takes_session
def command(
    session: Session,
    services: tuple[str, ...],
    affected: bool,
    force: bool,
    note: str,
    override_freeze: str,
    override_gate: str,
    wait: str,
    detach: bool,
    markdown: bool,
    plan: bool,
) -> int:
    """Build services and move all traffic to the new releases.

    Returns when each is live (all traffic is on the new release), was undone (3), or waits for a person (9; on a terminal
    it goes on waiting). Ctrl-C detaches: what was begun goes on. With --json: a list of the API's OperationView, each with its receipt. --plan builds (else nobody knows what would be
    released), and lists the API's PlanView.

    --affected, with SERVICE or for all: those whose build, configuration or policy differs from what runs, new ones too.
    What was built again with the same result, or was stopped by hand, is told of and left alone.

    Example:
      atoll deploy orders
      atoll deploy orders payments --markdown
      atoll deploy orders --plan
      atoll deploy --affected
    """
    if not services and not affected:
        raise click.UsageError("name a SERVICE; --affected is every one that changed", click.get_current_context())
    if affected and force:
        raise click.UsageError("--force deploys what did not change, --affected what did", click.get_current_context())
    workspace = session.load()
    names = chosen(workspace, services)
    (announce if plan else settle)(session, workspace)
    in_force(session, workspace, overridden=bool(override_gate))
    seen = {service.name: service for service in session.client.status().services}
    if affected:
        from atoll.cli.affected import delivered

        names = delivered(session, workspace, names, services, seen)
    stores: Sequence[PlanView] = ()
    if plan:
        stores, storeless = planned(session, workspace, names, seen)
    else:
        storeless = started(session, workspace, names, seen)
    names = [name for name in names if name not in storeless]
    drafts = evident(
        session, workspace, build(session, workspace, names, send=not plan), overridden=bool(override_gate)
    )
    words = {
        "note": note, "force": force, "override_freeze": override_freeze, "override_gate": override_gate,
    }  # fmt: skip
    requests = {name: _request(drafts.ready[name], seen.get(name), words) for name in names if name in drafts.ready}
    begun, plans, refused = _ask(session, requests, plan=plan)
    failures = storeless | drafts.failures | refused
    if affected and not session.json:
        from atoll.cli.affected import begun_of, planned_of

        begun, plans = begun_of(session, begun), planned_of(session, plans)
    if plan:
        return show(session, [*stores, *plans], failures)
    if not begun and len(failures) == 1:
        raise next(iter(failures.values()))
    for failed in failures.values():
        failed.fix = session.here(failed.fix)
        report(failed, ())
    ended = finish(session, begun, detach=detach, markdown=markdown, until=wait)
    return first_failure(failures.values()) or ended


def _request(draft: Draft, seen: ServiceView | None, words: Mapping[str, object]) -> DeployRequest:
    from atoll.model.state import Author
    from atoll.model.wire import DeployRequest

    return DeployRequest(
        spec=draft.spec,
        artifact=draft.artifact,
        author=draft.author or Author(),
        key=new_key(),
        expect=seen.generation if seen else None,  # somebody else's deploy during our build is a conflict, not a race
        tasks=draft.tasks,
        records=draft.records,
        **words,  # type: ignore[arg-type]
    )


def _ask(
    session: Session, requests: Mapping[str, DeployRequest], *, plan: bool
) -> tuple[list[OperationView], list[PlanView], dict[str, Failed]]:
    """Ask for each, side by side: one that is refused does not stop the others."""
    begun: list[OperationView] = []
    plans: list[PlanView] = []
    refused: dict[str, Failed] = {}
    for name, request in requests.items():
        try:
            if plan:
                plans += session.client.plan(request, name)
            else:
                begun.append(session.client.deploy(request))
        except Failed as exc:
            refused[name] = exc
    return begun, plans, refused
