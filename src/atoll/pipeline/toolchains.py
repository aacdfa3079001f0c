"""Which compilers and interpreters this machine has, and which one a build gets: `[build] tool = "go@1.24"`.

Called by `build` and by `atoll doctor`. Looks on the PATH and where installers and version switchers put things; it
downloads nothing. Without `tool` a build uses the PATH, and what lies elsewhere only when the PATH has none.
"""

import fnmatch
import glob
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from atoll.model.errors import UserError
from atoll.model.spec import ServiceSpec
from atoll.model.suggest import did_you_mean
from atoll.ports import Builder, Toolchain

ASK_TIMEOUT_S = 20.0

_VERSION = re.compile(r"\d+(?:\.\d+)+|\b\d+\b")
_PROGRAM = re.compile(r"[a-z]+[\d.]*")  # python3, python3.12; no python3-config
_UNFINISHED = re.compile(r"nightly|beta|\brc\b|\dea\b|-dev\b")
_SWITCHERS = frozenset({"shims", "rustup"})  # stand for whatever their own configuration says


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A toolchain on this machine."""

    version: str
    program: str  # absolute, no link

    @property
    def bin(self) -> str:
        """The folder of its programs."""
        return os.path.dirname(self.program)

    @property
    def home(self) -> str:
        """The folder that `bin` is in."""
        return os.path.dirname(self.bin)


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """What a build gets of a toolchain. `found` is None for whatever the PATH has."""

    found: Found | None = None
    env: Mapping[str, str] = {}
    at_run: Mapping[str, str] = {}

    def environment(self, declared: Mapping[str, str], path: str) -> dict[str, str]:
        """The variables of a build, `declared` (`build.env`) among them; `path` is the PATH around it."""
        env = {**self.env, **declared}
        if self.found is not None:
            env["PATH"] = f"{self.found.bin}:{declared.get('PATH', path)}"
        return env


class Toolchains:
    """The machine's toolchains as one environment `env` shows them; answers are kept for one run."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._versions: dict[str, str] = {}  # by program

    def choose(self, spec: ServiceSpec, builder: Builder, known: Mapping[str, Toolchain]) -> Chosen:
        """The toolchain for a build. `known` has every language's. Raises UserError when the wanted one is missing."""
        if spec.build.tool is not None:
            name, _, version = spec.build.tool.partition("@")
            if (toolchain := known.get(name)) is None:
                fix = did_you_mean(name, known) or "correct [build] tool in service.toml"
                raise UserError(
                    f"there are no {name} toolchains that Atoll knows",
                    f"known: {', '.join(sorted(known))}",
                    fix,
                    id="unknown-toolchain",
                )
            return _chosen(toolchain, self.pick(toolchain, version))
        if (toolchain := builder.toolchain) is None:
            return Chosen()
        if next(self._on_path(toolchain, switchers=True), None) is None and (found := self.all(toolchain)):
            return _chosen(toolchain, found[0])
        return Chosen(env=toolchain.env)

    def pick(self, toolchain: Toolchain, version: str) -> Found:
        """The newest whose version begins with `version` ("1.24" is 1.24.5, never 1.245). Raises UserError."""
        found = self.all(toolchain)
        wanted = _numbers(version)
        for each in found:
            if _numbers(each.version)[: len(wanted)] == wanted:
                return each
        there = ", ".join(f"{each.version} in {each.home}" for each in found)
        raise UserError(
            f"{toolchain.name} {version} is missing",
            f"found {there or 'none'}; looked on the PATH and in {', '.join(toolchain.places)}",
            f"{toolchain.fix.format(version=version)}, or change [build] tool in service.toml",
            id="tool-missing",
        )

    def all(self, toolchain: Toolchain) -> list[Found]:
        """Every one on this machine: the newest first, unfinished ones last; of equals first what the PATH has."""
        # By its real name: a link (/usr/bin/javac, a virtual environment's python) has another home.
        programs = dict.fromkeys(
            os.path.realpath(each) for each in (*self._on_path(toolchain), *self._in_places(toolchain))
        )
        found = [Found(version=self._version(toolchain, program), program=program) for program in programs]
        working = [each for each in found if each.version]
        return sorted(
            working,
            key=lambda each: (not _UNFINISHED.search(each.program), _numbers(each.version)),
            reverse=True,
        )

    # --- looking ------------------------------------------------------------------------------------------------

    def _on_path(self, toolchain: Toolchain, *, switchers: bool = False) -> Iterator[str]:
        for folder in self._env.get("PATH", "").split(":"):
            if folder and (switchers or os.path.basename(folder) not in _SWITCHERS):
                for program in _programs(folder, toolchain.program):
                    if switchers or os.path.basename(os.path.realpath(program)) not in _SWITCHERS:
                        yield program

    def _in_places(self, toolchain: Toolchain) -> Iterator[str]:
        home = self._env.get("HOME", "~")
        for place in toolchain.places:
            variable, slash, rest = place.removeprefix("$").partition("/")
            if place.startswith("$"):
                if not self._env.get(variable):
                    continue
                pattern = glob.escape(self._env[variable]) + slash + rest
            else:
                pattern = glob.escape(home) + place[1:] if place.startswith("~") else place
            for folder in sorted(glob.glob(pattern)):
                yield from _programs(os.path.join(folder, "bin"), toolchain.program)

    def _version(self, toolchain: Toolchain, program: str) -> str:
        if program not in self._versions:
            self._versions[program] = _read_version(toolchain, program) or _ask_version(toolchain, program, self._env)
        return self._versions[program]


def _chosen(toolchain: Toolchain, found: Found) -> Chosen:
    values = {"home": found.home, "program": found.program}
    filled = {name: text.format(**values) for name, text in toolchain.chosen_env.items()}
    at_run = {"PATH+": found.bin} if toolchain.at_run else {}
    return Chosen(found=found, env={**toolchain.env, **filled}, at_run=at_run)


def _programs(folder: str, pattern: str) -> list[str]:
    """Programs of a folder whose name fits; the shortest name first, as the one that people mean."""
    if "*" not in pattern:
        names = [pattern]
    else:
        try:
            names = [name for name in os.listdir(folder) if fnmatch.fnmatchcase(name, pattern)]
        except OSError:
            return []
    paths = [os.path.join(folder, name) for name in sorted(names, key=len) if _PROGRAM.fullmatch(name)]
    return [path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK)]


def _read_version(toolchain: Toolchain, program: str) -> str:
    """What the home folder of a program says: its version file, or its name where that is a whole version."""
    home = Path(program).parent.parent
    if toolchain.version_file:
        try:
            text = (home / toolchain.version_file).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        said = re.search(r'JAVA_VERSION="([^"]+)"', text)
        return _first_version(said[1] if said else text)
    named = re.search(r"\d+\.\d+\.\d+", home.name)
    return named[0] if named else ""


def _ask_version(toolchain: Toolchain, program: str, env: Mapping[str, str]) -> str:
    """What the program says; "" when it does not work, as an empty installation does."""
    try:
        done = subprocess.run(
            (program, *toolchain.version),
            env={**env, **toolchain.env},
            cwd="/",  # no file of a project shall choose for it
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ASK_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return _first_version((done.stdout + done.stderr).decode("utf-8", "replace")) if done.returncode == 0 else ""


def _first_version(text: str) -> str:
    found = _VERSION.search(re.sub(r"\b[a-zA-Z_]+(?=\d)", "", text))
    return found[0] if found else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split(".") if number.isdigit())
