"""Becoming another user, for good. Called in a forked child, by `spawn`, just before its program is executed.

A *confined* one keeps a single right of root's, to listen on ports below 1024, and neither it nor what it starts can get
another: the bounding set has nothing else, and set-user-id programs are programs like any other (no_new_privs).
"""

import ctypes
import os
import struct

_BIND = 10  # CAP_NET_BIND_SERVICE, capabilities(7)
_HIGHEST = 63  # more than any kernel has
_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3: two sets of 32
_SET_KEEPCAPS, _CAPBSET_DROP, _SET_NO_NEW_PRIVS, _CAP_AMBIENT, _AMBIENT_RAISE = 8, 24, 38, 47, 2  # prctl(2)
_LIBC = ctypes.CDLL(None, use_errno=True)


def become(uid: int, gid: int, *, confined: bool) -> None:
    """This process is that user's from here on. Raises OSError when it may not; then it must not go on."""
    os.setgroups([])
    os.setgid(gid)
    if not confined:
        os.setuid(uid)
        return
    for capability in set(range(_HIGHEST + 1)) - {_BIND}:
        _LIBC.prctl(_CAPBSET_DROP, capability, 0, 0, 0)  # the kernel says no to those that it does not know
    _prctl(_SET_KEEPCAPS, 1)
    os.setuid(uid)
    if not _keep(1 << _BIND):
        _keep(0)  # a container that has not got it: ports below 1024 are refused there
    else:
        _prctl(_CAP_AMBIENT, _AMBIENT_RAISE, _BIND)
    _prctl(_SET_NO_NEW_PRIVS, 1)


def _keep(capabilities: int) -> bool:
    """Have these and no others: effective, permitted, inheritable. Whether that may be."""
    header = struct.pack("Ii", _VERSION, 0)
    return bool(_LIBC.capset(header, struct.pack("6I", *[capabilities] * 3, 0, 0, 0)) == 0)


def _prctl(option: int, first: int, second: int = 0) -> None:
    if _LIBC.prctl(option, ctypes.c_ulong(first), ctypes.c_ulong(second), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
