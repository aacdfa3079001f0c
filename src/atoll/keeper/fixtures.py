"""What the keeper restarts by itself: the daemon and the proxy. Definitions are kept on disk for the next keeper.

Pure bookkeeping over a `spawn` and a `timer` that the server gives it.
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress

from atoll.keeper.held import Waiter
from atoll.keeper.wire import Message

BACKOFF_FIRST_S = 0.1
BACKOFF_MOST_S = 5.0
UP_IS_WELL_S = 10.0  # this long up, and the next restart is immediate again
GRACE_S = 10.0
OOM_SCORE = -500  # the kernel takes a replica before it takes these


def launch_id(name: str) -> str:
    """The name under which a fixture's shim is kept; no replica can be called so."""
    return f"@{name}"


class Fixture:
    """One supervised program and its luck so far."""

    def __init__(self, name: str, definition: Message) -> None:
        self.name = name
        self.definition = definition  # argv, env, log
        self.wanted = True
        self.restarts = 0
        self.last_exit: Message | None = None
        self.backoff_s = 0.0
        self.retry_at: float | None = None  # monotonic
        self.since = 0.0  # monotonic, of the last start
        self.waiters: list[Waiter] = []  # who asked for a new definition while the old one is still ending


class Fixtures:
    """All of them. `start` begins one (returns False when it cannot now); `stop` asks one's shim to end it."""

    def __init__(self, path: str, start: Callable[[Fixture], None], stop: Callable[[str, float], bool]) -> None:
        self.path = path
        self.all: dict[str, Fixture] = {}
        self._start = start
        self._stop = stop

    def load(self) -> None:
        """Take over what an earlier keeper was told."""
        with suppress(OSError, ValueError):
            with open(self.path, encoding="utf-8") as file:
                for name, definition in json.load(file).items():
                    self.all[name] = Fixture(name, definition)

    def save(self) -> None:
        """Keep the definitions of those that are wanted. Raises OSError."""
        wanted = {fixture.name: fixture.definition for fixture in self.all.values() if fixture.wanted}
        temporary = self.path + ".new"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, json.dumps(wanted).encode())
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, self.path)

    def ensure(self, name: str, definition: Message, is_running: bool) -> None:
        """Have it run with this definition: started, restarted when it changed, else left alone."""
        fixture = self.all.get(name)
        if fixture is None:
            fixture = self.all[name] = Fixture(name, definition)
        elif fixture.wanted and fixture.definition == definition:
            if not is_running and fixture.retry_at is None:
                self.begin(fixture)
            return
        fixture.definition, fixture.wanted = definition, True
        self.save()
        fixture.backoff_s = 0.0
        if is_running:
            self._stop(name, GRACE_S)  # its exit brings the new one
        else:
            self.begin(fixture)

    def restart(self, name: str) -> None:
        """Stop it with its grace; it comes back at once."""
        fixture = self.all[name]
        fixture.wanted, fixture.backoff_s = True, 0.0
        if not self._stop(name, GRACE_S):
            self.begin(fixture)

    def stop(self, name: str, grace_s: float) -> None:
        """Stop it and leave it stopped."""
        fixture = self.all[name]
        fixture.wanted, fixture.retry_at = False, None
        self.save()
        self._stop(name, grace_s)

    def forget_all(self) -> None:
        """Nothing is wanted any more (`shutdown`)."""
        for fixture in self.all.values():
            fixture.wanted, fixture.retry_at = False, None
        with suppress(OSError):
            self.save()

    def begin(self, fixture: Fixture) -> None:
        """Start it now."""
        fixture.retry_at, fixture.since = None, time.monotonic()
        self._start(fixture)

    def ended(self, name: str, last_exit: Message) -> None:
        """It died or was stopped: restart it after its back-off (none the first time) when it is wanted."""
        fixture = self.all.get(name)
        if fixture is None:
            return
        fixture.last_exit = last_exit
        if not fixture.wanted:
            return
        if time.monotonic() - fixture.since >= UP_IS_WELL_S:
            fixture.backoff_s = 0.0
        fixture.restarts += 1
        fixture.retry_at = time.monotonic() + fixture.backoff_s
        fixture.backoff_s = min(BACKOFF_MOST_S, fixture.backoff_s * 2 or BACKOFF_FIRST_S)

    def due(self, now: float) -> list[Fixture]:
        """Those whose back-off is over."""
        return [each for each in self.all.values() if each.retry_at is not None and each.retry_at <= now]

    def next_at(self) -> float | None:
        """When the next one is due, monotonic."""
        return min((each.retry_at for each in self.all.values() if each.retry_at is not None), default=None)
