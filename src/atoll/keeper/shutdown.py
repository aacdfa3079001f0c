"""The end of an environment: the daemon first (it would start things again), then replicas, then the proxy.

Stepped by the keeper's loop; blocks nothing. Done when nothing is left, or when the time is over and it says what is.
"""

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from atoll.keeper import proc
from atoll.keeper.fixtures import Run
from atoll.keeper.held import Held, Waiter

if TYPE_CHECKING:
    from atoll.keeper.server import Keeper

PHASES = (("daemon", 0.25), ("replicas", 0.75), ("proxy", 0.85))  # and the share of the time by which SIGKILL comes


class Shutdown:
    """One shutdown, `timeout_s` from now at most."""

    def __init__(self, keeper: "Keeper", timeout_s: float) -> None:
        self.keeper = keeper
        self.timeout_s = max(0.5, timeout_s)
        self.began = time.monotonic()
        self.waiters: list[Waiter] = []
        self.done = False
        self._phase = -1
        keeper.fixtures.forget_all()
        keeper.say("shutting down")

    def _members(self, phase: int) -> list[Held]:
        running = [held for held in self.keeper.held.values() if held.running]
        fixture = {held.id: Run.of(held.id).fixture for held in running if held.kind == "fixture"}
        name = PHASES[phase][0]
        if name == "replicas":
            return [held for held in running if fixture.get(held.id) not in {"daemon", "proxy"}]
        return [held for held in running if fixture.get(held.id) == name]

    def step(self) -> None:
        """Go on as far as possible."""
        elapsed = time.monotonic() - self.began
        while self._phase < 0 or (self._phase < len(PHASES) and not self._members(self._phase)):
            self._phase += 1
            if self._phase == len(PHASES):
                break
            grace_s = max(0.1, PHASES[self._phase][1] * self.timeout_s - elapsed)
            for held in self._members(self._phase):
                self.keeper.ask_shim(held, {"op": "stop", "grace_s": grace_s})
        left = [held for held in self.keeper.held.values() if held.running]
        if (left or self._shims()) and elapsed < self.timeout_s:
            return
        self._finish(left)

    def _shims(self) -> bool:
        """Whether a shim is still clearing up after its replica."""
        records = [held.record for held in self.keeper.held.values()]
        adopted = any(proc.is_running(record["shim"], record.get("shim_start", 0)) for record in records)
        stats = map(proc.read_stat, proc.children(os.getpid()))
        return adopted or any(stat is not None and stat.state not in "ZX" for stat in stats)

    def _finish(self, left: list[Held]) -> None:
        keeper = self.keeper
        keeper.sweep_groups()
        keeper.sweep_files()
        for waiter in self.waiters:
            keeper.requests.reply(waiter, {"ok": True, "left": [held.id for held in left]})
        for client in keeper.requests.clients:
            client.sock.setblocking(True)
            client.sock.settimeout(0.5)
            client.flush()
        with suppress(OSError):
            os.unlink(keeper.places.keeper_socket)
        self.done = True
