"""What the image of a Go service is made of: the compiler's, and then nothing but a C library and certificates."""

import posixpath

from atoll.model.building import ImageParts, Step
from atoll.model.command import Command

USUAL = "1.24"
_NAMES = frozenset({"go.mod", "go.sum", "go.work", "go.work.sum"})
_MIRRORS = ("GOPROXY", "GOPRIVATE", "GONOPROXY", "GOSUMDB", "GONOSUMDB", "GOINSECURE")


def parts(files: frozenset[str], version: str, compiling: Step | None) -> ImageParts:
    """Modules are fetched before the sources come, unless they are vendored.

    Args:
        files: the inputs.
        version: see `Builder.image`.
        compiling: the step that compiles; None when that is not ours.
    """
    manifests = tuple(sorted(path for path in files if posixpath.basename(path) in _NAMES))
    early: tuple[Step, ...] = ()
    if compiling is not None and not any(path.endswith("vendor/modules.txt") for path in files):
        argv = compiling.command.argv
        there = argv[2:4] if argv[2] == "-C" else ()
        early = (
            Step(command=Command(argv=("go", *there, "mod", "download")), env=compiling.env, label="fetch modules"),
        )
    return ImageParts(
        base=f"golang:{version or USUAL}-bookworm",
        run_base="debian:bookworm-slim",  # of the same Debian, for what uses C
        manifests=manifests if early else (),
        early=early,
        copies=("/etc/ssl/certs",),
        mirrors=_MIRRORS,
    )
