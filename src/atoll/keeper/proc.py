"""Who is who in /proc: identities that survive the reuse of process ids, trees, and what they use.

Called by keeper, shims and `atoll.keeper.client`. Never sends a signal to a pid that it has not verified.
"""

import os
import signal
import time
from contextlib import suppress
from typing import NamedTuple

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Stat(NamedTuple):
    """One line of /proc/PID/stat. `start` (ticks since boot) and `pid` together name a process for this boot."""

    pid: int
    comm: str
    state: str
    ppid: int
    pgrp: int
    session: int
    cpu_s: float  # its own and its reaped children's
    start: int
    rss_bytes: int


def read_stat(pid: int) -> Stat | None:
    """The process, a zombie too; None when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            data = file.read(2048)
    except OSError:
        return None
    opened, closed = data.find(b"("), data.rfind(b")")
    if closed < 0:
        return None
    fields = data[closed + 2 :].split()
    return Stat(
        pid=pid,
        comm=data[opened + 1 : closed].decode("utf-8", "replace"),
        state=fields[0].decode(),
        ppid=int(fields[1]),
        pgrp=int(fields[2]),
        session=int(fields[3]),
        cpu_s=sum(int(ticks) for ticks in fields[11:15]) / TICKS_PER_S,
        start=int(fields[19]),
        rss_bytes=int(fields[21]) * PAGE_BYTES,
    )


def scan() -> dict[int, Stat]:
    """Every process of the machine, one read each."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (stat := read_stat(int(name))) is not None:
            found[stat.pid] = stat
    return found


def children(pid: int) -> list[int]:
    """Direct children of a single-threaded process (a shim, the keeper), zombies included."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb", buffering=0) as file:
            return [int(child) for child in file.read().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return [stat.pid for stat in scan().values() if stat.ppid == pid]


def descendants(root: int, table: dict[int, Stat]) -> list[Stat]:
    """All living processes below `root`, without it."""
    below: dict[int, list[Stat]] = {}
    for stat in table.values():
        below.setdefault(stat.ppid, []).append(stat)
    found: list[Stat] = []
    queue = [root]
    while queue:
        for stat in below.get(queue.pop(), ()):
            queue.append(stat.pid)
            if stat.state not in "ZX":
                found.append(stat)
    return found


def start_of(pid: int) -> int:
    """When the process started, in ticks since boot; 0 when there is none."""
    stat = read_stat(pid)
    return stat.start if stat else 0


def is_running(pid: int, start: int) -> bool:
    """Whether that very process lives (a zombie does not)."""
    stat = read_stat(pid)
    return stat is not None and stat.start == start and stat.state not in "ZX"


def send(pid: int, start: int, signum: int) -> bool:
    """Signal that very process and no other: the descriptor is held before its identity is checked."""
    if pid <= 1:
        return False
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    except OSError:  # kernel or sandbox without pidfd: the window is a few microseconds
        if not is_running(pid, start):
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, signum)
        return True
    try:
        if start_of(pid) != start:
            return False
        signal.pidfd_send_signal(pidfd, signum)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        os.close(pidfd)
    return True


def pss_bytes(pid: int) -> int | None:
    """Its share of memory, pages in common divided; None when it may not be read."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None


def tree_bytes(root: int, limit: int) -> int:
    """Memory of everything below `root`: RSS when that is under `limit` (it is cheap and never too low), else PSS."""
    tree = descendants(root, scan())
    total = sum(stat.rss_bytes for stat in tree)
    if total <= limit:
        return total
    total = 0
    for stat in tree:
        share = pss_bytes(stat.pid)
        total += stat.rss_bytes if share is None else share
    return total


def boot_id() -> str:
    """Changes with each boot of the machine; process ids and CLOCK_BOOTTIME mean nothing across one."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def boottime_s() -> float:
    """CLOCK_BOOTTIME."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
