"""A network namespace of a replica's own, and the forwarder that joins it to the machine's.

In it a program has every port to itself. The forwarder (`pasta`, of the package passt) takes connections at leased ports of
the machine's loopback to the program's, those of the program to the machine's edges, and the rest outside. A shim starts
one for its replica, again when it dies, and ends it after the replica. `python -m atoll.keeper.network` tries all of it.
"""

import ctypes
import os
import select
import signal
import sys
import time
from contextlib import suppress
from typing import NamedTuple

from atoll.keeper import proc
from atoll.keeper.spawn import DEFAULT_PATH, NotRunnable, find_program
from atoll.keeper.wire import Message

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
START_S = 10.0
AGAIN_S = 1.0  # after one that could not be started again
INSTALL = "install `pasta` (Debian, Ubuntu, Fedora: the package passt)"
_LIBC = ctypes.CDLL(None, use_errno=True)
RESOLVER = "169.254.1.1"  # asked inside for names when the machine's own resolver is on its loopback
RESOLV_CONF = "/etc/resolv.conf"
_SCRATCH = "/tmp"  # noqa: S108  covered for a moment, and for one process alone
_MS_BIND, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x1000, 0x4000, 0x40000, 2
_LOWEST_PORT = "/proc/sys/net/ipv4/ip_unprivileged_port_start"


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def leave() -> None:
    """In a process that has not begun its work: go into a new network namespace. Raises OSError.

    Who is not root takes a user namespace with it, in which only this user is there. Any port may be bound in it. Where
    names are asked for on the machine's loopback, /etc/resolv.conf is another file in there.
    """
    uid, gid, root = os.geteuid(), os.getegid(), os.geteuid() == 0
    stub = resolves_on_loopback()
    flags = CLONE_NEWNET | (0 if root else CLONE_NEWUSER) | (CLONE_NEWNS if stub else 0)
    _checked(_LIBC.unshare(flags), "no network namespace can be made")
    if not root:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    if stub:
        _resolve_elsewhere()
    with suppress(OSError), open(_LOWEST_PORT, "w", encoding="ascii") as file:
        file.write("0")


def resolves_on_loopback() -> bool:
    """Whether the machine's resolver is on its own loopback, as systemd-resolved's is."""
    with suppress(OSError), open(RESOLV_CONF, encoding="utf-8", errors="replace") as file:
        for line in file:
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver":
                return words[1].startswith("127.") or words[1] == "::1"
    return False


def _resolve_elsewhere() -> None:
    """Put a resolv.conf that names RESOLVER over the machine's, in the mount namespace of this process. Raises OSError."""
    with open(RESOLV_CONF, encoding="utf-8", errors="replace") as file:
        kept = [line for line in file if not line.startswith("nameserver")]
    _mount("none", "/", "none", _MS_REC | _MS_PRIVATE)
    over = os.open(RESOLV_CONF, os.O_PATH | os.O_CLOEXEC)  # often a link into a folder of another mount
    try:
        _mount("tmpfs", _SCRATCH, "tmpfs", 0)
        made = f"{_SCRATCH}/resolv.conf"
        with open(made, "w", encoding="utf-8") as file:
            file.writelines([f"nameserver {RESOLVER}\n", *kept])
        os.chmod(made, 0o644)  # whatever the umask: for every user in there
        _mount(made, f"/proc/self/fd/{over}", "none", _MS_BIND)
        _checked(_LIBC.umount2(_SCRATCH.encode(), _MNT_DETACH), "a mount cannot be taken away")
    finally:
        os.close(over)


def _mount(source: str, target: str, kind: str, flags: int) -> None:
    result = _LIBC.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), None)
    _checked(result, f"nothing can be mounted at {target}")


def enter(pid: int, start: int) -> None:
    """The same, into that of a running process. Raises OSError."""
    names = [
        name
        for name in ("user", "net", "mnt")
        if not os.path.samefile(f"/proc/{pid}/ns/{name}", f"/proc/self/ns/{name}")
    ]
    descriptors = [os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in names]
    try:
        if not proc.is_running(pid, start):  # held before its identity is checked: the number may be another's by now
            raise ProcessLookupError(3, "its network namespace cannot be entered: the replica has ended")
        for fd in descriptors:
            _checked(_LIBC.setns(fd, 0), "its network namespace cannot be entered")
    finally:
        for fd in descriptors:
            os.close(fd)


class Namespaces(NamedTuple):
    """How the forwarder is told where to go: paths."""

    net: str
    user: str  # "" for root's


def argv(program: str, network: Message, namespaces: Namespaces, *, stub: bool = False) -> list[str]:
    """The forwarder's command line. `network` has `inward` ([machine's port, replica's] pairs) and `outward` (ports).

    `stub`: names are asked for at RESOLVER inside, and by the forwarder on the machine's loopback.
    """
    words = [program, "--quiet", "--config-net", "--no-netns-quit", "--no-map-gw"]  # the gateway is the gateway
    words += ["--dns-forward", RESOLVER] if stub else []
    words += ["--userns", namespaces.user] if namespaces.user else ["--runas", "0"]
    for outer, inner in network["inward"]:
        words += ["--tcp-ports", f"127.0.0.1/{outer}:{inner}"]
    if not network["inward"]:
        words += ["--tcp-ports", "none"]
    outward = ",".join(str(port) for port in network["outward"])
    words += ["--tcp-ns", outward or "none", "--udp-ports", "none", "--udp-ns", "none"]
    return [*words, "--netns", namespaces.net]


class Forwarder:
    """The forwarder of one replica; a child of this process, which is a subreaper."""

    def __init__(self, network: Message) -> None:
        self.network = network
        self.pid = 0
        self.again_at: float | None = None  # monotonic: when to try again to start it

    @property
    def record(self) -> Message:
        """What others need to know of it, for the journal."""
        return {"pid": self.pid, "start": proc.start_of(self.pid), "inward": self.network["inward"]}

    def start(self, main: int) -> None:
        """Join the namespace of process `main` to the machine. Raises NotRunnable, OSError."""
        program = find_program("pasta", os.environ.get("PATH") or DEFAULT_PATH, "/")
        if program is None:
            raise NotRunnable(f"its own network needs pasta, which is not on the PATH; {INSTALL}")
        names = ("net",) if os.geteuid() == 0 else ("net", "user")
        held = {name: os.open(f"/proc/{main}/ns/{name}", os.O_RDONLY) for name in names}
        try:
            # By descriptor, since older ones drop the right to look into /proc/PID of a process with more capabilities
            # than their own; by path, since newer ones close what they inherit (and keep that right).
            said = self._try(program, {name: f"/proc/self/fd/{fd}" for name, fd in held.items()}, tuple(held.values()))
            if said:
                self._try(program, {name: f"/proc/{main}/ns/{name}" for name in held}, ())
        finally:
            for fd in held.values():
                os.close(fd)
        if not self.pid:
            raise NotRunnable(f"its own network cannot be joined to the machine's: {said}")

    def _try(self, program: str, paths: dict[str, str], inherit: tuple[int, ...]) -> str:
        """Start it so; why it did not, or ""."""
        before = set(proc.children(os.getpid()))
        namespaces = Namespaces(paths["net"], paths.get("user", ""))
        words = argv(program, self.network, namespaces, stub=resolves_on_loopback())
        code, said = _run(words, inherit)
        if code == 0:
            for pid in set(proc.children(os.getpid())) - before:
                stat = proc.read_stat(pid)
                if stat is not None and stat.comm.startswith(("pasta", "passt")):
                    self.pid = pid
                    return ""
        return said or f"pasta ended with {code}"

    def tend(self, main: int) -> bool:
        """Start it again when it has died, since its replica is there and cannot be reached; whether that was so."""
        if not self.has_died() or time.monotonic() < (self.again_at or 0.0):
            return False
        self.again_at = None
        try:
            self.start(main)
        except (NotRunnable, OSError):
            self.again_at = time.monotonic() + AGAIN_S
        return True

    def has_died(self) -> bool:
        """Whether it is gone; it is reaped then."""
        if not self.pid:
            return True
        with suppress(ChildProcessError):
            if os.waitpid(self.pid, os.WNOHANG)[0] == 0:
                return False
        self.pid = 0
        return True

    def end(self) -> None:
        """Kill it and wait for its end."""
        if self.pid and not self.has_died():
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(self.pid, signal.SIGKILL)  # a child of ours that nobody reaped: the pid is its own
                os.waitpid(self.pid, 0)
        self.pid = 0


def _run(words: list[str], inherit: tuple[int, ...]) -> tuple[int, str]:
    """A program to the end of its first process: it goes on in the background once all is set up. (code, what it said)."""
    out, into = os.pipe()
    for fd in inherit:
        os.set_inheritable(fd, True)
    try:
        pid = os.posix_spawn(
            words[0],
            words,
            {"PATH": DEFAULT_PATH},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, into, 1),
                (os.POSIX_SPAWN_DUP2, into, 2),
            ],
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM],  # it refuses to start with SIGPIPE ignored
        )
    finally:
        os.close(into)
        for fd in inherit:
            os.set_inheritable(fd, False)
    try:
        code = _wait(pid, time.monotonic() + START_S)
        said = os.read(out, 65536).decode("utf-8", "replace") if select.select([out], [], [], 0)[0] else ""
    finally:
        os.close(out)
    lines = [line for line in said.splitlines() if line.strip() and "syslog" not in line]
    return code, "; ".join(lines[-3:])


def _wait(pid: int, deadline: float) -> int:
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return 124
        time.sleep(0.002)


def attempt() -> str:
    """Make a namespace and join it, for a try; why that does not work here, or ""."""
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            leave()
            os.write(told, b"+")
        except OSError as exc:
            os.write(told, str(exc.strerror).encode())
        signal.pause()
        os._exit(0)
    forwarder = Forwarder({"inward": [], "outward": []})
    try:
        said = os.read(ready, 4096).decode()
        if said != "+":
            return said
        forwarder.start(child)
    except (NotRunnable, OSError) as exc:
        return str(exc)
    finally:
        forwarder.end()
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return ""


if __name__ == "__main__":
    _LIBC.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    problem = attempt()
    sys.stdout.write(problem)
    sys.exit(1 if problem else 0)
