"""How a backup comes from a daemon, or from the files of one that does not run, into a file; and passphrases."""

from __future__ import annotations

import getpass
import os
import re
import sys
import time
from hashlib import blake2s
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from atoll.cli.drafts import new_key
from atoll.cli.failed import Failed
from atoll.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.model.wire_backup import RestoreView

_Command = TypeVar("_Command", bound="Callable[..., Any]")
STDOUT = Path("-")
_STAMP = "%Y-%m-%dT%H-%M-%SZ"
_STAMPED = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ")


def served_option(function: _Command) -> _Command:
    """--served: the environment of this machine that needs no workspace."""

    def use(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
        session = ctx.find_root().obj
        if value and isinstance(session, Session):
            session.served = value

    return click.option(
        "--served",
        metavar="WORKSPACE",
        expose_value=False,
        callback=use,
        help="The environment that this machine serves for that workspace: needs none of its files.",
    )(function)


def received(session: Session, to: Path, *, signals: bool) -> tuple[Path, RestoreView]:
    """Have a backup made, and keep it as the file `to`, or in the folder `to`, read to its end and on the disk; or nothing
    is there. Returns where, and what is in it.

    A `.part` is what a killed one left: the next one takes its place.
    """
    from atoll.backup.opening import checked

    whole = to.is_dir()
    if not whole:
        refuse_what_is_there(to)
    own = f"{blake2s(os.fsencode(session.places.socket), digest_size=4).hexdigest()}.{session.environment}"
    part = to / f"{own}.part" if whole else to.with_name(f"{to.name}.part")
    path = to
    try:
        with os.fdopen(_own(part), "wb") as file:
            send(session, file.write, signals=signals)
            file.flush()
            os.fsync(file.fileno())
        view = checked(part, None)
        if whole:
            path = to / _name_of(view)
            refuse_what_is_there(path)
        part.rename(path)
        _sync(path.parent)
    except OSError as exc:
        part.unlink(missing_ok=True)
        raise cannot_write(path, exc) from exc
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    kept(session, view.id, view.made_wall, path.stat().st_size)
    return path, view


def _name_of(view: RestoreView) -> str:
    """`shop.production.2026-11-27T04-15-00Z.backup`: in order of time when in order of name."""
    from atoll.backup.manifest import SUFFIX

    return f"{view.workspace}.{view.environment}.{time.strftime(_STAMP, time.gmtime(view.made_wall))}{SUFFIX}"


def send(session: Session, write: Callable[[bytes], object], *, signals: bool) -> None:
    """Give the bytes of a backup to `write`: the daemon's, else made of the files of an environment that does not run."""
    from atoll.model.wire_backup import BackupRequest

    if session.places.keeper_alive():
        session.client.backup(BackupRequest(signals=signals, key=new_key()), write)
        return
    refuse_from_afar(session)
    making = session.hooks.archivist(session.places).begin(signals=signals, now_wall=time.time())
    try:
        for chunk in making.chunks():
            write(chunk)
    finally:
        making.close()


def refuse_from_afar(session: Session) -> None:
    """Of an environment that is down only its own machine can make one: nobody else has its files."""
    if session.places.machine:
        raise Failed(
            f"the environment '{session.environment}' does not run on {session.places.machine}",
            "a backup comes from its daemon",
            f"there, as root, it is made without one: `atoll backup --served WORKSPACE --env {session.environment} FILE`",
            kind="Unreachable",
            exit_code=7,
            id="environment-not-running",
        )


def kept(session: Session, id: str, made_wall: float, size_bytes: int) -> None:
    """Have it known that there is one."""
    from atoll.model.wire_backup import BackupKept

    if session.places.keeper_alive():
        session.client.backup_kept(BackupKept(id=id, size_bytes=size_bytes, made_wall=made_wall, key=new_key()))
        return
    from msgspec.structs import replace

    archivist = session.hooks.archivist(session.places)
    note = replace(archivist.note, id=id, made_wall=made_wall, size_bytes=size_bytes, by=getpass.getuser())
    archivist.write(note)


def sealed_key(session: Session, passphrase: str) -> str:
    """The text of a key file."""
    from atoll.model.wire_backup import BackupKeyRequest

    if session.places.keeper_alive():
        request = BackupKeyRequest(passphrase=passphrase, key=new_key())
        return session.client.backup_key(request).text
    refuse_from_afar(session)
    from msgspec.structs import replace

    archivist = session.hooks.archivist(session.places)
    view = archivist.key(passphrase)
    archivist.write(replace(archivist.note, key_wall=time.time(), key_id=view.key_id))
    return view.text


def older(folder: Path, newest: Path, keep: int) -> list[Path]:
    """Backups of the same environment in the folder beyond `keep`, `newest` among them, by the time in their names.

    `newest` stays whatever its name says: the clock may have been set back.
    """
    before, after = newest.stem.rpartition(".")[0], newest.suffix
    mine = [
        each
        for each in folder.iterdir()
        if each.name != newest.name
        and each.name.startswith(f"{before}.")
        and each.suffix == after
        and _STAMPED.fullmatch(each.name[len(before) + 1 : -len(after)])
    ]
    return sorted(mine, key=lambda each: each.name)[: max(0, len(mine) - keep + 1)]


def passphrase(told: Path | None, *, new: bool) -> str:
    """From the file that was named, asked for at a terminal, else the first line of standard input; never an argument."""
    if told is not None:
        try:
            text = told.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise Failed(
                f"{told} cannot be read", str(exc), "name a text file that you may read", id="file-unreadable"
            ) from exc
    elif sys.stdin.isatty():
        return str(click.prompt("passphrase of the key", hide_input=True, confirmation_prompt=new, err=True))
    else:
        text = sys.stdin.readline()
    if not (line := text.partition("\n")[0].rstrip("\r")):
        raise Failed(
            "there is no passphrase",
            "nothing came on standard input" if told is None else f"the first line of {told} is empty",
            "type it, pipe it, or name a file with --passphrase",
            id="backup-key",
        )
    return line


def write_private(path: Path, text: str) -> None:
    """A new file that only its owner reads, whole or not there."""
    refuse_what_is_there(path)
    part = path.with_name(f"{path.name}.part")
    try:
        with os.fdopen(_own(part), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
        _sync(path.parent)
    except OSError as exc:
        part.unlink(missing_ok=True)
        raise cannot_write(path, exc) from exc


def _own(part: Path) -> int:
    """A new file of ours: where others may write, one that is there may be a link of theirs, or a file that they read."""
    part.unlink(missing_ok=True)
    return os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def refuse_what_is_there(path: Path) -> None:
    """Nothing is ever overwritten: an older backup may be the only good one."""
    if path.exists() or path.is_symlink():
        raise Failed(
            f"{path} is there already", "nothing is ever overwritten", "name another file", id="would-overwrite"
        )


def cannot_write(path: Path, exc: OSError) -> Failed:
    """The file that was asked for cannot be written."""
    return Failed(
        f"{path} cannot be written",
        exc.strerror or str(exc),
        "nothing of it was left; name another file, or make room there",
        id="cannot-write",
    )


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
