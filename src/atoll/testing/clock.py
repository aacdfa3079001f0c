"""Virtual time: hours of a daemon's life in milliseconds, the same way each time.

    clock = VirtualClock()

    async def scenario() -> None:
        daemon = ...                       # gets `clock` as its ports.Clock
        await clock.sleep(3600)            # everything that was due within the hour has happened
        await clock.until(lambda: daemon.idle)

    clock.run(scenario())                  # from an ordinary, synchronous test

The loop's time stands still while anything can run; when everybody waits, it jumps to the next timer. So `asyncio.sleep`,
`asyncio.timeout` and `call_later` all follow it. What happens in an executor's thread (`asyncio.to_thread`) is waited for;
sockets and subprocesses are not: their answer would come after the timers, so leave them to the fakes.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack

from atoll.model.state import Now

DAY_S: Final = 86_400.0
_SPINS: Final = 500_000  # turns of the loop without a moment passing: somebody never sleeps
_THREAD_S: Final = 60.0  # of real time that a thread may take
_RESOLUTION_S: Final = 1e-6  # far above what adding up floats loses over a year

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class Stuck(Exception):
    """Nothing can happen any more: no timer is set and nobody can run, or somebody runs without end."""


class VirtualClock:
    """`ports.Clock` in virtual time. It goes on from one `run` to the next, and stands still between them."""

    def __init__(self, *, boot_id: str = "boot-1", boot_s: float = 1000.0, wall: float = 1_800_000_000.0) -> None:
        """The first instant: `boot_s` seconds after the boot `boot_id`, `wall` seconds after the epoch."""
        self.elapsed_s = 0.0  # since this clock was made
        self._boots = 1
        self._boot_id, self._boot_s, self._wall = boot_id, boot_s, wall

    def now(self) -> Now:
        """This instant."""
        return Now(self._boot_id, self._boot_s + self.elapsed_s, self._wall + self.elapsed_s)

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` of virtual time pass."""
        await asyncio.sleep(seconds)

    def reboot(self, *, down_s: float = 30.0) -> None:
        """As if the machine was started again: another boot id, CLOCK_BOOTTIME from 0, the wall `down_s` later."""
        self._boots += 1
        self._boot_id = f"boot-{self._boots}"
        self._boot_s = -self.elapsed_s
        self._wall += down_s

    def shift_wall(self, by_s: float) -> None:
        """Somebody set the wall clock, forward or back; CLOCK_BOOTTIME does not notice."""
        self._wall += by_s

    async def until(
        self, condition: Callable[[], object], *, within_s: float = 300.0, every_s: float = 0.05, what: str = ""
    ) -> None:
        """Wait until `condition()` is true, looking every `every_s`. Raises TimeoutError after `within_s`, saying `what`."""
        end_s = self.elapsed_s + within_s
        while not condition():
            if self.elapsed_s >= end_s:
                raise TimeoutError(f"not within {within_s:g} virtual seconds: {what or 'the condition'}")
            await asyncio.sleep(every_s)

    def run(self, main: Coroutine[Any, Any, _T], *, limit_s: float = DAY_S) -> _T:
        """Run `main` to its end in a loop of its own, in virtual time, and return its result.

        Raises TimeoutError after `limit_s` virtual seconds, and Stuck when nothing can happen any more.
        """

        async def limited() -> _T:
            try:
                async with asyncio.timeout(limit_s) as limit:
                    return await main
            except TimeoutError as exc:
                if not limit.expired():
                    raise
                raise TimeoutError(f"the scenario did not end within {limit_s:g} virtual seconds") from exc

        with asyncio.Runner(loop_factory=lambda: VirtualLoop(self)) as runner:
            return runner.run(limited())


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is a `VirtualClock`'s; for test frameworks that make loops themselves."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._waiting = _Selector(clock)
        self._pool: ThreadPoolExecutor | None = None
        super().__init__(self._waiting)
        self._clock_resolution = _RESOLUTION_S

    def time(self) -> float:
        """Virtual seconds since the clock was made."""
        return self._clock.elapsed_s

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[_Ts]], _T], *args: *_Ts
    ) -> asyncio.Future[_T]:
        """As usual; time stands still until the thread is done."""
        if executor is None:
            executor = self._pool = self._pool or ThreadPoolExecutor(4, "virtual-loop")
        future = super().run_in_executor(executor, func, *args)
        self._waiting.threads += 1
        future.add_done_callback(self._thread_done)
        return future

    def close(self) -> None:
        """Close the loop and its threads."""
        super().close()
        if self._pool is not None:
            self._pool.shutdown()

    def _thread_done(self, _future: object) -> None:
        self._waiting.threads -= 1


class _Selector(selectors.DefaultSelector):
    """Where the loop waits: instead of waiting, time jumps."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock
        self._spins = 0
        self.threads = 0  # that will wake the loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is not None and timeout <= 0:
            self._spins += 1
            if self._spins > _SPINS:
                self._spins = 0
                raise Stuck(f"the loop turned {_SPINS} times and no time passed: a task runs without ever sleeping")
            return ready
        self._spins = 0
        if self.threads:
            ready = super().select(_THREAD_S)
            if not ready:
                raise Stuck(f"a thread did not answer within {_THREAD_S:g} real seconds")
            return ready
        if timeout is None:
            raise Stuck("every task waits, and no timer is set that could wake one")
        self._clock.elapsed_s += timeout
        return ready
