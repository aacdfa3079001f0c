"""`atoll secret set | list | rm`."""

from __future__ import annotations

import sys

import click

from atoll.cli.failed import Failed
from atoll.cli.output import print_json, print_screen, table
from atoll.cli.session import Session, common_options, completing, json_option, takes_session


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
@common_options
@json_option
@takes_session
def set_(session: Session, name: str) -> None:
    """Store a new version of a secret.

    The value comes from standard input (without its last line end), or is asked for; never from the command line, which
    others can see.

    Example:
      atoll secret set orders-db < url.txt
    """
    from atoll.cli.drafts import new_key
    from atoll.model.wire import SecretRequest
    from atoll.pipeline.provenance import author

    if sys.stdin.isatty():
        value = click.prompt(f"value of {name}", hide_input=True, confirmation_prompt=True, err=True)
    else:
        value = sys.stdin.read()
        value = value.removesuffix("\n").removesuffix("\r")
    if not value:
        raise Failed(f"the value of '{name}' is empty", "nothing came on standard input", "pipe or type the value")
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
@common_options
@takes_session
def rm(session: Session, name: str) -> None:
    """Forget all versions of a secret.

    Example:
      atoll secret rm orders-db
    """
    session.client.remove_secret(name)
    session.say(f"{name}: removed")
