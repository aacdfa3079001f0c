"""Which folders of a workspace are worth watching, and whom a changed file concerns.

`cli.dev` asks; the watching itself is not done here. An answer may name a service too many (the content key settles that),
never one too few. Reads .gitignore files and folders' names, no file's content.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from atoll.model.environment import WorkspaceSpec
from atoll.model.spec import ServiceSpec
from atoll.pipeline.globs import matcher
from atoll.pipeline.ignore import NEVER, Ignore, above
from atoll.pipeline.order import OURS

_CERTIFICATES = (".pem", ".crt", ".cer")  # `ca` of a call names one
# What editors put beside a file while it is open: vim, Emacs, JetBrains, and macOS' Finder.
LEFT = re.compile(r"~$|\.sw[a-z]$|^4913$|^\.#|^#.*#$|\.___jb_|^\.DS_Store$")


class Watched:
    """The services `names` of a workspace as its files were read last."""

    def __init__(self, workspace: WorkspaceSpec, names: Iterable[str], artifacts: Path) -> None:
        """`artifacts` is where builds lie, which may be within the workspace."""
        self._root, self._artifacts = os.path.realpath(workspace.root), os.path.realpath(artifacts)
        self._services = [_Inputs(self._root, workspace.services[name]) for name in names]
        self._texts = {
            os.path.join(self._root, spec.folder, text.template)
            for spec in workspace.services.values()
            for text in spec.files.values()
            if text.template
        }
        self._places = [self._root, *(os.path.join(self._root, each.home) for each in self._services)]

    def folders(self, *, everywhere: bool) -> frozenset[str]:
        """All folders that hold inputs, absolute. `everywhere`: also those in which a service may yet appear."""
        found: set[str] = {self._root}
        if everywhere:
            for top in dict.fromkeys(map(os.path.realpath, self._places)):
                found.update(self._below(top, above(Path(top), Path(top))))
        for each in self._services:
            if each.context not in found:  # named, or in a folder that git ignores
                found.update(self._below(each.context, above(Path(each.context), Path(self._root, each.home))))
            found.add(os.path.join(self._root, each.folder))
        return frozenset(found)

    def _below(self, top: str, rules: Ignore) -> Iterator[str]:
        todo = [(top, rules)]
        while todo:
            folder, here = todo.pop()
            try:
                with os.scandir(folder) as items:
                    inside = [one.path for one in items if one.is_dir(follow_symlinks=False) and one.name not in NEVER]
            except OSError:
                continue  # it went, or is closed to us: a build will say so where it matters
            yield folder
            todo += [
                (path, here.within(path))
                for path in inside
                if path != self._artifacts and not here.ignores(path, folder=True)
            ]

    def concerned(self, paths: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """Service -> which of the changed files (absolute) are inputs of it, relative to its context, sorted.

        A path with a slash at its end is a folder that came or went: whatever is in it did, too.
        """
        changed = tuple(paths)
        found = {each.name: tuple(sorted(each.of(changed))) for each in self._services}
        return {name: files for name, files in found.items() if files}

    def declares(self, path: str) -> bool:
        """Whether a file (absolute) is read with the workspace's: service.toml, atoll.toml, a template, an authority."""
        return path.rpartition("/")[2] in OURS or path in self._texts or path.endswith(_CERTIFICATES)


class _Inputs:
    """What goes into the build of one service, as rules."""

    def __init__(self, root: str, spec: ServiceSpec) -> None:
        self.name, self.folder, self.home = spec.name, spec.folder, spec.root
        self.context = os.path.realpath(os.path.join(root, spec.folder, spec.build.context))
        self._top = Path(root, spec.root)
        self._meant = matcher(spec.build.inputs)
        self._rules: dict[str, Ignore | None] = {}  # folder -> its rules; None is an ignored one

    def of(self, paths: Iterable[str]) -> Iterator[str]:
        self._rules = {self.context: above(Path(self.context), self._top)}  # a .gitignore may be what was edited
        for path in paths:
            folder, _, name = path.rstrip("/").rpartition("/")
            if not (folder + "/").startswith(self.context + "/") or name in OURS or name in NEVER or LEFT.search(name):
                continue
            below, whole = path[len(self.context) + 1 :], path.endswith("/")
            rules = self._within(folder)
            if (
                rules is not None
                and (whole or self._meant(below))
                and not rules.ignores(path.rstrip("/"), folder=whole)
            ):
                yield below

    def _within(self, folder: str) -> Ignore | None:
        if folder not in self._rules:
            parent, _, name = folder.rpartition("/")
            rules = self._within(parent)
            ignored = rules is None or name in NEVER or rules.ignores(folder, folder=True)
            self._rules[folder] = None if ignored or rules is None else rules.within(folder)
        return self._rules[folder]
