"""Services that say themselves how they are built (`build.steps`), or that need no build at all: a plain copy."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from atoll.model.building import ImageParts, Scope, Step, Tool, Toolchain
from atoll.model.spec import Command, ServiceSpec

_SEPARATORS = re.compile(r"&&|\|\||[;|&\n]")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


class CommandBuilder:
    """Runs `build.steps` as they stand; without any, the artifact is the inputs."""

    name = "command"
    recipe = 1
    marks = frozenset[str]()
    relocatable = True  # without steps it is a copy; what steps of one's own make is never taken for relocatable
    toolchain: Toolchain | None = None

    def detect(self, files: frozenset[str]) -> bool:
        """Always: it is what is left when nothing else fits."""
        return True

    def tools(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Sequence[Tool]:
        """The programs that the steps begin with. Those of a shell line are guessed, so they are optional."""
        tools: dict[str, Tool] = {}
        for command in spec.build.steps:
            for name in programs(command):
                tools.setdefault(
                    name,
                    Tool(
                        name=name,
                        fix=f"install {name}, or correct [build] steps in service.toml",
                        optional=command.shell is not None,
                    ),
                )
        return tuple(tools.values())

    def scope(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Scope | None:
        """Nothing is known of it: all of the context."""
        return None

    def steps(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Sequence[Step]:
        """`build.steps`, one Step each."""
        return tuple(Step(command=command, label=command.text) for command in spec.build.steps)

    def command_env(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Mapping[str, str]:
        """Nothing."""
        return {}

    def image(self, spec: ServiceSpec, files: frozenset[str], folder: Path, version: str) -> ImageParts | None:
        """Nobody knows what it needs: `[image] base` must say."""
        return None


def programs(command: Command) -> Iterator[str]:
    """The names of programs that a command looks up on the PATH, as far as can be told without running it.

    Programs given by a path are inputs of the build, or made by it, and left out.
    """
    if command.shell is None:
        lines = [list(command.argv)]
    else:
        lines = [_words(part) for part in _SEPARATORS.split(command.shell)]
    for words in lines:
        for word in words:
            if _ASSIGNMENT.match(word):
                continue
            if "/" not in word:
                yield word
            break


def _words(part: str) -> list[str]:
    try:
        return shlex.split(part, comments=True)
    except ValueError:  # a quote was cut in two at a separator within it
        return part.split()
