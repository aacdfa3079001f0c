"""Who listens on a port of this machine, seen from one replica's process tree. Reads /proc only; blocking, a few ms."""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from atoll.keeper.client import proc
from atoll.ports import Listener

V4_LOOPBACK, V4_ANY = "0100007F", "00000000"
V6_ANY = "0" * 32
V6_MAPPED_LOOPBACK = "0000000000000000FFFF00000100007F"


class _Socket(NamedTuple):
    address: str  # as the kernel prints it
    uid: int
    inode: str

    @property
    def rank(self) -> int:
        """Which socket a connection to 127.0.0.1 reaches: the most specific one. 9: none of its business."""
        return {V4_LOOPBACK: 0, V6_MAPPED_LOOPBACK: 0, V4_ANY: 1, V6_ANY: 2}.get(self.address, 9)


def _listening(port: int) -> list[_Socket]:
    found = []
    for name, width in (("tcp", 8), ("tcp6", 32)):
        try:
            table = Path(f"/proc/self/net/{name}").read_bytes()
        except OSError:  # no IPv6
            continue
        pattern = f":{port:04X} {'0' * width}:0000 0A".encode()
        at = table.find(pattern)
        while at >= 0:
            line = table[table.rfind(b"\n", 0, at) + 1 : table.find(b"\n", at)].decode("ascii").split()
            found.append(_Socket(line[1].partition(":")[0], int(line[7]), line[9]))
            at = table.find(pattern, at + 1)
    return found


def _holds(pid: int, links: set[str]) -> bool:
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                with suppress(OSError):
                    if str(Path(entry.path).readlink()) in links:
                        return True
    except OSError:
        return False
    return False


def _stranger(sockets: list[_Socket]) -> str:
    links = {f"socket:[{each.inode}]" for each in sockets}
    for stat in proc.scan().values():
        if _holds(stat.pid, links):
            return f"held by pid {stat.pid} ({stat.comm})"
    return f"held by a process of user {sockets[0].uid}"


def listener(port: int, shim: int, main: int | None) -> Listener:
    """Who answers on 127.0.0.1:port: the tree below `shim` (looked at `main` first), a stranger, or nobody."""
    sockets = sorted(_listening(port), key=lambda each: each.rank)
    reachable = [each for each in sockets if each.rank < 9]
    if not reachable:
        text = "it listens on another address only, not on 127.0.0.1" if sockets else ""
        return Listener(state="none", text=text)
    best = [each for each in reachable if each.rank == reachable[0].rank]
    links = {f"socket:[{each.inode}]" for each in best}
    everywhere = any(each.address in {V4_ANY, V6_ANY} for each in reachable)
    if main and _holds(main, links):
        return Listener(state="own", everywhere=everywhere)
    if any(_holds(stat.pid, links) for stat in proc.descendants(shim, proc.scan())):
        return Listener(state="own", everywhere=everywhere)
    return Listener(state="stranger", text=_stranger(best))
