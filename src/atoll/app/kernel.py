"""What `atoll doctor` asks the kernel: this machine's room, limits and clock, and who listens where others reach it.

Blocking, some tens of ms. Nothing here judges: `decide.production` does.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from atoll.keeper.client import proc
from atoll.model.environment import host_port
from atoll.model.machine import MachineFacts, Used

_SYS = Path("/proc/sys")
_STA_UNSYNC = 0x40  # timex.h: the clock follows nobody
_NO_LIMIT = 2**40  # systemd sets file-max to the largest number there is
_GROUP = Path("/sys/fs/cgroup")  # version 2; what is not there limits nothing


class _Timex(ctypes.Structure):
    """adjtimex(2)'s struct timex as far as `status`; the rest is room that the kernel may write to."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def facts(state: Path, proxy: int | None) -> MachineFacts:
    """Of this machine, with the disk that `state` is on, and the user and limits of Envoy's process `proxy` (None: this one's limits)."""
    memory, group = psutil.virtual_memory(), _own_group()
    most = min(int(memory.total), _number(group / "memory.max") or int(memory.total))
    disk = os.statvfs(next(folder for folder in (state, *state.parents) if folder.exists()))
    threads = _number(Path("/proc/loadavg"), at=3, split="/")
    tasks = {f"kernel.{name}": _number(_SYS / "kernel" / name) for name in ("pid_max", "threads-max")}
    processes, by = _processes(group, threads, tasks)
    files = _numbers(_SYS / "fs/file-nr")
    tracked = [_number(_SYS / "net/netfilter" / f"nf_conntrack_{name}") for name in ("count", "max")]
    ephemeral = _numbers(_SYS / "net/ipv4/ip_local_port_range")
    return MachineFacts(
        memory_bytes=most,
        memory_free_bytes=int(memory.available),
        disk=Used(used=(disk.f_blocks - disk.f_bavail) * disk.f_frsize, most=disk.f_blocks * disk.f_frsize),
        inodes=Used(used=disk.f_files - disk.f_favail, most=disk.f_files) if disk.f_files else None,
        proxy_files=_open_files(proxy),
        proxy_is_root=None if proxy is None else _is_root(proxy),
        files=Used(used=files[0], most=files[2]) if len(files) == 3 and files[2] < _NO_LIMIT else None,
        processes=processes,
        processes_by=by,
        connections=Used(used=tracked[0], most=tracked[1]) if tracked[0] is not None and tracked[1] else None,
        backlog=_number(_SYS / "net/core/somaxconn"),
        inotify_instances=_number(_SYS / "fs/inotify/max_user_instances"),
        inotify_watches=_number(_SYS / "fs/inotify/max_user_watches"),
        ephemeral=(ephemeral[0], ephemeral[1]) if len(ephemeral) == 2 else None,
        synchronised=_synchronised(),
    )


def exposed(pids: Mapping[int, str]) -> Mapping[str, tuple[str, ...]]:
    """Where services listen that others reach: addresses by service, of the trees of these main processes.

    Those with a network of their own have none here. What this user may not look at is left out.
    """
    if not pids:
        return {}
    table = proc.scan()
    whose: dict[int, str] = {}
    for main, of in pids.items():
        if (stat := table.get(main)) is not None and stat.ppid > 1:
            # Its shim's whole tree: what was started and left behind is the shim's child.
            whose |= dict.fromkeys([main, *(each.pid for each in proc.descendants(stat.ppid, table))], of)
    found: dict[str, set[str]] = {}
    for one in psutil.net_connections("tcp"):
        if one.status != psutil.CONN_LISTEN or not one.laddr or (service := whose.get(one.pid or 0)) is None:
            continue
        if not ipaddress.ip_address(one.laddr.ip).is_loopback:
            found.setdefault(service, set()).add(host_port(one.laddr.ip, one.laddr.port))
    return {service: tuple(sorted(addresses)) for service, addresses in found.items()}


def _own_group() -> Path:
    """Our control group's folder; one that does not exist where there is only version 1."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return _GROUP / "none"
    return next((_GROUP / line[3:].lstrip("/") for line in lines if line.startswith("0::")), _GROUP / "none")


def _processes(group: Path, threads: int | None, most: Mapping[str, int | None]) -> tuple[Used | None, str]:
    """What is closest to its end, the machine's own limits or those of our control group (""), and which one that is."""
    found = [(Used(used=threads, most=limit), by) for by, limit in most.items() if threads is not None and limit]
    current, limit = _number(group / "pids.current"), _number(group / "pids.max")
    if current is not None and limit:
        found.append((Used(used=current, most=limit), ""))
    return max(found, key=lambda each: each[0].pct, default=(None, ""))


def _open_files(pid: int | None) -> int | None:
    try:
        soft, _ = resource.prlimit(pid or 0, resource.RLIMIT_NOFILE)
    except (OSError, ValueError):  # gone, or another user's
        return None
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def _is_root(pid: int) -> bool | None:
    try:
        return psutil.Process(pid).uids().effective == 0
    except psutil.Error:  # gone
        return None


def _synchronised() -> bool | None:
    """As the kernel was told by whoever disciplines its clock (chrony, ntpd, systemd-timesyncd)."""
    timex = _Timex()
    try:
        if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex)) < 0:
            return None
    except (OSError, AttributeError):
        return None
    return not timex.status & _STA_UNSYNC


def _numbers(file: Path) -> list[int]:
    try:
        return [int(word) for word in file.read_text().split()]
    except (OSError, ValueError):
        return []


def _number(file: Path, at: int = 0, split: str = "") -> int | None:
    """The word `at` of a file, what follows `split` in it; None when it is no number ("max") or not there."""
    try:
        word = file.read_text().split()[at]
        return int(word.rpartition(split)[2] if split else word)
    except (OSError, ValueError, IndexError):
        return None
