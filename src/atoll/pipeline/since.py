"""What differs between a commit and the work tree, by git: for `atoll affected --since`, and for nothing else.

It answers another question than keys do: not what has to run, but whom a change concerns. So it needs git, and the commit.
"""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from atoll.model.environment import WorkspaceSpec
from atoll.model.errors import UserError
from atoll.pipeline.globs import matcher
from atoll.pipeline.order import OURS, Work, files_of, folder_of, is_alone, is_ours, patterns_of, works_of
from atoll.pipeline.provenance import git_environment

GIT_S = 60.0  # a first `git diff` in a huge tree on a slow disk


class Since:
    """What differs from the commit `ref` of each repository that holds services."""

    def __init__(self, workspace: WorkspaceSpec, ref: str, artifacts: Path) -> None:
        self._root, self._ref, self._artifacts = Path(workspace.root), ref, artifacts
        self._works = works_of(workspace)
        self._changed: dict[Path, tuple[str, ...]] = {}  # top of a repository -> absolute paths

    def changes(self) -> Mapping[str, Sequence[str]]:
        """Task -> what of it differs, a short sentence each: files, relative to its build's context, and tasks that it needs.

        Raises UserError: no git, no repository, no such commit.
        """
        found: dict[str, list[str]] = {}

        def said(id: str) -> list[str]:
            if id not in found:
                work = self._works[id]
                found[id] = [f"{path} changed" for path in self._of(work)]
                found[id] += [f"{need} changed" for need in work.needs.values() if said(need)]
            return found[id]

        return {id: told for id in self._works if (told := said(id))}

    def _of(self, work: Work) -> Iterator[str]:
        """The inputs that differ; its service.toml, too, of which git cannot say whether the build is concerned."""
        folder = folder_of(work, self._root)
        top = self._top(folder)
        base = f"{os.fspath(folder).rstrip('/')}/"
        inner = [path.removeprefix(base) for path in self._diff(top) if path.startswith(base)]
        if os.path.normpath(self._root / work.spec.folder / "service.toml") in self._diff(top):
            yield "service.toml"
        meant = matcher(patterns_of(work))
        alone = is_alone(work)
        inner = [path for path in inner if meant(path) and not (path in OURS if alone else is_ours(path))]
        reached = self._reached(work) if inner else None
        for path in inner:
            if reached is None or any(path == each or path.startswith(f"{each}/") for each in reached):
                yield path

    def _reached(self, work: Work) -> tuple[str, ...] | None:
        """Where the files lie that a service reaches of its context; None is all of it."""
        cut = files_of(work, self._root, self._artifacts)
        if cut.scope is None or "." in cut.scope.folders:
            return None
        return (*cut.scope.folders, *cut.scope.files, *(entry.path for entry in cut.entries))

    def _top(self, folder: Path) -> Path:
        for place in (folder, *folder.parents):
            if (place / ".git").exists():
                return place
        raise UserError(
            f"{folder} is in no git repository",
            "--since asks git what differs",
            "leave --since out: what is affected is told without git",
            id="no-history",
        )

    def _diff(self, top: Path) -> tuple[str, ...]:
        if top not in self._changed:
            commit = self._commit(top)
            differing = self._git(top, "diff", "--name-only", "--no-renames", "-z", commit, "--")
            untracked = self._git(top, "ls-files", "--others", "--exclude-standard", "-z")
            names = sorted({*differing.split("\0"), *untracked.split("\0")} - {""})
            self._changed[top] = tuple(path for name in names for path in self._files(top / name))
        return self._changed[top]

    def _files(self, path: Path) -> Iterator[str]:
        """The path; of a submodule, which git names as a whole, all of its files."""
        yield os.fspath(path)
        if (path / ".git").exists():
            yield from (os.path.join(path, name) for name in self._git(path, "ls-files", "-z").split("\0") if name)

    def _commit(self, top: Path) -> str:
        """The commit; with `...` at its end the one at which HEAD left it."""
        name = self._ref.removesuffix("...")
        commit = self._asked(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        fork = self._asked(top, "merge-base", commit.strip(), "HEAD") if commit and name != self._ref else commit
        if fork:
            return fork.strip()
        if (self._asked(top, "rev-parse", "--is-shallow-repository") or "").strip() == "true":
            why = "this clone is shallow: it lacks most of the history"
            fix = "fetch it (git fetch --unshallow; fetch-depth: 0 of actions/checkout), or leave --since out: that needs no git"
        elif commit:
            why, fix = f"'{name}' and HEAD have no commit in common", f"compare with itself: --since {name}"
        else:
            why, fix = (
                "it names neither a branch, a tag nor a commit that is here",
                f"git fetch origin {name}; or see git branch -a",
            )
        raise UserError(f"git finds no commit '{self._ref}' in {top}", why, fix, id="no-history")

    def _git(self, top: Path, *arguments: str) -> str:
        said = self._asked(top, *arguments)
        if said is None:
            why = f"`git {arguments[0]}` failed in {top}"
            raise UserError(
                "git cannot tell what differs", why, f"see what it says: git -C {top} status", id="no-history"
            )
        return said

    def _asked(self, top: Path, *arguments: str) -> str | None:
        """What git printed; None when it failed."""
        argv = ("git", "-c", "core.fsmonitor=false", "-C", os.fspath(top), *arguments)
        fix = "leave --since out: what is affected is told without git"
        try:
            done = subprocess.run(argv, env=git_environment(), capture_output=True, timeout=GIT_S, check=False)
        except FileNotFoundError as exc:
            raise UserError("git is missing", "--since asks it what differs", fix, id="no-history") from exc
        except subprocess.TimeoutExpired as exc:
            raise UserError(f"git did not answer within {GIT_S:.0f} s", f"in {top}", fix, id="no-history") from exc
        return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else None
