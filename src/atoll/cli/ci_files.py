"""`atoll init --ci`: the files by which a CI system runs Atoll, written once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from atoll.cli.failed import USER, Failed
from atoll.cli.output import print_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from atoll.cli.session import Session
    from atoll.pipeline.report.workflows import Setting

_NEXT: Mapping[str, str] = {
    "github": "set the variable ATOLL_PACKAGE (Settings, Secrets and variables, Actions), commit the file, and push",
    "gitlab": "set the variable ATOLL_PACKAGE (Settings, CI/CD, Variables), commit the files, and push",
}


def write(session: Session, start: Path, system: Literal["github", "gitlab"], *, plan: bool) -> int:
    """Write what is not there; returns the exit code: 2 when a file was in the way. Raises Failed without a workspace."""
    from atoll.pipeline.report.workflows import files

    if start != Path.cwd().resolve():
        session.workspace_option = str(start)
    top = _repository(session.root)
    made = files(system, _setting(session, top))
    kept = [path for path in made if (top / path).exists() or (top / path).is_symlink()]
    new = {path: text for path, text in made.items() if path not in kept}
    if not plan:
        for path, text in new.items():
            _put(top / path, text)
    if session.json:
        from atoll.cli.outputs import InitOutput

        print_json(InitOutput(plan=plan, files=new, kept=tuple(kept), next=_NEXT[system]))
        return USER if kept else 0
    for path, text in new.items():
        if plan:
            click.echo(f"{click.style(f'--- {path}', bold=True)}\n{text}")
        else:
            click.echo(f"wrote {path}")
    for path in kept:
        session.warn(f"{path} is there already, and was left as it is")
    if new:
        session.say(f"next: {_NEXT[system]}")
    if plan:
        session.say("this is a plan: nothing was changed")
    return USER if kept else 0


def _setting(session: Session, top: Path) -> Setting:
    """What is deployed where: `production`, else the first environment beside `local`; nothing without one."""
    from atoll.pipeline.report.workflows import Setting

    declared = [name for name in session.hooks.names(session.root).environments if name != "local"]
    environment = "production" if "production" in declared else next(iter(declared), "")
    folder = os.path.relpath(session.root, top).replace(os.sep, "/")
    if not environment:
        session.warn("atoll.toml declares no environment beside 'local', so that nothing is deployed from CI")
    return Setting(branch=_default_branch(top), environment=environment, folder=folder)


def _repository(root: Path) -> Path:
    """Where the CI system looks: the top of the git repository; the workspace itself without one."""
    return next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)


def _default_branch(top: Path) -> str:
    """What the remote says is its default, else the one that is checked out, else `main`."""
    head = _first_line(top / ".git/refs/remotes/origin/HEAD").removeprefix("ref: refs/remotes/origin/")
    return head or _first_line(top / ".git/HEAD").partition("ref: refs/heads/")[2] or "main"


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _put(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as exc:
        fix = "make the folder writable"
        raise Failed(f"{path} cannot be written", exc.strerror or str(exc), fix, id="cannot-write") from exc
