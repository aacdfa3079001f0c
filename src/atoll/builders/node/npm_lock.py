"""package-lock.json (versions 2 and 3), walked as npm resolves names, and cut so that `npm ci` still takes it."""

import posixpath
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from atoll.builders.node.members import BY_NAME, written
from atoll.builders.workspaces import Context, Unclear, table


class NpmLock:
    """The lock of a workspace, and what of it was reached so far."""

    def __init__(self, context: Context, path: str) -> None:
        self.path, self.content = path, context.json(path)
        self.packages: Mapping[str, Mapping[str, Any]] = self.content.get("packages", {})
        if not self.packages:
            raise Unclear(f"{path} is one of npm 6: run `npm install` with a newer one")
        self.kept = {""}
        self.edges: dict[str, list[str]] = {}  # member -> the members that it needs

    def needs(self, member: str) -> Iterator[tuple[str, str]]:
        """The members that one needs, itself or through packages ("" is the root); all of these are kept."""
        if member not in self.packages:
            raise Unclear(f"{self.path} does not know {member}: run `npm install`")
        needed = self.edges[member] = []
        self.kept.add(member)
        todo = [member]
        while todo:
            here = todo.pop()
            for name in _names(self.packages[here], development=here == member):
                at = self._resolved(here, name)
                if at is None:
                    continue
                entry = self.packages[at]
                if entry.get("link"):
                    self.kept.add(at)
                    needed.append(str(entry["resolved"]))
                    yield needed[-1], f"{posixpath.join(here, 'package.json')} needs {name}"
                elif at not in self.kept:
                    self.kept |= {at, *self._bundled(at)}
                    todo.append(at)

    def order(self, members: Collection[str]) -> list[str]:
        """The members, each after those that it needs: as npm is told them, so it builds them."""
        order: list[str] = []
        seen = {""}

        def visit(member: str) -> None:
            if member not in seen:
                seen.add(member)
                for each in sorted(self.edges.get(member, ())):
                    visit(each)
                order.append(member)

        for member in sorted(members):
            visit(member)
        return order

    def only(self, workspaces: object) -> str:
        """The lock with what was reached, for a root with these `workspaces`."""
        links = {at for at, entry in self.packages.items() if entry.get("link") and entry.get("resolved") in self.kept}
        packages = {at: entry for at, entry in self.packages.items() if at in self.kept or at in links}
        packages[""] = {**packages[""], "workspaces": workspaces}
        # `dependencies` is npm 6's, which knows no workspaces.
        content = {name: value for name, value in self.content.items() if name != "dependencies"}
        return written({**content, "lockfileVersion": 3, "packages": packages})

    def _resolved(self, here: str, name: str) -> str | None:
        """Where node finds a package from `here`; None for one that is not installed, which only some may be."""
        above = here
        while True:
            at = posixpath.join(above, "node_modules", name)
            if at in self.packages:
                return at
            if not above:
                break
            above = posixpath.dirname(above)
        entry = self.packages[here]
        if name in table(entry.get("dependencies")) and name not in table(entry.get("optionalDependencies")):
            raise Unclear(f"{self.path} has no {name} for {here or 'the root'}: run `npm install`")
        return None

    def _bundled(self, at: str) -> Iterator[str]:
        """Packages that came inside of another one."""
        if self.packages[at].get("bundleDependencies"):
            yield from (path for path in self.packages if path.startswith(f"{at}/node_modules/"))


def _names(entry: Mapping[str, Any], *, development: bool) -> Iterator[str]:
    """What an entry depends on. Development counts for members and the root alone: packages come without it."""
    for kind in BY_NAME:
        if development or kind != "devDependencies":
            yield from table(entry.get(kind))
