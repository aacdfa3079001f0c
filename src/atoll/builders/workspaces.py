"""What the workspaces of all languages have in common, seen from one service in them: which members does it reach?

Each builder's `scope` comes here with a function that knows its language's files. Only names and manifests are read,
and sources for paths that lead out of their member. Whoever does not understand a file raises `Unclear`: then everything
goes in.
"""

import os
import posixpath
import re
import shlex
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from atoll.model.building import Scope
from atoll.model.spec import ServiceSpec

# A relative path that climbs, wherever it stands in a text: "../../proto/orders.proto", `${basedir}/../../config`.
_CLIMBING = re.compile(r"(?<![\w./-])/?(?:\.{1,2}/)*\.\.(?:/[\w@+.-]+)*")
_RELATIVE = re.compile(r"(?<![\w./-])/?\.{1,2}(?:/[\w@+.-]+)+")
_LITERAL = re.compile(r"[\"`]((?:\./)?[\w@+.-]+(?:/[\w@+.*-]+)*)/?[\"`]")
_PROJECTS = ("go.mod", "package.json", "pyproject.toml", "Cargo.toml", "pom.xml")
_RACY_NS = 2_000_000_000  # a file that was touched so shortly before may change again with equal times (git's racy)
_WILD = re.compile(r"(\*\*|\*|\?)")


class Unclear(Exception):
    """What a service reaches cannot be told, and why."""


class Context:
    """The files of a context, and which of them were read. `vouched`: a person has said what else goes in."""

    def __init__(self, files: frozenset[str], folder: Path, *, vouched: bool = False) -> None:
        self.files, self.folder, self.vouched = files, folder, vouched
        self.reads: set[str] = set()

    def text(self, path: str) -> str:
        """The content of a file. Raises Unclear when it is none, or no text."""
        if path not in self.files:
            raise Unclear(f"there is no {path}")
        self.reads.add(path)
        try:
            return (self.folder / path).read_bytes().decode()
        except (OSError, UnicodeDecodeError) as exc:
            raise Unclear(f"{path} cannot be read: {exc}") from exc

    def named_in(self, path: str) -> tuple[frozenset[str], frozenset[str]]:
        """The relative paths in a file: those that climb, and all. A file that is no text names none.

        Many services reach the same libraries, so that it is remembered what a file says while it looks the same.
        """
        self.reads.add(path)
        file = f"{self.folder}/{path}"
        try:
            status = os.stat(file)  # noqa: PTH116 (for each file of each member: a Path costs more than the call)
            settled = max(status.st_mtime_ns, status.st_ctime_ns) < time.time_ns() - _RACY_NS
            look = _named_in if settled else _named_in.__wrapped__
            return look(file, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        except (OSError, UnicodeDecodeError):
            return frozenset(), frozenset()

    def toml(self, path: str) -> Mapping[str, Any]:
        """A TOML file, not to be changed. Raises Unclear."""
        return _parsed(path, self.text(path), _toml)

    def json(self, path: str) -> Mapping[str, Any]:
        """A JSON object, not to be changed. Raises Unclear."""
        return _parsed(path, self.text(path), _json)

    def top(self) -> Iterator[str]:
        """The files that lie in the context itself."""
        return (path for path in self.sorted if "/" not in path)

    @cached_property
    def sorted(self) -> list[str]:
        """All paths, in order."""
        return _in_order(self.files)

    def below(self, folder: str) -> Iterator[str]:
        """The files of a folder and of those in it."""
        return self.beginning(f"{folder}/")

    def beginning(self, prefix: str) -> Iterator[str]:
        """The files whose path begins so."""
        paths = self.sorted
        for index in range(bisect_left(paths, prefix), len(paths)):
            if not paths[index].startswith(prefix):
                return
            yield paths[index]

    def own_folders(self, manifest: str) -> list[str]:
        """The folders of the project at the top itself: those that hold no member, nor what is of version control."""
        folders = {path.partition("/")[0] for path in self.sorted if "/" in path} - {".github", ".gitlab"}
        return sorted(each for each in folders if not any(path.endswith(f"/{manifest}") for path in self.below(each)))

    def owner(self, path: str, manifest: str) -> str | None:
        """The folder of the member that a path belongs to: the nearest with a manifest, below the context's top."""
        while path := posixpath.dirname(path):
            if f"{path}/{manifest}" in self.files:
                return path
        return None


def table(value: object) -> Mapping[str, Any]:
    """The value when it is a table, else an empty one: other tools' files may hold anything."""
    return value if isinstance(value, dict) else {}


def words(value: object) -> list[str]:
    """The texts of a list."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def member_of(spec: ServiceSpec, files: frozenset[str], *manifests: str) -> str:
    """The member that a service lies in: its folder, or the nearest above with a manifest; "." when only the top has one."""
    folder = spec.inside
    while folder not in {"", "."} and not any(f"{folder}/{name}" in files for name in manifests):
        folder = posixpath.dirname(folder)
    return folder or "."


def scope(
    spec: ServiceSpec, member: str, files: frozenset[str], folder: Path, tell: Callable[[Context, str], Scope | None]
) -> Scope | None:
    """What `tell(context, member)` says, or everything with the reason. None where the service lies in no member."""
    if member == ".":
        return None
    context = Context(files, folder, vouched=bool(spec.build.shared))
    try:
        told = tell(context, member)
    except Unclear as unclear:
        told = whole(str(unclear))
    except (
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
        RecursionError,
    ) as exc:  # other tools' files may hold anything
        told = whole(f"the workspace's files are not as expected: {exc!r}")
    return told and Scope(
        folders=tuple(sorted(told.folders)),
        files=tuple(sorted(told.files)),
        rewritten=told.rewritten,
        why=told.why,
        reads=tuple(sorted(context.reads)),
    )


def matching(globs: Sequence[str]) -> Callable[[str], bool]:
    """A function that says whether globs of members mean a folder; a leading `!` takes away. Raises Unclear for braces."""
    rules = []
    for each in globs:
        glob = posixpath.normpath(each.removeprefix("!").strip("/"))
        if set(glob) & set("{}[]()"):
            raise Unclear(f"the workspace's members are told by {each}")
        parts = [{"**": ".*", "*": "[^/]*", "?": "[^/]"}.get(part) or re.escape(part) for part in _WILD.split(glob)]
        rules.append((not each.startswith("!"), re.compile("".join(parts).replace(r".*/", r"(?:.*/)?"))))

    def meant(folder: str) -> bool:
        return next((keep for keep, regex in reversed(rules) if regex.fullmatch(folder)), False)

    return meant


def placed(spec: ServiceSpec, made: str, name: str) -> str:
    """The end of a shell line that puts what was made where `run` starts, under its name."""
    if spec.workdir == ".":
        return f"mv -T {made} {name}"
    folder = shlex.quote(spec.workdir)
    return f"mkdir -p {folder} && mv -T {made} {folder}/{name}"


def whole(why: str) -> Scope:
    """Everything, with the reason."""
    return Scope(folders=(".",), why={".": why})


class Reached:
    """The members that a service reaches, and what else their files name.

    Args:
        context: the files.
        manifest: the file that makes a folder a member.
        needs: the members that a member declares, and what says so.
        sources: the endings of files that may name paths out of their member.
        code: the ending of those that may name what their program reads where it starts, at the top.
    """

    def __init__(
        self,
        context: Context,
        manifest: str,
        needs: Callable[[str], Iterable[tuple[str, str]]],
        sources: tuple[str, ...],
        code: str = "",
    ) -> None:
        self.code = code
        self.context, self.manifest, self.needs, self.sources = context, manifest, needs, sources
        self.members: dict[str, str] = {}  # in the order in which they were met -> why
        self.others: dict[str, str] = {}  # files and folders that belong to no member

    def start(self, folder: str, why: str) -> None:
        """Reach a member, and all that it reaches."""
        todo = [(folder, why)]
        while todo:
            here, why = todo.pop()
            if here in self.members:
                continue
            self.members[here] = why
            todo += self.needs(here)
            todo += self._named(here)

    def _named(self, member: str) -> Iterator[tuple[str, str]]:
        """The members that a member's files name by path; what belongs to none is noted and looked through, too."""
        todo = [path for path in self.context.below(member) if path.endswith(self.sources)]
        for path in [each for each in todo if self.code and each.endswith(self.code)]:
            for target in read_at_run_time(self.context, self.context.text(path), self.code):
                if self.context.owner(f"{target}/", self.manifest) is None:
                    self.others.setdefault(target, f"{path} names it")
        while todo:
            path = todo.pop()
            for target in map(self._around, named(self.context, path, member)):
                owner = self.context.owner(f"{target}/", self.manifest)
                why = f"{path} names it"
                if owner is not None and not _within(member, owner):
                    yield owner, why
                elif target not in self.others and not (self._holds(target) and _aliases(path)):
                    self.others[target] = why
                    inside = [target] if target in self.context.files else self.context.below(target)
                    todo += [each for each in inside if each.endswith(self.sources)]

    def _around(self, target: str) -> str:
        """A source that belongs to no member goes with its folder, whose other files it need not climb for."""
        folder = posixpath.dirname(target)
        if target not in self.context.files or not folder or not target.endswith(self.sources) or _data(target):
            return target
        return target if self._holds(folder) or self.context.owner(target, self.manifest) else folder

    def _holds(self, folder: str) -> bool:
        return any(path.endswith(f"/{self.manifest}") for path in self.context.below(folder))


def named(context: Context, path: str, member: str) -> Iterator[str]:
    """The files and folders out of `member` that a file names by relative paths.

    They are relative to the file (imports) or to the member (what runs there). A folder above the member is no target:
    what says "the top of the repository" goes on to say what of it only at run time.
    """
    climbing, relative = context.named_in(path)
    within = _within(path, member)
    found = climbing if within else relative
    if not found:
        return
    for base in {posixpath.dirname(path), member} if within else {posixpath.dirname(path)}:
        for each in sorted(found):
            target = posixpath.normpath(posixpath.join(base, each))
            if target == ".." or target.startswith("../") or _within(target, member) or _within(member, target):
                continue
            if target in context.files or next(context.below(target), None):
                yield target
            else:  # `import "../../shared/money"`, without its ending
                yield from (file for file in context.beginning(f"{target}.") if "/" not in file[len(target) :])


def read_at_run_time(context: Context, text: str, code: str) -> Iterator[str]:
    """What a program that starts at the context's top may read: files and folders there that a literal in it names.

    Neither code of its own language (`code` is how that ends) nor another project is data.
    """
    for literal in set(_LITERAL.findall(text)):
        path = posixpath.normpath(literal.partition("*")[0])
        if path in context.files:
            if not path.endswith(code):
                yield path
        elif path not in {".", ".."} and next(context.below(path), None):
            inside = {f"{path}/{name}" for name in _PROJECTS} & context.files
            if not inside and not any(each.endswith(code) for each in context.below(path)):
                yield path


def _data(path: str) -> bool:
    return path.endswith(".json")


def _aliases(path: str) -> bool:
    """Whether a file gives names to folders of members: those that are meant are declared elsewhere, too."""
    return re.search(r"(?:^|/)[jt]sconfig[^/]*\.json$", path) is not None


def _within(path: str, folder: str) -> bool:
    return folder == "." or path == folder or path.startswith(f"{folder}/")


class Lock:
    """A lock of Cargo's or uv's, which hold a `[[package]]` each: kept as they stand, or left out."""

    def __init__(self, context: Context, path: str) -> None:
        text = context.text(path)
        self.head, *self.blocks = re.split(r"(?m)^(?=\[\[package\]\]\s*$)", text)
        self.packages: list[Mapping[str, Any]] = context.toml(path).get("package", [])
        if len(self.blocks) != len(self.packages):
            raise Unclear(f"{path} is not written as its tool does")
        last = self.blocks.pop() if self.blocks else ""
        end = re.search(r"(?m)^\[(?!\[?package[].])", last)
        self.tail = last[end.start() :] if end else ""
        self.blocks += [last.removesuffix(self.tail)] if last else []
        self.named: dict[str, list[int]] = {}
        for index, package in enumerate(self.packages):
            self.named.setdefault(package["name"], []).append(index)

    def only(self, kept: Set[int]) -> str:
        """The text with these packages only."""
        return self.head + "".join(each for index, each in enumerate(self.blocks) if index in kept) + self.tail


@lru_cache(maxsize=1 << 17)
def _named_in(file: str, *_: int) -> tuple[frozenset[str], frozenset[str]]:
    text = Path(file).read_bytes().decode()
    if "./" not in text:
        return frozenset(), frozenset()
    climbing, relative = (frozenset(each.lstrip("/") for each in kind.findall(text)) for kind in (_CLIMBING, _RELATIVE))
    return climbing, relative


@lru_cache(maxsize=8)
def _in_order(files: frozenset[str]) -> list[str]:
    return sorted(files)


def _parsed(path: str, text: str, parse: Callable[[str], object]) -> Mapping[str, Any]:
    try:
        value = parse(text)
    except (ValueError, RecursionError) as exc:
        raise Unclear(f"{path} cannot be read: {str(exc)[:200]}") from exc
    if not isinstance(value, dict):
        raise Unclear(f"{path} is no table of fields")
    return value


# A thousand services of one workspace ask for the same few large files.
@lru_cache(maxsize=2048)
def _toml(text: str) -> object:
    import tomllib  # here and in builders: `atoll affected` imports them all, and mostly reads no such file

    return tomllib.loads(text)


@lru_cache(maxsize=2048)
def _json(text: str) -> object:
    import json

    return json.loads(text)
