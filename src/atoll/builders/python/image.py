"""What the image of a Python service is made of: one base for both stages, since the virtual environment names its interpreter."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from atoll.builders.workspaces import table
from atoll.model.building import ImageParts, Step
from atoll.model.command import Command

USUAL = "3.12"
_UV = Step(
    command=Command(shell="command -v uv > /dev/null || pip install --no-cache-dir --root-user-action=ignore uv"),  # noqa: S604 (a value, not a call)
    label="get uv",
)
_LEAST = re.compile(r"(>=|~=|==)\s*(\d+\.\d+)")
_BELOW = re.compile(r"<\s*(\d+\.\d+)")
_LOCAL = re.compile(
    r'source = \{ (?:directory|path) = |source = \{ editable = "\.\./'
)  # of uv.lock: beside the sources
_ELSEWHERE = re.compile(r"^\s*(?:-|\.|/|file:)|\s@\s+(?:file:|\.)", re.MULTILINE)  # of requirements.txt: another file
_INDEX = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "PIP_INDEX_URL")


def parts(
    version: str,
    project: Mapping[str, Any],
    venvs: Sequence[str],
    manifests: tuple[str, ...],
    early: Sequence[Step],
    done: int,
) -> ImageParts:
    """By the version that a file pins, else the usual one where the project takes it, else the least that it takes.

    Args:
        version: see `Builder.image`.
        project: the content of pyproject.toml.
        venvs: where the virtual environment may lie; none when nothing is installed.
        manifests: see `ImageParts`.
        early: the same.
        done: the same.
    """
    base = f"python:{version or _fitting(str(table(project.get('project')).get('requires-python', '')))}-slim"
    return ImageParts(
        base=base,
        run_base=base,
        setup=(_UV,) if venvs else (),
        manifests=manifests,
        early=tuple(early),
        done=done,
        path=tuple(venvs),
        mirrors=_INDEX if venvs else (),
    )


def _fitting(requires: str) -> str:
    asked, below = _LEAST.search(requires), _BELOW.search(requires)
    if asked is None:
        return USUAL
    too_new = below is not None and _number(below[1]) <= _number(USUAL)
    return asked[2] if too_new or asked[1] == "==" or _number(asked[2]) > _number(USUAL) else USUAL


def _number(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def beside_sources(lock: str) -> bool:
    """Whether a uv.lock names packages that lie in folders which are no members: they are not there before the sources."""
    return bool(_LOCAL.search(lock))


def only_of_indexes(requirements: str) -> bool:
    """Whether a requirements.txt can be followed without any other file."""
    return not _ELSEWHERE.search(requirements)
