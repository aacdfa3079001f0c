"""What is in an artifact, and what it finds outside itself: looked at where it was built, before anything is sent.

Every file is read once. Only what surely stands in the way is a need: a script that nobody runs may name a shell that no
machine has, and a package may bring libraries for ten kinds of machine.
"""

import hashlib
import os
import posixpath
import re
import shutil
import struct
import subprocess
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from atoll.model.command import Command
from atoll.model.state import Artifact
from atoll.model.wire_artifacts import Need
from atoll.pipeline.cache.tree import Tree, read
from atoll.pipeline.inputs import CHUNK_BYTES, Stopped

CONFIG = "pyvenv.cfg"  # in the top folder of a virtual environment of Python
SAYS_WITHIN_S = 10.0
# Interpreters by the part of their version that must be the same where a service runs as where it was built.
_SAME_PARTS = {"python": 2, "python3": 2, "node": 1, "java": 1, "ruby": 2, "php": 2}
_MACHINES = {
    "x86_64": 62,
    "aarch64": 183,
    "armv7l": 40,
    "riscv64": 243,
    "ppc64le": 21,
    "s390x": 22,
    "i686": 3,
}  # e_machine
_GLIBC = re.compile(rb"\0GLIBC_(\d+(?:\.\d+)+)(?=\0)")  # in the table of strings of whatever asks for that version
_LONGEST = 32  # bytes of a match
_SIMPLE = re.compile(
    r"\s*(?:exec\s+)?([\w./+-]+)(?:\s[^;&|()<>\n]*)?"
)  # a line that is one command, and no assignment before it
_OF_THE_SHELL = frozenset(
    {"cd", "eval", "export", "set", "test", "trap", "ulimit", "umask", "while", "until", "for", "if", "case"}
)
_VERSION = re.compile(r"\d+(?:\.\d+)+|\d+")
_MACH_O = frozenset({b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe"})


class Surveyed(NamedTuple):
    """An artifact as it is offered."""

    tree: Tree
    needs: tuple[Need, ...]
    files: Mapping[str, str]  # SHA-256 -> a file of that content, absolute
    named: tuple[str, ...]  # text files, besides those that are mended, that hold the path of its folder


def survey(artifact: Artifact, run: Command | None, stop: threading.Event) -> Surveyed:
    """Read all of it.

    Args:
        artifact: a complete one on this machine.
        run: what starts the service; None is nothing.
        stop: set when nobody waits any more; then Stopped is raised.

    Raises Unusable for a name that is not UTF-8, Stopped, OSError.
    """
    folder = Path(artifact.path)
    look = _Look(artifact, stop)
    tree = read(folder, look.content)
    needs = [*look.needs(), *_links(tree, folder), *_variables(artifact)]
    if run is not None and (program := _program(run, artifact)) is not None:
        needs.append(program)
    mended = scripts(tree)
    named = (name for name in look.named if not _harmless(name) and posixpath.dirname(name) not in mended)
    return Surveyed(tree, tuple(needs), look.files, tuple(named))


def scripts(tree: Tree) -> Mapping[str, str]:
    """The folders of scripts of virtual environments of Python, each with its `pyvenv.cfg`."""
    configs = [entry.path for entry in tree.files if posixpath.basename(entry.path) == CONFIG]
    return {posixpath.join(posixpath.dirname(config), "bin"): config for config in configs}


class _Look:
    """Reads the files of one artifact, each once."""

    def __init__(self, artifact: Artifact, stop: threading.Event) -> None:
        self._base, self._needle, self._stop = artifact.path, os.fsencode(artifact.path), stop
        self._machine = next((number for name, number in _MACHINES.items() if f"-{name}-" in artifact.platform), 0)
        self.files: dict[str, str] = {}
        self.named: list[str] = []
        self._native = ""
        self._glibc: tuple[tuple[int, ...], str, str] = ((), "", "")  # version, as text, file

    def content(self, path: str) -> str:
        """The SHA-256 of a file."""
        if self._stop.is_set():
            raise Stopped
        hashed, tail, found, native, binary = hashlib.sha256(), b"", False, False, False
        name = os.path.relpath(path, self._base)
        with Path(path).open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK_BYTES):
                if not tail:
                    native, binary = self._is_native(chunk), b"\0" in chunk[:8192]
                    if native and not self._native:
                        self._native = name
                hashed.update(chunk)
                seen = tail + chunk
                if native:
                    self._note_glibc(seen, name)
                found = found or (not binary and self._needle in seen)
                tail = seen[-max(_LONGEST, len(self._needle)) :]
        if found:
            self.named.append(name)
        digest = hashed.hexdigest()
        self.files.setdefault(digest, path)
        return digest

    def _is_native(self, head: bytes) -> bool:
        if head[:4] != b"\x7fELF":
            return head[:4] in _MACH_O
        if len(head) < 20:
            return False
        machine: int = struct.unpack_from("<H" if head[5] == 1 else ">H", head, 18)[0]
        return machine == self._machine or not self._machine

    def _note_glibc(self, data: bytes, name: str) -> None:
        for match in _GLIBC.finditer(data):
            text = match[1].decode()
            self._glibc = max(self._glibc, (numbers(text), text, name))

    def needs(self) -> list[Need]:
        """What native code asks for."""
        found = [Need(kind="native", what=self._native, by=self._native)] if self._native else []
        if self._glibc[1]:
            found.append(Need(kind="glibc", what=self._glibc[1], by=self._glibc[2]))
        return found


def _links(tree: Tree, folder: Path) -> Iterable[Need]:
    """Links that lead out of the artifact; those of virtual environments of Python lead to an interpreter."""
    venvs = {name: _python_version(folder / config) for name, config in scripts(tree).items()}
    base = str(folder)
    for entry in tree.entries:
        if entry.kind != "link":
            continue
        above = posixpath.dirname(entry.path)
        leads = posixpath.normpath(posixpath.join(base, above, entry.content))
        if within(leads, base):
            continue
        if above in venvs and posixpath.basename(entry.path).startswith("python"):
            yield Need(kind="python", what=leads, by=entry.path, version=venvs[above])
        else:
            yield Need(kind="link", what=leads, by=entry.path)


def _python_version(config: Path) -> str:
    """`3.11`, as a `pyvenv.cfg` says it."""
    text = config.read_text(encoding="utf-8", errors="replace")
    found = re.search(r"^version(?:_info)?\s*=\s*(\d+\.\d+)", text, re.MULTILINE)
    return found[1] if found else ""


def _variables(artifact: Artifact) -> Iterable[Need]:
    """Folders that the artifact is run with: a PATH, the home of a toolchain."""
    for name, text in artifact.command_env.items():
        for part in text.split(":"):
            if part.startswith("/") and not within(part, artifact.path):
                yield Need(kind="folder", what=part, by=name.removesuffix("+"))


def _program(run: Command, artifact: Artifact) -> Need | None:
    """What the run command begins with, where it is no part of the artifact; of a line with words for a shell nobody can tell."""
    name = run.argv[0] if run.argv else ""
    if run.shell is not None and (simple := _SIMPLE.fullmatch(run.shell)) is not None:
        name = simple[1]
    if not name or "{" in name or name in _OF_THE_SHELL:
        return None
    own = artifact.command_env.get("PATH+", "")
    found = shutil.which(name, path=f"{own}:{os.environ.get('PATH', os.defpath)}") if "/" not in name else name
    if found is None or ("/" in name and not name.startswith("/")) or within(found, artifact.path):
        return None
    return Need(
        kind="program", what=name, by="run", version=says(found) if posixpath.basename(name) in _SAME_PARTS else ""
    )


def _harmless(name: str) -> bool:
    """What pip and uv note down of an installation, and nothing reads while it runs."""
    return ".dist-info/" in name


def within(path: str, folder: str) -> bool:
    """Whether a path is that folder or lies in it."""
    return path == folder or path.startswith(f"{folder}/")


def numbers(version: str) -> tuple[int, ...]:
    """`2.36` as what can be compared."""
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def same_enough(program: str, there: str, here: str) -> bool:
    """Whether what was built with one version of an interpreter runs with another."""
    parts = _SAME_PARTS.get(posixpath.basename(program), 1)
    return not there or not here or numbers(there)[:parts] == numbers(here)[:parts]


def says(program: str) -> str:
    """The version that a program prints: "3.11.7"; "" when it prints none."""
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=SAYS_WITHIN_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = _VERSION.search(done.stdout or done.stderr)
    return found[0] if found else ""
