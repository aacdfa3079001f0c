"""Looking for a server's programs on the machine. Each type's module says where; nothing is started but `--version`."""

import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

_SAYS_WITHIN_S = 10.0
_VERSION = re.compile(r"(?:v=?)?(\d+(?:\.\d+)*)")
SBIN = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")  # servers lie there, PATH or not


class Program(NamedTuple):
    """A server's program: its absolute path, and the version that it says."""

    path: str
    version: str


def first(name: str, folders: Iterable[str], version: str) -> Program | None:
    """The first program of that name in `folders` whose version begins with `version`, part by part."""
    for folder in dict.fromkeys(folders):
        path = Path(folder) / name
        if path.is_file() and (said := says(str(path))) and fits(said, version):
            return Program(str(path), said)
    return None


def says(program: str) -> str:
    """The version that a program prints; "" when it prints none."""
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=_SAYS_WITHIN_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = _VERSION.search(done.stdout.partition("sha=")[0])
    return found[1] if found else ""


def fits(version: str, wanted: str) -> bool:
    """Whether `15.18` is a `15`; anything is a ""."""
    return not wanted or version.split(".")[: len(parts := wanted.split("."))] == parts


def with_system(search: Sequence[str]) -> list[str]:
    """The folders of a PATH, then those where servers lie anyway."""
    return [*search, *SBIN]
