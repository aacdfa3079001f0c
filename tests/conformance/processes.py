"""Which processes of this machine belong to a lab."""

import contextlib
import os
from pathlib import Path


def of_folder(folder: Path) -> list[str]:
    """Command lines of those that work in it, or were started for it."""
    mine = str(folder)
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environ = (entry / "environ").read_bytes()
            owned = mine in command or f"={mine}/".encode() in environ or mine in str((entry / "cwd").readlink())
            if owned and int(entry.name) != os.getpid():
                found.append(f"{entry.name} {command}")
    return found
