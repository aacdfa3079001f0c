"""Where the modules of a Go repository lie."""

import posixpath


def home_of(files: frozenset[str], folder: str) -> str | None:
    """The folder of the module that a folder belongs to: the nearest with a go.mod, upwards; "." is the context's top."""
    while f"{folder}/go.mod" not in files:
        if not folder or folder == ".":
            return "." if "go.mod" in files else None
        folder = posixpath.dirname(folder)
    return folder
