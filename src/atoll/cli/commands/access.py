"""`atoll access`, `atoll access token | revoke`."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import click

from atoll.cli.failed import CONFLICT, USER, Failed
from atoll.cli.output import age, console, duration, print_json, print_screen, table
from atoll.cli.plans import plan_option
from atoll.cli.session import Session, common_options, json_option, takes_session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from atoll.model.access import Role
    from atoll.model.wire_access import TokenView

_UNITS = {"h": 3600.0, "d": 86_400.0}
_MAY: Mapping[Role, str] = {
    "reader": "see everything but the values of secrets, and plan",
    "deployer": "also move releases, replicas and jobs",
    "admin": "also secrets, exec, data, faults and tokens",
}


@click.group(invoke_without_command=True)
@common_options
@json_option
@takes_session
def command(session: Session) -> None:
    """Show who may do what here, and who you are to it.

    A role comes from a Unix group of the machine that runs the environment; root and the environment's own user are
    admins. Tokens read the API over TCP where `api` of atoll.toml says so.

    Example:
      atoll access
      atoll access token grafana
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    if session.json:
        print_json(session.client.raw("/v1/access"))
        return
    view = session.client.access()
    out = console()
    out.print(f"you are {view.name}: {view.role}", markup=False, highlight=False)
    held = [(str(role), ", ".join(names) or "none", _MAY[role]) for role, names in view.groups.items()]
    print_screen(table(("role", "groups", "may"), held))
    if view.tokens:
        rows = [
            (token.name, age(token.made_wall), token.by, _end(token), age(token.used_wall or 0.0) or "never")
            for token in view.tokens
        ]
        print_screen(table(("token", "made", "by", "ends", "used"), rows))
    if view.address:
        out.print(f"the API is read on {view.address}, with a token", markup=False, highlight=False)


@command.command("token")
@click.argument("name", metavar="NAME")
@click.option(
    "--expires", metavar="TIME", default="90d", show_default=True, help="It ends after so long: 12h, 30d; or `never`."
)
@plan_option
@common_options
@json_option
@takes_session
def token(session: Session, name: str, expires: str, plan: bool) -> int:
    """Make a token that reads the API over TCP, and print it.

    It is printed here and never again; the environment keeps only its digest. `atoll doctor` tells two weeks before it
    ends; a token that has ended is replaced by a new one of its name. Takes an admin.

    Example:
      atoll access token grafana > grafana.token
      atoll access token audit --expires 12h
    """
    lasts_s = _lasts(expires)
    view = session.client.access()
    if plan:
        there = any(one.name == name and not _over(one) for one in view.tokens)
        _plan(session, name, "refused: there is one of that name" if there else "a token would be made")
        return CONFLICT if there else 0
    from atoll.model.wire_access import TokenRequest
    from atoll.pipeline.provenance import author

    made = session.client.make_token(name, TokenRequest(author=author(session.root), expires_s=lasts_s))
    if session.json:
        print_json(made)
    else:
        click.echo(made.token)
    if made.ends_wall is not None:
        session.say(f"it ends on {time.strftime('%Y-%m-%d at %H:%M', time.localtime(made.ends_wall))}")
    if not view.address:
        session.warn('nothing listens for it: set `api = "127.0.0.1:9180"` in atoll.toml, and run `atoll up`')
    return 0


@command.command("revoke")
@click.argument("name", metavar="NAME")
@plan_option
@common_options
@json_option
@takes_session
def revoke(session: Session, name: str, plan: bool) -> int:
    """Let a token open nothing any more, a stream that it opened among it. Takes an admin.

    Example:
      atoll access revoke grafana
    """
    if plan:
        known = any(one.name == name for one in session.client.access().tokens)
        _plan(session, name, "the token would open nothing any more" if known else "refused: there is no such token")
        return 0 if known else USER
    session.client.remove_token(name)
    if session.json:
        from atoll.cli.outputs import RemovedOutput

        print_json(RemovedOutput(name=name))
    else:
        session.say(f"{name}: revoked")
    return 0


def _lasts(text: str) -> float | None:
    if text == "never":
        return None
    found = re.fullmatch(r"(\d{1,6})([hd])", text)
    if found is None:
        raise Failed(f"--expires '{text}' is no time", "hours, days or `never` are expected", "such as 30d", id="usage")
    return int(found[1]) * _UNITS[found[2]]


def _over(token: TokenView) -> bool:
    return token.ends_wall is not None and token.ends_wall <= time.time()


def _end(token: TokenView) -> str:
    if token.ends_wall is None:
        return "never"
    return "ended" if _over(token) else f"in {duration(token.ends_wall - time.time(), 0)}"


def _plan(session: Session, name: str, what: str) -> None:
    if session.json:
        from atoll.cli.outputs import TokenPlanOutput

        print_json(TokenPlanOutput(name=name, what=what))
        return
    click.echo(f"{name}: {what}")
    session.say("this is a plan: nothing was changed")
