"""`atoll eject`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from atoll.cli.failed import Failed
from atoll.cli.output import print_json
from atoll.cli.plans import plan_option
from atoll.cli.session import Session, common_options, json_option, takes_session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from atoll.eject import Recipe
    from atoll.model.environment import WorkspaceSpec


@click.command
@click.option("--to", metavar="DIR", default="ejected", show_default=True, type=click.Path(), help="Where to write.")
@plan_option
@common_options
@json_option
@takes_session
def command(session: Session, to: str, plan: bool) -> None:
    """Write compose and systemd files that run the same services without Atoll.

    Commands, environment, fixed ports, health checks, order, limits, and nginx for routes and calls. Secrets become
    placeholders. What cannot be carried over is listed in the README beside the files. Nothing is ever overwritten, and
    the environment that runs is left alone. --plan builds and writes nothing: it prints the files' names and that list.

    Example:
      atoll eject
      atoll eject --plan
      atoll eject --env production --to ../shop-ejected
    """
    from atoll.eject import files, left

    workspace = session.load()
    folder = Path(to).resolve()
    recipes = _recipes(session, workspace, build=not plan)
    made = files(workspace, recipes, str(folder))
    _refuse_what_is_there(folder, made)
    for name, text in made.items() if not plan else ():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x") as opened:  # never over a file that came meanwhile
            opened.write(text)
        if text.startswith("#!"):
            path.chmod(0o755)
    if session.json:
        from atoll.cli.outputs import EjectOutput

        told = {name: tuple(lines) for name, lines in left(workspace, recipes).items()}
        print_json(EjectOutput(plan=plan, to=to, files=tuple(sorted(made)), left=told))
        return
    for name in made:
        click.echo(f"{to}/{name}")
    if plan:
        _tell(left(workspace, recipes))
        session.say("this is a plan: nothing was written")
        return
    session.say(f"{to}/README.md says how to start them, and what is not carried over")


def _tell(lines: Mapping[str, Sequence[str]]) -> None:
    """What is not carried over, service by service."""
    for service, sentences in lines.items():
        click.echo(f"\nnot carried over of {service}:")
        for sentence in sentences:
            click.echo(f"  {sentence}")


def _refuse_what_is_there(folder: Path, made: Mapping[str, str]) -> None:
    there = sorted(name for name in made if (folder / name).exists() or (folder / name).is_symlink())
    if there:
        raise Failed(
            f"{folder / there[0]} is there already" + (f", and {len(there) - 1} others" if there[1:] else ""),
            "nothing is ever overwritten",
            "name another folder with --to, or move it away",
            id="would-overwrite",
        )


def _recipes(session: Session, workspace: WorkspaceSpec, *, build: bool) -> dict[str, Recipe]:
    """How each service is built, and what its run command needs of the result: known once it was built."""
    from atoll.cli import drafts as building
    from atoll.eject import Recipe
    from atoll.model.errors import UserError
    from atoll.pipeline.recipe import plan_of

    drafts = building.build(session, workspace, sorted(workspace.services)) if build else None
    for name, failed in drafts.failures.items() if drafts else ():
        session.warn(f"{name}: {failed.what}; what its run command needs of the build is not known")
    recipes: dict[str, Recipe] = {}
    for name, spec in workspace.services.items():
        try:
            plan = plan_of(spec, Path(workspace.root))
        except UserError as exc:
            session.warn(f"{name}: {exc}")
            continue
        artifact = drafts.ready[name].artifact if drafts and name in drafts.ready else None
        needs = artifact.command_env if artifact else {}
        env = {key: text.replace(artifact.path, "{folder}") if artifact else text for key, text in needs.items()}
        recipes[name] = Recipe(plan.builder.name, plan.steps, env)
    return recipes
