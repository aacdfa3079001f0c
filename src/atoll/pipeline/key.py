"""The content key: SHA-256 over a canonical manifest of everything that may change what a task makes, or says.

Two builds with one key are the same build, so the manifest holds neither the environment (production or local) nor the
run command: changing them rebuilds nothing. It is kept beside the artifact, and `differences` says why a key changed.
Pure.
"""

import hashlib
from collections.abc import Mapping

import msgspec

from atoll.model.building import Step
from atoll.model.task import BUILD
from atoll.pipeline.inputs import Input

RECIPE = 2  # of the pipeline itself: raise it when the same manifest comes to make something else
KEY_LENGTH = 40  # 160 of the 256 bits, as many as git's: scripts in a venv carry the path in a line of bounded length


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into a task. `needs` has the keys of what it needs, `inherited` SHA-256s of values, never the values."""

    pipeline: int = RECIPE
    task: str = BUILD
    builder: str
    recipe: int
    steps: tuple[Step, ...]
    outputs: tuple[str, ...]
    env: Mapping[str, str]
    tools: Mapping[str, str]
    platform: str
    inputs: tuple[Input, ...]
    needs: Mapping[str, str] = {}
    inherited: Mapping[str, str] = {}


def key_of(manifest: Manifest) -> str:
    """The key: 40 hexadecimal digits. The same for equal manifests on every machine and in every process."""
    return hashlib.sha256(msgspec.json.encode(manifest, order="deterministic")).hexdigest()[:KEY_LENGTH]


def differences(old: Manifest, new: Manifest) -> tuple[str, ...]:
    """What changed between two builds, a short sentence each; files first. Empty when the keys are equal."""
    before = {item.path: item for item in old.inputs}
    after = {item.path: item for item in new.inputs}
    said = [f"{path} is new" for path in after if path not in before]
    said += [f"{path} is gone" for path in before if path not in after]
    said += [_file(before[path], item) for path, item in after.items() if path in before and before[path] != item]
    said += _mapping("tool", old.tools, new.tools)
    said += _mapping("build variable", old.env, new.env)
    said += [f"variable {name} changed" for name in sorted(_unequal(old.inherited, new.inherited))]
    said += [f"{task} changed" for task in sorted(_unequal(old.needs, new.needs))]
    if old.builder != new.builder:
        said.append(f"builder {old.builder} -> {new.builder}")
    if [step.command for step in old.steps] != [step.command for step in new.steps]:
        said.append("steps changed")
    if old.outputs != new.outputs:
        said.append("outputs changed")
    if old.platform != new.platform:
        said.append(f"platform {old.platform} -> {new.platform}")
    if not said and old != new:
        said.append("Atoll builds it in another way now")
    return tuple(said)


def _unequal(old: Mapping[str, str], new: Mapping[str, str]) -> set[str]:
    return {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def _file(old: Input, new: Input) -> str:
    if old.content == new.content:
        return f"{new.path} is a {new.kind} now"
    return f"{new.path} changed"


def _mapping(what: str, old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    said = []
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            said.append(f"{what} {name} is no longer used")
        elif name not in old:
            said.append(f"{what} {name} is new")
        elif old[name] != new[name]:
            said.append(f"{what} {name}: {old[name]} -> {new[name]}")
    return said
