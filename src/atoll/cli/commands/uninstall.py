"""`atoll uninstall`."""

from __future__ import annotations

import sys

import click

from atoll.cli.failed import Failed
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
        _confirm(session.environment, purge=purge)
    ask = Installing(workspace=name, environment=session.environment, root=root)
    show(session, session.hooks.uninstall(ask, purge=purge, plan=plan), "removed")


def _confirm(name: str, *, purge: bool) -> None:
    why = f"this ends every service of '{name}' here{' and removes all that it keeps' if purge else ''}"
    if not sys.stdin.isatty():
        raise Failed("nobody is there to confirm", why, "add --yes", kind="Refused", exit_code=4, id="not-confirmed")
    if click.prompt(f"{why}; its name", err=True) != name:
        raise Failed(
            "nothing was removed",
            "that is not the environment's name",
            f"type '{name}', or add --yes",
            id="not-confirmed",
        )
