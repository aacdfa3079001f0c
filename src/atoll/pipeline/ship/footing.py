"""Whether a machine has what an artifact finds outside itself. Asked before anything is sent; looks, and changes nothing."""

import os
import posixpath
import re
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from atoll.decide.launch import DEFAULT_PATH
from atoll.model.catalogue.ids import ErrorId
from atoll.model.errors import Refused
from atoll.model.state import Artifact
from atoll.model.wire_artifacts import Need
from atoll.pipeline.ship.survey import numbers, same_enough, says, within
from atoll.pipeline.tools import this_platform

WAYS_OUT = (
    "build it on such a machine: in CI, with a remote cache that both read; or run `atoll deploy` on the machine itself"
)
_VERSION = re.compile(r"\d+(?:\.\d+)*")
_INTERPRETER = re.compile(r"(?:python|nodejs|node|java|ruby|php)[\d.]*")


class Footing(NamedTuple):
    """What was found."""

    pythons: Mapping[str, str]  # link in a virtual environment -> the interpreter that it leads to here
    warnings: tuple[str, ...]


class _Lack(NamedTuple):
    what: str
    fix: str


def footing(
    service: str, artifact: Artifact, needs: Sequence[Need], artifacts: Path, here: str | None = None
) -> Footing:
    """What of the needs is met, and how.

    Args:
        service: whose artifact it is.
        artifact: as it was built.
        needs: as `survey` found them.
        artifacts: the folder of artifacts: nothing in it is run to be asked for its version.
        here: the platform of this machine; None looks.

    Raises:
        Refused: it would not run here.
    """
    look = _Look(service, artifact, artifacts)
    look.lacks += _platform(artifact, needs, here or this_platform())
    for need in needs if not look.lacks else ():  # of another machine everything else is another's, too
        look.at(need)
    if look.lacks:
        first, *rest = look.lacks
        more = f"; and {'; '.join(lack.what for lack in rest)}" if rest else ""
        id: ErrorId = "other-platform" if first.fix == WAYS_OUT else "missing-on-machine"
        what = f"{service} would not run there: {first.what}{more}"
        raise Refused(what, "nothing was sent, and nothing was changed", first.fix, id=id)
    return Footing(look.pythons, tuple(look.warnings))


class _Look:
    """One look around the machine, for one artifact."""

    def __init__(self, service: str, artifact: Artifact, artifacts: Path) -> None:
        self._service, self._artifact, self._artifacts = service, artifact, os.fspath(artifacts.resolve())
        self.pythons: dict[str, str] = {}
        self.lacks: list[_Lack] = []
        self.warnings: list[str] = []

    def at(self, need: Need) -> None:
        """Whether this one is met."""
        match need.kind:
            case "python":
                self._python(need)
            case "program":
                self._program(need)
            case "folder" if not Path(need.what).is_dir():
                self._lacks(
                    f"{need.by} of {self._service} has {need.what}, which is not there",
                    "install the same toolchain at that place; or leave [build] tool away, so that the one on the PATH is taken",
                )
            case "link" if not os.path.lexists(need.what):
                self.warnings.append(f"{self._service}: {need.by} leads to {need.what}, which is not there")

    def _lacks(self, what: str, fix: str) -> None:
        self.lacks.append(_Lack(what, fix))

    def _python(self, need: Need) -> None:
        """The interpreter at its place, else one of the same version on the PATH.

        One that only we can reach, in somebody's home, comes last: services run under users of their own.
        """
        version = need.version if _VERSION.fullmatch(need.version) else ""
        places = (need.what, *_on_path(f"python{version}"), *_on_path("python3"))
        fit = [
            path
            for path in dict.fromkeys(places)
            if os.access(path, os.X_OK) and (not version or self._says(path).startswith(f"{version}."))
        ]
        if not fit:
            self._lacks(
                f"{need.by} leads to Python {version or need.what}, and there is none",
                f"install python{version} there; or let {self._service} be built with a version that is there: "
                '[build] tool = "python@…"',
            )
            return
        self.pythons[need.by] = next((path for path in fit if _open_to_all(path)), fit[0])

    def _program(self, need: Need) -> None:
        own = self._artifact.command_env.get("PATH+", "")
        found = need.what if need.what.startswith("/") else shutil.which(need.what, path=f"{own}:{DEFAULT_PATH}")
        if found is None or not os.access(found, os.X_OK):
            where = "is not there" if need.what.startswith("/") else f"is not on the PATH there ({DEFAULT_PATH})"
            fix = f"install {posixpath.basename(need.what)} there"
            self._lacks(f"it is run by {need.what}, which {where}", fix)
        elif need.version and not same_enough(need.what, need.version, have := self._says(found)):
            self.warnings.append(
                f"{self._service} was built with {need.what} {need.version}, and the machine runs it with {have}"
            )

    def _says(self, program: str) -> str:
        """Its version; "" of one that is no interpreter of the machine's own.

        Whoever deploys must not have us run what they sent, nor whatever there is. What was looked at is what is run: the
        links that lead to it may be theirs.
        """
        real = Path(program).resolve()
        if within(os.fspath(real), self._artifacts) or not _INTERPRETER.fullmatch(real.name):
            return ""
        for each in (real, *real.parents):
            status = each.stat()
            foreign = status.st_uid not in {0, os.geteuid()}
            if foreign or (status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX):
                return ""
        return says(os.fspath(real))


def _platform(artifact: Artifact, needs: Sequence[Need], here: str) -> Iterator[_Lack]:
    """`linux-x86_64-glibc2.36`: without native code none of it matters, and of glibc only that it is not too old."""
    native = next((need for need in needs if need.kind == "native"), None)
    if native is None:
        return
    own_libc = here.rpartition("-")[2]
    if artifact.platform.rstrip("0123456789.") != here.rstrip("0123456789."):
        yield _Lack(f"{native.what} is native code for {artifact.platform}, and the machine is {here}", WAYS_OUT)
        return
    asked = next((need for need in needs if need.kind == "glibc"), None)
    if asked is not None and numbers(asked.what) > numbers(own_libc.removeprefix("glibc")):
        yield _Lack(f"{asked.by} asks for glibc {asked.what}, and the machine has {own_libc}", WAYS_OUT)


def _open_to_all(path: str) -> bool:
    real = Path(path).resolve()
    return all(each.stat().st_mode & 0o001 for each in (real, *real.parents))


def _on_path(name: str) -> list[str]:
    found = shutil.which(name, path=DEFAULT_PATH)
    return [found] if found else []
