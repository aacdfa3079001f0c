"""What a service reaches of a Cargo workspace, and Cargo.toml and Cargo.lock cut to that.

Path dependencies and what is inherited from `workspace.dependencies` lead from member to member; the lock's own
dependencies lead from package to package. Dependencies for development and building count: the lock has them, too.
"""

import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from atoll.builders import toml
from atoll.builders.workspaces import Context, Lock, Reached, Unclear, table, words
from atoll.model.building import Scope

_TABLES = ("dependencies", "dev-dependencies", "build-dependencies", "dev_dependencies", "build_dependencies")
_TOP = frozenset(
    {
        *("Cargo.toml", "Cargo.lock", "rust-toolchain", "rust-toolchain.toml", "build.rs"),
        *(".tool-versions", "mise.toml", "rustfmt.toml", ".rustfmt.toml", "clippy.toml", ".clippy.toml"),
    }
)
_SOURCES = (".rs", "Cargo.toml", ".proto")


def tell(context: Context, member: str) -> Scope | None:
    """The members that the one at `member` reaches. Raises Unclear."""
    own = f"{member}/Cargo.toml"
    if own not in context.files:
        return None
    top = context.toml("Cargo.toml") if "Cargo.toml" in context.files else {}
    if "workspace" in context.toml(own) or "workspace" not in top:
        return _alone(context, member)
    return _Workspace(context, top).scope(member)


def _alone(context: Context, member: str) -> Scope:
    """A package in no workspace of the context's: with its own lock, and path dependencies as they are."""
    if above := next((path for path in _above(member) if f"{path}/Cargo.toml" in context.files), None):
        raise Unclear(f"{above}/Cargo.toml lies between {member} and the context, which is not its top")
    reached = Reached(context, "Cargo.toml", lambda at: _needs(context, at, {}), _SOURCES)
    reached.start(member, "the service")
    return _told(context, reached, {})


def _above(member: str) -> Iterator[str]:
    while member := posixpath.dirname(member):
        yield member


def _told(context: Context, reached: Reached, rewritten: Mapping[str, str]) -> Scope:
    files = [path for path in context.top() if path in _TOP]
    vendored, why = [], {**reached.members, **reached.others}
    for path in [each for each in (".cargo/config.toml", ".cargo/config") if each in context.files]:
        sources = table(context.toml(path).get("source"))
        vendored += [
            posixpath.normpath(str(each["directory"])) for each in map(table, sources.values()) if "directory" in each
        ]
        why |= dict.fromkeys(vendored, f"{path} names it")
    folders = [each for each in [*reached.members, *reached.others, *vendored, ".cargo"] if each != "."]
    return Scope(folders=tuple(folders), files=tuple(files), rewritten=rewritten, why=why)


def _needs(context: Context, member: str, inherited: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The folders of the packages that a member names by path."""
    manifest = posixpath.normpath(f"{member}/Cargo.toml")
    for name, value in dependencies(context.toml(manifest)):
        base = member
        if table(value).get("workspace") is True:
            value, base = inherited.get(name), "."
        path = table(value).get("path")
        if isinstance(path, str):
            folder = posixpath.normpath(posixpath.join(base, path))
            if f"{folder}/Cargo.toml" not in context.files:
                raise Unclear(f"{manifest} names {path}, and there is no package in the context")
            yield folder, f"{manifest} names {name}"


def dependencies(manifest: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every dependency that a manifest declares, of each kind and platform."""
    for tables in (manifest, *map(table, table(manifest.get("target")).values())):
        for kind in _TABLES:
            yield from table(tables.get(kind)).items()


class _Workspace:
    """The workspace at the context's top."""

    def __init__(self, context: Context, top: Mapping[str, Any]) -> None:
        self.context, self.top = context, top
        self.inherited = table(table(top["workspace"]).get("dependencies"))

    def scope(self, member: str) -> Scope:
        """What the one at `member` reaches; patches by path and a package at the top belong to everybody."""
        reached = Reached(self.context, "Cargo.toml", self._needs, _SOURCES, ".rs")
        reached.start(member, "the service")
        if "package" in self.top:
            for folder in self.context.own_folders("Cargo.toml"):
                reached.others[folder] = "the package at the top has it"
            for folder, why in self._needs("."):
                reached.start(folder, why)
        for patched in map(table, table(self.top.get("patch")).values()):
            for name, value in patched.items():
                path = table(value).get("path")
                if isinstance(path, str) and posixpath.normpath(f"{path}/Cargo.toml") in self.context.files:
                    reached.start(posixpath.normpath(path), f"Cargo.toml patches {name}")
        rewritten = {"Cargo.toml": self._manifest(list(reached.members))}
        if "Cargo.lock" in self.context.files:
            rewritten["Cargo.lock"] = self._lock(list(reached.members))
        return _told(self.context, reached, rewritten)

    def _needs(self, member: str) -> Iterator[tuple[str, str]]:
        return _needs(self.context, member, self.inherited)

    def _manifest(self, members: list[str]) -> str:
        """The top's Cargo.toml with these members, and what they inherit."""
        workspace = dict(self.top["workspace"])
        excluded = {posixpath.normpath(each) for each in words(workspace.pop("exclude", []))}
        alone = {each for each in members if "workspace" in self.context.toml(f"{each}/Cargo.toml")}
        outside = sorted(each for each in members if each in alone or any(_within(each, path) for path in excluded))
        workspace.pop("default-members", None)
        workspace["members"] = sorted(set(members) - set(outside))
        if outside:
            workspace["exclude"] = outside
        manifests = [self.top, *(self.context.toml(f"{each}/Cargo.toml") for each in members)]
        named = {name for each in manifests for name, value in dependencies(each) if table(value).get("workspace")}
        if self.inherited:
            workspace["dependencies"] = {name: value for name, value in self.inherited.items() if name in named}
        return toml.dumps({**self.top, "workspace": workspace})

    def _lock(self, members: list[str]) -> str:
        """Cargo.lock with the packages that these members reach, each as it stands there."""
        lock = Lock(self.context, "Cargo.lock")
        todo: list[int] = []
        for member in [*members, *(["."] if "package" in self.top else [])]:
            name = table(self.context.toml(posixpath.normpath(f"{member}/Cargo.toml")).get("package")).get("name")
            own = [index for index in lock.named.get(str(name), ()) if "source" not in lock.packages[index]]
            if not own:
                raise Unclear(f"Cargo.lock does not know {name}: run `cargo build` once")
            todo += own
        kept: set[int] = set()
        while todo:
            index = todo.pop()
            if index in kept:
                continue
            kept.add(index)
            for each in lock.packages[index].get("dependencies", ()):
                name, _, rest = each.partition(" ")
                version = rest.partition(" ")[0]
                named = lock.named.get(name, ())
                todo += [at for at in named if not version or lock.packages[at]["version"] == version]
        return lock.only(kept)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
