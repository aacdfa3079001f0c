"""Volumes of a Compose service: its own folder `{data}`, files that the artifact holds, and files that must be pointed at."""

import re
from collections.abc import Collection
from typing import NamedTuple

from atoll.adopt.compose_shapes import mount
from atoll.adopt.compose_told import Told
from atoll.adopt.found import Found, below, join
from atoll.adopt.tree import items
from atoll.adopt.yaml_file import Fields

_MADE = re.compile(r"node_modules|/\.venv|/\.cache|/target$|/\.m2|/go/pkg|/\.gradle|/vendor/bundle")
_SOCKETS = re.compile(r"docker\.sock$|/var/run/|/run/")


class Around(NamedTuple):
    """What a service's volumes are seen in: the Compose file's folder, the image's, the volumes that others have, too."""

    base: str
    workdir: str
    shared: Collection[str]


def take(found: Found, raw: Fields, around: Around, told: Told) -> None:
    """Carry the volumes over."""
    for item in items(raw.get("volumes")):
        source, target, mode = mount(item)
        if not target:
            told.left(f"volume {item} is not understood", "tell the program where its files are", "volumes")
        elif isinstance(item, dict) and item.get("type") == "tmpfs":
            told.left(f"tmpfs {target} is not carried over", "the system's temporary folder does", "volumes")
        elif _SOCKETS.search(source):
            told.left(
                f"{source} was mounted at {target}",
                "it is there under its own path, if this user may open it",
                "volumes",
            )
        elif source.startswith((".", "/", "~")):
            _bound(found, source, target, around, told)
        elif "ro" in mode.split(","):
            told.left(
                f"volume {source} was mounted read-only at {target}", "give it a folder that others fill", "volumes"
            )
        else:
            _data(found, source, target.rstrip("/"), told)
            if source in around.shared:
                fix = "let one of them own it and the others ask, or give all of them one folder of this machine"
                what = f"volume {source} is shared, but each service has a {{data}} of its own"
                told.left(what, fix, "volumes")


def _bound(found: Found, source: str, target: str, around: Around, told: Told) -> None:
    """A folder or file of the repository, or of the machine."""
    home, path = join(found.folder, found.context), join(around.base, source)
    inside = below(path, home) if not source.startswith(("/", "~")) else None
    if inside == "." or (inside and target.rstrip("/") == f"{around.workdir.rstrip('/')}/{inside}"):
        told.unneeded("volumes", f"{source} at {target}: the artifact holds these files")
    else:
        told.left(f"{source} was mounted at {target}", "point the program at it, by variable or argument", "volumes")


def _data(found: Found, volume: str, target: str, told: Told) -> None:
    """A volume that it writes: `{data}`. One without a name did not outlive its container."""
    if _MADE.search(target):
        told.unneeded("volumes", f"{volume or 'one without a name'} at {target} held what a build makes")
        return
    moved = [name for name, value in found.env.items() if target in value]
    for name in moved:
        found.env[name] = found.env[name].replace(target, "{data}")
    if isinstance(found.run, str) and target in found.run:
        found.run = found.run.replace(target, "{data}")
        moved.append("run")
    found.alone = f"writes volume {volume}" if volume else ""
    volume = volume or "without a name"
    if moved:
        told.left(
            f"volume {volume} is {{data}} now, the service's own folder, and empty at first ({', '.join(moved)})",
            "copy what it holds, if it matters",
            "volumes",
        )
    else:
        told.left(
            f"volume {volume} was mounted at {target}, and no variable says so",
            "tell the program {data}, the service's own folder, by variable or argument",
            "volumes",
        )
