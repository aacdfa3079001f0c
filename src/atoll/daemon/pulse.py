"""Wakes everybody who waits for the next change of a service, or of anything: the API's streams. Misses nothing between
two looks.
"""

import asyncio


class Pulse:
    """`beat(service)` wakes every `after(n, ...)` of that service, and of "" (all of them), whose `n` is older."""

    def __init__(self) -> None:
        self._counts = {"": 0}
        self._events: dict[str, asyncio.Event] = {}

    def count(self, service: str = "") -> int:
        """The newest beat of a service; of "" the newest of all."""
        return self._counts.setdefault(service, 0)

    def beat(self, service: str = "") -> None:
        """Something of this service changed; "" is: of any."""
        for name in ("", service) if service else tuple(self._counts):
            self._counts[name] = self.count(name) + 1
            if (event := self._events.pop(name, None)) is not None:
                event.set()

    async def after(self, count: int, timeout_s: float | None, service: str = "") -> int:
        """Wait for a beat later than `count`, at most `timeout_s` seconds; returns the newest."""
        if self.count(service) <= count:
            event = self._events.setdefault(service, asyncio.Event())
            try:
                async with asyncio.timeout(timeout_s):
                    await event.wait()
            except TimeoutError:
                pass
        return self.count(service)
