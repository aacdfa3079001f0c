"""Procfiles: one line a process; `web` gets requests, the others none. And cron-like ones must not run twice."""

import re
from collections.abc import Iterator

from atoll.adopt.found import Found, Left, join, slug
from atoll.adopt.tree import Tree

_LINE = re.compile(r"^\s*([A-Za-z0-9_-]+)\s*:\s*(.+?)\s*$")
ONE_OFF = ("release", "postdeploy", "console")


def read(tree: Tree, folder: str, known: Found | None) -> Iterator[Found | Left]:
    """The processes of a folder's Procfile; `known` is what the folder's build files told, for the health path."""
    source = join(folder, "Procfile")
    lines = [
        match
        for line in tree.text(source).splitlines()
        if (match := _LINE.match(line)) and not line.lstrip().startswith("#")
    ]
    base = "" if folder == "." else f"{folder.rpartition('/')[2]}-"
    first = next((match[1] for match in lines if match[1] == "web"), "")
    first = first or next((match[1] for match in lines if match[1].lower() not in ONE_OFF), "")
    for match in lines:
        kind, line = match[1], match[2]
        if kind.lower() in ONE_OFF:
            fix = f"run it before a deploy: {line}"
            yield Left(service=slug(f"{base}{kind}"), what=f"{source}: `{kind}` is run once, not a service", fix=fix)
            continue
        main = kind == first
        name = slug((base.rstrip("-") or kind) if main else f"{base}{kind}")
        found = Found(
            name=name,
            folder=folder if main else join(folder, "services", slug(kind)),
            source=source,
            run=command_line(line),
            context="." if main else "../..",
            protocol="http" if kind == "web" or "PORT" in line else "none",
        )
        if known is not None:
            found.steps, found.outputs, found.builder = known.steps, known.outputs, known.builder
        if main and known is not None and found.protocol == "http":
            found.health = known.health
            found.notes = {key: note for key, note in known.notes.items() if key == "health"}
        yield found


def command_line(line: str) -> str:
    """A line for the shell with Atoll's port in it, on the loopback address: the gateway is the way in."""
    line = re.sub(r"\$\{PORT(?::-\d+)?\}|\$PORT\b", "{port}", line)
    return re.sub(r"\b0\.0\.0\.0\b(?=[:\s]|$)", "{host}", line) if "{port}" in line else line
