"""Services that need members of a workspace above them, and whose context does not hold these.

Called for `atoll check`. Only names and manifests are read, and the tree above only where a workspace's file lies in it.
"""

import os
import posixpath
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import msgspec

from atoll.model.environment import WorkspaceSpec
from atoll.model.errors import Problem, UserError
from atoll.model.spec import ServiceSpec, service_file

_TOPS = ("go.work", "go.mod", "pnpm-workspace.yaml", "package.json", "pyproject.toml", "Cargo.toml", "pom.xml")
_NAMED = 2  # members in a message; the rest is counted


def without_members(workspace: WorkspaceSpec) -> Iterator[Problem]:
    """A warning for each service that is built without what it needs."""
    root = Path(workspace.root)
    near = {spec.name: list(_above(spec, root)) for spec in workspace.services.values() if _narrow(spec)}
    if not any(near.values()):
        return
    from atoll.pipeline.inputs import select
    from atoll.pipeline.scope import scope_of  # it knows all builders: not for workspaces without any of these files

    @cache
    def files(top: str) -> frozenset[str]:
        try:
            found = select(Path(os.path.normpath(root / top)), ("**",), root=root, skip=frozenset({"atoll.toml"}))
        except UserError:
            return frozenset()  # its build would say so
        return frozenset(entry.path for entry in found)

    for name, contexts in near.items():
        spec = workspace.services[name]
        for context in contexts:
            above = msgspec.structs.replace(spec, build=msgspec.structs.replace(spec.build, context=context))
            top = posixpath.normpath(posixpath.join(spec.folder, context))
            scope = scope_of(above, files(top), Path(os.path.normpath(root / top)))
            needed = {} if scope is None or "." in scope.folders else _others(scope.why, above.inside)
            if needed:
                yield _warning(spec, above, needed)
                break


def _narrow(spec: ServiceSpec) -> bool:
    return spec.build.context == "." and not spec.build.steps


def _above(spec: ServiceSpec, root: Path) -> Iterator[str]:
    """The contexts above a service, up to its repository: those with a workspace's file, or all when its own leads there."""
    within = spec.folder if spec.root == "." else posixpath.relpath(spec.folder, spec.root)
    climbs = any(_climbs(root / spec.folder / name) for name in _TOPS)
    for steps in range(1, len(within.split("/")) + 1 if within != "." else 1):
        context = "/".join([".."] * steps)
        folder = root / spec.folder / context
        if climbs or any((folder / name).is_file() for name in _TOPS):
            yield context


def _climbs(manifest: Path) -> bool:
    try:
        return b"../" in manifest.read_bytes()
    except OSError:
        return False


def _others(why: Mapping[str, str], inside: str) -> dict[str, str]:
    return {path: said for path, said in why.items() if path != inside and not path.startswith(f"{inside}/")}


def _warning(spec: ServiceSpec, above: ServiceSpec, needed: dict[str, str]) -> Problem:
    more = len(needed) - _NAMED
    shown = [f"{path} ({said})" for path, said in list(needed.items())[:_NAMED]]
    what = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
    return Problem(
        file=service_file(spec),
        field="build.context",
        what=f"does not hold what the service is made of: {what}",
        fix=f'set `context = "{above.build.context}"` in [build], and `workdir = "{above.inside}"` where `run` counts on it',
        id="context-too-small",
        level="warning",
    )
