"""What a killed shim leaves behind: found by control group, session and descent, verified, and killed.

Only for processes whose shim is gone; a living shim ends its own tree.
"""

import os
import signal
import time

from atoll.keeper import proc
from atoll.keeper.cgroups import Group
from atoll.keeper.wire import Message

FIRST_PAUSE_S = 0.02  # between two looks at all of /proc
MOST_PAUSE_S = 0.5


def lost_exit(why: str = "its supervising shim was killed, so it was ended") -> Message:
    """The exit of a process whose own was never seen."""
    return {"error": why, "oom": False, "at_s": proc.boottime_s(), "wall": time.time()}


class Orphans:
    """The trees being swept, by the id of their replica."""

    def __init__(self) -> None:
        self._records: dict[str, Message] = {}
        self._pause_s = FIRST_PAUSE_S
        self.next_at: float | None = None  # monotonic; None: nothing is left to do

    def add(self, record: Message) -> None:
        """Begin to end what this record's shim left."""
        self._records[record["id"]] = record
        self._pause_s, self.next_at = FIRST_PAUSE_S, time.monotonic()

    def sweep(self, shims: set[int]) -> list[str]:
        """Kill what is found; returns the ids of which nothing is left. Looks again at `next_at`.

        `shims` are the pids of all that the keeper forked as such.
        """
        if self.next_at is None or time.monotonic() < self.next_at:
            return []
        table = proc.scan()
        strays = _strays(table, shims)
        gone = []
        for name, record in list(self._records.items()):
            left = _left_of(record, table)
            for stat in (*left, *strays):
                proc.send(stat.pid, stat.start, signal.SIGKILL)
            group = Group(list(record["groups"]))
            if not left and not strays and not group.kill():
                group.remove(0.0)
                del self._records[name]
                gone.append(name)
        self.next_at = time.monotonic() + self._pause_s if self._records else None
        self._pause_s = min(MOST_PAUSE_S, self._pause_s * 1.5)
        return gone


def _left_of(record: Message, table: dict[int, proc.Stat]) -> list[proc.Stat]:
    """The main process, its session and all below them, and its forwarder."""
    found = {stat.pid: stat for stat in (*_session_of(record, table), *_forwarder_of(record, table))}
    return list(found.values())


def _forwarder_of(record: Message, table: dict[int, proc.Stat]) -> list[proc.Stat]:
    network: Message = record.get("network") or {}
    stat = table.get(network.get("pid", 0))
    return [stat] if stat is not None and stat.start == network["start"] and stat.state not in "ZX" else []


def _session_of(record: Message, table: dict[int, proc.Stat]) -> list[proc.Stat]:
    """A session's id cannot be reused while it has a member."""
    pid, start = record.get("pid"), record.get("pid_start", 0)
    if not pid:
        return []
    main = table.get(pid)
    if main is not None and main.start != start:
        return []  # the number was reused, so its session has ended
    roots = [stat for stat in table.values() if pid in {stat.session, stat.pid}]
    found = {stat.pid: stat for stat in roots if stat.state not in "ZX"}
    for root in roots:
        found.update((stat.pid, stat) for stat in proc.descendants(root.pid, table))
    return list(found.values())


def _strays(table: dict[int, proc.Stat], shims: set[int]) -> list[proc.Stat]:
    """What fell to this keeper as the next subreaper: its children that are no shims (nor one that is just ending)."""
    own = os.getpid()
    keeper = table.get(own)
    if keeper is None:  # /proc is being read while processes come and go
        return []
    return [
        stat
        for stat in table.values()
        if stat.ppid == own and stat.pid not in shims and stat.state not in "ZX" and not stat.comm.startswith("atoll:")
    ]
