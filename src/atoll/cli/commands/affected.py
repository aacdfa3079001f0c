"""`atoll affected`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

import click

from atoll.cli.failed import Failed
from atoll.cli.session import Session, common_options, json_option, takes_session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WHY_SHOWN = 3  # sentences; the rest is counted


@click.command
@click.option(
    "--since", metavar="COMMIT", help="Compare with a commit by git diff instead; COMMIT... is where HEAD left it."
)
@click.option(
    "--task", "tasks", metavar="NAME", multiple=True, help="Only tasks of this name: build, test. Repeatable."
)
@click.option("--all", "everything", is_flag=True, help="All services, also those that are not affected.")
@click.option("--names", is_flag=True, help="Names only, one a line; the default when stdout is no terminal.")
@common_options
@json_option
@takes_session
def command(session: Session, since: str | None, tasks: tuple[str, ...], everything: bool, names: bool) -> None:
    """Show the services whose files are not those that passed last.

    A service is affected when one of its tasks (its build, its tests) has another key than the last one that passed, or
    never passed. The key is made of the files as they lie there now, committed or not, of tools, variables, and of what
    the task needs, so that neither git nor a history is needed. `atoll why orders.test` has every difference.

    Example:
      atoll affected
      atoll affected --task test
      atoll affected --since origin/main...
      atoll affected --names | xargs -n 1 echo
    """
    bare = (names or not sys.stdout.isatty()) and not session.json
    found = _since(session, since) if since else _now(session, tasks, reckon=not bare)
    if tasks:
        found = {name: [each for each in own if each.task in tasks] for name, own in found.items()}
    shown = {name: own for name, own in found.items() if own or everything}
    if session.json:
        _print_json(shown)
    elif bare:
        click.echo("".join(f"{name}\n" for name in shown), nl=False)
    else:
        _show(shown, len(found))


class _Task(NamedTuple):
    """An affected task."""

    task: str
    why: Sequence[str]
    key: str = ""
    passed: str = ""  # the key that passed last


def _now(session: Session, tasks: Sequence[str], *, reckon: bool) -> dict[str, list[_Task]]:
    """Every service -> its tasks whose key is not the last one that passed; with keys and reasons, or only which."""
    from atoll.pipeline.affected import affected, why
    from atoll.pipeline.evident import Passed
    from atoll.pipeline.namespace import namespace, readable

    with session.hooks.records(session.places) as records:
        green = records.green_keys(readable(namespace(os.environ)))  # first: others look at the files meanwhile
        passed = None if reckon else Passed(green, records.contents)
        keys = session.hooks.keyed(session.places, session.root, passed)
        known = {id.partition(".")[2] for id in keys}
        for task in tasks:
            if task not in known:
                from atoll.model.suggest import did_you_mean

                raise Failed(f"no service has a task '{task}'", "", did_you_mean(task, known), id="unknown-task")
        found: dict[str, list[_Task]] = {id.partition(".")[0]: [] for id in keys}
        for each in affected(keys, green):
            said = why(each, keys, records) if reckon and (not tasks or each.task in tasks) else ()
            found[each.service].append(_Task(each.task, said, each.key, each.passed))
    return found


def _since(session: Session, commit: str) -> dict[str, list[_Task]]:
    """Every service -> its tasks of which something differs from a commit."""
    from atoll.pipeline.since import Since

    workspace = session.load()
    found: dict[str, list[_Task]] = {name: [] for name in workspace.worked_on}
    artifacts = session.hooks.premises(session.places, session.root).artifacts
    for id, said in Since(workspace, commit, artifacts).changes().items():
        service, _, task = id.partition(".")
        found[service].append(_Task(task, said))
    return found


def _print_json(found: Mapping[str, Sequence[_Task]]) -> None:
    from atoll.cli.output import print_json
    from atoll.cli.outputs import AffectedOutput, AffectedTask

    print_json(
        [
            AffectedOutput(
                service=name,
                affected=bool(own),
                tasks=tuple(AffectedTask(each.task, each.key, each.passed, tuple(each.why)) for each in own),
            )
            for name, own in found.items()
        ]
    )


def _show(found: Mapping[str, Sequence[_Task]], all_of_them: int) -> None:
    from atoll.cli.output import counted, escape, print_screen, table

    rows = []
    for name, own in found.items():
        for number, each in enumerate(own or (_Task("-", ("as it passed last",)),)):
            rows.append((escape(name) if number == 0 else "", each.task, escape(_briefly(each.why))))
    if rows:
        print_screen(table(("service", "task", "why"), rows, fold=True), wrap=True)
    affected = sum(bool(own) for own in found.values())
    click.echo(
        f"{affected} of {counted(all_of_them, 'service')} affected" if affected else "nothing is affected", err=True
    )


def _briefly(said: Sequence[str]) -> str:
    more = len(said) - WHY_SHOWN
    return "; ".join(said[:WHY_SHOWN]) + (f"; and {more} more" if more > 0 else "")
