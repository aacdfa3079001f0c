"""Real time: CLOCK_BOOTTIME of this boot, so that durations survive a restart of the daemon and a suspended laptop."""

import asyncio
import time
from pathlib import Path

from atoll.model.state import Now


class SystemClock:
    """Implements `ports.Clock`."""

    def __init__(self) -> None:
        self._boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    def now(self) -> Now:
        """This instant."""
        return Now(self._boot_id, time.clock_gettime(time.CLOCK_BOOTTIME), time.time())

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
