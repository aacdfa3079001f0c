"""Node.js services, built by npm: production dependencies in `node_modules`, and `npm run build` where there is one.

Without anything to install or to build nothing is run. Other package managers are refused rather than ignored: their
lock would not be followed.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atoll.model.errors import UserError
from atoll.model.spec import Command, ServiceSpec
from atoll.ports import Step, Tool

_PYTHON = frozenset({"pyproject.toml", "requirements.txt", "uv.lock", "setup.py"})
_LOCKS = frozenset({"package-lock.json", "npm-shrinkwrap.json"})
_FOREIGN_LOCKS = {
    "pnpm-lock.yaml": ("pnpm", "pnpm install --frozen-lockfile --prod"),
    "yarn.lock": ("yarn", "yarn install --frozen-lockfile --production"),
    "bun.lock": ("bun", "bun install --frozen-lockfile --production"),
}
_HOOKS = frozenset({"preinstall", "install", "postinstall", "prepublish", "prepare"})  # npm runs them at an install
_QUIET = ("--no-audit", "--no-fund", "--no-update-notifier")

_NODE = Tool(name="node", fix="install Node.js (https://nodejs.org)", version=("node", "--version"))
_NPM = Tool(name="npm", fix="install npm (it comes with Node.js)", version=("npm", "--version"))
_PLAIN = Tool(name="node", fix=_NODE.fix, optional=True)


class NodeBuilder:
    """Installs what package.json asks for, builds with the development dependencies and drops them again."""

    name = "node"
    recipe = 1

    def detect(self, files: frozenset[str]) -> bool:
        """A package.json, or a JavaScript program beside no Python one."""
        if "package.json" in files:
            return True
        top = [path for path in files if "/" not in path]
        return (
            not files & _PYTHON
            and not any(path.endswith(".py") for path in top)
            and any(path.endswith((".js", ".mjs", ".cjs")) for path in top)
        )

    def tools(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Sequence[Tool]:
        """Both node and npm; with nothing to install or build, node only where it is there."""
        return (_NODE, _NPM) if self.steps(spec, files, folder) else (_PLAIN,)

    def steps(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Sequence[Step]:
        """The commands of npm. Raises UserError for a broken package.json or another package manager's lock."""
        package = _package(spec, files, folder)
        scripts = _table(package, "scripts")
        production = _table(package, "dependencies") or _table(package, "optionalDependencies")
        development = bool(_table(package, "devDependencies"))
        building = "build" in scripts
        if not (production or building or package.get("workspaces") or scripts.keys() & _HOOKS):
            return ()
        locked = bool(files & _LOCKS)
        if not locked:
            _refuse_foreign(spec, files)
        install = _step("install", "npm", "ci" if locked else "install", "--include=dev" if building else "--omit=dev")
        if not building:
            return (install,)
        steps = [install, Step(command=Command(argv=("npm", "run", "build")), label="build")]
        if development:
            steps.append(_step("drop development dependencies", "npm", "prune", "--omit=dev"))
        return tuple(steps)

    def command_env(self, files: frozenset[str], folder: Path) -> Mapping[str, str]:  # noqa: ARG002
        """`node_modules/.bin` on the PATH, where there is one."""
        scripts = folder / "node_modules" / ".bin"
        return {"PATH+": str(scripts)} if scripts.is_dir() else {}


def _step(label: str, *argv: str) -> Step:
    return Step(command=Command(argv=(*argv, *_QUIET)), label=label)


def _package(spec: ServiceSpec, files: frozenset[str], folder: Path) -> Mapping[str, Any]:
    """The content of package.json, {} without one."""
    if "package.json" not in files:
        return {}
    where = f"{spec.folder}/package.json"
    try:
        content = json.loads((folder / "package.json").read_text(encoding="utf-8"))
    except ValueError as exc:
        raise UserError(f"{where} cannot be read", str(exc), "correct the file") from exc
    if not isinstance(content, dict):
        raise UserError(f"{where} cannot be read", "it is not a JSON object", "correct the file")
    return content


def _table(package: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = package.get(name)
    return value if isinstance(value, dict) else {}


def _refuse_foreign(spec: ServiceSpec, files: frozenset[str]) -> None:
    for lock, (manager, command) in _FOREIGN_LOCKS.items():
        if lock in files:
            raise UserError(
                f"{spec.name} locks its dependencies with {manager}",
                f"{spec.folder}/{lock} is there and no package-lock.json; npm would ignore it",
                f'say how to build in service.toml: [build] steps = ["{command}"]',
            )
