"""Whether a machine has what an artifact finds outside itself. Asked before anything is sent; looks, and changes nothing."""

import os
import posixpath
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from atoll.decide.launch import DEFAULT_PATH
from atoll.model.catalogue.ids import ErrorId
from atoll.model.errors import Refused
from atoll.model.state import Artifact
from atoll.model.wire_artifacts import Need
from atoll.pipeline.ship.survey import numbers, same_enough, says
from atoll.pipeline.tools import this_platform

WAYS_OUT = (
    "build it on such a machine: in CI, with a remote cache that both read; or run `atoll deploy` on the machine itself"
)


class Footing(NamedTuple):
    """What was found."""

    pythons: dict[str, str]  # link in a virtual environment -> the interpreter that it leads to here
    warnings: tuple[str, ...]


class _Lack(NamedTuple):
    what: str
    fix: str


def footing(service: str, artifact: Artifact, needs: Sequence[Need], here: str | None = None) -> Footing:
    """What of the needs is met, and how.

    Args:
        service: whose artifact it is.
        artifact: as it was built.
        needs: as `survey` found them.
        here: the platform of this machine; None looks.

    Raises:
        Refused: it would not run here.
    """
    here = here or this_platform()
    pythons: dict[str, str] = {}
    lacks: list[_Lack] = []
    warnings: list[str] = []
    lacks += _platform(artifact, needs, here)
    for need in needs if not lacks else ():  # of another machine everything else is another's, too
        if need.kind == "python":
            if found := _python(need):
                pythons[need.by] = found
            else:
                lacks.append(
                    _Lack(
                        f"{need.by} leads to Python {need.version or need.what}, and there is none",
                        f"install python{need.version} there; or let {service} be built with a version that is there: "
                        '[build] tool = "python@…"',
                    )
                )
        elif need.kind == "folder" and not Path(need.what).is_dir():
            lacks.append(
                _Lack(
                    f"{need.by} of {service} has {need.what}, which is not there",
                    "install the same toolchain at that place; or leave [build] tool away, so that the one on the PATH is taken",
                )
            )
        elif need.kind == "program":
            lack, warning = _program(service, artifact, need)
            lacks += [lack] if lack else []
            warnings += [warning] if warning else []
        elif need.kind == "link" and not os.path.lexists(need.what):
            warnings.append(f"{service}: {need.by} leads to {need.what}, which is not there")
    if lacks:
        what = f"{service} would not run there: {lacks[0].what}"
        more = f"; and {'; '.join(lack.what for lack in lacks[1:])}" if lacks[1:] else ""
        id: ErrorId = "other-platform" if lacks[0].fix == WAYS_OUT else "missing-on-machine"
        raise Refused(what + more, "nothing was sent, and nothing was changed", lacks[0].fix, id=id)
    return Footing(pythons, tuple(warnings))


def _platform(artifact: Artifact, needs: Sequence[Need], here: str) -> Iterator[_Lack]:
    """`linux-x86_64-glibc2.36`: without native code none of it matters, and of glibc only that it is not too old."""
    native = next((need for need in needs if need.kind == "native"), None)
    if native is None:
        return
    system, machine, libc = artifact.platform.split("-", 2)
    own_system, own_machine, own_libc = here.split("-", 2)
    if (system, machine, libc.rstrip("0123456789.")) != (own_system, own_machine, own_libc.rstrip("0123456789.")):
        yield _Lack(f"{native.what} is native code for {artifact.platform}, and the machine is {here}", WAYS_OUT)
        return
    asked = next((need for need in needs if need.kind == "glibc"), None)
    if asked is not None and numbers(asked.what) > numbers(own_libc.removeprefix("glibc")):
        yield _Lack(f"{asked.by} asks for glibc {asked.what}, and the machine has {own_libc}", WAYS_OUT)


def _python(need: Need) -> str:
    """The interpreter at its place, else one of the same version on the PATH; "" is none.

    One that only we can reach, in somebody's home, comes last: services run under users of their own.
    """
    places = (need.what, *_on_path(f"python{need.version}"), *_on_path("python3"))
    fit = [path for path in dict.fromkeys(places) if os.access(path, os.X_OK) and _fits(path, need.version)]
    return next((path for path in fit if _open_to_all(path)), next(iter(fit), ""))


def _fits(python: str, version: str) -> bool:
    return not version or says(python).startswith(f"{version}.")


def _open_to_all(path: str) -> bool:
    real = Path(path).resolve()
    return all(each.stat().st_mode & 0o001 for each in (real, *real.parents))


def _program(service: str, artifact: Artifact, need: Need) -> tuple[_Lack | None, str]:
    own = artifact.command_env.get("PATH+", "")
    found = need.what if need.what.startswith("/") else shutil.which(need.what, path=f"{own}:{DEFAULT_PATH}")
    if found is None or not os.access(found, os.X_OK):
        where = "is not there" if need.what.startswith("/") else f"is not on the PATH there ({DEFAULT_PATH})"
        return _Lack(f"it is run by {need.what}, which {where}", f"install {posixpath.basename(need.what)} there"), ""
    if need.version and not same_enough(need.what, need.version, have := says(found)):
        return None, f"{service} was built with {need.what} {need.version}, and the machine runs it with {have}"
    return None, ""


def _on_path(name: str) -> list[str]:
    found = shutil.which(name, path=DEFAULT_PATH)
    return [found] if found else []
