"""`atoll restart`."""

from __future__ import annotations

import click

from atoll.cli.drafts import new_key
from atoll.cli.plans import plan_option, show
from atoll.cli.results import finish, receipt_options
from atoll.cli.session import Session, common_options, json_option, service_argument, takes_session


@click.command
@service_argument(known=True)
@receipt_options
@plan_option
@common_options
@json_option
@takes_session
def command(session: Session, service: str, detach: bool, markdown: bool, plan: bool) -> int:
    """Replace every replica by a fresh one of the same release.

    New replicas start before the old ones are drained, unless the service says `overlap = false`. New versions of
    secrets are taken over.

    Example:
      atoll restart orders
      atoll restart orders --plan
    """
    from atoll.model.wire import RestartRequest
    from atoll.pipeline.provenance import author

    request = RestartRequest(author=author(session.root), key=new_key())
    if plan:
        return show(session, session.client.plan(request, service))
    return finish(session, [session.client.restart(service, request)], detach=detach, markdown=markdown)
