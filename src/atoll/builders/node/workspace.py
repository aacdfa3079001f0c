"""What a service reaches of a workspace of npm or pnpm, and package.json and the lock cut to that.

The lock tells which members and packages each needs. The root's own dependencies are everybody's: they are the tools
that members are built with. Sources and configuration that climb out of their member by path are followed, too.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

from atoll.builders.node.members import HOOKS, patterns, written
from atoll.builders.node.npm_lock import NpmLock
from atoll.builders.node.pnpm_lock import LOCK, MEMBERS, pnpm
from atoll.builders.workspaces import Context, Reached, Unclear, table, whole
from atoll.model.building import Scope

SOURCES = (".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".cts", ".tsx", ".json", ".vue", ".svelte")

# What lies at the top and may be read by any member's build: configuration, which names itself so. Prose is none.
_TOP = re.compile(
    r".*\.(?:json|jsonc|[cm]?[jt]s)|\.(?:npmrc|nvmrc|node-version|tool-versions|babelrc|swcrc|browserslistrc|env.*)|mise\.toml|pnpm-.*\.yaml|\.pnpmfile\.cjs"
)
_HARMLESS = re.compile(
    r"(?:npx )?(?:husky(?: install)?|simple-git-hooks|lefthook install|is-ci|only-allow \w+|patch-package)|true|exit 0|echo .*"
)


def tell(context: Context, member: str) -> Scope | None:
    """What the member reaches. Raises Unclear."""
    if f"{member}/package.json" not in context.files or "package.json" not in context.files:
        return None
    top = context.json("package.json")
    if {LOCK, MEMBERS} <= context.files:
        return _told(context, top, *pnpm(context, member, SOURCES))
    if patterns(top) is None:
        return None
    for lock in ("package-lock.json", "npm-shrinkwrap.json"):
        if lock in context.files:
            return _npm(context, top, member, lock)
    if "yarn.lock" in context.files:
        return whole("Yarn's lock is not cut")
    return whole("there is no package-lock.json, so that nothing says what is installed")


def _npm(context: Context, top: Mapping[str, Any], member: str, path: str) -> Scope:
    lock = NpmLock(context, path)
    reached = Reached(context, "package.json", lock.needs, SOURCES)
    for folder, why in [*lock.needs(""), (member, "the service")]:
        reached.start(folder, why)
    folders = lock.order(reached.members)
    workspaces = top["workspaces"]
    said = {**workspaces, "packages": folders} if isinstance(workspaces, dict) else folders
    rewritten = {"package.json": written({**top, "workspaces": said}), path: lock.only(said)}
    return _told(context, top, reached, rewritten)


def _told(context: Context, top: Mapping[str, Any], reached: Reached, rewritten: Mapping[str, str]) -> Scope:
    hooks = dict(_hooks(context, top))
    files = [path for path in context.top() if _TOP.fullmatch(path)]
    return Scope(
        folders=(*reached.members, *reached.others, *hooks),
        files=tuple(files),
        rewritten=rewritten,
        why={**reached.members, **reached.others, **hooks},
    )


def _hooks(context: Context, top: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the root's own scripts at an install read. Raises Unclear where that cannot be told, unless somebody did."""
    scripts = table(top.get("scripts"))
    for hook in HOOKS:
        for command in re.split(r"&&|\|\||;", str(scripts.get(hook, ""))):
            first, _, rest = command.strip().partition(" ")
            script = posixpath.normpath(rest)
            if first == "node" and script in context.files:
                folder = posixpath.dirname(script)
                yield folder or script, f"package.json runs {script} at an install"
            elif "patch-package" in command:
                yield "patches", "package.json patches packages"
            elif first and not _HARMLESS.fullmatch(command.strip()) and not context.vouched:
                raise Unclear(f"package.json runs `{command.strip()}` at an install, which may read anything")
