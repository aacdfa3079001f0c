"""`atoll init`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from atoll.cli.failed import USER, Failed
from atoll.cli.output import counted, print_json
from atoll.cli.plans import plan_option
from atoll.cli.session import Session, common_options, json_option, takes_session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from atoll.adopt.found import Findings, Left, Question
    from atoll.adopt.tree import Tree
    from atoll.model.errors import Problem


@click.command
@click.argument("path", type=click.Path(), default=".")
@click.option(
    "--from",
    "sources",
    multiple=True,
    metavar="FILE",
    help="The Compose file to read; again for one over it. Default: the one at the top, with its override.",
)
@click.option("--no-compose", is_flag=True, help="Look at build files and Procfiles only.")
@click.option(
    "--profile", "profiles", multiple=True, metavar="NAME", help="Take services of this Compose profile along."
)
@click.option("-y", "--yes", is_flag=True, help="Ask nothing: take the safe answers.")
@click.option(
    "--ci", "system", type=click.Choice(["github", "gitlab"]), help="Write the files of this CI system instead."
)
@click.option("--dry-run", is_flag=True, hidden=True)  # what it was called first
@plan_option
@common_options
@json_option
@takes_session
def command(
    session: Session,
    path: str,
    sources: tuple[str, ...],
    no_compose: bool,
    profiles: tuple[str, ...],
    yes: bool,
    system: Literal["github", "gitlab"] | None,
    dry_run: bool,
    plan: bool,
) -> int:
    """Write the files that make a repository a workspace.

    Finds services by compose.yaml, or by Procfiles and the build files of Python, Node.js, Go, Java, Rust, Ruby, PHP and
    .NET; writes atoll.toml and a service.toml for each, with a comment where something is a guess. What cannot be
    carried over is listed, with the line where it stands. An existing file is never changed; ends with 2 when one was in
    the way. --plan prints what would be written, and writes nothing.

    --ci, in a workspace: a pipeline that builds and tests what is affected, and deploys what changed.

    Example:
      atoll init
      atoll init ~/src/shop --plan
      atoll init --from deploy/compose.yaml --from deploy/compose.dev.yaml --yes
      atoll init --ci github --plan
    """
    plan = plan or dry_run
    if system is not None:
        from atoll.cli.ci_files import write

        return write(session, Path(path).resolve(), system, plan=plan)
    root = _root(path)
    tree, findings = _look(root, sources, no_compose, profiles)
    _settle(findings, ask=not (yes or plan or session.json) and sys.stdin.isatty())
    files = _files(root, findings)
    kept = [name for name in files if (root / name).exists() or (root / name).is_symlink()]
    new = {name: text for name, text in files.items() if name not in kept}
    problems = _check(session, root, tree, new)
    if any(problem.level == "error" for problem in problems):
        return _refuse(session, problems)
    if not plan:
        _write(root, new)
    _tell(session, new, kept, findings, plan=plan)
    return USER if kept and new else 0


def _root(path: str) -> Path:
    root = Path(path).resolve()
    if not root.is_dir():
        raise Failed(
            f"there is no folder {path}",
            "a workspace is a folder with services",
            "name a folder that exists",
            id="nothing-to-adopt",
        )
    above = next((folder for folder in root.parents if (folder / "atoll.toml").is_file()), None)
    if above is not None and not (root / "atoll.toml").is_file():
        raise Failed(
            f"{root} lies in a workspace already",
            f"{above} has an atoll.toml",
            f"atoll init {above}",
            id="already-a-workspace",
        )
    return root


def _look(root: Path, sources: Sequence[str], no_compose: bool, profiles: Sequence[str]) -> tuple[Tree, Findings]:
    """What the repository shows. Raises Failed when that is nothing."""
    from atoll.adopt import compose, repository, tree

    files = tree.of_disk(root)
    named = [_within(root, source) for source in sources]
    files = tree.Tree({*files.names, *named}, files.bytes, files.name)
    if len(named) < 2 and not no_compose:
        named = repository.compose_files(files, *named)
    findings = compose.read(files, named, profiles) if named else repository.discover(files)
    if not findings.services:
        left = "; ".join(f"{each.service}: {each.what}" for each in findings.left[:5])
        looked = ", ".join(named) or "build files (pyproject.toml, package.json, go.mod, pom.xml, ...) and Procfiles"
        fix = "write a service.toml in each service's folder: `run` is all it needs"
        raise Failed(f"no service was found in {root}", left or f"looked for {looked}", fix, id="nothing-to-adopt")
    return files, findings


def _within(root: Path, source: str) -> str:
    """The Compose file relative to the repository; named from here, or from there."""
    file = next((each for each in (Path(source), root / source) if each.is_file()), None)
    if file is None:
        raise Failed(
            f"there is no file {source}", "--from names a Compose file", "name one that exists", id="nothing-to-adopt"
        )
    try:
        return file.resolve().relative_to(root).as_posix()
    except ValueError as exc:
        raise Failed(
            f"{source} lies outside {root}",
            "its paths would lead out of the workspace",
            f"atoll init {file.resolve().parent}",
            id="outside-workspace",
        ) from exc


def _settle(findings: Findings, *, ask: bool) -> None:
    """Ask where somebody is there to answer; the safe defaults otherwise."""
    from atoll.adopt.choices import questions, settle, unsettled

    settle(findings, {question.key: _ask(question) for question in questions(findings)} if ask else {})
    findings.left += unsettled(findings)


def _ask(question: Question) -> str:
    answer: str = click.prompt(question.text, type=click.Choice(question.choices), default=question.default, err=True)
    return answer


def _files(root: Path, findings: Findings) -> dict[str, str]:
    """What is to be written, by path."""
    from atoll.adopt.text import service_text, workspace_text

    folders = [found.folder for found in findings.services]
    files = {"atoll.toml": workspace_text(root.name, folders, findings.stores)}
    for found in findings.services:
        files["service.toml" if found.folder == "." else f"{found.folder}/service.toml"] = service_text(found)
    return files


def _check(session: Session, root: Path, tree: Tree, new: Mapping[str, str]) -> Sequence[Problem]:
    """What `atoll check` will say of these files beside those that are there, before anything is written."""
    from tempfile import TemporaryDirectory

    from atoll.model.errors import InvalidWorkspace

    files = {name: tree.text(name) for name in tree.names if name.rpartition("/")[2] in {"atoll.toml", "service.toml"}}
    with TemporaryDirectory(prefix="atoll-init-") as folder:
        place = Path(folder) / (root.name or "workspace")
        _write(place, {**files, **new})
        try:
            workspace = session.hooks.load(place, "local")
        except InvalidWorkspace as exc:
            # The copy lies elsewhere, so that other repositories are not where `roots` says: `atoll check` looks at those.
            return [each for each in exc.problems if not each.field.startswith("roots[")]
    found = {f"{spec.folder}/service.toml".removeprefix("./") for spec in workspace.services.values()}
    for name in new:
        if name.endswith("service.toml") and name not in found:
            session.warn(
                f'atoll.toml does not lead to {name}: add "{name.rpartition("/")[0] or "."}" to its `services`'
            )
    return workspace.warnings


def _write(root: Path, files: Mapping[str, str]) -> None:
    """Write new files; one that has come to be there meanwhile is an error, not overwritten."""
    for name, text in files.items():
        file = root / name
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x", encoding="utf-8") as new:
                new.write(text)
        except OSError as exc:
            raise Failed(
                f"{file} cannot be written", str(exc.strerror or exc), "make its folder writable", id="cannot-write"
            ) from exc


def _refuse(session: Session, problems: Sequence[Problem]) -> int:
    """The files would not be valid together: say why, change nothing."""
    if session.json:
        from atoll.cli.outputs import InitOutput

        print_json(InitOutput(ok=False, problems=tuple(problems)))
        return USER
    for problem in problems:
        where = f"{problem.file}:{problem.line}" if problem.line else problem.file
        click.echo(
            f"{where}: {problem.what}{f' (fix: {problem.fix})' if problem.fix else ''}  [{problem.id}]", err=True
        )
    raise Failed(
        f"the files would have {counted(len(problems), 'problem')}: nothing was written",
        "together with those that are there they must pass `atoll check`",
        "correct the lines above, or write service.toml yourself where they come from",
        id="invalid-files",
    )


def _tell(session: Session, new: Mapping[str, str], kept: Sequence[str], findings: Findings, *, plan: bool) -> None:
    """What was written, what is left to do, what comes next."""
    if session.json:
        from atoll.cli.outputs import InitOutput

        left, unneeded = tuple(findings.left), tuple(findings.unneeded)
        print_json(InitOutput(plan=plan, files=new, kept=tuple(kept), left=left, unneeded=unneeded))
        return
    for name, text in new.items():
        if plan:
            click.echo(f"{click.style(f'--- {name}', bold=True)}\n{text}")
        else:
            click.echo(f"wrote {name}")
    for name in kept:
        click.echo(f"kept  {name}: it exists, and is not changed")
    if findings.left:
        click.echo(f"\nleft to you ({counted(len(findings.left), 'line')}):")
        for each in findings.left:
            click.echo(f"  {click.style(_whose(each) or 'all', bold=True)}: {each.what}")
            if where := _where(each):
                click.echo(f"    at:  {where}")
            if each.fix:
                click.echo(f"    fix: {each.fix}")
    if findings.unneeded:
        click.echo(f"\nnot needed here ({counted(len(findings.unneeded), 'line')}):")
        for each in findings.unneeded:
            whose = _whose(each)
            click.echo(f"  {each.what}{f' ({whose})' if whose else ''}")
    if not new:
        click.echo("\nnothing to write: every file is there")
    click.echo(
        f"\nnext: {'atoll init writes these' if plan else '`atoll up` builds and starts everything; `atoll status` shows it'}"
    )


def _whose(left: Left) -> str:
    names = left.service.split(", ")
    return left.service if len(names) < 5 else f"{', '.join(names[:2])} and {len(names) - 2} others"


def _where(left: Left) -> str:
    """The first places of a line, as an editor takes them, each with its field."""
    places = [str(place) for place in left.places if place.file]
    return ", ".join(places[:2]) + (f" and {len(places) - 2} more" if places[2:] else "")
