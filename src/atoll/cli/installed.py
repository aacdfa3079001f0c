"""What `install` and `uninstall` have in common: whom they work on, and how their answer is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from atoll.cli.output import print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.cli.session import Session
    from atoll.model.install import InstallView

_Command = TypeVar("_Command", bound="Callable[..., Any]")


def workspace_argument(function: _Command) -> _Command:
    """WORKSPACE, a name, since there is no checkout."""
    return click.argument("name", metavar="WORKSPACE")(function)


def staged_option(function: _Command) -> _Command:
    """--root."""
    return click.option(
        "--root", metavar="DIR", default="/", type=click.Path(file_okay=False, exists=True, resolve_path=True),
        help="The root folder of an image that is being made: files are written there, nothing is run.",
    )(function)  # fmt: skip


def refuse_elsewhere(session: Session, verb: str) -> None:
    """Raise Failed where another machine was named: nobody becomes root there by way of a socket."""
    if session.host.startswith("ssh://"):
        from atoll.cli.failed import Failed

        raise Failed(
            f"`atoll {verb}` does not work on another machine",
            f"{session.host} was named, by --host or ATOLL_HOST",
            f"log in there, and as root: `atoll {verb}`",
            id="not-from-here",
            kind="Refused",
            exit_code=4,
        )


def show(session: Session, view: InstallView, verb: str) -> None:
    """Files and commands on stderr, as they are progress; what is left to do, always."""
    if session.json:
        print_json(view)
        return
    would = "would be " if view.plan else ""
    for path in view.written:
        session.say(f"{would}{'written' if verb == 'installed' else verb}: {path}")
    for argv in view.commands:
        session.say(f"{would}run: {argv}")
    if not view.plan:
        there = f"{' and running' if view.running else ''}; its API is {view.socket}" if verb == "installed" else ""
        session.say(f"{view.unit} is {verb}{there}")
    for note in view.notes:
        session.warn(note)
