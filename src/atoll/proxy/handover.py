"""One Envoy takes over from another (its hot restart): what `keeper.fixtures` needs for it, and how far it has come.

The newer one asks the older for its listening sockets through sockets in the run folder, so no connection is refused;
then the older one closes what is idle with its next answer, goes on with what is not, and ends when the newer tells it
to, after `PARENT_S`. Measured of Envoy 1.40:

- Both are connected to the daemon meanwhile, and only the newer answers on the admin socket.
- The newer does not survive the older's death before its time: it stands still for 10 s and aborts. So nothing of ours
  ends the older one early, and the keeper's own limit is beyond Envoy's.
- One that is killed while it starts leaves the older one serving, but without an admin socket: nothing is counted until
  the next one takes over.
- Sockets and shared memory are left behind by all.
"""

import glob
import os
import socket
import stat
import time
from collections.abc import Mapping, Sequence
from hashlib import blake2s
from pathlib import Path

from atoll.proxy.admin import Admin, peer
from atoll.proxy.sockets import ADMIN, Sockets, User

PARENT_S = 300  # so long streams that do not end by themselves go on
PARENT_CONNECTIONS = "server.parent_connections"
_MEMORY = "/dev/shm/envoy_shared_memory_"  # noqa: S108  Envoy's own
_NUMBERS = 3  # Envoy's sockets of a line: the fourth Envoy has the names of the first
_KEEPER_AFTER_S = 60.0
_MERGED_S = 2.0  # Envoy looks at its predecessor's connections each second
_TRY_S = 2.0


def words(sockets: Sockets) -> tuple[str, ...]:
    """The part of Envoy's command line; the keeper fills it in."""
    return (
        # It names shared memory in a folder that all users share: one that can be guessed could be taken in advance.
        *("--base-id", "{line}", "--restart-epoch", "{turn}"),
        *("--socket-path", str(sockets.line), "--socket-mode", "600"),
        *("--parent-shutdown-time-s", str(PARENT_S)),
    )


def terms(sockets: Sockets) -> Mapping[str, object]:
    """The keeper's `handover`."""
    # Those without a user, too: the first with one takes over from one without.
    begin = dict.fromkeys(glob.escape(str(each.line)) for each in (sockets, Sockets(sockets.run_dir)))
    return {
        "retire_s": PARENT_S + _KEEPER_AFTER_S,
        "leaves": [*(f"{path}_*_{{line}}[0-9]" for path in begin), f"{_MEMORY}{{line}}[0-9]"],
    }


def admin_of(argv: Sequence[str]) -> Path:
    """The admin socket of the Envoy with that command line, whoever's that is."""
    return Path(argv[argv.index("--socket-path") + 1]).with_name(ADMIN)


def runs_as(pid: int) -> int:
    """The user of a process; -1 when there is none."""
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return -1


def let_take_over(pid: int, sockets: Sockets) -> None:
    """Let an Envoy with a user of its own take over from the one with that pid, if that runs as root. Raises OSError.

    The other way round is impossible: the older one may not write to the newer one's sockets, and aborts.

    They speak by sockets in a folder that the newer one may not enter, and share memory that it may not open. So what is the
    older one's gets a second name in the newer one's folder, what will be the newer one's a link from the older one's, and both
    belong to the user. Until the newer one has begun, the daemon and the older one still find each other.
    """
    if sockets.user is None or runs_as(pid) != 0:
        return
    argv = [os.fsdecode(word) for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
    line, turn, old = (argv[argv.index(word) + 1] for word in ("--base-id", "--restart-epoch", "--socket-path"))
    mine, next_one = (f"{line}{number % _NUMBERS}" for number in (int(turn), int(turn) + 1))
    _give(Path(f"{_MEMORY}{line}0"), sockets.user)
    for kind in ("parent", "udp_parent"):
        theirs, ours = Path(f"{old}_{kind}_{mine}"), Path(f"{sockets.line}_{kind}_{mine}")
        if not theirs.exists():
            continue  # an Envoy of one's own that has no such
        _give(theirs, sockets.user)
        if theirs != ours:
            ours.unlink(missing_ok=True)
            ours.hardlink_to(theirs)
    if old == str(sockets.line):
        return
    links = {
        Path(f"{old}_{kind}_{next_one}"): Path(f"{sockets.line}_{kind}_{next_one}") for kind in ("child", "udp_child")
    }
    before = Sockets(sockets.run_dir)
    for link, target in {**links, before.xds: sockets.xds, sockets.admin: before.admin}.items():
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def _give(path: Path, user: User) -> None:
    """One file of root's. Where it lies others may have made something of that name: only what was looked at is given."""
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        there = os.fstat(fd)
        if there.st_uid == 0 and there.st_nlink == 1 and not stat.S_ISLNK(there.st_mode):
            os.chown(f"/proc/self/fd/{fd}", *user)
    finally:
        os.close(fd)


def stamp(argv: Sequence[str]) -> str:
    """Changes when the program or the bootstrap behind the same command line did. Raises OSError."""
    program, bootstrap = Path(argv[0]).stat(), Path(argv[argv.index("-c") + 1]).read_bytes()
    return blake2s(f"{program.st_size} {program.st_mtime_ns} ".encode() + bootstrap, digest_size=8).hexdigest()


def took_over(admin: Path, pid: int, within_s: float) -> bool:
    """Wait until the Envoy with that pid serves; whether it did before the time was over or it was gone."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and Path(f"/proc/{pid}").exists():
        if _serves(admin, pid):
            return True
        time.sleep(0.05)
    return False


def _serves(admin: Path, pid: int) -> bool:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(_TRY_S)
        try:
            line.connect(os.fspath(admin))
            if peer(line) != pid:
                return False
            line.sendall(b"GET /ready HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n\r\n")
            return line.makefile("rb").readline().startswith(b"HTTP/1.1 200")
        except OSError:
            return False


class Alone:
    """Whether the Envoy that answers has all requests. Not one that starts, and knows of none; nor one whose predecessor may
    still have some.
    """

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._since: float | None = None  # when the newer of two was first seen to serve

    async def ask(self, connected: int) -> int | None:
        """The pid of the one that has all; None when there is no such. `connected` is how many Envoys the daemon has."""
        if not await self._admin.get("/ready"):
            self._since = None
            return None
        pid = self._admin.pid
        if connected < 2:
            self._since = None
            return pid
        if self._since is None:
            self._since = time.monotonic()
        body = await self._admin.get("/stats", filter=f"^{PARENT_CONNECTIONS}$")
        merged = time.monotonic() - self._since > _MERGED_S
        return pid if merged and body == f"{PARENT_CONNECTIONS}: 0\n".encode() else None
