"""What a service reaches of a Maven reactor: its module, what that names of the others, and their parents.

Artifacts are known by their `artifactId` alone, of whatever group: one too many is no harm. Aggregators are cut to the modules
that are reached. What a parent manages for all stays whole.
"""

import posixpath
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError, fromstring

from atoll.builders.workspaces import Context, Reached, Unclear
from atoll.model.building import Scope

POM = "pom.xml"
_SOURCES = (POM, ".xml", ".properties", ".proto")
_TOP = frozenset({"mvnw", "mvnw.cmd", "lombok.config", ".java-version", ".sdkmanrc", ".tool-versions", "mise.toml"})
_FROM_TOP = re.compile(
    r"\$\{(?:maven\.multiModuleProjectDirectory|session\.(?:executionRoot|root)Directory|project\.rootDirectory"
    r"|(?:project\.)?parent\.basedir)\}/([\w@+.-]+(?:/[\w@+.-]+)*)"
)


class Pom(NamedTuple):
    """What one pom.xml says of others."""

    artifact: str
    parent: str  # the path of its file, relative to the folder; "" for one that is no file
    names: frozenset[str]  # artifacts that are used, whatever as
    modules: tuple[str, ...]


def tell(context: Context, member: str) -> Scope | None:
    """What the module at `member` reaches. Raises Unclear."""
    if not {POM, f"{member}/{POM}"} <= context.files:
        return None
    return Reactor(context).scope(member)


class Reactor:
    """The modules of the aggregator at the context's top."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.poms: dict[str, Pom] = {}
        self.above: dict[str, str] = {}  # module -> its aggregator
        self._walk(".", "")
        self.folders: dict[str, list[str]] = {}  # by artifact
        for folder, pom in self.poms.items():
            self.folders.setdefault(pom.artifact, []).append(folder)

    def scope(self, member: str) -> Scope:
        """The module's scope. Raises Unclear."""
        reached = self.reached(member)
        kept = {*reached.members}
        for folder in reached.members:
            while (folder := self.above.get(folder, "")) and folder not in kept:
                kept.add(folder)
        folders = [each for each in reached.members if not self._holds(each)]
        files = {self._file(each) for each in kept} | {path for path in self.context.top() if path in _TOP}
        for path in {self._file(each) for each in kept}:
            for named in _FROM_TOP.findall(self.context.text(path)):
                reached.others.setdefault(named, f"{path} names it")
        own = [f"{each}/src" for each in reached.members if self._holds(each) and each != "."]
        rewritten = {self._file(each): text for each in sorted(kept) if (text := self._cut(each, kept))}
        return Scope(
            folders=(*folders, *own, *reached.others, ".mvn"),
            files=tuple(files),
            rewritten=rewritten,
            why={POM if each == "." else each: why for each, why in {**reached.members, **reached.others}.items()},
        )

    def reached(self, member: str) -> Reached:
        """The modules that are needed to build one."""
        if member not in self.poms:
            raise Unclear(f"no <module> leads to {member}")
        reached = Reached(self.context, POM, self._needs, _SOURCES)
        reached.start(member, "the service")
        return reached

    def _walk(self, folder: str, above: str) -> None:
        if folder in self.poms:
            return
        pom = self.poms[folder] = read(self._file(folder), self.context.text(self._file(folder)))
        if above:
            self.above[folder] = above
        for module in pom.modules:
            if "${" in module or module.endswith(".xml"):
                raise Unclear(f"{self._file(folder)} has the module {module}")
            inner = posixpath.normpath(posixpath.join(folder, module))
            self._walk(inner, folder)

    def _needs(self, folder: str) -> Iterator[tuple[str, str]]:
        path = self._file(folder)
        pom = self.poms.get(folder) or read(path, self.context.text(path))
        for name in sorted(pom.names & self.folders.keys()):
            for each in self.folders[name]:
                if each != folder:
                    yield each, f"{path} names {name}"
        if pom.parent:
            parent = posixpath.normpath(posixpath.join(folder, pom.parent))
            parent = parent if parent.endswith(".xml") else posixpath.normpath(f"{parent}/{POM}")
            if parent in self.context.files:
                if posixpath.basename(parent) != POM:
                    raise Unclear(f"{path} has the parent {pom.parent}")
                yield posixpath.dirname(parent) or ".", f"{path} has it as its parent"

    def _file(self, folder: str) -> str:
        return posixpath.normpath(f"{folder}/{POM}")

    def _holds(self, folder: str) -> bool:
        """Whether other modules lie in a module's folder: then only what is its own goes in."""
        return folder == "." or any(each.startswith(f"{folder}/") for each in self.poms)

    def _cut(self, folder: str, kept: set[str]) -> str:
        """An aggregator without the modules that are not kept; "" when it has none."""
        dropped = [
            module
            for module in (self.poms[folder].modules if folder in self.poms else ())
            if posixpath.normpath(posixpath.join(folder, module)) not in kept
        ]
        if not dropped:
            return ""
        names = "|".join(re.escape(module) for module in dropped)
        tag = r"(?:module|subproject)"
        return re.sub(rf"\s*<{tag}>\s*(?:{names})\s*</{tag}>", "", self.context.text(self._file(folder)))


@lru_cache(maxsize=2048)
def read(path: str, text: str) -> Pom:
    """What a pom.xml says. Raises Unclear."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise Unclear(f"{path} has a document type")
    try:
        root = fromstring(text)  # noqa: S314 (without a document type there is nothing to expand)
    except ParseError as exc:
        raise Unclear(f"{path} cannot be read: {exc}") from exc
    parent = _child(root, "parent")
    relative = _child(parent, "relativePath") if parent is not None else None
    where = "" if parent is None else "../pom.xml" if relative is None else (relative.text or "").strip()
    names = frozenset(_names(root))
    if unclear := next((name for name in names if "${" in name), None):
        raise Unclear(f"{path} names the artifact {unclear}")
    modules = [each.text.strip() for each in root.iter() if _tag(each) in {"module", "subproject"} and each.text]
    return Pom(_text(root, "artifactId"), where, names, tuple(modules))


def _names(element: Element) -> Iterator[str]:
    """The artifacts that are used below an element: not those that are excluded, nor those that are only managed."""
    for each in element:
        tag = _tag(each)
        if tag == "exclusions":
            continue
        if tag == "dependencyManagement":
            yield from (_text(item, "artifactId") for item in each.iter() if _text(item, "scope") == "import")
            continue
        if tag in {"dependency", "plugin", "extension", "parent", "path", "annotationProcessorPath"}:
            yield _text(each, "artifactId")
        yield from _names(each)


def _tag(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _child(element: Element, tag: str) -> Element | None:
    return next((each for each in element if _tag(each) == tag), None)


def _text(element: Element, tag: str) -> str:
    child = _child(element, tag)
    return (child.text or "").strip() if child is not None else ""
