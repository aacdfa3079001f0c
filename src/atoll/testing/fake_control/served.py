"""The environment of pretend behind the real API, on a socket."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from atoll.daemon.api import Api
from atoll.daemon.doorkeeper import Doorkeeper
from atoll.daemon.serve import serve
from atoll.model.access import Access
from atoll.testing.fake_control.control import FakeControl


class Served:
    """A FakeControl behind the real API on a unix socket, served by a thread; leave it and the socket is gone.

    `ready=False` serves an API whose daemon is still starting; `become_ready` ends that. `public` is a second socket, for
    those whom `access` gives a role.
    """

    def __init__(
        self,
        socket: Path,
        control: FakeControl | None = None,
        *,
        ready: bool = True,
        public: Path | None = None,
        access: Callable[[], Access] = Access,
    ) -> None:
        self.socket = socket
        self._given, self._ready, self._public, self._access = control, ready, public, access
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake daemon", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(30):
            raise TimeoutError("the fake daemon did not start within 30 s")
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(30)

    def become_ready(self) -> None:
        """From now on it answers."""
        self.loop.call_soon_threadsafe(setattr, self.api, "control", self.control)

    def record(self, kind: str, service: str, message: str) -> None:
        """One more event in the ledger, from any thread."""
        asyncio.run_coroutine_threadsafe(self.control.world.record(kind, service, message), self.loop).result(30)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except asyncio.CancelledError:
            pass  # how it is told to end

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.control = self._given or FakeControl()
        doorkeeper = Doorkeeper(self._access if self._public else None)
        self.api = Api(self.control if self._ready else None, doorkeeper)
        self._task = asyncio.create_task(serve(self.api, self.socket, self._public))
        last = self._public or self.socket
        while not last.exists() and not self._task.done():
            await asyncio.sleep(0.005)
        self._started.set()
        await self._task
