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
import time
from collections.abc import Mapping, Sequence
from hashlib import blake2s
from pathlib import Path

from atoll.proxy.admin import Admin, peer

PARENT_S = 300  # so long streams that do not end by themselves go on
PARENT_CONNECTIONS = "server.parent_connections"
_SOCKET = "h"  # the longest that Envoy makes of it: h_udp_parent_ and ten digits
_KEEPER_AFTER_S = 60.0
_MERGED_S = 2.0  # Envoy looks at its predecessor's connections each second
_TRY_S = 2.0


def words(run_dir: Path) -> tuple[str, ...]:
    """The part of Envoy's command line; the keeper fills it in."""
    return (
        # It names shared memory in a folder that all users share: one that can be guessed could be taken in advance.
        *("--base-id", "{line}", "--restart-epoch", "{turn}"),
        *("--socket-path", str(run_dir / _SOCKET), "--socket-mode", "600"),
        *("--parent-shutdown-time-s", str(PARENT_S)),
    )


def terms(run_dir: Path) -> Mapping[str, object]:
    """The keeper's `handover`."""
    run = glob.escape(str(run_dir / _SOCKET))
    return {
        "retire_s": PARENT_S + _KEEPER_AFTER_S,
        "leaves": [f"{run}_*_{{line}}[0-9]", "/dev/shm/envoy_shared_memory_{line}[0-9]"],  # noqa: S108  Envoy's own
    }


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
