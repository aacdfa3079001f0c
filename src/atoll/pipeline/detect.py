"""Which builder makes a service, and so what will be run: the plan of one build.

Called by `build`. The only place that knows the builders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from atoll.builders.command import CommandBuilder
from atoll.builders.workspaces import member_of
from atoll.model.building import Step, Tool, Toolchain
from atoll.model.errors import UserError
from atoll.model.spec import ServiceSpec
from atoll.model.suggest import did_you_mean

if TYPE_CHECKING:
    from atoll.ports import Builder

T = TypeVar("T")

COMMAND = CommandBuilder()
# Name -> its package in `atoll.builders` and its class there, in the order in which they are tried.
_CLASSES = {
    "python": ("python", "PythonBuilder"),
    "node": ("node", "NodeBuilder"),
    "go": ("go", "GoBuilder"),
    "rust": ("rust", "RustBuilder"),
    "maven": ("java", "MavenBuilder"),
    "gradle": ("java", "GradleBuilder"),
    "java": ("java", "JavaBuilder"),
}


class _Made(Mapping[str, T]):
    """Things by their names, each made when it is first asked for: a language that nobody names is not imported."""

    def __init__(self, names: Sequence[str], make: Callable[[str], T]) -> None:
        self._make = make
        self._made: dict[str, T | None] = dict.fromkeys(names)

    def __getitem__(self, name: str) -> T:
        if (made := self._made[name]) is None:
            made = self._made[name] = self._make(name)
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


def _builder(name: str) -> Builder:
    if name == COMMAND.name:
        return COMMAND
    package, of = _CLASSES[name]
    made: Builder = getattr(import_module(f"atoll.builders.{package}"), of)()
    return made


def _toolchain(language: str) -> Toolchain:
    made = BUILDERS[language].toolchain
    assert made is not None
    return made


BUILDERS: Mapping[str, Builder] = _Made((*_CLASSES, COMMAND.name), _builder)
TOOLCHAINS: Mapping[str, Toolchain] = _Made(tuple(dict.fromkeys(at for at, _ in _CLASSES.values())), _toolchain)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a build will run with what."""

    builder: Builder
    steps: tuple[Step, ...]
    tools: tuple[Tool, ...]


def plan(spec: ServiceSpec, files: frozenset[str], folder: Path) -> Plan:
    """How to build the inputs `files` that lie in `folder`. Raises UserError when that cannot be told."""
    builder = choose(spec, files)
    if not spec.build.steps:
        steps, tools = builder.steps(spec, files, folder), builder.tools(spec, files, folder)
        return Plan(builder=builder, steps=tuple(steps), tools=tuple(tools))
    # Steps replace what the language's builder would do. Its tools still count in the key (they are what the steps
    # most likely run), but none of them has to be there.
    needed: dict[str, Tool] = {tool.name: tool for tool in COMMAND.tools(spec, files, folder)}
    for tool in _language_tools(builder, spec, files, folder):
        optional = needed[tool.name].optional if tool.name in needed else True
        needed[tool.name] = msgspec.structs.replace(tool, optional=optional)
    return Plan(builder=builder, steps=tuple(COMMAND.steps(spec, files, folder)), tools=tuple(needed.values()))


def choose(spec: ServiceSpec, files: frozenset[str]) -> Builder:
    """The builder that service.toml names, or the one that fits. Raises UserError for an unknown name, or for two.

    In a context above the service its own folder decides where it has a project file: a package.json at the top may be
    there for tools only, and that of another language may lack.
    """
    if spec.build.builder is not None:
        if (named := BUILDERS.get(spec.build.builder)) is None:
            known = f"known: {', '.join(BUILDERS)}"
            raise UserError(
                f"there is no builder {spec.build.builder!r}",
                known,
                did_you_mean(spec.build.builder, BUILDERS),
                id="builder-unclear",
            )
        return named
    member = member_of(spec, files, *(mark for each in BUILDERS.values() for mark in each.marks))
    own = [each for each in BUILDERS.values() if any(f"{member}/{mark}" in files for mark in each.marks)]
    if len(own) == 1:
        return own[0]
    fitting = [each for each in BUILDERS.values() if each is not COMMAND and each.detect(files)]
    if len(fitting) > 1 and not spec.build.steps:
        names = " and ".join(each.name for each in fitting)
        marks = " and ".join(f"{_mark(each, files)} ({each.name})" for each in fitting)
        raise UserError(
            f"{spec.name} looks like {names} at once",
            f"its folder holds {marks}",
            f'name one in service.toml: [build] builder = "{fitting[0].name}"',
            id="builder-unclear",
        )
    return fitting[0] if len(fitting) == 1 else COMMAND


def _mark(builder: Builder, files: frozenset[str]) -> str:
    return next(iter(sorted(files & builder.marks)), f"{builder.name} sources")


def _language_tools(builder: Builder, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Sequence[Tool]:
    if builder is COMMAND:
        return ()
    try:
        return builder.tools(spec, files, folder)
    except UserError:
        return ()  # it could not build this by itself: that is why there are steps
