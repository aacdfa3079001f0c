"""Which files a run read although nobody declared them: found by strace, told with what to declare.

`making` prefixes a step's command with `Audit.wrapper`, and asks `Audit.found` after. What strace wrote is read, and judged
against `Grounds`. Not found are files whose mere absence was noticed, and what was read through
a daemon (Docker's, Gradle's). Folders that were listed count as little as what the run wrote before it read it.

What is *system*, and never told: what lies below `SYSTEM` or in a package manager's cache (`CACHES`, below the home folder;
what is in them follows from lock files), and the installation of each program that ran: the folder above its `bin`.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from atoll.model.environment import WorkspaceSpec
from atoll.model.errors import UserError
from atoll.model.records import Undeclared

# Where packages of the system lie, what the kernel shows, and configuration of the machine.
SYSTEM = (
    *(
        "/usr",
        "/bin",
        "/sbin",
        "/lib",
        "/lib32",
        "/lib64",
        "/libx32",
        "/opt",
        "/nix",
        "/snap",
        "/etc",
        "/var/lib",
        "/var/cache",
    ),
    *("/proc", "/sys", "/dev", "/run"),
)
# What package managers keep for everybody, and where they look for registries and credentials.
CACHES = (
    *(
        ".cache",
        ".npm",
        ".npmrc",
        ".yarn",
        ".yarnrc.yml",
        ".pnpm-store",
        ".local/share/pnpm",
        ".local/share/uv",
        ".config/uv",
    ),
    *(
        ".config/pip",
        ".pip",
        ".netrc",
        ".config/go",
        "go/pkg",
        "go/bin",
        ".cargo",
        ".rustup",
        ".m2",
        ".gradle",
        ".bundle",
    ),
    *(".gitconfig", ".config/git", ".gem", ".composer", ".config/composer", ".nuget", ".terminfo"),
)
JVMS = "/tmp/hsperfdata_"  # where each JVM tells the others that it runs; no content of anything  # noqa: S108
CALLS = "open,openat,openat2,creat,execve,execveat,rename,renameat,renameat2,link,linkat"
GROUPED = 4  # so many files of one folder are told as the folder

_OPENED = re.compile(r"^(?:open|openat|openat2|creat)\((?P<said>.*)\) = \d+<(?P<path>.*?)>(?:\(deleted\))?$")
_RAN = re.compile(r'^execve(?:at)?\((?:\S+<(?P<at>[^>]*)>, )?"(?P<path>(?:[^"\\]|\\.)*)", .*\) = 0$')
_MOVED = re.compile(
    r'^(?:rename|link)(?:at2?)?\(.*"(?:[^"\\]|\\.)*", (?:\S+<(?P<at>[^>]*)>, )?"(?P<path>(?:[^"\\]|\\.)*)"'
)
_HERE = re.compile(r"AT_FDCWD<([^>]*)>")
_ESCAPE = re.compile(r"\\([0-7]{1,3}|.)")
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "v": "\v", "f": "\f"}


class Trace(msgspec.Struct, frozen=True):
    """What all processes of a run did, as absolute real paths."""

    read: frozenset[str]
    made: frozenset[str]  # created or renamed by the run itself
    ran: frozenset[str]


class Grounds(msgspec.Struct, frozen=True, kw_only=True):
    """What a run may read. Paths are absolute and real."""

    folder: str  # where it runs
    inputs: Collection[str] | None = None  # in `folder`, relative; None: all that is in it
    results: Sequence[str] = ()  # of the tasks that it needs
    private: Sequence[str] = ()  # its folder for temporary files, and the like
    root: str  # the workspace
    artifacts: str  # where results of all tasks lie
    context: str  # whose files are copied to `folder`
    services: Mapping[str, str]  # name -> folder
    home: str


class Audit:
    """The audit of one call. Raises UserError when nothing can be traced here."""

    def __init__(self, workspace: WorkspaceSpec, artifacts: Path) -> None:
        """`artifacts` is where results of this call lie."""
        self._strace = _tracer()
        self._root, self._artifacts = os.path.realpath(workspace.root), os.path.realpath(artifacts)
        self._services = {
            name: os.path.realpath(os.path.join(self._root, spec.folder)) for name, spec in workspace.services.items()
        }

    def wrapper(self, traces: Path) -> tuple[str, ...]:
        """What goes before the command of a step. `traces` is a folder that is there."""
        return wrapper(self._strace, traces)

    def found(
        self,
        traces: Path,
        *,
        folder: Path,
        context: Path,
        results: Sequence[Path],
        private: Path,
        inputs: Collection[str] | None,
    ) -> tuple[Undeclared, ...]:
        """What the steps read that ran in `folder` and wrote into `traces`; the others as in `Grounds`."""
        grounds = Grounds(
            folder=os.path.realpath(folder),
            inputs=inputs,
            results=[os.path.realpath(each) for each in results],
            private=[os.path.realpath(private)],
            root=self._root,
            artifacts=self._artifacts,
            context=os.path.realpath(context),
            services=self._services,
            home=os.path.realpath(os.path.expanduser("~")),
        )
        return undeclared(read_traces(traces, grounds.folder), grounds)


def _tracer() -> str:
    """Where strace is, once it has shown that it may trace."""
    found = shutil.which("strace")
    if found is None:
        raise UserError(
            "strace is missing", "an audit sees by it what tasks read", "apt-get install strace", id="tool-missing"
        )
    tried = subprocess.run(
        [found, "-f", "-qq", "-o", os.devnull, "--seccomp-bpf", "true"], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        why = tried.stderr.strip().splitlines()
        fix = "in a container, allow it to trace: --cap-add SYS_PTRACE; strace must be 5.3 or newer"
        raise UserError("strace may not trace here", why[0] if why else "it does not say why", fix, id="tool-missing")
    return found


def wrapper(strace: str, traces: Path) -> tuple[str, ...]:
    """What goes before the command of a step. A file for each process, so that no line is cut in two by another's."""
    quiet = ("-f", "-ff", "-qq", "-y", "-e", "signal=none", "--seccomp-bpf")
    return (strace, *quiet, "-e", f"trace={CALLS}", "-o", f"{traces}/trace", "--")


def read_traces(traces: Path, folder: str) -> Trace:
    """What strace wrote into the folder `traces`, of commands that ran in `folder`."""
    read: set[str] = set()
    made: set[str] = set()
    ran: set[str] = set()
    for file in traces.iterdir():
        with file.open(encoding="utf-8", errors="surrogateescape") as lines:
            _follow(lines, folder, read, made, ran)
    return Trace(frozenset(read - made), frozenset(made), frozenset(ran))


def _follow(lines: Iterable[str], here: str, read: set[str], made: set[str], ran: set[str]) -> None:
    """One process, line by line."""
    for line in map(str.rstrip, lines):
        if found := _HERE.search(line):
            here = _plain(found[1])
        if found := _OPENED.match(line):
            path, said = _plain(found["path"]), found["said"]
            if "O_DIRECTORY" in said or not path.startswith("/"):
                continue
            if "O_CREAT" in said or "O_TRUNC" in said or line.startswith("creat("):
                made.add(path)
            elif "O_WRONLY" not in said and "O_PATH" not in said:
                read.add(path)
        elif found := _RAN.match(line):
            path = os.path.normpath(os.path.join(_plain(found["at"] or here), _plain(found["path"])))
            ran.add(path)
            read.add(path)
        elif (found := _MOVED.match(line)) and line.endswith(" = 0"):
            made.add(os.path.normpath(os.path.join(_plain(found["at"] or here), _plain(found["path"]))))


def _plain(text: str) -> str:
    """A path without strace's escapes: octal bytes of what is not ASCII, and a backslash before what it quotes."""
    if "\\" not in text:
        return text
    data = bytearray()
    at = 0
    for found in _ESCAPE.finditer(text):
        data += text[at : found.start()].encode("utf-8", "surrogateescape")
        data += bytes([int(found[1], 8)]) if found[1][0].isdigit() else _CONTROLS.get(found[1], found[1]).encode()
        at = found.end()
    return (data + text[at:].encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


# --- judging ------------------------------------------------------------------------------------------------------


def undeclared(trace: Trace, grounds: Grounds) -> tuple[Undeclared, ...]:
    """What was read and not declared, the workspace's own first; many files of one folder are told as the folder."""
    allowed = [*grounds.results, *grounds.private, *SYSTEM]
    allowed += [f"{grounds.home}/{each}" for each in CACHES]
    allowed += _installations(trace.ran, grounds)
    if grounds.inputs is None:
        allowed.append(grounds.folder)
    told = [
        path
        for path in sorted(trace.read)
        if not path.startswith(JVMS)
        and not any(_within(path, each) for each in allowed)
        and not (grounds.inputs is not None and _relative(path, grounds.folder) in grounds.inputs)
        and not os.path.isdir(path)  # listed without saying so
    ]
    found = [_told(path, count, grounds) for path, count in _grouped(told)]
    return tuple(sorted(found, key=lambda one: (one.path.startswith("/"), one.path)))


def _installations(ran: Iterable[str], grounds: Grounds) -> Iterator[str]:
    """The folder above the `bin` of each program; a home folder, or one above the workspace, is none."""
    wide = {grounds.home, "/", *(str(each) for each in PurePosixPath(grounds.root).parents), grounds.root}
    for program in {path for one in ran for path in (one, os.path.realpath(one))}:
        if _within(program, grounds.root) or _within(program, grounds.artifacts):
            continue
        above = PurePosixPath(program).parent
        top = str(above.parent if above.name in {"bin", "sbin", "shims", "libexec"} else above)
        yield program if top in wide or _within(grounds.root, top) else top


def _grouped(paths: Sequence[str]) -> Iterator[tuple[str, int]]:
    by_folder: dict[str, list[str]] = {}
    for path in paths:
        by_folder.setdefault(path.rpartition("/")[0], []).append(path)
    many = {folder for folder, files in by_folder.items() if len(files) >= GROUPED}
    tops = {folder for folder in many if not any(other != folder and _within(folder, other) for other in many)}
    counts: dict[str, int] = {}
    for path in paths:
        top = next((folder for folder in tops if _within(path, folder)), None)
        name = path if top is None else f"{top}/"
        counts[name] = counts.get(name, 0) + 1
    yield from counts.items()


def _told(path: str, count: int, grounds: Grounds) -> Undeclared:
    plain = path.rstrip("/")
    shown = _relative(path, grounds.root) or path
    owners = [name for name, folder in grounds.services.items() if _within(plain, folder) and folder != grounds.root]
    owner = max(owners, key=lambda name: len(grounds.services[name]), default="")
    if _within(plain, grounds.artifacts):
        hint = "it is the result of another task: name that in `needs`, and its place is {needs.NAME}"
        return Undeclared(path=shown, count=count, hint=hint)
    if below := _relative(path, grounds.context):
        hint = f'inputs = [..., "{below}{"**" if below.endswith("/") else ""}"]'
    elif owner:
        hint = f'needs = ["{owner}.build"] for its result; or a [build] context above both, for its files'
    elif _within(plain, grounds.root):
        hint = "a [build] context above it; or copy it into the service"
    elif _within(plain, grounds.home):
        hint = "it differs from person to person: put what it says into the service, or into `env`"
    else:
        hint = "put it into the service; or install it with the system, below /usr or /opt"
    return Undeclared(path=shown, count=count, service=owner, hint=hint)


def _relative(path: str, folder: str) -> str:
    """The path as it is called below a folder; "" when it is not there."""
    return path[len(folder) + 1 :] if path.startswith(f"{folder}/") else ""


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
