"""A shim's process with all that it starts and leaves behind: seen to end, signalled and killed as one.

The shim is a subreaper: whatever loses its parent below it becomes its child. How that stays safe from reused process ids:
the main process is not reaped before its tree is gone, so its pid, which is also its group's id, cannot name anything
else; all others are signalled as direct children that were not reaped yet.
"""

import os
import signal
import time
from contextlib import suppress

from atoll.keeper import proc
from atoll.keeper.cgroups import Group
from atoll.keeper.network import Forwarder
from atoll.keeper.wire import Message

LINGER_S = 10.0  # what is left of a tree after a requested stop; the caller's SIGKILL comes earlier
MEMORY_WATCH_S = 0.5
STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})  # SIGHUP asks to reload, mostly


class Tree:
    """Empty (`main` is 0) until the shim has forked. `fixture`: Atoll's own, below which keepers and shims may lie.

    `grace_s`: what a replica has between its stop signal and its end.
    """

    def __init__(self, *, fixture: bool, grace_s: float = 0.0) -> None:
        # A shell ends at the signal and leaves its program alone, which has all of the grace.
        self._linger_s = max(LINGER_S, grace_s)
        self.main = 0
        self.status: Message | None = None  # of the main process, once it ended
        self.group = Group([])
        self.forwarder: Forwarder | None = None  # of a replica with a network of its own
        self.oom = False
        self._fixture = fixture
        self._stop_requested = False
        self._we_killed = False
        self._asked: set[int] = set()  # orphans that were sent SIGTERM
        self._kill_at: float | None = None  # monotonic
        self._limit_bytes = 0
        self._watch_memory_at: float | None = None

    def watch_memory(self, limit_bytes: int) -> None:
        """Kill it when it takes more: for machines where no control group does that."""
        self._limit_bytes, self._watch_memory_at = limit_bytes, time.monotonic() + MEMORY_WATCH_S

    def due_at(self) -> float | None:
        """When `tick` has something to do next (monotonic)."""
        times = [at for at in (self._kill_at, self._watch_memory_at) if at is not None]
        return min(times, default=None)

    def tick(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        if self._kill_at is not None and now >= self._kill_at:
            self.kill()
        if self._watch_memory_at is not None and now >= self._watch_memory_at:
            self._watch_memory_at = now + MEMORY_WATCH_S
            if proc.tree_bytes(os.getpid(), self._limit_bytes) > self._limit_bytes:
                self.oom = True
                self.kill()

    # --- how it ends -------------------------------------------------------------------------------------------------

    def is_over(self) -> bool:
        """Reap, and see whether main process and tree have ended. Ends what the main process left behind."""
        if not self.main:
            return True
        if self.status is None and not self._main_ended():
            self._reap_others()
            return False
        left = self._reap_others()  # after the main process: its orphans are ours from its end on
        if left and not self._we_killed:
            if self._stop_requested:  # it was asked to end: let its children end, too
                self._ask_strays(left)
            else:
                self.kill()
                left = self._reap_others()
        return not left

    def _main_ended(self) -> bool:
        info = os.waitid(os.P_PID, self.main, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if info is None:
            return False
        by_signal = info.si_code != os.CLD_EXITED
        self.status = {"signal": info.si_status & 0x7F} if by_signal else {"code": info.si_status}
        killed = info.si_status == (signal.SIGKILL if by_signal else 128 + signal.SIGKILL)
        if killed and not self._we_killed and not self._stop_requested:
            self.oom = self.group.oom_kills() > 0
        self._watch_memory_at = None
        if self._stop_requested:
            self._kill_at = min(self._kill_at or float("inf"), time.monotonic() + self._linger_s)
        return True

    def _ask_strays(self, pids: list[int]) -> None:
        """SIGTERM, once, to orphans outside the group: they did not hear the one that ended the main process."""
        for pid in pids:
            with suppress(ProcessLookupError):
                if pid not in self._asked and os.getpgid(pid) != self.main:
                    os.kill(pid, signal.SIGTERM)
        self._asked.update(pids)

    def _reap_others(self) -> list[int]:
        """Reap whatever ended but the main process; returns the pids of its orphans that live."""
        alive = []
        for pid in proc.children(os.getpid()):
            if pid == self.main or (self.forwarder and pid == self.forwarder.pid):
                continue
            with suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    alive.append(pid)
        return [pid for pid in self._children() if pid in alive]

    def _children(self) -> list[int]:
        """Its direct children, but for keepers and shims: a daemon revives a killed keeper, which then lies below the
        daemon's shim, and whose shims fall to it when that keeper is killed, too. None of them ends with the daemon.
        """
        pids = proc.children(os.getpid())
        if self.forwarder is not None:  # it goes last, so that what the replica still answers gets out
            pids = [pid for pid in pids if pid != self.forwarder.pid]
        if not self._fixture:  # a service's name is no proof
            return pids
        return [pid for pid in pids if not ((stat := proc.read_stat(pid)) and stat.comm.startswith("atoll:"))]

    def reap(self) -> None:
        """Once it is over: the forwarder, the main process, and whatever /proc did not show.

        Its list of children may skip one while another ends.
        """
        if self.forwarder is not None:
            self.forwarder.end()
        deadline = time.monotonic() + LINGER_S
        with suppress(ChildProcessError):
            while time.monotonic() < deadline:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    left = self._children()
                    if not left and proc.children(os.getpid()):
                        break  # only what stays
                    for pid in left:
                        with suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                    time.sleep(0.005)

    # --- signals -----------------------------------------------------------------------------------------------------

    def signal(self, signum: int) -> bool:
        """To the whole group, which it wakes where it was stopped; SIGKILL to the whole tree, also what left the group.

        False when nothing is left.
        """
        if not self.main:
            return False
        if signum == signal.SIGKILL:
            self.kill()
            return True
        if signum in STOP_SIGNALS:
            self._stop_requested = True
        try:
            os.killpg(self.main, signum)
            if signum != signal.SIGSTOP:
                os.killpg(self.main, signal.SIGCONT)
        except (ProcessLookupError, PermissionError):
            return False
        return self.status is None or bool(self._reap_others())

    def stop(self, grace_s: float) -> None:
        """SIGTERM now, SIGKILL after the grace."""
        if grace_s > 0:
            self.signal(signal.SIGTERM)
            self._kill_at = min(self._kill_at or float("inf"), time.monotonic() + grace_s)
        else:
            self.kill()

    def kill(self) -> None:
        """SIGKILL to everything below. Repeated by `tick` until nothing is left: killing makes new orphans."""
        if not self.main:
            return
        self._we_killed = True
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.main, signal.SIGKILL)
        for pid in self._children():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # a child of ours that nobody reaped: the pid is its own
        self.group.kill()
        self._kill_at = time.monotonic() + 0.02
