"""A repository's files as the readers see them: their names, and the text of those that they ask for.

`of_disk` is the only place of this package that touches the disk. Reading is bounded: names, depth, bytes.
"""

import json
import os
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from atoll.adopt.found import join
from atoll.model.errors import UserError

MAX_BYTES = 1 << 20  # a file that a person wrote is far smaller
MAX_FILES = 50_000
MAX_DEPTH = 8
# Made by tools, or somebody else's code: no service of this repository lies there.
_SKIPPED = frozenset(
    {"node_modules", "__pycache__", "vendor", "venv", "target", "dist", "build", "out", "bin", "obj", "site-packages"}
    | {"testdata", "third_party", "bower_components", "coverage"}
)


class Tree:
    """Files by their relative POSIX path."""

    def __init__(self, names: Iterable[str], read: Callable[[str], bytes], name: str = "app") -> None:
        self.names, self.name = frozenset(names), name
        self._read = read
        self._inside: dict[str, list[str]] = {}
        for path in sorted(self.names):
            self._inside.setdefault(path.rpartition("/")[0] or ".", []).append(path.rpartition("/")[2])

    def __contains__(self, path: str) -> bool:
        return path in self.names

    def base(self, folder: str) -> str:
        """A folder's own name; the repository's for its top."""
        return self.name if folder == "." else folder.rpartition("/")[2]

    def folders(self) -> list[str]:
        """Every folder that holds files, the outer ones first."""
        return sorted(self._inside, key=lambda folder: (folder.count("/") if folder != "." else -1, folder))

    def inside(self, folder: str) -> list[str]:
        """The names of the files right in a folder, sorted."""
        return self._inside.get(folder, [])

    def below(self, folder: str) -> list[str]:
        """The paths of all files in and below a folder, sorted."""
        return sorted(name for name in self.names if folder == "." or name.startswith(f"{folder}/"))

    def has(self, folder: str, name: str) -> bool:
        """Whether that file lies in that folder."""
        return join(folder, name) in self.names

    def text(self, path: str) -> str:
        """The text of a file, at most the first MiB; "" when there is none. Raises UserError when it cannot be read."""
        return self.bytes(path)[:MAX_BYTES].decode("utf-8", "replace").replace("\0", "") if path in self.names else ""

    def whole(self, path: str) -> str:
        """The text of a file that must be complete and UTF-8 to mean anything. Raises UserError."""
        data = self.bytes(path)
        if len(data) > MAX_BYTES:
            raise UserError(
                f"{path} cannot be read",
                "it is larger than 1 MiB",
                "leave it out, or make it smaller",
                id="file-unreadable",
            )
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            raise UserError(
                f"{path} cannot be read", f"it is not UTF-8: {exc.reason}", "save it as UTF-8", id="file-unreadable"
            ) from exc

    def bytes(self, path: str) -> bytes:
        """The first MiB and a byte of a file. Raises UserError when it cannot be read."""
        try:
            return self._read(path)
        except OSError as exc:
            raise UserError(
                f"{path} cannot be read", str(exc.strerror or exc), "make it readable", id="file-unreadable"
            ) from exc

    def json(self, path: str) -> dict[str, Any]:
        """The object of a JSON file, {} when there is none. Raises UserError for anything else."""
        return self._table(path, json.loads) if path in self.names else {}

    def toml(self, path: str) -> dict[str, Any]:
        """The content of a TOML file, {} when there is none. Raises UserError."""
        return self._table(path, tomllib.loads) if path in self.names else {}

    def _table(self, path: str, parse: Callable[[str], Any]) -> dict[str, Any]:
        text = self.whole(path)
        try:
            value = parse(text)
        except (ValueError, RecursionError) as exc:
            raise UserError(
                f"{path} cannot be read", str(exc)[:300], "correct the file", id="file-not-understood"
            ) from exc
        if not isinstance(value, dict):
            raise UserError(
                f"{path} cannot be read", "it is no table of fields", "correct the file", id="file-not-understood"
            )
        return value


def of_disk(root: Path) -> Tree:
    """The files of a folder. Links are not followed, hidden folders and what tools make are left out."""
    names: list[str] = []
    todo = [("", 0)]
    while todo and len(names) < MAX_FILES:
        prefix, depth = todo.pop()
        try:
            entries = sorted(os.scandir(root / prefix), key=lambda entry: entry.name)
        except OSError:
            continue  # a folder that is closed to us holds nothing that could be adopted
        for entry in entries:
            try:
                entry.name.encode()
            except UnicodeEncodeError:
                continue
            if entry.is_file(follow_symlinks=False):
                names.append(prefix + entry.name)
            elif entry.is_dir(follow_symlinks=False) and depth < MAX_DEPTH and _ours(entry.name):
                todo.append((f"{prefix}{entry.name}/", depth + 1))

    def read(path: str) -> bytes:
        with (root / path).open("rb") as file:
            return file.read(MAX_BYTES + 1)

    return Tree(names, read, root.name)


def _ours(folder: str) -> bool:
    return not folder.startswith(".") and folder not in _SKIPPED


def table(value: object) -> dict[str, Any]:
    """The value when it is a table, else an empty one: somebody else's file may hold anything."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """The value when it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def words(value: object) -> list[str]:
    """The texts of a list."""
    return [item for item in items(value) if isinstance(item, str)]
