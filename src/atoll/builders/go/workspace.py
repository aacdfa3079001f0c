"""What a service reaches of a Go repository: the packages that its own import, over modules of go.work and local replaces.

Imports are followed from package to package, tests included, so that what is reached can be tested, too. go.work is cut to
the modules that are reached. A module's own go.mod and go.sum are taken whole: which of its requirements a package needs
stands in the modules' own sources, which are not here.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from atoll.builders.go.modules import home_of
from atoll.builders.workspaces import Context, Unclear, read_at_run_time
from atoll.model.building import Scope

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_IMPORT = re.compile(r"(?m)^\s*import\s*(?:\(([^)]*)\)|((?:[\w.]+\s+)?[\"`][^\"`\n]+[\"`]))")
_QUOTED = re.compile(r"[\"`]([^\"`\n]+)[\"`]")
_EMBED = re.compile(r"(?m)^//go:embed[ \t]+(.+)$")
_TOP = frozenset({"go.work", "go.work.sum", ".go-version", ".tool-versions", "mise.toml"})
_CODE = (".go", ".s", ".S", ".c", ".h", ".cc", ".cpp", ".hpp", ".syso")


class ModFile(NamedTuple):
    """A go.mod or go.work: each directive with what follows it, blocks taken apart."""

    lines: tuple[tuple[str, str], ...]

    def all(self, verb: str) -> list[str]:
        """What follows a directive, each time."""
        return [rest for each, rest in self.lines if each == verb]

    def requires(self) -> Iterator[str]:
        """The paths of the modules that are required."""
        return (rest.split()[0].strip('"') for rest in self.all("require") if rest)

    def replaces(self, at: str) -> Iterator[tuple[str, str]]:
        """Modules that lie in folders instead -> the folder, relative to the context as `at` is."""
        for rest in self.all("replace"):
            old, _, new = rest.partition("=>")
            target = new.strip().strip('"')
            if (old.split() and target.startswith(("./", "../", "/"))) or target in {".", ".."}:
                yield old.split()[0].strip('"'), posixpath.normpath(posixpath.join(at, target))


@lru_cache(maxsize=2048)
def mod_file(text: str) -> ModFile:
    """Read a go.mod or go.work."""
    lines: list[tuple[str, str]] = []
    block = ""
    for line in text.splitlines():
        said = line.partition("//")[0].strip()
        if block and said == ")":
            block = ""
        elif block and said:
            lines.append((block, said))
        elif said.endswith("("):
            block = said[:-1].strip()
        elif said:
            verb, _, rest = said.partition(" ")
            lines.append((verb, rest.strip()))
    return ModFile(tuple(lines))


def tell(context: Context, member: str) -> Scope | None:
    """What the packages at and below `member` reach. Raises Unclear."""
    home = home_of(context.files, member)
    return None if home is None else _Repository(context, home).scope(member)


class _Repository:
    """The modules that a build of the one at `home` sees, and what of them was reached."""

    def __init__(self, context: Context, home: str) -> None:
        self.context, self.home = context, home
        self.packages = _packages(context.files)
        self.mods: dict[str, ModFile] = {}  # of folders
        self.work = mod_file(context.text("go.work")) if "go.work" in context.files else None
        used = [posixpath.normpath(each.strip('"')) for each in self.work.all("use")] if self.work else [home]
        if home not in used:
            raise Unclear(f"go.work does not use {home}")
        self.modules: dict[str, str] = {}  # path of a module -> its folder
        for at, mod in [(at, self._mod(at)) for at in used] + ([(".", self.work)] if self.work else []):
            self.modules |= dict(mod.replaces(at))
        self.modules |= {next(iter(self._mod(at).all("module")), "").strip('"'): at for at in used}
        self.used = frozenset(used)
        self.why: dict[str, str] = {}  # folder of a package or module -> why
        self.data: dict[str, str] = {}  # what is read at run time -> why
        self.whole: set[str] = set()  # folders with all that is below them
        self.files: set[str] = set()

    def scope(self, member: str) -> Scope:
        own = [each for each in self.packages if _within(each, member)]
        if not own:
            raise Unclear(f"no Go package lies in {member}")
        self.whole.add(member)
        self.why[member] = "the service"
        self._reach(own)
        modules = self._required()
        for at in modules:
            self.files |= {posixpath.normpath(f"{at}/{name}") for name in ("go.mod", "go.sum")} & self.context.files
        vendored = {posixpath.normpath(f"{at}/vendor/modules.txt") for at in (".", self.home)}
        self.files |= (vendored | _TOP) & self.context.files
        rewritten = {"go.work": self._cut(modules)} if self.work else {}
        return Scope(
            folders=tuple(self.whole), files=tuple(self.files), rewritten=rewritten, why={**self.data, **self.why}
        )

    def _mod(self, at: str) -> ModFile:
        if at not in self.mods:
            self.mods[at] = mod_file(self.context.text(posixpath.normpath(f"{at}/go.mod")))
        return self.mods[at]

    # --- packages -------------------------------------------------------------------------------------------------

    def _reach(self, todo: list[str]) -> None:
        """Take these packages and all that they import, each with what lies in its folder."""
        seen = set(todo)
        while todo:
            here = todo.pop()
            for name in sorted(self._take(here)):
                for package in self._meant(name):
                    if package not in seen:
                        seen.add(package)
                        todo.append(package)
                        self.why.setdefault(package, f"{here} imports {name}")

    def _meant(self, name: str) -> Iterator[str]:
        """The folders here that an import may mean; none is a package of the standard library or of a registry."""
        for path, folder in self.modules.items():
            if path and (name == path or name.startswith(f"{path}/")):
                package = posixpath.normpath(posixpath.join(folder, name[len(path) + 1 :]))
                if package in self.packages:
                    yield package
        for at in dict.fromkeys((".", self.home)):
            if (package := posixpath.normpath(f"{at}/vendor/{name}")) in self.packages:
                yield package

    def _take(self, package: str) -> set[str]:
        """Take a package's folder, less other packages below it; what it imports."""
        imports: set[str] = set()
        here = [path for path in self._below(package) if posixpath.dirname(path) == package.removeprefix(".")]
        self.files.update(path for path in here if package != "." or path.endswith(_CODE))
        for path in [each for each in here if each.endswith(".go")]:
            text = self.context.text(path)
            imports |= set(imported(text))
            for named in read_at_run_time(self.context, text, ".go"):
                (self.files if named in self.context.files else self.whole).add(named)
                self.data.setdefault(named, f"{path} names it")
            for pattern in (word.strip('"`') for found in _EMBED.findall(text) for word in found.split()):
                self._embed(package, pattern.removeprefix("all:"))
        if "C" in imports:
            self._take_cgo(package, here)
        if package != ".":
            for folder in {
                path[len(package) + 1 :].partition("/")[0] for path in self._below(package) if path not in here
            }:
                inner = f"{package}/{folder}"
                if folder == "testdata" or not any(_within(each, inner) for each in self.packages_below(package)):
                    self.whole.add(inner)
        return imports

    def packages_below(self, package: str) -> Iterator[str]:
        """The packages in a package's folder, and modules of their own."""
        for path in self._below(package):
            if path.endswith((".go", "/go.mod")) and posixpath.dirname(path) != package:
                yield posixpath.dirname(path)

    def _below(self, package: str) -> Iterator[str]:
        return self.context.top() if package == "." else self.context.below(package)

    def _embed(self, package: str, pattern: str) -> None:
        """What an embedding may mean: the folder up to the first wildcard."""
        parts = [posixpath.normpath(posixpath.join(package, pattern))]
        while any(set(part) & set("*?[\\") for part in parts):
            parts = [posixpath.dirname(parts[0])]
        if parts[0] in {"", "."}:
            self.files.update(self.context.top())
        else:
            self.whole.add(parts[0])

    def _take_cgo(self, package: str, here: list[str]) -> None:
        """C is compiled with the package, and its sources may name what they like by path."""
        if package == ".":
            raise Unclear("the package at the top uses cgo")
        self.whole.add(package)
        for path in [each for each in here if each.endswith((".go", ".c", ".h", ".cc", ".cpp", ".hpp"))]:
            if "../" in self.context.text(path):
                raise Unclear(f"{path} uses cgo and leads out of its folder")

    # --- modules --------------------------------------------------------------------------------------------------

    def _required(self) -> list[str]:
        """The folders of the modules that have a package that is reached, or are required by one that is."""
        folders = set(self.modules.values())
        reached = {self.home}
        for package in self.why:
            at = package
            while at not in folders and at:
                at = posixpath.dirname(at)
            reached.add(at or ".")
        todo = sorted(reached & folders)
        reached = set(todo)
        while todo:
            at = todo.pop()
            for path in self._mod(at).requires():
                folder = self.modules.get(path)
                if folder is not None and folder not in reached:
                    reached.add(folder)
                    todo.append(folder)
                    self.why.setdefault(folder, f"{posixpath.normpath(f'{at}/go.mod')} requires {path}")
        return sorted(reached)

    def _cut(self, modules: list[str]) -> str:
        """go.work with the modules that are reached."""
        assert self.work is not None
        dropped = {path for path, folder in self.work.replaces(".") if folder not in modules}
        lines = [
            f"{verb} {rest}\n"
            for verb, rest in self.work.lines
            if verb != "use" and not (verb == "replace" and rest.split()[0].strip('"') in dropped)
        ]
        used = "".join(f"\t./{at}\n" if at != "." else "\t.\n" for at in modules if at in self.used)
        return "".join(lines) + f"\nuse (\n{used})\n"


def imported(text: str) -> Iterator[str]:
    """What a Go file imports. Before the imports stand comments only, so that nothing hides one."""
    for block, single in _IMPORT.findall(_COMMENT.sub("", text)):
        yield from _QUOTED.findall(block or single)


@lru_cache(maxsize=4)
def _packages(files: frozenset[str]) -> Mapping[str, None]:
    """The folders with Go files in them, in order."""
    return dict.fromkeys(posixpath.dirname(path) or "." for path in sorted(files) if path.endswith(".go"))


def _within(path: str, folder: str) -> bool:
    return folder == "." or path == folder or path.startswith(f"{folder}/")
