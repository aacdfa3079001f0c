"""`atoll secret set | list | rm`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from atoll.cli.failed import CONFLICT, Failed
from atoll.cli.output import counted, print_json, print_screen, table
from atoll.cli.plans import plan_option
from atoll.cli.session import Session, common_options, completing, json_option, takes_session

if TYPE_CHECKING:
    from atoll.model.wire_access import SecretView


@click.group
def command() -> None:
    """Set, list and remove secrets.

    A service names a secret in its file (`DB_URL = { secret = "orders-db" }`) and gets its newest version with its next
    release or restart. Values are kept encrypted and are never shown again.

    Example:
      atoll secret set orders-db < url.txt
      atoll secret list
    """


@command.command("set")
@click.argument("name", shell_complete=completing("secrets"))
@plan_option
@common_options
@json_option
@takes_session
def set_(session: Session, name: str, plan: bool) -> None:
    """Store a new version of a secret.

    The value comes from standard input (without its last line end), or is asked for; never from the command line, which
    others can see. --plan reads no value.

    Example:
      atoll secret set orders-db < url.txt
    """
    if plan:
        known = _known(session, name)
        _plan(session, name, f"version {(known.version if known else 0) + 1} would be stored", known)
        return
    from atoll.cli.drafts import new_key
    from atoll.model.wire_access import SecretRequest
    from atoll.pipeline.provenance import author

    if sys.stdin.isatty():
        value = click.prompt(f"value of {name}", hide_input=True, confirmation_prompt=True, err=True)
    else:
        value = sys.stdin.read()
        value = value.removesuffix("\n").removesuffix("\r")
    if not value:
        raise Failed(
            f"the value of '{name}' is empty",
            "nothing came on standard input",
            "pipe or type the value",
            id="secret-invalid",
        )
    view = session.client.set_secret(name, SecretRequest(value=value, author=author(session.root), key=new_key()))
    if session.json:
        print_json(view)
        return
    session.say(f"{view.name}: version {view.version} stored")
    for service in view.used_by:
        session.say(
            f"  {service} still runs with version {view.used_by[service]}; `atoll restart {service}` takes it over"
        )


@command.command("list")
@common_options
@json_option
@takes_session
def list_(session: Session) -> None:
    """List secrets: names and versions, never values.

    Example:
      atoll secret list
    """
    if session.json:
        print_json(session.client.raw("/v1/secrets"))
        return
    rows = []
    for view in session.client.secrets():
        users = (f"{service} (v{version})" for service, version in sorted(view.used_by.items()))
        rows.append((view.name, str(view.version), ", ".join(users) or "nobody"))
    print_screen(table(("secret", ">version", "used by"), rows))


@command.command("rm")
@click.argument("name", shell_complete=completing("secrets"))
@plan_option
@common_options
@json_option
@takes_session
def rm(session: Session, name: str, plan: bool) -> int:
    """Forget all versions of a secret. Refused while a service runs with it.

    Example:
      atoll secret rm orders-db --plan
      atoll secret rm orders-db
    """
    if plan:
        if (known := _known(session, name)) is None:
            raise Failed(
                f"there is no secret '{name}'",
                "it was never set",
                "`atoll secret list` shows those there are",
                id="unknown-secret",
            )
        refused = "; refused while a service runs with it" if known.used_by else ""
        _plan(session, name, f"all {counted(known.version, 'version')} would be removed{refused}", known)
        return CONFLICT if known.used_by else 0
    session.client.remove_secret(name)
    if session.json:
        from atoll.cli.outputs import RemovedOutput

        print_json(RemovedOutput(name=name))
    else:
        session.say(f"{name}: removed")
    return 0


def _known(session: Session, name: str) -> SecretView | None:
    return next((view for view in session.client.secrets() if view.name == name), None)


def _plan(session: Session, name: str, what: str, known: SecretView | None) -> None:
    """What would come of it for those that use it."""
    used_by = known.used_by if known else {}
    if session.json:
        from atoll.cli.outputs import SecretPlanOutput

        print_json(SecretPlanOutput(name=name, what=what, used_by=used_by))
        return
    click.echo(f"{name}: {what}")
    for service, version in sorted(used_by.items()):
        click.echo(f"  {service} runs with version {version}")
    session.say("this is a plan: nothing was changed")
