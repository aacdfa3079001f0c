"""What the image of a Rust service is made of: the compiler's, and then nothing but a C library and certificates."""

import posixpath
import shlex

from atoll.model.building import ImageParts, Step
from atoll.model.command import Command

USUAL = "1"
_NAMES = frozenset({"Cargo.toml", "Cargo.lock", "rust-toolchain", "rust-toolchain.toml"})
_SETTINGS = (".cargo/config.toml", ".cargo/config")


def parts(files: frozenset[str], version: str, *, ours: bool) -> ImageParts:
    """Crates are fetched before the sources come, where there is a lock. `ours`: no steps of one's own.

    Cargo reads no manifest whose targets are missing; so they are there, empty, for that moment.
    """
    manifests = tuple(sorted(p for p in files if posixpath.basename(p) in _NAMES or p.endswith(_SETTINGS)))
    packages = [posixpath.dirname(path) or "." for path in manifests if posixpath.basename(path) == "Cargo.toml"]
    early: tuple[Step, ...] = ()
    if ours and "Cargo.lock" in files and not any("vendor/" in path for path in files):
        sources = " ".join(shlex.quote(f"{each}/src") for each in packages)
        line = (
            f'for each in {sources}; do mkdir -p "$each" && touch "$each/lib.rs" "$each/main.rs"; done'
            " && cargo fetch --locked && find . -name '*.rs' -delete"
        )
        early = (Step(command=Command(shell=line), label="fetch crates"),)
    return ImageParts(
        base=f"rust:{version or USUAL}-slim-bookworm",
        run_base="debian:bookworm-slim",  # of the same Debian: programs use its C library
        manifests=manifests if early else (),
        early=early,
        copies=("/etc/ssl/certs",),
    )
