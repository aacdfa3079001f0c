"""What of an artifact holds the folder where it was built, made to hold the folder where it lies now. Pure but for `content`.

Of files only those of virtual environments of Python are changed: their scripts begin with the path of their interpreter,
and their `pyvenv.cfg` says where that one's home is. Byte code holds paths, too, which Python corrects as it loads it.
"""

import hashlib
import posixpath
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from atoll.model.state import Artifact
from atoll.pipeline.cache.tree import Entry, Tree
from atoll.pipeline.ship.survey import scripts

MOST_SCRIPT_BYTES = 1 << 20


class Rehomed(NamedTuple):
    """The tree as it shall lie, and the contents of it that nobody sent."""

    tree: Tree
    contents: Mapping[str, bytes]  # path -> what stands in that file


def rehomed(tree: Tree, old: str, new: str, pythons: Mapping[str, str], content: Callable[[Entry], bytes]) -> Rehomed:
    """The tree for another folder.

    Args:
        tree: as it was built.
        old: the folder where it was built.
        new: the folder where it shall lie.
        pythons: link in a virtual environment -> the interpreter of this machine that it shall lead to.
        content: the content of a file of the tree.
    """
    venvs = scripts(tree)
    homes = {
        venvs[folder]: posixpath.dirname(python)
        for link, python in pythons.items()
        if (folder := posixpath.dirname(link)) in venvs
    }
    entries: list[Entry] = []
    changed: dict[str, bytes] = {}
    for entry in tree.entries:
        if entry.kind == "link":
            leads = pythons.get(entry.path) or _moved(entry.content, old, new)
            entries.append(msgspec.structs.replace(entry, content=leads))
            continue
        if entry.kind == "folder" or not (entry.path in homes or posixpath.dirname(entry.path) in venvs):
            entries.append(entry)
            continue
        before = content(entry) if entry.size_bytes <= MOST_SCRIPT_BYTES else b""
        after = before if b"\0" in before else before.replace(old.encode(), new.encode())
        if entry.path in homes:
            after = re.sub(rb"(?m)^home\s*=.*$", b"home = " + homes[entry.path].encode().replace(b"\\", rb"\\"), after)
        if after != before:
            changed[entry.path] = after
            digest = hashlib.sha256(after).hexdigest()
            entry = msgspec.structs.replace(entry, content=digest, size_bytes=len(after))
        entries.append(entry)
    return Rehomed(Tree(tuple(entries)), changed)


def moved(artifact: Artifact, new: str, digest: str) -> Artifact:
    """The artifact as it lies in the folder `new`."""
    env = {name: _joined(text, artifact.path, new) for name, text in artifact.command_env.items()}
    return msgspec.structs.replace(artifact, path=new, digest=digest, command_env=env)


def _joined(text: str, old: str, new: str) -> str:
    return ":".join(_moved(part, old, new) for part in text.split(":"))


def _moved(path: str, old: str, new: str) -> str:
    return new + path[len(old) :] if path == old or path.startswith(f"{old}/") else path
