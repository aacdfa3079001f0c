"""`Telemetry`, the Signals port: the last hour in memory, the month in a file, over the daemon's death."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from atoll import ports
from atoll.model.signals import Counts, EdgeKey, Point, Window
from atoll.model.traffic import Reading, Sample
from atoll.ports import Clock
from atoll.telemetry.history import History
from atoll.telemetry.memory import Memory

SAVE_EVERY_S = 5.0  # so much is no data after a `kill -9`


class Telemetry(ports.Signals):
    """Signals of one environment. Without a `path` the past ends with the daemon."""

    def __init__(self, path: Path | None, clock: Clock) -> None:
        self._memory = Memory()
        self._history = None if path is None else History(path)
        self._clock = clock

    async def open(self) -> None:
        """Take up what the daemon before this one saw within the hour."""
        if self._history is not None:
            for stored in await asyncio.to_thread(self._history.load, self._clock.now()):
                self._memory.restore(stored)

    async def run(self) -> None:
        """Write what is new every few seconds, for ever, and once more at the end."""
        try:
            while True:
                await self._clock.sleep(SAVE_EVERY_S)
                await self._save()
        finally:
            if self._history is not None:
                self._history.save(self._memory.changed(), self._clock.now())
                self._history.close()

    async def _save(self) -> None:
        if self._history is None:
            return
        changed = self._memory.changed()
        if not await asyncio.to_thread(self._history.save, changed, self._clock.now()):
            self._memory.put_back(changed)

    def record(self, reading: Reading) -> None:
        """A reading that ended just now."""
        self._memory.record(reading, self._clock.now().boot_s)

    def edges(self) -> Sequence[EdgeKey]:
        """Those seen within the last hour, sorted."""
        return self._memory.edges()

    def now(self, key: EdgeKey) -> Sample:
        """The newest reading of an edge."""
        return self._memory.now(key)

    def totals(self) -> Mapping[EdgeKey, Counts]:
        """Everything counted since the daemon started, of the edges seen within the hour."""
        return self._memory.totals()

    def edge(self, key: EdgeKey, from_s: float, to_s: float) -> Window:
        """One edge over whole seconds of CLOCK_BOOTTIME."""
        return self._memory.window([key], from_s, to_s)

    def window(
        self, service: str, release: int | None, from_s: float, to_s: float, *, caller: str | None = None
    ) -> Window:
        """A release (or all of them) over all its callers, or one; without one it has the replicas, too."""
        window = self._memory.window(_matching(self._memory.edges(), service, release, caller), from_s, to_s)
        if caller is not None:
            return window
        counts = self._memory.replicas(service, release, from_s, to_s)
        return msgspec.structs.replace(window, replicas={key.replica: counts[key] for key in sorted(counts)})

    async def past(
        self, service: str, release: int | None, from_wall: float, to_wall: float, *, caller: str | None = None
    ) -> Sequence[Point]:
        """The minutes that the file has, the oldest first."""
        if self._history is None:
            return []
        now = self._clock.now()
        known = await asyncio.to_thread(self._history.edges, now)
        keys = _matching(known, service, release, caller)
        return await asyncio.to_thread(self._history.read, keys, from_wall, to_wall, now)

    def problem(self) -> str:
        """What a person should know of the file; "" is nothing."""
        return self._history.problem if self._history is not None else ""


def _matching(keys: Sequence[EdgeKey], service: str, release: int | None, caller: str | None) -> list[EdgeKey]:
    return [
        key
        for key in keys
        if key.callee == service and release in {None, key.callee_release} and caller in {None, key.caller}
    ]
