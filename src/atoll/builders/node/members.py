"""What a workspace of npm, pnpm or yarn says of its members: which folders they are, and in which order they are built."""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from atoll.builders.workspaces import Context, Unclear, matching, table, words

HOOKS = ("preinstall", "install", "postinstall", "prepublish", "prepare")  # npm runs them at an install
BY_NAME = ("dependencies", "optionalDependencies", "devDependencies", "peerDependencies")


def patterns(top: Mapping[str, Any]) -> list[str] | None:
    """The `workspaces` of the top's package.json, in either of its forms; None where it has none."""
    value = top.get("workspaces")
    return words(value.get("packages") if isinstance(value, dict) else value) if value else None


def globs_of(context: Context) -> list[str] | None:
    """The globs of the workspace at the top; None where there is none. Raises Unclear."""
    if "pnpm-workspace.yaml" in context.files:
        return words(loaded("pnpm-workspace.yaml", context.text("pnpm-workspace.yaml")).get("packages"))
    return patterns(context.json("package.json"))


@lru_cache(maxsize=8)
def loaded(path: str, text: str) -> Mapping[str, Any]:
    """A YAML file, each scalar as text. Raises Unclear."""
    import yaml

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        content = yaml.load(text, Loader=loader)  # noqa: S506 (texts only: nothing is constructed)
    except yaml.YAMLError as exc:
        raise Unclear(f"{path} cannot be read: {str(exc)[:200]}") from exc
    if not isinstance(content, dict):
        raise Unclear(f"{path} is no table of fields")
    return content


def members(context: Context, globs: Sequence[str]) -> list[str]:
    """The folders with a package.json that the globs mean, sorted."""
    meant = matching(globs)
    found = (posixpath.dirname(path) for path in context.sorted if path.endswith("/package.json"))
    return sorted(folder for folder in found if "node_modules" not in folder.split("/") and meant(folder))


def built_before(context: Context, start: str, folders: Sequence[str]) -> list[str]:
    """The members that one needs by their names, and itself at the end: each after those that it needs."""
    manifests = {folder: context.json(f"{folder}/package.json") for folder in {*folders, start}}
    named = {str(manifest.get("name")): folder for folder, manifest in sorted(manifests.items())}
    order: list[str] = []
    seen: set[str] = set()

    def visit(folder: str) -> Iterator[str]:
        if folder in seen:
            return  # met before, or a circle: npm and pnpm build those in any order
        seen.add(folder)
        needs = {name for kind in BY_NAME for name in table(manifests[folder].get(kind)) if name in named}
        for name in sorted(needs):
            yield from visit(named[name])
        yield folder

    order += visit(start)
    return order


def written(content: Mapping[str, Any]) -> str:
    """JSON, laid out as npm does."""
    import json

    return json.dumps(content, indent=2) + "\n"
