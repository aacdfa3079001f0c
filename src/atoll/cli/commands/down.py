"""`atoll down`."""

from __future__ import annotations

import sys

import click

from atoll.cli.drafts import new_key
from atoll.cli.failed import Failed
from atoll.cli.session import Session, common_options, service_argument, takes_session


@click.command
@service_argument(nargs=-1)
@click.option("-y", "--yes", is_flag=True, help="Do not ask for the environment's name.")
@common_options
@takes_session
def command(session: Session, services: tuple[str, ...], yes: bool) -> None:
    """Stop services, or the whole environment.

    Without SERVICE: every service, the proxy, the daemon and its keeper. Releases, secrets and the ledger stay. Requests
    in flight finish first. Outside `local` it asks for the environment's name.

    Example:
      atoll down
      atoll down orders
      atoll down --env production --yes
    """
    if session.environment != "local" and not yes:
        _confirm(session)
    if not services:
        session.hooks.stop_all(session.places, session.say)
        session.say(f"the environment '{session.environment}' is down")
        return
    from atoll.model.wire import StopRequest
    from atoll.pipeline.provenance import author

    who = author(session.root)
    for service in services:
        view = session.client.stop(service, StopRequest(author=who, key=new_key()))
        session.say(f"{view.name} is being stopped" if view.ready else f"{view.name} is down")


def _confirm(session: Session) -> None:
    name = session.environment
    why = f"'{name}' is not local: this stops what others may be using"
    if not sys.stdin.isatty():
        raise Failed("nobody is there to confirm", why, "add --yes", kind="Refused", exit_code=4)
    if click.prompt(f"{why}; its name", err=True) != name:
        raise Failed("nothing was stopped", "that is not the environment's name", f"type '{name}', or add --yes")
