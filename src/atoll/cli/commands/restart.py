"""`atoll restart`."""

from __future__ import annotations

import click

from atoll.cli.drafts import new_key
from atoll.cli.results import finish, receipt_options
from atoll.cli.session import Session, common_options, json_option, service_argument, takes_session


@click.command
@service_argument()
@receipt_options
@common_options
@json_option
@takes_session
def command(session: Session, service: str, detach: bool, markdown: bool) -> int:
    """Replace every replica by a fresh one of the same release.

    New replicas start before the old ones are drained, unless the service says `overlap = false`. New versions of
    secrets are taken over.

    Example:
      atoll restart orders
    """
    from atoll.model.wire import RestartRequest
    from atoll.pipeline.provenance import author

    request = RestartRequest(author=author(session.root), key=new_key())
    return finish(session, [session.client.restart(service, request)], detach=detach, markdown=markdown)
