"""`atoll why`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from atoll.cli import receipt, stepping
from atoll.cli.client import why_path
from atoll.cli.failed import Failed
from atoll.cli.output import age, console, print_json
from atoll.cli.session import Session, common_options, completing, json_option, service_argument, takes_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from atoll.model.records import TaskRecord
    from atoll.model.wire import WhyView
    from atoll.pipeline.explain import TaskWhy

WHY_SHOWN = 3  # sentences; the rest is counted


@click.command
@service_argument(known=True)
@click.argument("release", metavar="[RELEASE]", required=False, shell_complete=completing("releases"))
@common_options
@json_option
@takes_session
def command(session: Session, service: str, release: str | None) -> None:
    """Explain why a service, a release or a task is as it is.

    Of a service or a release: its state, the last rollout and its reason, the last crash with what it printed. Of a task
    (`orders.test`): whether it passed with these very files, and every difference to the last time that it passed, also of
    the tasks that it needs; that needs no daemon.

    Example:
      atoll why orders
      atoll why orders r7
      atoll why orders.test
    """
    subject = f"{service} {release}" if release else service
    if "." in service:
        if release:
            raise click.UsageError("a task has no releases: name the task alone", click.get_current_context())
        _task(session, service)
    elif session.json:
        print_json(session.client.raw(why_path(subject)))
    else:
        _show(session.client.why(subject), console())
        if not release:
            _show_edits(session, service)


def _task(session: Session, task: str) -> None:
    import os

    from atoll.pipeline.explain import explain
    from atoll.pipeline.namespace import namespace, readable

    keys = session.hooks.keyed(session.places, session.root)
    with session.hooks.records(session.places) as records:
        view = explain(task, keys, records, readable(namespace(os.environ)))
    if session.json:
        print_json(view)
    else:
        for line in _task_lines(view):
            click.echo(line)


def _task_lines(view: TaskWhy) -> Iterator[str]:
    if view.trouble:
        yield f"{view.task} has no key: {view.trouble}"
    elif view.hit is not None:
        yield f"{view.task} is not run again: it passed with these very files, {_when(view.hit)}"
    else:
        never = "it never passed" if view.last is None else f"it passed last with others, {_when(view.last)}"
        yield f"{view.task} runs: {never}"
    yield from (f"  {line}" for line in _details(view))


def _details(view: TaskWhy) -> Iterator[str]:
    if view.key:
        yield f"key {view.key}"
    if view.failed is not None:
        why = f": {view.failed.reason}" if view.failed.reason else ""
        yield f"with these very files it {view.failed.outcome.replace('timed-out', 'took too long')} {_when(view.failed)}{why}"
    if view.last is not None and view.key and view.last.key != view.key and not view.differences:
        yield "what it was made of then is no longer known"
    elif view.differences and view.hit is not None:
        yield f"since it passed last, {_when(view.last)}:" if view.last else ""
    needs = {need.task: need for need in view.needs}
    for sentence in view.differences:
        yield sentence
        if need := needs.get(sentence.removesuffix(" changed")):
            yield from (f"  {line}" for line in _details(need))


def _when(record: TaskRecord | None) -> str:
    if record is None:
        return ""
    at = (
        f" at commit {record.author.commit[:8]}{' with edits' if record.author.dirty else ''}"
        if record.author.commit
        else ""
    )
    return f"{age(record.wall)} ago{at}"


def _show_edits(session: Session, service: str) -> None:
    """What the files have that does not run yet; nothing when that cannot be told: it is not what was asked for."""
    from atoll.model.errors import AtollError
    from atoll.model.task import BUILD, IMAGE, task_id
    from atoll.pipeline.artifacts import Artifacts
    from atoll.pipeline.key import differences
    from atoll.pipeline.keys import Keyed

    try:
        running = next((each for each in session.client.releases(service) if each.state == "current"), None)
        premises = session.hooks.premises(session.places, session.root)
        keys = session.hooks.keyed(session.places, session.root)
        made = keys.get(task_id(service, IMAGE)) or keys.get(task_id(service, BUILD))
        if running is None or not isinstance(made, Keyed) or made.key == running.artifact:
            return
        record = Artifacts(premises.artifacts).find(running.artifact, use=False)
        said = differences(record.manifest, made.manifest) if record else ()
    except (AtollError, Failed):
        return
    more = f"; and {len(said) - WHY_SHOWN} more" if len(said) > WHY_SHOWN else ""
    what = f": {'; '.join(said[:WHY_SHOWN])}{more}" if said else ""
    click.echo(f"its files differ from what runs ({running.release}){what}; `atoll deploy {service}` moves it to them")


def _show(view: WhyView, out: Console) -> None:
    from rich.text import Text

    out.print(Text.assemble((view.subject, "bold"), f" is {view.state}" if view.state else ""))
    for sentence in view.because:
        out.print(Text(f"  {sentence}"))
    receipt_of = view.rollout.receipt if view.rollout else None  # shown below, with its page
    for page in (id for id in view.pages if receipt_of is None or id != receipt_of.reason_id):
        out.print(Text(f"  explain: atoll explain {page}", "dim"))
    if view.fix:
        out.print(Text(f"  fix: {view.fix}", "yellow"))
    if view.rollout is not None:
        out.print(Text("the last rollout:", "dim"))
        receipt.show(view.rollout, out)
        if view.rollout.phase in {"stepping", "live"}:
            out.print(*stepping.parts(view.rollout), sep="\n")
    if view.crash is not None:
        when = f", {age(view.crash.wall)} ago" if view.crash.wall else ""
        out.print(Text.assemble(("the last crash: ", "dim"), f"{view.crash_replica} {view.crash.text}{when}".strip()))
        told = view.rollout is not None and view.rollout.output == view.crash_output
        for line in () if told else view.crash_output.splitlines():
            out.print(Text(f"    {line}"))
