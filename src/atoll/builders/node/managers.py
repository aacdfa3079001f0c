"""Package managers of Node.js: how each installs by its lock, and which lock is whose."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from atoll.model.building import Tool
from atoll.model.errors import UserError
from atoll.model.spec import ServiceSpec

_QUIET = ("--no-audit", "--no-fund", "--no-update-notifier")


class Manager(msgspec.Struct, frozen=True, kw_only=True):
    """What to run: to install what production needs, to install everything, to drop what only development needs.

    `there` is the flag before a folder to do so in. In a workspace `build` is what builds the member at `{path}`, called
    `{name}`, and `drop` drops for all members.
    """

    tool: Tool
    install: tuple[str, ...]
    install_all: tuple[str, ...]
    prune: tuple[str, ...]
    there: str
    build: tuple[str, ...]
    drop: tuple[str, ...]
    env: Mapping[str, str] = {}


def _npm(command: str) -> Manager:
    return Manager(
        tool=Tool(name="npm", fix="install npm (it comes with Node.js)", version=("npm", "--version")),
        install=("npm", command, "--omit=dev", *_QUIET),
        install_all=("npm", command, "--include=dev", *_QUIET),
        prune=("npm", "prune", "--omit=dev", *_QUIET),
        there="--prefix",
        build=("npm", "run", "build", "--workspace", "{path}"),
        drop=("npm", "prune", "--omit=dev", *_QUIET),
    )


# Copies, never links into the store: artifacts are read-only. Questions are never asked: nobody is there.
_PNPM = Manager(
    tool=Tool(name="pnpm", fix="install pnpm: npm install -g pnpm, or corepack enable pnpm", version=("pnpm", "-v")),
    install=("pnpm", "install", "--frozen-lockfile", "--prod", "--package-import-method=copy"),
    install_all=("pnpm", "install", "--frozen-lockfile", "--prod=false", "--package-import-method=copy"),
    prune=("pnpm", "prune", "--prod"),
    there="--dir",
    build=("pnpm", "--dir", "{path}", "run", "build"),
    # `prune` would drop what members need, too.
    drop=("pnpm", "install", "--frozen-lockfile", "--prod", "--ignore-scripts", "--package-import-method=copy"),
    env={"CI": "true"},
)
_YARN_TOOL = Tool(
    name="yarn", fix="install yarn: npm install -g yarn, or corepack enable yarn", version=("yarn", "--version")
)
_CLASSIC = ("yarn", "install", "--frozen-lockfile", "--non-interactive")
_YARN = Manager(
    tool=_YARN_TOOL,
    install=(*_CLASSIC, "--production=true"),
    install_all=(*_CLASSIC, "--production=false"),
    prune=(*_CLASSIC, "--production=true", "--ignore-scripts", "--prefer-offline"),
    there="--cwd",
    build=("yarn", "workspace", "{name}", "run", "build"),
    drop=(*_CLASSIC, "--production=true", "--ignore-scripts", "--prefer-offline"),
)
# From version 2 on. `node_modules` instead of its own loader: the run command starts node as it is.
_BERRY = Manager(
    tool=_YARN_TOOL,
    install=("yarn", "workspaces", "focus", "--all", "--production"),
    install_all=("yarn", "install", "--immutable"),
    prune=("yarn", "workspaces", "focus", "--all", "--production"),
    there="--cwd",
    build=("yarn", "workspace", "{name}", "run", "build"),
    drop=("yarn", "workspaces", "focus", "--all", "--production"),
    env={"YARN_NODE_LINKER": "node-modules", "YARN_ENABLE_TELEMETRY": "0", "YARN_NM_MODE": "classic"},
)


def manager_of(spec: ServiceSpec, files: frozenset[str], folder: Path) -> Manager:
    """The package manager whose lock is there; npm without any. Raises UserError for bun's."""
    if files & {"package-lock.json", "npm-shrinkwrap.json"}:
        return _npm("ci")
    if "pnpm-lock.yaml" in files:
        return _PNPM
    if "yarn.lock" in files:
        text = (folder / "yarn.lock").read_text(encoding="utf-8", errors="replace")
        return _BERRY if "__metadata:" in text else _YARN
    for lock in ("bun.lock", "bun.lockb"):
        if lock in files:
            raise UserError(
                f"{spec.name} locks its dependencies with bun",
                f"{spec.folder}/{lock} is there and no package-lock.json; npm would ignore it",
                'say how to build in service.toml: [build] steps = ["bun install --frozen-lockfile --production"]',
                id="lockfile-unusable",
            )
    return _npm("install")
