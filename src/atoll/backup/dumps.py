"""What services hand over to a backup: the files in the folder `backup` of their data folders, such as dumps of databases.

A service owns that folder and may change it at any time, and whoever backs up may be root: links are followed nowhere, and what
is not the service's own is left. A file is held open from the first look to the last byte, so that one that is replaced
meanwhile (written aside, renamed) is the one that was looked at.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Final, NamedTuple

from atoll.backup import manifest as m

FOLDER: Final = "backup"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
_MOST: Final = 256  # of all services together: each is an open file


class Dump(NamedTuple):
    """One file, open."""

    told: m.DumpIn
    file: BufferedReader


def found(data: Path) -> tuple[list[Dump], list[m.Left]]:
    """The files of all services below `data`, and what is left out. Whoever calls closes them. Raises OSError."""
    dumps: list[Dump] = []
    left: list[m.Left] = []
    try:
        for own in sorted(data.iterdir()) if data.is_dir() else ():
            service = own.name
            for name, file in _files(own) if NAME.fullmatch(service) else ():
                if file is None or len(dumps) >= _MOST:
                    why = (
                        "is no file of its own, or not named with letters and digits"
                        if file is None
                        else "is one too many"
                    )
                    left.append(m.Left(kind="data", name=service, text=f"{FOLDER}/{name} {why}"))
                    if file is not None:
                        file.close()
                    continue
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                told = m.DumpIn(service=service, name=name, sha256=digest, size_bytes=file.tell())
                dumps.append(Dump(told, file))
    except BaseException:
        close(dumps)
        raise
    return dumps, left


def close(dumps: list[Dump]) -> None:
    """Let go of them."""
    for dump in dumps:
        dump.file.close()


def _files(own: Path) -> Iterator[tuple[str, BufferedReader | None]]:
    """What lies in the folder `backup` of a service's folder; None for what is not taken."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        above = os.open(own, flags | os.O_DIRECTORY)
    except OSError:
        return
    try:
        folder = os.open(FOLDER, flags | os.O_DIRECTORY, dir_fd=above)
    except OSError:
        return
    finally:
        os.close(above)
    try:
        owner = os.fstat(folder).st_uid
        for name in sorted(entry.name for entry in os.scandir(folder)):
            try:
                fd = os.open(name, flags, dir_fd=folder)
            except OSError:
                yield name, None
                continue
            there = os.fstat(fd)
            if stat.S_ISREG(there.st_mode) and there.st_uid == owner and NAME.fullmatch(name):
                yield name, os.fdopen(fd, "rb")
            else:
                os.close(fd)
                yield name, None
    finally:
        os.close(folder)
