"""`atoll backup`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from atoll.cli.backups import served_option
from atoll.cli.group import ReaderGone
from atoll.cli.output import counted, print_json, size
from atoll.cli.session import Session, common_options, json_option, takes_session

if TYPE_CHECKING:
    from atoll.model.wire_backup import RestoreView


def _folder_is_there(_: click.Context, __: click.Parameter, text: str | None) -> Path | None:
    """A path that ends like a folder's is one: a file of that name would be missed by whoever looks into the folder."""
    if text is not None and text.endswith("/") and not Path(text).is_dir():
        raise click.BadParameter(f"there is no folder {text}; `mkdir -p -m 700 {text}` makes it")
    return None if text is None else Path(text)


@click.command
@click.argument("file", callback=_folder_is_there, required=False)
@click.option("--key", is_flag=True, help="Write the key of the secrets instead, sealed with a passphrase.")
@click.option("--passphrase", metavar="FILE", type=click.Path(path_type=Path), help="Where the passphrase stands.")
@click.option("--signals", is_flag=True, help="With the golden signals of the last month.")
@click.option("--keep", metavar="N", type=click.IntRange(1), help="Remove older ones in the folder FILE, but N.")
@served_option
@common_options
@json_option
@takes_session
def command(
    session: Session, file: Path | None, key: bool, passphrase: Path | None, signals: bool, keep: int | None
) -> None:
    """Write a backup of the environment into one file.

    FILE is the file, a folder in which it gets a name with the time, or - for standard output; the current folder is the
    default. In it are releases, the ledger, secrets (sealed), settings, and the artifacts of the releases that are kept, as
    they were at one instant: nothing is stopped for it. The data of services and stores are not, it ends by naming them: a job
    dumps them with their own tools into {data}/backup, and what lies there is in it.

    Secrets are sealed with a key that is in no backup. --key writes that key into FILE, sealed with a passphrase that is
    asked for, or is the first line of standard input. Once is enough. Keep it elsewhere than the backups.

    Example:
      atoll backup --env production /var/backups --keep 14
      atoll backup --env production --key shop.key
      atoll restore shop.production.2026-11-27T02-00-00Z.backup --check
    """
    from atoll.cli import backups

    if key:
        _key(session, file, passphrase)
        return
    if file == backups.STDOUT:
        if keep is not None or session.json:
            raise click.UsageError("standard output is the backup: neither --keep nor --json goes with it")
        began = time.time()
        sent = _Counted()
        backups.send(session, sent.write, signals=signals)
        sys.stdout.buffer.flush()
        backups.kept(session, "", began, sent.size)
        return
    if keep is not None and file is not None and not file.is_dir():
        raise click.UsageError("--keep is for a folder of backups: FILE must be one")
    path, view = backups.received(session, file or Path(), signals=signals)
    removed = backups.older(path.parent, path, keep) if keep else []
    for each in removed:
        each.unlink()
    _told(session, path, view, removed)


def _told(session: Session, path: Path, view: RestoreView, removed: list[Path]) -> None:
    if session.json:
        from atoll.cli.outputs import BackupOutput

        print_json(
            BackupOutput(
                file=str(path.absolute()),
                id=view.id,
                made_wall=view.made_wall,
                size_bytes=path.stat().st_size,
                releases=view.releases,
                artifacts=view.artifacts,
                left=view.left,
                removed=tuple(str(each.absolute()) for each in removed),
            )
        )
        return
    click.echo(path)
    what = f"{counted(view.releases, 'release')}, {counted(view.artifacts, 'artifact')}, events up to {view.events}"
    session.say(f"{size(path.stat().st_size)}: {what}")
    if view.dumps:
        session.say(f"with what services handed over: {', '.join(view.dumps)}")
    for sentence in view.left:
        session.warn(f"not in it: {sentence}")
    for each in removed:
        session.say(f"removed: {each}")


def _key(session: Session, file: Path | None, told: Path | None) -> None:
    from atoll.cli import backups

    if file is None:
        raise click.UsageError("--key needs the FILE that it is to be written into")
    backups.refuse_what_is_there(file)
    text = backups.sealed_key(session, backups.passphrase(told, new=True))
    backups.write_private(file, text)
    if session.json:
        from atoll.cli.outputs import KeyOutput

        print_json(KeyOutput(file=str(file.absolute())))
        return
    click.echo(file)
    session.say(
        "keep it and its passphrase apart, and both elsewhere than the backups; `atoll restore --check` tries them"
    )


class _Counted:
    """Standard output, and how much went there."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, part: bytes) -> None:
        self.size += len(part)
        try:
            sys.stdout.buffer.write(part)
        except BrokenPipeError as exc:  # not the daemon's line, which breaks in the same way
            raise ReaderGone from exc
