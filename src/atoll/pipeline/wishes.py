"""Which version of a toolchain a service asks for: `[build] tool`, else the files that name one for other tools.

Called by `toolchains`. The files are looked for in the service's folder, then above it up to the workspace's, as the
tools that they are for do; the nearest file counts.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import msgspec

from atoll.model.building import Pin, Toolchain
from atoll.model.spec import ServiceSpec

_MOST_BYTES = 1 << 16  # of a file that names a version; a longer one is something else


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A version that a service asks for, and where it says so."""

    version: str  # how it begins; "" is any
    by: str  # "[build] tool", or a file: ".nvmrc", "go.mod"
    least: bool = False  # a newer one fits, too
    must: bool = False  # nothing else will do

    def fits(self, version: str) -> bool:
        """Whether a toolchain of that version grants it: number by number, so that 1.24 is 1.24.5 and never 1.245."""
        asked, there = numbers(self.version), numbers(version)
        return there >= asked if self.least else there[: len(asked)] == asked

    @property
    def requirement(self) -> str:
        """The same as a package index reads it (PEP 440)."""
        if not self.version:
            return ""
        if self.least:
            return f"~={self.version}" if "." in self.version else f">={self.version}"
        return f"=={self.version}.*"

    @property
    def text(self) -> str:
        """`1.24`, `1.24 or newer`, for people."""
        return f"{self.version} or newer" if self.least else self.version


def wishes(spec: ServiceSpec, toolchain: Toolchain, root: Path) -> Iterator[Wish]:
    """What a service asks for, the weightiest first: `tool` alone, else what files say, the nearest folder's first."""
    language, _, version = (spec.build.tool or "").partition("@")
    if language == toolchain.name:
        yield Wish(version=version, by="[build] tool", must=True)
        return
    folder = PurePosixPath(spec.folder)
    for place, pin in _places(spec, toolchain):
        if version := _pinned(root / place / pin.file, pin):
            by = pin.file if place == folder else str(place / pin.file)
            yield Wish(version=version, by=by, least=pin.least, must=pin.must)


def pin_files(spec: ServiceSpec, toolchain: Toolchain, root: Path) -> list[Path]:
    """The files that `wishes` looks at, whether they are there or not."""
    if (spec.build.tool or "").partition("@")[0] == toolchain.name:
        return []
    return [root / place / pin.file for place, pin in _places(spec, toolchain)]


def _places(spec: ServiceSpec, toolchain: Toolchain) -> Iterator[tuple[PurePosixPath, Pin]]:
    folder = PurePosixPath(spec.folder)
    for place in (folder, *folder.parents):
        for pin in toolchain.pins:
            yield place, pin


def numbers(version: str) -> tuple[int, ...]:
    """A version to compare."""
    return tuple(int(number) for number in version.split(".") if number.isdigit())


def _pinned(file: Path, pin: Pin) -> str:
    """What a file says; "" when it says nothing that is a version (`lts/*`, `stable`, `system`)."""
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            found = re.search(pin.pattern, opened.read(_MOST_BYTES), re.MULTILINE)
    except OSError:
        return ""
    return found[1].strip(".") if found else ""
