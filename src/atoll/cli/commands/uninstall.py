"""`atoll uninstall`."""

from __future__ import annotations

import click

from atoll.cli.confirming import confirm
from atoll.cli.installed import refuse_elsewhere, show, staged_option, workspace_argument
from atoll.cli.plans import plan_option
from atoll.cli.session import Session, common_options, json_option, takes_session


@click.command
@workspace_argument
@click.option(
    "--purge", is_flag=True, help="Also remove releases, secrets, data, logs and artifacts. There is no way back."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask for the environment's name.")
@staged_option
@plan_option
@common_options
@json_option
@takes_session
def command(session: Session, name: str, purge: bool, yes: bool, root: str, plan: bool) -> None:
    """Have this machine serve an environment no more.

    Services are drained and ended, the unit is removed. What the environment keeps stays, and a later `atoll install` goes on
    with it; --purge removes it. The group `atoll` and the users' roles elsewhere are left alone. Asks for the environment's name.

    Example:
      atoll uninstall shop --env production
      atoll uninstall shop --env production --purge --plan
    """
    from atoll.model.install import Installing

    refuse_elsewhere(session, "uninstall")
    if not plan and not yes:
        kept = " and removes all that it keeps" if purge else ""
        why = f"this ends every service of '{session.environment}' here{kept}"
        confirm(session.environment, why, not_done="nothing was removed")
    ask = Installing(workspace=name, environment=session.environment, root=root)
    show(session, session.hooks.uninstall(ask, purge=purge, plan=plan), "removed")
