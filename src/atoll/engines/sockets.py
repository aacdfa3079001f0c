"""Who listens on a port of this machine, seen from one replica's process tree. Blocking, a few ms.

The kernel is asked for the listeners of that port alone (sock_diag(7)). Where it does not answer that (a container that
forbids it, a kernel without it) /proc is read, for which the kernel walks its whole table of connections: a hundred times
the cost, and more on a machine with tens of thousands in TIME_WAIT.
"""

import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from atoll.keeper.client import Message, proc
from atoll.model.hosted import Listener

V4_LOOPBACK, V4_ANY = "0100007F", "00000000"
V6_ANY = "0" * 32
V6_MAPPED = "0000000000000000FFFF0000"
V6_MAPPED_LOOPBACK = f"{V6_MAPPED}{V4_LOOPBACK}"

_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_ERROR, _DONE = 2, 3
_LISTEN = 10  # TCP_LISTEN
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port id
_QUESTION = struct.Struct("=BBBxI2s46x")  # inet_diag_req_v2: family, protocol, extensions, states, source port
_ANSWER = struct.Struct("=4x2s2x16s28x12xII")  # inet_diag_msg: source port, source address, uid, inode
_ANSWER_WITHIN_S = 1.0


class _Socket(NamedTuple):
    address: str  # as the kernel prints it
    uid: int
    inode: str

    @property
    def rank(self) -> int:
        """Which socket a connection to 127.0.0.1 reaches: the most specific one. 9: none of its business."""
        return {V4_LOOPBACK: 0, V6_MAPPED_LOOPBACK: 0, V4_ANY: 1, V6_ANY: 2}.get(self.address, 9)


def _listening(port: int) -> list[_Socket]:
    try:
        return [*_asked(socket.AF_INET, port), *_asked(socket.AF_INET6, port)]
    except OSError:
        return _looked_up(port)


def _asked(family: int, port: int) -> Iterator[_Socket]:
    """The listeners of one family as the kernel tells them. Raises OSError when it does not."""
    number = port.to_bytes(2, "big")
    question = _QUESTION.pack(family, socket.IPPROTO_TCP, 0, 1 << _LISTEN, number)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _SOCK_DIAG) as kernel:
        kernel.settimeout(_ANSWER_WITHIN_S)
        kernel.send(_HEADER.pack(_HEADER.size + len(question), _BY_FAMILY, _REQUEST_DUMP, 0, 0) + question)
        while True:
            answer = kernel.recv(65536)
            while answer:
                length, kind, *_ = _HEADER.unpack_from(answer)
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    code = -int.from_bytes(answer[_HEADER.size : _HEADER.size + 4], sys.byteorder, signed=True)
                    raise OSError(code, os.strerror(code))
                of, address, uid, inode = _ANSWER.unpack_from(answer, _HEADER.size)
                if of == number:
                    yield _Socket(_as_proc_prints(address, 4 if family == socket.AF_INET else 16), uid, str(inode))
                answer = answer[length:]


def _as_proc_prints(address: bytes, length: int) -> str:
    words = (address[at : at + 4] for at in range(0, length, 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)


def _looked_up(port: int, of: int | str = "self") -> list[_Socket]:
    """The listeners of the network that the process `of` is in."""
    found = []
    for name, width in (("tcp", 8), ("tcp6", 32)):
        try:
            table = Path(f"/proc/{of}/net/{name}").read_bytes()
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


def listener_inside(port: int, network: Message, shim: int, main: int | None) -> Listener:
    """The same of a replica with a network of its own: whether its tree listens behind `port` of the machine.

    That the port is taken by its own forwarder, which runs, is known: one that cannot bind it ends. That the forwarder
    takes connections says nothing of the replica.
    """
    inner = next((inner for outer, inner in network["inward"] if outer == port), None)
    if inner is None or not main or not proc.is_running(network["pid"], network["start"]):
        return Listener(state="none", text=f"nothing leads from {port} into its own network")
    sockets = sorted(_looked_up(inner, main), key=lambda each: each.rank)
    reachable = [each for each in sockets if each.rank < 9]
    if not reachable:
        return Listener(state="none", text="it listens on another address only, not on 127.0.0.1" if sockets else "")
    links = {f"socket:[{each.inode}]" for each in reachable if each.rank == reachable[0].rank}
    if _holds(main, links) or any(_holds(stat.pid, links) for stat in proc.descendants(shim, proc.scan())):
        return Listener(state="own")  # on whatever address: nobody by-passes the proxy into that network
    return Listener(state="stranger", text="held by what is not its own, in its own network")


def listener_of(port: int, main: int, address: str) -> Listener:
    """Who answers on a port of `address`, which is that of the network that the process `main` is in, alone with its like."""
    try:
        Path(f"/proc/{main}").stat()
    except OSError:
        return Listener(state="none", text="it is not running")
    found = {each.address for each in _looked_up(port, main)}
    own = _as_proc_prints(socket.inet_aton(address), 4)
    if found & {V4_ANY, V6_ANY, own, f"{V6_MAPPED}{own}"}:
        return Listener(state="own")
    text = "it listens on its container's own 127.0.0.1, where nobody reaches it; let it bind {host}: 0.0.0.0 there"
    return Listener(state="none", text=text if found else "")


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
