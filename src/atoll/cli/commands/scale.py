"""`atoll scale`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

import click

from atoll.cli.drafts import new_key
from atoll.cli.failed import Failed
from atoll.cli.output import counted, print_json
from atoll.cli.plans import plan_option, show
from atoll.cli.session import Session, common_options, json_option, service_argument, takes_session

if TYPE_CHECKING:
    from atoll.model.catalogue.ids import ErrorId
    from atoll.model.wire import ServiceView

POLL_S = 0.25
WAIT_S = 120.0  # four times the default start budget


@click.command
@service_argument(known=True)
@click.argument("replicas", type=int, required=False)
@click.option("--reset", is_flag=True, help="Go back to what the release says.")
@click.option("--detach", is_flag=True, help="Do not wait until they are ready.")
@plan_option
@common_options
@json_option
@takes_session
def command(session: Session, service: str, replicas: int | None, reset: bool, detach: bool, plan: bool) -> int:
    """Set the number of replicas by hand, or give it back.

    The number survives deploys and rollbacks, until --reset.

    Example:
      atoll scale orders 3
      atoll scale orders --reset
    """
    from atoll.model.wire import ScaleRequest
    from atoll.pipeline.provenance import author

    if (replicas is None) != reset:
        raise click.UsageError("say either how many REPLICAS, or --reset")
    request = ScaleRequest(replicas=replicas, author=author(session.root), key=new_key())
    if plan:
        return show(session, session.client.plan(request, service))
    view = session.client.scale(service, request)
    if not detach:
        view = _settled(session, view)
    if session.json:
        print_json(view)
        return 0
    by_hand = "" if view.override is None else " (by hand; `--reset` gives it back)"
    click.echo(f"{view.name}: {view.ready} of {counted(view.wanted, 'replica')} ready{by_hand}")
    return 0


def _settled(session: Session, view: ServiceView) -> ServiceView:
    """Wait until as many are ready as are wanted, and the proxy knows. Raises Failed when that takes too long."""
    wanted, until, said = view.wanted, time.monotonic() + WAIT_S, -1
    while view.ready != wanted or view.unheard:
        if view.ready not in (said, wanted):
            session.say(f"{view.name}: {view.ready} of {wanted} ready")
            said = view.ready
        if time.monotonic() > until and view.ready == wanted:
            raise Failed(
                f"the proxy has not acknowledged {counted(view.unheard, 'replica')} of {view.name} after {WAIT_S:.0f} s",
                view.reason or "it was told which of them are ready and which go",
                "`atoll doctor` tells what is amiss with it; it gets the change as soon as it takes it",
                id="proxy-not-acknowledged",
                kind="NotAcknowledged",
                exit_code=1,
            )
        if time.monotonic() > until:
            raise Failed(
                f"{view.name} has {view.ready} of {wanted} replicas ready after {WAIT_S:.0f} s",
                view.reason or "the new replicas did not get ready",
                f"see `atoll why {view.name}`; the daemon goes on trying",
                id=cast("ErrorId", view.reason_id or "not-ready-in-time"),
                kind="NotReady",
                exit_code=1,
            )
        time.sleep(POLL_S)
        found = (service for service in session.client.status().services if service.name == view.name)
        view = next(found, view)
    return view
