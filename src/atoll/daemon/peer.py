"""Who is at the other end of a unix socket: the kernel's word, and never the client's."""

import os
import pwd
import socket
import struct

from atoll.model.access import Credentials

_UCRED = struct.Struct("3i")  # pid, uid, gid
_SO_PEERGROUPS = 59  # Linux 4.13; not in Python's socket module
_MOST_BYTES = 1024  # what getsockopt of Python takes: 256 groups


def credentials_of(connection: socket.socket) -> Credentials:
    """The user and the groups of whoever connected, as they were then: a group that was given or taken since counts at the
    next login, as it does for files.
    """
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:  # elsewhere than on Linux the socket's mode has kept out all but its owner
        return Credentials(os.geteuid(), frozenset())
    _, uid, gid = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, option, _UCRED.size))
    return Credentials(uid, frozenset({gid, *_groups(connection)}))


def _groups(connection: socket.socket) -> tuple[int, ...]:
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_BYTES)
    except OSError:  # an older kernel, or more groups than that: the first group alone counts
        return ()
    return struct.unpack(f"{len(raw) // 4}I", raw)


def name_of(uid: int) -> str:
    """The user's name on this machine, else `uid 1234`."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
