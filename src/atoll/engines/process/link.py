"""One asyncio connection to the keeper: requests in flight side by side, reconnected and, if need be, revived.

A keeper that was killed leaves its socket file: then it is started again here. One that was shut down in order does
not, and is left in peace. One that a service manager runs is its to start: two would fight over the lock.
"""

import asyncio
import itertools
import json
from contextlib import suppress
from pathlib import Path

from atoll.keeper.client import KeeperError, Message, start_keeper, wire
from atoll.model.errors import Permanent, Retryable

REVIVE_S = 20.0
LINE_BYTES = wire.MAX_LINE_BYTES
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class KeeperLink:
    """Requests to the keeper of one environment."""

    def __init__(self, state_dir: Path, run_dir: Path, *, revives: bool = True) -> None:
        self._revives = revives
        self._state_dir = state_dir
        self._run_dir = run_dir
        self._socket = str(run_dir.absolute() / "keeper.sock")
        self._numbers = itertools.count(1)
        self._pending: dict[int, asyncio.Future[Message]] = {}
        self._lock = asyncio.Lock()
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._was_up = False

    async def connect(self) -> Streams:
        """A new connection; starts the keeper, if that is ours, when it was never there or was killed. Raises Retryable."""
        for _ in range(3):
            try:
                sock = wire.connect(self._socket)
            except FileNotFoundError as exc:
                if self._was_up:
                    raise Retryable("the environment's keeper was shut down", 1.0, id="keeper-unreachable") from exc
            except BlockingIOError:
                await asyncio.sleep(0.05)
                continue
            except OSError:
                pass
            else:
                sock.setblocking(False)
                self._was_up = True
                return await asyncio.open_connection(sock=sock, limit=LINE_BYTES)
            if not self._revives:
                raise Retryable("the keeper is away; its service manager starts it", 0.2, id="keeper-unreachable")
            try:
                await asyncio.to_thread(start_keeper, self._state_dir, self._run_dir, REVIVE_S)
            except KeeperError as exc:
                raise Retryable(str(exc), 2.0, id="keeper-unreachable") from exc
        raise Retryable("the keeper does not answer", 1.0, id="keeper-unreachable")

    async def call(self, op: str, deadline_s: float, *, again: bool = True, **fields: object) -> Message:
        """One request and its reply; `again` repeats it once when the connection broke (not for what must not twice).

        Raises Retryable when the keeper does not answer, Permanent when it refuses.
        """
        try:
            async with asyncio.timeout(deadline_s):
                try:
                    answer = await self._ask(op, fields)
                except ConnectionError as exc:
                    if not again:
                        raise Retryable(f"the keeper went away during {op}", 0.2, id="keeper-unreachable") from exc
                    answer = await self._ask(op, fields)
        except TimeoutError as exc:
            raise Retryable(
                f"the keeper did not answer {op} within {deadline_s:g} s", 1.0, id="keeper-unreachable"
            ) from exc
        except ConnectionError as exc:
            raise Retryable(f"the keeper went away during {op}", 0.5, id="keeper-unreachable") from exc
        if "error" in answer:
            raise Permanent(f"the keeper refused {op}: {answer['error']}", id="keeper-unreachable")
        return answer

    async def _ask(self, op: str, fields: dict[str, object]) -> Message:
        async with self._lock:
            if self._writer is None:
                reader, self._writer = await self.connect()
                self._reading = asyncio.create_task(self._read(reader, self._writer), name="keeper link")
            number = next(self._numbers)
            future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
            self._pending[number] = future
            self._writer.write(json.dumps({"n": number, "op": op, **fields}).encode() + b"\n")
        try:
            return await future
        finally:
            self._pending.pop(number, None)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hand replies to their askers until the connection ends; then all who wait learn it."""
        try:
            while line := await reader.readline():
                message: Message = json.loads(line)
                future = self._pending.get(message.get("n", 0))
                if future is not None and not future.done():
                    future.set_result(message)
        except (OSError, ValueError):
            pass  # a broken connection and a broken message end alike: below
        finally:
            if self._writer is writer:
                self._writer = None
            writer.close()
            for future in self._pending.values():
                if not future.done():
                    future.set_exception(ConnectionResetError("the keeper hung up"))

    async def close(self) -> None:
        """Hang up; the keeper and all that it keeps go on."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
