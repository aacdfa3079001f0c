"""Which compilers and interpreters this machine has, and which one a build gets: `[build] tool = "go@1.24"`.

Called by `build` and by `atoll doctor`. Looks on the PATH, where installers and version switchers put things, and among
what was fetched for the workspace; it downloads nothing. Without a wish a build uses the PATH, and what lies elsewhere
only when the PATH has none.
"""

import fnmatch
import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from atoll.model.building import Toolchain
from atoll.model.errors import UserError
from atoll.model.spec import ServiceSpec
from atoll.model.suggest import did_you_mean
from atoll.pipeline.wishes import Wish, numbers, wishes

ASK_TIMEOUT_S = 20.0

_VERSION = re.compile(r"\d+(?:\.\d+)+|\b\d+\b")
_PROGRAM = re.compile(r"[a-z]+[\d.]*")  # python3, python3.12; no python3-config
_UNFINISHED = re.compile(r"nightly|beta|\brc\b|\dea\b|-dev\b")
_SWITCHERS = frozenset({"shims", "rustup"})  # stand for whatever their own configuration says

ANY = Wish(version="", by="")


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


class Missing(UserError):
    """No toolchain grants a wish that nothing else grants."""

    def __init__(self, toolchain: Toolchain, wish: Wish, what: str, why: str, fix: str) -> None:
        super().__init__(what, why, fix, id="tool-missing")
        self.toolchain, self.wish = toolchain, wish


class Toolchains:
    """The machine's toolchains as one environment `env` shows them; answers are kept for one run.

    `fetched` gives the home folders of those that were fetched for the workspace.
    """

    def __init__(self, env: Mapping[str, str], fetched: Callable[[Toolchain], Iterable[str]] = lambda _: ()) -> None:
        self._env, self._fetched = env, fetched
        self._versions: dict[str, str] = {}  # by program

    def choose(self, spec: ServiceSpec, toolchain: Toolchain, root: Path) -> Chosen:
        """What a build gets. `tool` is a must; what other tools' files say is followed where it can be.

        Raises Missing when there is none that the build could do with, or none that fits although it may be fetched.
        """
        for wish in wishes(spec, toolchain, root):
            # The PATH counts most where it fits: nothing of this machine gets into the artifact then.
            if wish.by != "[build] tool" and any(
                wish.fits(self._version(toolchain, each)) for each in self._first(toolchain)
            ):
                return Chosen(env=toolchain.env)
            if found := self.fitting(toolchain, wish):
                return _chosen(toolchain, found)
            if wish.must or (spec.build.provide and toolchain.wheel):
                raise self.missing(toolchain, wish)
        if next(self._on_path(toolchain, switchers=True), None) is None:
            if found := self.fitting(toolchain, ANY):
                return _chosen(toolchain, found)
            if spec.build.provide and toolchain.wheel:
                raise self.missing(toolchain, ANY)
        return Chosen(env=toolchain.env)

    def taken(self, toolchain: Toolchain, chosen: Chosen) -> Found | None:
        """Which one `chosen` is; None when the PATH has none, or a switcher that decides for itself."""
        first = next(self._first(toolchain), None)
        if chosen.found is not None or first is None:
            return chosen.found
        return Found(version=self._version(toolchain, first), program=first)

    def switched(self, toolchain: Toolchain) -> bool:
        """Whether the PATH has a version switcher before all else."""
        return next(self._first(toolchain), None) is None and bool(next(self._on_path(toolchain, switchers=True), ""))

    def fitting(self, toolchain: Toolchain, wish: Wish) -> Found | None:
        """The newest that grants a wish."""
        return next((each for each in self.all(toolchain) if wish.fits(each.version)), None)

    def missing(self, toolchain: Toolchain, wish: Wish) -> Missing:
        """What was asked for, what is there, and how to get it."""
        there = ", ".join(f"{each.version} in {each.home}" for each in self.all(toolchain))
        usual = ", ".join(place for place in toolchain.places if not place.startswith("$"))
        asked = "" if wish.by == "[build] tool" else f"{wish.by} asks for it; "
        return Missing(
            toolchain,
            wish,
            f"{toolchain.name} {wish.text}".rstrip() + " is missing",
            f"{asked}found {there or 'none'}; looked on the PATH and in {usual}",
            how_to_get(toolchain, wish.version) + (f"; or change {wish.by}" if wish.by else ""),
        )

    def all(self, toolchain: Toolchain) -> list[Found]:
        """Every one on this machine: the newest first, unfinished ones last; of equals first what the PATH has."""
        fetched = (each for home in self._fetched(toolchain) for each in _programs(f"{home}/bin", toolchain.program))
        # By its real name: a link (/usr/bin/javac, a virtual environment's python) has another home.
        programs = dict.fromkeys(
            os.path.realpath(each) for each in (*self._on_path(toolchain), *self._in_places(toolchain), *fetched)
        )
        found = [Found(version=self._version(toolchain, program), program=program) for program in programs]
        working = [each for each in found if each.version]
        return sorted(
            working,
            key=lambda each: (not _UNFINISHED.search(each.program), numbers(each.version)),
            reverse=True,
        )

    def looked_at(self, toolchain: Toolchain) -> Iterator[str]:
        """What `choose` depends on besides a project's files: programs that were asked, folders that may come to hold some."""
        yield from self._versions
        for pattern in self._patterns(toolchain):
            wild = re.search(r"[*?[]", pattern)
            yield os.path.dirname(pattern[: wild.start()]) if wild else pattern

    # --- looking ------------------------------------------------------------------------------------------------

    def _first(self, toolchain: Toolchain) -> Iterator[str]:
        """What the PATH has, unless that is a switcher's: it says another thing in each folder."""
        first = next(self._on_path(toolchain, switchers=True), None)
        if first is not None and first in self._on_path(toolchain):
            yield os.path.realpath(first)

    def _on_path(self, toolchain: Toolchain, *, switchers: bool = False) -> Iterator[str]:
        for folder in self._env.get("PATH", "").split(":"):
            if folder and (switchers or os.path.basename(folder) not in _SWITCHERS):
                for program in _programs(folder, toolchain.program):
                    if switchers or os.path.basename(os.path.realpath(program)) not in _SWITCHERS:
                        yield program

    def _in_places(self, toolchain: Toolchain) -> Iterator[str]:
        for pattern in self._patterns(toolchain):
            for folder in sorted(glob.glob(pattern)):
                yield from _programs(os.path.join(folder, "bin"), toolchain.program)

    def _patterns(self, toolchain: Toolchain) -> Iterator[str]:
        home = self._env.get("HOME", "~")
        for place in toolchain.places:
            variable, slash, rest = place.removeprefix("$").partition("/")
            if place.startswith("$"):
                if not self._env.get(variable):
                    continue
                yield glob.escape(self._env[variable]) + slash + rest
            else:
                yield glob.escape(home) + place[1:] if place.startswith("~") else place

    def _version(self, toolchain: Toolchain, program: str) -> str:
        if program not in self._versions:
            self._versions[program] = _read_version(toolchain, program) or _ask_version(toolchain, program, self._env)
        return self._versions[program]


def asked_language(spec: ServiceSpec, known: Mapping[str, Toolchain]) -> Toolchain | None:
    """The toolchain that `tool` names; None without it. Raises UserError for a language that is none."""
    if spec.build.tool is None:
        return None
    return language(spec.build.tool.partition("@")[0], known, "correct [build] tool in service.toml")


def language(name: str, known: Mapping[str, Toolchain], fix: str) -> Toolchain:
    """The toolchain of that language. Raises UserError for one that is none, with `fix` where no name is near."""
    if (toolchain := known.get(name)) is None:
        raise UserError(
            f"there are no {name} toolchains that Atoll knows",
            f"known: {', '.join(sorted(known))}",
            did_you_mean(name, known) or fix,
            id="unknown-toolchain",
        )
    return toolchain


def how_to_get(toolchain: Toolchain, version: str) -> str:
    """What a person does about one that is missing; "" is any version."""
    by_hand = toolchain.fix.format(version=version or "VERSION")
    if toolchain.wheel is None:
        return by_hand
    return f"`atoll toolchain install {toolchain.name}@{version or 'VERSION'}` or [build] provide = true gets it; or {by_hand}"


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
    import subprocess  # most say nothing: their folder's name does

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
