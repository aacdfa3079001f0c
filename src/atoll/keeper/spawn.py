"""From a launch to a running program: what it may touch, whose user it runs as, exec, and why that failed.

Called by a shim, once per replica (twice when its own user may not read its files). The kernel is the judge of access:
the forked child becomes the user and tries.
"""

import errno
import json
import os
import resource
import shlex
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, NoReturn

from atoll.keeper.rights import become
from atoll.keeper.wire import Message
from atoll.keeper.writable import is_systems, paths

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
REPLICA_OOM_SCORE = 100  # a replica goes before the keeper, the daemon and the proxy
STOPS = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
)  # a shell ignores the first two for what it starts in the background


class Plan(NamedTuple):
    """What a launch comes to: the resolved program, and all that its user must be able to reach (path, access mode)."""

    program: str
    argv: list[str]
    env: dict[str, str]
    folder: str
    uid: int | None
    open_files: int | None
    oom_score: int | None
    needs: list[tuple[str, int]]
    writable: list[str]
    leave: Callable[[], None] | None = None  # done by the child first, while the caller waits: a namespace of its own
    enter: Callable[[], None] | None = None  # done by the child after the word to go: somebody else's
    gid: int | None = None  # None: the number of its user
    confined: bool = False  # see `rights`


class NotRunnable(Exception):
    """The launch cannot work whoever runs it; the text says why, for a person."""


def find_program(name: str, search: str, folder: str) -> str | None:
    """The absolute path that `name` means, seen by this (privileged) process."""
    if "/" in name:
        path = os.path.normpath(os.path.join(folder, name))
        return path if os.path.exists(path) else None
    for entry in search.split(":"):
        path = os.path.join(folder, entry, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def _interpreter(program: str) -> list[str]:
    """The words of the `#!` line, or nothing."""
    try:
        with open(program, "rb") as file:
            line = file.readline(256)
    except OSError:
        return []
    return line[2:].decode("utf-8", "replace").split() if line.startswith(b"#!") else []


def _programs(program: str, argv: list[str], search: str, folder: str) -> list[tuple[str, int]]:
    """The program, its interpreter, and what a shell line names with the interpreters of that, with the access that each needs.

    All are found as root, so that a fall-back that only the service's own user would meet on its PATH (another
    python3) is noticed instead of run.
    """
    needs = [(program, os.X_OK)]
    words: list[str] = []
    shebang = _interpreter(program)
    if shebang:
        needs.append((program, os.R_OK))
        if not os.path.exists(shebang[0]):
            raise NotRunnable(
                f"cannot run {argv[0]}: its interpreter {shebang[0]} (first line of {program}) is missing"
            )
        needs.append((shebang[0], os.X_OK))
        words += shebang[1:]
    if len(argv) > 2 and argv[1] == "-c":
        with suppress(ValueError):
            words += shlex.split(argv[2].translate(str.maketrans(";&|()", "     ")))
        words += argv[3:]
    else:
        words += argv[1:]
    for word in words:
        if not word or word.startswith("-"):
            continue
        own = os.path.normpath(os.path.join(folder, word))
        if own.startswith(folder.rstrip("/") + "/") and folder != "/" and os.path.isfile(own):
            named, access = own, os.R_OK
        elif (found := find_program(word, search, folder)) and os.path.isfile(found) and os.access(found, os.X_OK):
            named, access = found, os.X_OK  # of files elsewhere programs only: naming a secret must not make it root
        else:
            continue
        needs.append((named, access))
        if os.access(named, os.X_OK):  # `uvicorn` of a virtual environment may be used, and its python lie below /root
            needs += [(each, os.X_OK) for each in _interpreter(named)[:1] if os.path.exists(each)]
    return needs


def plan(launch: Message) -> Plan:
    """Resolve a launch. Raises NotRunnable with a text for a person."""
    argv, folder, env = list(launch["argv"]), launch["folder"], dict(launch["env"])
    search = env.setdefault("PATH", DEFAULT_PATH)
    if not argv or not argv[0]:
        raise NotRunnable("cannot run: the command is empty")
    if not os.path.isdir(folder):
        raise NotRunnable(f"cannot run {argv[0]}: its folder {folder} does not exist")
    program = find_program(argv[0], search, folder)
    if program is None and "/" in argv[0]:
        looked_for = os.path.normpath(os.path.join(folder, argv[0]))
        raise NotRunnable(f"cannot run {argv[0]}: there is no such file (looked for {looked_for})")
    if program is None:
        raise NotRunnable(f"cannot run {argv[0]}: no such program on its PATH ({search})")
    if os.path.isdir(program):
        raise NotRunnable(f"cannot run {argv[0]}: it is a folder")
    if not os.access(program, os.X_OK):
        raise NotRunnable(f"cannot run {argv[0]}: {program} is not executable (chmod +x it)")
    writable = paths(launch)
    needs = [(folder, os.R_OK | os.X_OK), *_programs(program, argv, search, folder)]
    needs += [(path, os.W_OK | os.X_OK if os.path.isdir(path) else os.W_OK) for path in writable]
    needs += [(path, os.R_OK) for path in launch.get("reads", ())]
    uid = launch.get("uid") if os.geteuid() == 0 else None
    limits = launch.get("open_files"), launch.get("oom_score")
    confined = bool(launch.get("confined"))
    return Plan(program, argv, env, folder, uid, *limits, needs, writable, gid=launch.get("gid"), confined=confined)


def fork(todo: Plan, stdout: int, stderr: int) -> tuple[int, socket.socket]:
    """A child that waits for `b"go"` on the returned socket, then execs. Raises OSError when nothing can be forked.

    A child that has left for a namespace of its own says {"apart": true} before it waits. The socket ends without a
    (further) word when the program runs, else it carries {"denied": why} or {"failed": text} first. Should the caller die before it says go, the child ends.
    """
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _exec(todo, theirs, stdout, stderr)
    theirs.close()
    return pid, ours


def _exec(todo: Plan, control: socket.socket, stdout: int, stderr: int) -> NoReturn:
    """In the child: become what the plan says. Never returns."""
    try:
        os.setsid()
        _reset_signals()
        if todo.leave is not None:
            todo.leave()
            control.send(b'{"apart": true}')
        if control.recv(8) != b"go":
            os._exit(125)
        if todo.enter is not None:
            todo.enter()
        _limit(todo)
        denied = _denied(todo, (stdout, stderr))
        if denied:
            control.send(json.dumps({"denied": denied}).encode())
            os._exit(126)
        os.chdir(todo.folder)
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        os.umask(0o022)
        os.execve(todo.program, todo.argv, todo.env)  # noqa: S606  the argument vector as it is, without a shell
    except OSError as exc:
        with suppress(OSError):
            control.send(json.dumps({"failed": _explain(todo, exc)}).encode())
    except BaseException as exc:  # noqa: BLE001 - whatever it is, the forked copy of the shim must not live on
        with suppress(OSError):
            control.send(json.dumps({"failed": f"cannot run {todo.argv[0]}: {exc!r}"}).encode())
    os._exit(127)


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for signum in (*STOPS, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _limit(todo: Plan) -> None:
    """Take on the limits; before the user, who could not set them."""
    score = REPLICA_OOM_SCORE if todo.oom_score is None else todo.oom_score
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(str(score))
    if todo.open_files is not None:
        _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (todo.open_files, todo.open_files))
        except (OSError, ValueError):  # more than this user may give
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(todo.open_files, hard), hard))


def _denied(todo: Plan, output: tuple[int, int]) -> str:
    """Become the plan's user; what stands in the way, as the end of a sentence, or "" when nothing does."""
    if todo.uid is None:
        return ""
    try:
        for pipe in output:  # nginx, php-fpm and others open /dev/stderr by its name: a pipe's owner may
            os.fchown(pipe, todo.uid, todo.uid)
        become(todo.uid, todo.uid if todo.gid is None else todo.gid, confined=todo.confined)
    except OSError as exc:  # a container without the capability, or without that user
        return f"its own user ({todo.uid}) cannot be taken on here ({exc.strerror})"
    path = next((path for path, mode in todo.needs if not os.access(path, mode)), None)
    if path is None:
        return ""
    given = path in todo.writable and not is_systems(path)
    hint = f" (if it is the service's: `chown -R {todo.uid}:{todo.uid} {path}`)" if given else ""
    return f"its own user ({todo.uid}) may not use {path}{hint}"


def _explain(todo: Plan, exc: OSError) -> str:
    name = todo.argv[0]
    if exc.filename is None and ": " in (exc.strerror or ""):  # a sentence of our own
        return f"cannot run {name}: {exc.strerror}"
    if exc.errno == errno.ENOEXEC:
        return f"cannot run {name}: {todo.program} is neither a binary for this machine nor a script with a #! line"
    if exc.errno == errno.E2BIG:
        return f"cannot run {name}: its arguments and environment are too large together"
    if exc.errno == errno.ENOENT:
        return f"cannot run {name}: the loader or interpreter that {todo.program} asks for is missing"
    return f"cannot run {name}: {exc.strerror} ({todo.program})"
