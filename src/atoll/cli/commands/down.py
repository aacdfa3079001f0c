"""`atoll down`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from atoll.cli.confirming import confirm
from atoll.cli.drafts import new_key
from atoll.cli.output import print_json
from atoll.cli.plans import plan_option, show
from atoll.cli.session import Session, common_options, json_option, service_argument, takes_session

if TYPE_CHECKING:
    from collections.abc import Iterable

    from atoll.model.wire import ServiceView

_LOOK_S = 0.1
_WITHIN_S = 60.0  # past the usual drain and grace; a service may ask for longer


@click.command
@service_argument(known=True, nargs=-1)
@click.option("-y", "--yes", is_flag=True, help="Do not ask for the environment's name.")
@plan_option
@common_options
@json_option
@takes_session
def command(session: Session, services: tuple[str, ...], yes: bool, plan: bool) -> int:
    """Stop services, or the whole environment.

    Without SERVICE: every service, the proxy, the daemon and its keeper. Releases, secrets and the ledger stay. Requests
    in flight finish first, jobs are stopped; it returns when all is down. Outside `local` it asks for the environment's name. On
    another machine the proxy, the daemon and its keeper go on. With --json: the API's ServiceView of each SERVICE.

    Example:
      atoll down
      atoll down orders --plan
      atoll down --env production --yes
    """
    if plan:
        return _plan(session, services)
    if session.environment != "local" and not yes:
        name = session.environment
        confirm(name, f"'{name}' is not local: this stops what others may be using", not_done="nothing was stopped")
    if not services:
        if not session.places.keeper_alive() and (failed := session.mistyped()) is not None:
            raise failed
        if session.places.machine:
            _stop_services(session)
            where = f"on {session.places.machine}; its daemon and gateway go on, as its service manager says"
            session.say(f"every service of '{session.environment}' is down {where}")
        else:
            session.hooks.stop_all(session.places, session.say)
            session.say(f"the environment '{session.environment}' is down")
        if session.json:
            print_json([])
        return 0
    waiting = _stopped(session, dict.fromkeys(services))
    if session.json:
        print_json([view for view in session.client.status().services if view.name in waiting])
    return 0


def _stop_services(session: Session) -> None:
    """All of them, stores last: whoever still answers requests may need them."""
    for stores in (False, True):
        views = session.client.status().services
        _stopped(session, [view.name for view in views if bool(view.store) == stores and view.state != "down"])


def _stopped(session: Session, services: Iterable[str]) -> list[str]:
    """Stop them side by side, and wait until they are down."""
    from atoll.model.wire import StopRequest
    from atoll.pipeline.provenance import author

    who = author(session.root)
    waiting = [session.client.stop(name, StopRequest(author=who, key=new_key())).name for name in services]
    _wait(session, list(waiting))
    return waiting


def _wait(session: Session, names: list[str]) -> None:
    """Until nothing of them runs; a very long drain goes on without us."""
    deadline = time.monotonic() + _WITHIN_S
    while names:
        views = {view.name: view for view in session.client.status().services}
        for name in [name for name in names if name not in views or not _runs(views[name])]:
            session.say(f"{name} is down")
            names.remove(name)
        if time.monotonic() > deadline:
            for name in names:
                session.warn(f"{name} is still being stopped{_why(views[name])}; `atoll status` shows when it is down")
            return
        time.sleep(_LOOK_S if names else 0.0)


def _runs(view: ServiceView) -> bool:
    return bool(view.replicas or view.running_jobs)


def _why(view: ServiceView) -> str:
    inflight = sum(replica.inflight or 0 for replica in view.replicas)
    return f": {inflight} requests in flight" if inflight else ""


def _plan(session: Session, services: tuple[str, ...]) -> int:
    from atoll.model.wire import StopRequest

    if not services and not session.places.keeper_alive():
        session.say(f"the environment '{session.environment}' is not running: nothing to do")
        return 0
    running = [view.name for view in session.client.status().services if view.state != "down"]
    plans = [view for name in services or running for view in session.client.plan(StopRequest(), name)]
    if not services:  # those that would lose a callee end, too
        from msgspec.structs import replace

        plans = [replace(view, warnings=()) for view in plans]
    code = show(session, plans)
    if not services and not session.places.machine:
        session.say(f"and the proxy, the daemon and the keeper of '{session.environment}' would end")
    return code
