"""What a service reaches of a uv workspace, and pyproject.toml and uv.lock cut to that; or by path dependencies.

The lock tells which members and packages each needs. What the top asks for itself (its project, its dependency groups) is
everybody's: tests and tools.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

from atoll.builders import toml
from atoll.builders.workspaces import Context, Lock, Reached, Unclear, table, whole
from atoll.model.building import Scope

_SOURCES = (".py", ".pyi", "pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", ".proto")
_TOP = re.compile(
    r"pyproject\.toml|uv\.lock|\.?uv\.toml|\.python-version|\.tool-versions|mise\.toml|conftest\.py|noxfile\.py"
    r"|\.?(?:ruff|pytest|mypy)\.(?:toml|ini)|(?:tox|setup)\.(?:ini|cfg)|\.coveragerc"
)


def uv_of(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """`[tool.uv]` of a pyproject.toml."""
    return table(table(content.get("tool")).get("uv"))


def tell(context: Context, member: str) -> Scope | None:
    """What the member reaches. Raises Unclear."""
    if f"{member}/pyproject.toml" not in context.files:
        return None
    if "pyproject.toml" not in context.files:
        reached = Reached(context, "pyproject.toml", lambda at: _by_path(context, at), _SOURCES)
        reached.start(member, "the service")
        return _told(context, reached, {})
    top = context.toml("pyproject.toml")
    if "workspace" not in uv_of(top):
        return None
    if "uv.lock" not in context.files:
        return whole("there is no uv.lock, so that nothing says what is installed")
    return _in_workspace(context, top, member)


def _in_workspace(context: Context, top: Mapping[str, Any], member: str) -> Scope:
    lock = UvLock(context)
    reached = Reached(context, "pyproject.toml", lock.needs, _SOURCES)
    for folder, why in lock.tops():
        reached.start(folder, why)
    reached.start(member, "the service")
    for path in lock.archives():
        reached.others[path] = "uv.lock names it"
    if "project" in top:
        for folder in context.own_folders("pyproject.toml"):
            reached.others[folder] = "the project at the top has it"
    return _told(context, reached, {"pyproject.toml": _manifest(top, lock, reached), "uv.lock": lock.cut()})


def _told(context: Context, reached: Reached, rewritten: Mapping[str, str]) -> Scope:
    return Scope(
        folders=(*reached.members, *reached.others),
        files=tuple(path for path in context.top() if _TOP.fullmatch(path)),
        rewritten=rewritten,
        why={**reached.members, **reached.others},
    )


def _by_path(context: Context, member: str) -> Iterator[tuple[str, str]]:
    """The projects that `[tool.uv.sources]` names by path."""
    manifest = f"{member}/pyproject.toml"
    if manifest not in context.files:
        return  # a folder of another kind: a setup.py
    for name, source in table(uv_of(context.toml(manifest)).get("sources")).items():
        for each in source if isinstance(source, list) else [source]:
            path = table(each).get("path")
            if isinstance(path, str):
                folder = posixpath.normpath(posixpath.join(member, path))
                if folder not in context.files and not next(context.below(folder), None):
                    raise Unclear(f"{manifest} names {path}, which is not in the context")
                yield folder, f"{manifest} names {name}"


def _manifest(top: Mapping[str, Any], lock: "UvLock", reached: Reached) -> str:
    """The top's pyproject.toml with the members that are reached."""
    uv = dict(uv_of(top))
    uv["workspace"] = {"members": sorted(each for each in reached.members if lock.is_member(each))}
    if "sources" in uv:
        uv["sources"] = {
            name: source
            for name, source in uv["sources"].items()
            if not table(source).get("workspace") or normal(name) in lock.members
        }
    return toml.dumps({**top, "tool": {**top["tool"], "uv": uv}})


class UvLock:
    """The lock of a workspace, and what of it was reached so far."""

    def __init__(self, context: Context) -> None:
        self.lock = Lock(context, "uv.lock")
        self.manifest = table(context.toml("uv.lock").get("manifest"))
        self.at: dict[str, int] = {}  # folder -> its package
        for index, package in enumerate(self.lock.packages):
            for kind in ("editable", "virtual", "directory"):
                if kind in package["source"]:
                    self.at[posixpath.normpath(package["source"][kind])] = index
        self.kept: set[int] = set()
        self.members: set[str] = set()  # names of those that were reached, other than the top's

    def is_member(self, folder: str) -> bool:
        """Whether a project is of the workspace, and not one that lies beside it."""
        at = self.at.get(folder)
        return at is not None and self.lock.packages[at]["name"] in self.manifest.get("members", ())

    def archives(self) -> Iterator[str]:
        """Files that packages which are kept come from."""
        for index in sorted(self.kept):
            if path := table(self.lock.packages[index].get("source")).get("path"):
                yield posixpath.normpath(path)

    def tops(self) -> Iterator[tuple[str, str]]:
        """The members that the top needs itself."""
        groups = table(self.manifest.get("dependency-groups"))
        named = [each["name"] for group in groups.values() for each in group]
        start = [index for name in named for index in self.lock.named.get(normal(name), ())]
        yield from self._walk([*start, *([self.at["."]] if "." in self.at else [])], "pyproject.toml")

    def needs(self, member: str) -> Iterator[tuple[str, str]]:
        """The members that one needs, itself or through packages; all of these are kept."""
        if member not in self.at:
            raise Unclear(f"uv.lock does not know {member}: run `uv lock`")
        yield from self._walk([self.at[member]], f"{member}/pyproject.toml")

    def _walk(self, todo: list[int], manifest: str) -> Iterator[tuple[str, str]]:
        here = {index: folder for folder, index in self.at.items() if folder != "."}
        start = set(todo)
        while todo:
            index = todo.pop()
            if index in here and index not in start:
                yield here[index], f"{manifest} needs {self.lock.packages[index]['name']}"
                continue
            if index in self.kept:
                continue
            self.kept.add(index)
            package = self.lock.packages[index]
            if index in here and self.is_member(here[index]):
                self.members.add(package["name"])
            todo += [at for each in _dependencies(package) for at in self._meant(each)]

    def _meant(self, wanted: Mapping[str, Any]) -> Iterator[int]:
        for index in self.lock.named.get(wanted["name"], ()):
            if "version" not in wanted or self.lock.packages[index].get("version") == wanted["version"]:
                yield index

    def cut(self) -> str:
        """The lock with what was reached."""
        listed = "".join(f'    "{name}",\n' for name in sorted(self.members | self._top()))
        members, found = re.subn(r"(?ms)^members = \[.*?^\]\n", f"members = [\n{listed}]\n", self.lock.head)
        if found != 1:
            raise Unclear("uv.lock lists no members, or not line by line")
        self.lock.head = members
        return self.lock.only(self.kept)

    def _top(self) -> set[str]:
        return {self.lock.packages[self.at["."]]["name"]} if "." in self.at else set()


def _dependencies(package: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from package.get("dependencies", ())
    for kind in ("optional-dependencies", "dev-dependencies"):
        for group in table(package.get(kind)).values():
            yield from group


def normal(name: str) -> str:
    """A distribution's name as the lock writes it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
