"""What the image of a Node.js service is made of: one base for both stages, since packages are compiled for its Node."""

import json
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path

from atoll.builders.node.members import HOOKS
from atoll.builders.workspaces import table
from atoll.model.building import ImageParts, Step
from atoll.model.command import Command

USUAL = "22"
_NAMES = frozenset(
    {
        *("package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc"),
        *("pnpm-lock.yaml", "pnpm-workspace.yaml", ".pnpmfile.cjs", "yarn.lock", ".yarnrc", ".yarnrc.yml"),
    }
)
_FOLDERS = ("patches/", ".yarn/releases/", ".yarn/plugins/", ".yarn/patches/")  # what installing needs besides
_BESIDE = re.compile(r'"(?:file|link|portal):')  # a package that lies in a folder
_MANAGER = re.compile(r"(pnpm|yarn)@(\d[\w.-]*)")
_MIRRORS = ("NPM_CONFIG_REGISTRY", "npm_config_registry", "YARN_NPM_REGISTRY_SERVER")
_USUAL_MANAGER = {"pnpm": "9", "yarn": "1.22.22"}


def parts(
    files: frozenset[str], folder: Path, version: str, places: Sequence[str], manager: str, first: Step | None
) -> ImageParts:
    """Dependencies before the sources, unless a package has a hook of its own or lies beside them.

    Args:
        files: the inputs.
        folder: where they lie.
        version: see `Builder.image`.
        places: where `node_modules` may lie.
        manager: who installs; "" nobody does.
        first: what installs; None when nothing is installed by us.
    """
    base = f"node:{version or USUAL}-slim"
    manifests = sorted(path for path in files if posixpath.basename(path) in _NAMES or path.startswith(_FOLDERS))
    texts = [_read(folder / path) for path in manifests if posixpath.basename(path) == "package.json"]
    alone = first is not None and not any(_BESIDE.search(text) or _hooked(text) for text in texts)
    return ImageParts(
        base=base,
        run_base=base,
        setup=_setup(manager, texts),
        manifests=tuple(manifests) if alone else (),
        early=(first,) if first and alone else (),
        done=1 if alone else 0,
        path=tuple(f"{each}/node_modules/.bin" for each in places),
        mirrors=_MIRRORS,
    )


def _setup(manager: str, texts: Sequence[str]) -> tuple[Step, ...]:
    """The package manager: that of the `packageManager` of a package.json. npm comes with Node."""
    if manager not in _USUAL_MANAGER:
        return ()
    asked = next((found[2] for text in texts if (found := _MANAGER.search(text)) and found[1] == manager), "")
    if manager == "yarn" and asked and not asked.startswith("1."):
        get = "corepack enable"  # those after 1 come from nowhere else
    else:
        get = f"npm install --global --no-fund --no-audit {manager}@{asked or _USUAL_MANAGER[manager]}"
    line = f"command -v {manager} > /dev/null || {get}" if get != "corepack enable" else get
    return (Step(command=Command(shell=line), label=f"get {manager}"),)


def _hooked(text: str) -> bool:
    try:
        return bool(table(table(json.loads(text)).get("scripts")).keys() & set(HOOKS))
    except ValueError:
        return True  # the build will say what is wrong with it


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")
