"""Runs one command and outlives it just long enough that nothing of it is left. Standard library only; run as a script.

`python -I -S reaper.py FDS COMMAND...`: runs COMMAND and exits as it did (128 + n for signal n, 127 when it could not
be started). Standard input is a lifeline: when its other end is closed, because the builder gave up or was killed,
the command's whole tree is ended. Orphans become children of this process (Linux), so even what daemonised is found.
FDS, separated by commas, are locks to be held until then and kept from the command.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import time

GRACE_S = 1.0  # from SIGTERM to SIGKILL
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Run the command of sys.argv to its end."""
    for fd in filter(None, sys.argv[1].split(",")):
        os.set_inheritable(int(fd), False)
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if libc is not None:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: None)
    child = _start(sys.argv[2:], libc)
    status = _watch(child, woken)
    _purge(child)
    os._exit(status)


def _start(argv: list[str], libc: "ctypes.CDLL | None") -> int:
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        os.setpgid(0, 0)
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(127)
        signal.set_wakeup_fd(-1)
        for each in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(each, signal.SIG_DFL)
        os.umask(0o022)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.execvp(argv[0], argv)  # noqa: S606  the argument vector as it is, without a shell
    except OSError as exc:
        os.write(2, f"{argv[0]}: {exc.strerror}\n".encode())
    finally:
        os._exit(127)


def _watch(child: int, woken: int) -> int:
    """Wait for the command's end, or for the end of the wish for it; returns the exit status."""
    poll = select.poll()
    poll.register(0, select.POLLIN | select.POLLHUP)
    poll.register(woken, select.POLLIN)
    while True:
        ready = [fd for fd, _ in poll.poll()]
        if woken in ready:
            signals = os.read(woken, 512)
            if signal.SIGTERM in signals:
                return 128 + signal.SIGTERM
            with contextlib.suppress(ChildProcessError):
                while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                    if ended[0] == child:
                        code = os.waitstatus_to_exitcode(ended[1])
                        return code if code >= 0 else 128 - code
        if 0 in ready and not os.read(0, 512):
            return 128 + signal.SIGKILL


def _purge(child: int) -> None:
    """End what is left, asked first, and collect it. Returns when there are no more children."""
    if not _children_left():
        return
    deadline = time.monotonic() + GRACE_S
    _signal_all(child, signal.SIGTERM)
    while _children_left():
        if time.monotonic() >= deadline:
            _signal_all(child, signal.SIGKILL)  # again and again: each death may hand us more orphans
        time.sleep(0.005)


def _children_left() -> bool:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _signal_all(child: int, number: int) -> None:
    pids = _descendants()
    if not pids and sys.platform != "linux":  # without /proc: the command's process group, if it still is one
        with contextlib.suppress(OSError):
            os.killpg(child, number)
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)


def _descendants() -> list[int]:
    parents: dict[int, list[int]] = {}
    try:
        names = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    for name in names:
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, IndexError):
            continue  # it ended meanwhile
        parents.setdefault(parent, []).append(int(name))
    found: list[int] = []
    todo = [os.getpid()]
    while todo:
        below = parents.get(todo.pop(), [])
        found += below
        todo += below
    return found


if __name__ == "__main__":
    main()
