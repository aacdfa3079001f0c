"""`atoll deploy`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from atoll.cli.drafts import build, chosen, first_failure, new_key
from atoll.cli.failed import Failed
from atoll.cli.main import report
from atoll.cli.plans import plan_option, show
from atoll.cli.results import finish, receipt_options
from atoll.cli.session import Session, common_options, json_option, service_argument, takes_session

if TYPE_CHECKING:
    from atoll.model.wire import OperationView, PlanView


@click.command
@service_argument(nargs=-1, required=True)
@click.option("--force", is_flag=True, help="Make a release also when nothing changed.")
@click.option("--note", metavar="TEXT", default="", help="Kept with the release.")
@click.option(
    "--override-freeze", metavar="WHY", default="", help="Go ahead although deploys are frozen; kept in the ledger."
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
    force: bool,
    note: str,
    override_freeze: str,
    wait: str,
    detach: bool,
    markdown: bool,
    plan: bool,
) -> int:
    """Build services and move all traffic to the new releases.

    Returns when each is live (all traffic is on the new release), was undone (3), or waits for a person (9; on a terminal
    it goes on waiting). Ctrl-C detaches: what was begun goes on. With --json: a list of the API's OperationView, each with its receipt. --plan builds (else nobody knows what would be
    released), and lists the API's PlanView.

    Example:
      atoll deploy orders
      atoll deploy orders payments --markdown
      atoll deploy orders --plan
    """
    from atoll.model.state import Author
    from atoll.model.wire import DeployRequest

    workspace = session.load()
    names = chosen(workspace, services)
    seen = {service.name: service.generation for service in session.client.status().services}
    drafts = build(session, workspace, names)
    failures = dict(drafts.failures)
    begun: list[OperationView] = []
    plans: list[PlanView] = []
    for name, draft in drafts.ready.items():
        request = DeployRequest(
            spec=draft.spec,
            artifact=draft.artifact,
            author=draft.author or Author(),
            key=new_key(),
            expect=seen.get(name),  # somebody else's deploy during our build is a conflict, not a race
            note=note,
            force=force,
            override_freeze=override_freeze,
        )
        try:
            if plan:
                plans += session.client.plan(request, name)
            else:
                begun.append(session.client.deploy(request))
        except Failed as exc:  # one that is refused does not stop the others
            failures[name] = exc
    if plan:
        return show(session, plans, failures)
    if not begun and len(failures) == 1:
        raise next(iter(failures.values()))
    for failed in failures.values():
        failed.fix = session.here(failed.fix)
        report(failed, ())
    ended = finish(session, begun, detach=detach, markdown=markdown, until=wait)
    return first_failure(failures.values()) or ended
