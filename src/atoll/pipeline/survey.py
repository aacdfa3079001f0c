"""Toolchains of a machine against what a workspace's services ask for, one language each.

Called for `atoll doctor` and `atoll toolchain list`. Nothing is built and nothing fetched.
"""

import os
from collections.abc import Iterator, Set
from pathlib import Path

from atoll.model.building import Toolchain
from atoll.model.environment import WorkspaceSpec
from atoll.model.errors import UserError
from atoll.model.spec import ServiceSpec
from atoll.model.wire_doctor import ToolchainHome, ToolchainView, ToolchainWish
from atoll.pipeline.detect import TOOLCHAINS
from atoll.pipeline.environment import build_environment
from atoll.pipeline.provide import Shelf
from atoll.pipeline.recipe import builder_of
from atoll.pipeline.toolchains import ANY, Missing, Toolchains, asked_language, how_to_get
from atoll.pipeline.wishes import wishes


def survey(shelf: Shelf | None, workspace: WorkspaceSpec | None) -> list[ToolchainView]:
    """Every language that has toolchains. Blocking: programs are asked for their versions."""
    seen = Toolchains(build_environment(os.environ, {}, ""), shelf.homes if shelf else lambda _: ())
    fetched = {each.home for each in shelf.all()} if shelf else set()
    asked: dict[str, list[ToolchainWish]] = {name: [] for name in sorted(TOOLCHAINS)}
    for spec, toolchain in _speaking(workspace) if workspace else ():
        assert workspace is not None
        asked[toolchain.name].append(_asked(seen, toolchain, Path(workspace.root), spec))
    return [_language(seen, TOOLCHAINS[name], fetched, wanted) for name, wanted in asked.items()]


def _speaking(workspace: WorkspaceSpec) -> Iterator[tuple[ServiceSpec, Toolchain]]:
    root = Path(workspace.root)
    for spec in workspace.services.values():
        try:
            toolchain = asked_language(spec, TOOLCHAINS) or builder_of(spec, root).toolchain
        except (UserError, OSError):
            continue  # its build will say so
        if toolchain is not None:
            yield spec, toolchain


def _language(seen: Toolchains, toolchain: Toolchain, fetched: Set[str], asked: list[ToolchainWish]) -> ToolchainView:
    lacking = next(iter(sorted((wish for wish in asked if not wish.met), key=lambda wish: wish.met is None)), None)
    return ToolchainView(
        language=toolchain.name,
        there=tuple(
            ToolchainHome(language=toolchain.name, version=each.version, home=each.home, fetched=each.home in fetched)
            for each in seen.all(toolchain)
        ),
        asked=tuple(asked),
        fix=how_to_get(toolchain, lacking.version.partition(" ")[0] if lacking else ""),
    )


def _asked(seen: Toolchains, toolchain: Toolchain, root: Path, spec: ServiceSpec) -> ToolchainWish:
    """What a build of the service would take, against the first that it wishes, or the first that is granted."""
    try:
        taken = seen.taken(toolchain, seen.choose(spec, toolchain, root))
    except Missing as missing:
        will_be = spec.build.provide and toolchain.wheel is not None
        wish, met = missing.wish, None if will_be else False
        return ToolchainWish(service=spec.name, version=wish.text, by=wish.by, met=met)
    asked = list(wishes(spec, toolchain, root)) or [ANY]
    granted = [wish for wish in asked if taken and wish.fits(taken.version)]
    wish = (granted or asked)[0]
    met = True if granted or seen.switched(toolchain) else None if wish.by else False
    return ToolchainWish(service=spec.name, version=wish.text, by=wish.by, met=met, home=taken.home if taken else "")
