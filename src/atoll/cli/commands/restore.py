"""`atoll restore`."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from atoll.cli.backups import served_option
from atoll.cli.confirming import confirm
from atoll.cli.failed import Failed
from atoll.cli.output import age, clock, counted, print_json, size
from atoll.cli.plans import plan_option
from atoll.cli.session import Session, common_options, json_option, takes_session
from atoll.workspace.places import unit_name

if TYPE_CHECKING:
    from atoll.model.wire_backup import RestoreView


@click.command
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--key", metavar="FILE", type=click.Path(path_type=Path), help="The key file of `atoll backup --key`.")
@click.option("--passphrase", metavar="FILE", type=click.Path(path_type=Path), help="Where its passphrase stands.")
@click.option("--check", is_flag=True, help="Only try it: read all of it, open what is sealed, change nothing.")
@click.option("--replace", is_flag=True, help="Also over an environment that is there; its files are moved aside.")
@click.option("--without-secrets", is_flag=True, help="Leave the values of secrets out, where the key is lost.")
@click.option("--other", is_flag=True, help="Also a backup of another environment.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for the environment's name, with --replace.")
@plan_option
@served_option
@common_options
@json_option
@takes_session
def command(
    session: Session,
    file: Path,
    key: Path | None,
    passphrase: Path | None,
    check: bool,
    replace: bool,
    without_secrets: bool,
    other: bool,
    yes: bool,
    plan: bool,
) -> None:
    """Make an environment of a backup, or try whether that works.

    The environment must not be there yet; with --replace it is one that is down, and its files are moved aside. All of the
    backup is checked before the first file is put in its place. Then `atoll up` starts what ran when it was made. The
    passphrase of the key is asked for, or is the first line of standard input; where the environment still has its key,
    no key file is needed.

    --check needs no workspace: it reads the file to its end, opens its databases, and with --key each secret. Try a backup
    now and then: one that was never tried is a hope.

    Example:
      atoll restore shop.production.2026-11-27T02-00-00Z.backup --key shop.key --check
      atoll restore shop.production.2026-11-27T02-00-00Z.backup --key shop.key --env production
      atoll up --env production
    """
    opened = _opened(key, passphrase) if key is not None else None
    if check or plan:
        from atoll.backup.opening import checked

        view = checked(file, opened)
    else:
        if session.places.machine:
            raise Failed(
                f"'{session.environment}' is on {session.places.machine}, and is restored there",
                "an environment is made of a backup where it will run, while nothing of it runs",
                "copy the file and its key there; then as root, while its unit is stopped: "
                f"`atoll restore --served WORKSPACE --env {session.environment} --replace --key KEY FILE`",
                kind="Refused",
                exit_code=4,
                id="not-possible-here",
            )
        if replace and session.environment != "local" and not yes:
            name = session.environment
            confirm(name, f"'{name}' is not local: what is there would be replaced", not_done="nothing was changed")
        from atoll.backup.restoring import Wish

        wish = Wish(without_secrets=without_secrets, replace=replace, actor=getpass.getuser())
        view = session.hooks.restore(session.places, file, opened, wish, session.say, other=other)
    if session.json:
        print_json(view)
        return
    _told(session, view)
    if plan:
        session.say("this is a plan: nothing was changed")


def _told(session: Session, view: RestoreView) -> None:
    click.echo(f"{view.environment} of {view.workspace}, made {clock(view.made_wall)} ({age(view.made_wall)} ago)")
    click.echo(
        f"{counted(view.releases, 'release')} of {', '.join(view.services) or 'no service'}, events up to {view.events}"
    )
    click.echo(f"{counted(view.artifacts, 'artifact')}, {size(view.artifacts_bytes)}")
    if view.signed:
        click.echo(f"{counted(view.secrets, 'version')} of secrets, each opened; nothing was changed since it was made")
    if view.dumps:
        lie = f"; they lie in {view.dumps_in}" if view.dumps_in else ""
        click.echo(f"{counted(len(view.dumps), 'file')} of services: {', '.join(view.dumps)}{lie}")
    for sentence in view.left:
        session.warn(f"not in it: {sentence}")
    for sentence in view.lacking:
        session.warn(f"does not run on this machine: {sentence}")
    for name in view.forgotten:
        session.warn(f"left out: the value of {name}; `atoll secret set {name}`, then restart what uses it")
    if not view.signed:
        why = "without its key (--key) nobody knows whether somebody changed it, and no secret was opened"
        session.warn(f"note: {why}")
    if not view.restored:
        session.say("it is sound")
        return
    if view.aside:
        session.say(f"what was there before lies in {view.aside}")
    start = "`atoll up` starts it"
    if session.served:
        start = f"the machine starts it: `systemctl start {unit_name(session.served, session.environment)}`"
    session.say(session.here(f"it is restored; {start}"))


def _opened(file: Path, told: Path | None) -> bytes:
    from atoll.backup.keys import read
    from atoll.cli.backups import passphrase

    try:
        data = file.read_bytes()
    except OSError as exc:
        raise Failed(f"{file} cannot be read", exc.strerror or "", "name the key file", id="file-unreadable") from exc
    return read(data, passphrase(told, new=False))
