"""`atoll install`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from atoll.cli.failed import Failed
from atoll.cli.installed import refuse_elsewhere, show, staged_option, workspace_argument
from atoll.cli.plans import plan_option
from atoll.cli.session import Session, common_options, json_option, takes_session

if TYPE_CHECKING:
    from atoll.model.access import Access


@click.command
@workspace_argument
@click.option("--readers", metavar="GROUP", multiple=True, help="A group of this machine whose members may look.")
@click.option("--deployers", metavar="GROUP", multiple=True, help="One whose members may deploy, too.")
@click.option("--admins", metavar="GROUP", multiple=True, help="One whose members may do everything. Default: atoll.")
@click.option("--no-start", is_flag=True, help="Have it start at boot only.")
@staged_option
@plan_option
@common_options
@json_option
@takes_session
def command(
    session: Session,
    name: str,
    readers: tuple[str, ...],
    deployers: tuple[str, ...],
    admins: tuple[str, ...],
    no_start: bool,
    root: str,
    plan: bool,
) -> None:
    """Have this machine serve an environment from boot on, under systemd.

    To be run as root on the machine itself; no checkout is needed there. WORKSPACE is the `name` of its atoll.toml. Writes a unit
    whose main process is the keeper, the group `atoll`, and who has which role; starts it; says what is left to do. Services get
    there by `atoll deploy` from elsewhere (`host` of the environment). A second call writes only what has changed; roles
    stay as they are unless one is given.

    Example:
      atoll install shop --env production --deployers ci
      atoll install shop --env production --plan
    """
    from atoll.model.install import Installing

    refuse_elsewhere(session, "install")
    if session.environment == "local":
        raise Failed(
            "which environment?",
            "`local` is the one of your own machine, which needs no installation",
            "name it, such as --env production",
            id="usage",
        )
    ask = Installing(
        workspace=name,
        environment=session.environment,
        root=root,
        start=not no_start,
        access=_access(readers, deployers, admins),
    )
    show(session, session.hooks.install(ask, plan=plan), "installed")


def _access(readers: tuple[str, ...], deployers: tuple[str, ...], admins: tuple[str, ...]) -> Access | None:
    """What was given; None, which changes nothing, when nothing was."""
    from atoll.model.access import Access

    if not readers and not deployers and not admins:
        return None
    return Access(readers=readers, deployers=deployers, admins=admins or ("atoll",))
