"""The programs that builds use: where they are, and which versions, as the key names them.

Called by `build`. Asking npm for its version takes a quarter of a second, so answers are remembered in a file for an
hour. Remembered answers only serve to look for an artifact that is there; what is built is described by fresh ones.
"""

import hashlib
import math
import os
import platform
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from atoll.model.building import Tool
from atoll.model.errors import UserError
from atoll.pipeline.inputs import Input

ASK_TIMEOUT_S = 20.0
REMEMBERED_S = 3600.0

# Files in a service's folder that choose a tool's version, for the tool itself or for a version switcher.
PINS = frozenset(
    {
        *(".python-version", ".node-version", ".nvmrc", ".java-version", ".sdkmanrc", ".tool-versions", "mise.toml"),
        *("pyproject.toml", "rust-toolchain", "rust-toolchain.toml"),
    }
)


class Answer(msgspec.Struct, frozen=True):
    """What a tool said of itself; `error` when it failed."""

    text: str
    error: str = ""
    wall: float = 0.0


class Tools:
    """The tools as seen in one environment `env`; one instance for one run of builds, used from several threads."""

    def __init__(self, memory: Path, env: Mapping[str, str]) -> None:
        self._memory, self._env = memory, env
        self._lock = threading.Lock()
        self._asked: dict[str, Answer] = {}  # in this run
        self._remembered: dict[str, Answer] | None = None
        self.found: set[str] = set()  # programs that were looked up and found
        self.oldest_wall = math.inf  # when the oldest of the answers was given that were used

    def find(self, name: str, declared: Mapping[str, str]) -> str | None:
        """The absolute path of a program."""
        return find_program(name, {**self._env, **declared}.get("PATH"))

    def identify(
        self, tools: Sequence[Tool], folder: Path, inputs: Sequence[Input], declared: Mapping[str, str], *, fresh: bool
    ) -> dict[str, str]:
        """Tool -> what the key shall say of it. Raises UserError when one that is needed is missing.

        Args:
            tools: what a build needs.
            folder: where it is asked: version switchers look there.
            inputs: the inputs of the build; those that pin a version tell remembered answers apart.
            declared: `build.env`, which may choose a version, too.
            fresh: whether to ask again what was not asked in this run.
        """
        pins = (sorted(declared.items()), [item for item in inputs if item.path in PINS])
        env = {**self._env, **declared}
        said: dict[str, str] = {}
        for tool in tools:
            path = self.find(tool.version[0] if tool.version else tool.name, declared)
            if path is None:
                if tool.optional:
                    continue
                raise UserError(f"{tool.name} is missing", "it is not on the PATH", tool.fix, id="tool-missing")
            self.found.add(path)
            if not tool.version:
                said[tool.name] = _file_identity(path)
                continue
            answer = self._ask((path, *tool.version[1:]), folder, env, pins, fresh=fresh)
            self.oldest_wall = min(self.oldest_wall, answer.wall)
            if not answer.error:
                said[tool.name] = answer.text
            elif not tool.optional:
                raise UserError(f"{tool.name} is missing or does not work", answer.error, tool.fix, id="tool-missing")
        return said

    def _ask(self, argv: tuple[str, ...], folder: Path, env: Mapping[str, str], pins: object, *, fresh: bool) -> Answer:
        parts = (argv, env.get("PATH"), _file_identity(argv[0]), pins)
        question = hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]
        with self._lock:  # one asks, the other builds of this run wait for the answer
            if (known := self._asked.get(question)) is not None:
                return known
            if not fresh and (known := self._recall().get(question)) is not None:
                return known
            answer = _run(argv, folder, env)
            self._asked[question] = answer
            self._remember()
            return answer

    def _recall(self) -> dict[str, Answer]:
        if self._remembered is None:
            try:
                known = msgspec.json.decode(self._memory.read_bytes(), type=dict[str, Answer])
            except (FileNotFoundError, msgspec.MsgspecError):
                known = {}  # only a cache: ask again
            oldest = time.time() - REMEMBERED_S
            self._remembered = {key: each for key, each in known.items() if oldest < each.wall <= time.time()}
        return self._remembered

    def _remember(self) -> None:
        good = {key: answer for key, answer in self._asked.items() if not answer.error}
        swap = self._memory.with_name(f"{self._memory.name}.{os.getpid()}.{threading.get_ident()}")
        swap.write_bytes(msgspec.json.encode({**self._recall(), **good}))
        swap.replace(self._memory)


def find_program(name: str, path: str | None) -> str | None:
    """The absolute path of a program on the PATH `path`; uv is also found in its wheel, beside Atoll itself."""
    import shutil  # takes longer than to remember what was found

    found = shutil.which(name, path=path)
    if found is None and name == "uv":
        from uv import find_uv_bin

        try:
            return os.fspath(find_uv_bin())
        except FileNotFoundError:
            return None
    return os.path.abspath(found) if found else None


def this_platform() -> str:
    """`linux-x86_64-glibc2.36`: what native code in an artifact was made for."""
    try:
        libc = (os.confstr("CS_GNU_LIBC_VERSION") or "").replace(" ", "")
    except (ValueError, OSError):
        libc = ""
    if not libc:
        libc = "musl" if any(Path("/lib").glob("ld-musl-*")) else platform.release().split("-")[0]
    return f"{platform.system().lower()}-{platform.machine()}-{libc}"


def _file_identity(path: str) -> str:
    real = os.path.realpath(path)
    status = os.stat(real)
    return f"{real} {status.st_size} bytes {status.st_mtime_ns}"


def _run(argv: tuple[str, ...], folder: Path, env: Mapping[str, str]) -> Answer:
    import subprocess  # where all answers are remembered none is asked

    shown = " ".join((os.path.basename(argv[0]), *argv[1:]))
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ASK_TIMEOUT_S,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Answer("", f"`{shown}` did not answer within {ASK_TIMEOUT_S:.0f} s")
    except OSError as exc:
        return Answer("", f"`{shown}`: {exc.strerror}")
    text = (done.stdout.strip() or done.stderr.strip()).decode("utf-8", "replace")
    if done.returncode != 0:
        detail = (done.stderr.strip() or done.stdout.strip()).decode("utf-8", "replace")[-500:]
        return Answer("", f"`{shown}` ended with exit code {done.returncode}: {detail}")
    if text.startswith("/") and os.path.exists(text):
        text = os.path.realpath(text)  # /usr/bin/python3 says nothing, /usr/bin/python3.12 does
    return Answer(text[:200], wall=time.time())
