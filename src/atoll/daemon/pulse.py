"""Wakes everybody who waits for the next change of anything: the API's streams. Misses nothing between two looks."""

import asyncio


class Pulse:
    """`beat()` wakes every `after(n)` whose `n` is older; `count` is the newest beat."""

    def __init__(self) -> None:
        self.count = 0
        self._event = asyncio.Event()

    def beat(self) -> None:
        """Something changed."""
        self.count += 1
        self._event.set()
        self._event = asyncio.Event()

    async def after(self, count: int, timeout_s: float | None) -> int:
        """Wait for a beat later than `count`, at most `timeout_s` seconds; returns the newest."""
        if self.count <= count:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._event.wait()
            except TimeoutError:
                pass
        return self.count
