"""`atoll records list | export | import`."""

from __future__ import annotations

import time
from typing import IO, TYPE_CHECKING

import click

from atoll.cli.failed import Failed
from atoll.cli.output import age, counted, duration, print_json, print_line, print_screen, table
from atoll.cli.plans import plan_option
from atoll.cli.session import Session, common_options, json_option, service_argument, takes_session

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from atoll.model.records import TaskRecord
    from atoll.model.wire import RecordsView

_LIMIT = 50
_BATCH = 5000  # some 2 MB of JSON; the daemon takes 16 MiB
_LINE_BYTES = 64 * 1024  # a record is some hundred bytes


@click.group
def command() -> None:
    """List, export and import records: which tasks ran, with which files, how they ended.

    `atoll ci` writes them for this machine. An environment that requires tasks (`require` in atoll.toml) lets in what its
    own records say is green; those of a CI machine get there by export and import. `atoll deploy` brings those of
    its own machine by itself.

    Example:
      atoll records list orders
      atoll records export --since 1d > records.jsonl
      atoll records import records.jsonl --env production
    """


@command.command("list")
@service_argument(nargs=-1)
@click.option("--held", is_flag=True, help="What the environment holds, instead of what ran on this machine.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=_LIMIT, show_default=True, help="The newest ones.")
@common_options
@json_option
@takes_session
def list_(session: Session, services: tuple[str, ...], held: bool, limit: int) -> None:
    """List records, the newest first.

    Example:
      atoll records list
      atoll records list orders --held --env production
    """
    found = _found(session, services, held=held, limit=limit)
    if session.json:
        print_json(found)
        return
    rows = [
        (
            record.task,
            _outcome(record),
            record.key[:8],
            f"{age(record.wall)} ago",
            duration(record.seconds),
            record.author.commit[:8] + ("+" if record.author.dirty else ""),
            record.author.actor,
            "" if record.namespace == "trusted" else record.namespace,
            record.reason,
        )
        for record in found
    ]
    columns = ("task", "outcome", "key", "when", ">seconds", "commit", "by", "believed by", "reason")
    print_screen(table(columns, rows, spare=("reason", "by", "believed by", "commit")))


def _found(session: Session, services: Sequence[str], *, held: bool, limit: int) -> list[TaskRecord]:
    each: list[TaskRecord] = []
    names: Sequence[str | None] = services or (None,)
    if held:
        each = [record for name in names for record in session.client.records(name)]
    else:
        with session.hooks.records(session.places) as records:
            for name in names:
                each += records.history(service=name, limit=limit)
    return sorted(each, key=lambda record: record.wall, reverse=True)[:limit]


def _outcome(record: TaskRecord) -> str:
    from atoll.cli.output import escape
    from atoll.model.records import GREEN

    attempts = f" ({record.attempts} attempts)" if record.attempts > 1 else ""
    colour = "green" if record.outcome in GREEN else "red"
    return f"[{colour}]{escape(record.outcome + attempts)}[/]"


@command.command("export")
@click.option("--since", metavar="TIME", help="Only what ended since then: 90s, 10m, 2h, 1d, or an ISO 8601 time.")
@common_options
@takes_session
def export(session: Session, since: str | None) -> None:
    """Print this machine's records as JSON, one a line, the oldest first.

    No file and no value of a variable is in them: names, keys, times, who, which commit.

    Example:
      atoll records export --since 1d > records.jsonl
    """
    import msgspec

    from atoll.cli.commands.logs import wall

    after = wall(since, time.time(), "--since") if since else 0.0
    with session.hooks.records(session.places) as records:
        count = 0
        for count, record in enumerate(records.export(after), 1):  # noqa: B007
            print_line(msgspec.json.encode(record))
    session.say(f"{counted(count, 'record')} exported")


@command.command("import")
@click.argument("file", type=click.File("rb"))
@plan_option
@common_options
@json_option
@takes_session
def import_(session: Session, file: IO[bytes], plan: bool) -> None:
    """Hand records that another machine exported to the environment. `-` is standard input.

    The ledger keeps who did so. The same record twice is one. Those of pull requests are left out: no gate believes them.

    Example:
      atoll records import records.jsonl --env production
      ssh ci atoll records export --since 1d | atoll records import -
    """
    from atoll.model.wire import RecordsView

    given = list(_read(file))
    total = RecordsView()
    if plan:
        total = _planned(session, given)
    else:
        for start in range(0, len(given), _BATCH):
            total = _sum(total, _handed(session, given[start : start + _BATCH]))
    if session.json:
        print_json(total)
        return
    left_out = f", {total.left_out} of pull requests left out" if total.left_out else ""
    word = "would be new" if plan else "new"
    click.echo(f"{counted(len(given), 'record')}: {total.added} {word}, {total.known} known{left_out}")
    if plan:
        session.say("this is a plan: nothing was changed")


def _read(file: IO[bytes]) -> Iterator[TaskRecord]:
    """The records of a file. Raises Failed with the line of what is none."""
    import msgspec

    from atoll.model.records import TaskRecord

    decoder = msgspec.json.Decoder(TaskRecord)
    for number, line in enumerate(iter(lambda: file.readline(_LINE_BYTES), b""), 1):
        if not line.strip():
            continue
        try:
            yield decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
            raise Failed(
                f"line {number} of {getattr(file, 'name', 'standard input')} is no record",
                str(exc),
                "give it what `atoll records export` printed",
                id="file-not-understood",
            ) from exc


def _handed(session: Session, given: Sequence[TaskRecord]) -> RecordsView:
    from atoll.cli.drafts import new_key
    from atoll.model.wire import RecordsRequest
    from atoll.pipeline.provenance import author

    request = RecordsRequest(records=tuple(given), author=author(session.root), key=new_key())
    return session.client.import_records(request)


def _planned(session: Session, given: Iterable[TaskRecord]) -> RecordsView:
    from atoll.decide.gate import sift
    from atoll.model.wire import RecordsView

    sifted = sift(given, session.client.records(None))
    return RecordsView(added=len(sifted.fresh), known=sifted.known, left_out=sifted.left_out)


def _sum(one: RecordsView, other: RecordsView) -> RecordsView:
    from atoll.model.wire import RecordsView

    return RecordsView(
        added=one.added + other.added, known=one.known + other.known, left_out=one.left_out + other.left_out
    )
