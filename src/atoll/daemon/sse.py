"""One answer as a stream over any async iterator: of server-sent events, or of a file's parts.

`daemon.api` alone uses it. It ends as soon as the client goes, the iterator ends (event `end`) or the daemon closes
(event `closing`: the client comes back with Last-Event-ID), and it always closes the iterator.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from atoll.daemon.openapi import FILE
from atoll.model.wire import ErrorView

BEAT_S = 15.0  # a comment this often, so that a client (and an SSH tunnel) knows that the line is alive
_ENDED = object()


class _Gone(Exception):
    """The client went while we wrote."""


_encode = msgspec.json.encode


@dataclass(frozen=True)
class EventStream:
    """An ASGI answer. `name` and `id_of` label each item; `explain` turns an error into what is sent as event `error`."""

    items: AsyncIterator[Any]
    closing: asyncio.Event
    explain: Callable[[Exception], ErrorView]
    name: str
    id_of: Callable[[Any], str] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until there is nothing more to send or nobody to send to."""
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        writer = asyncio.create_task(self._write(send), name=f"sse {scope['path']}")
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait({writer, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            writer.cancel()
            await asyncio.wait({writer, gone})
        if not writer.cancelled() and (problem := writer.exception()) is not None:
            raise problem

    async def _write(self, send: Send) -> None:
        async def put(chunk: bytes, *, more: bool = True) -> None:
            try:
                await send({"type": "http.response.body", "body": chunk, "more_body": more})
            except OSError as exc:
                raise _Gone from exc

        try:
            try:
                await put(b": hello\n\n")  # the client sees at once that it is connected
                last = await self._pump(put)
            except _Gone:
                raise
            except Exception as exc:  # noqa: BLE001  the status line is out: any error travels as an event
                last = b"event: error\ndata: " + _encode(self.explain(exc)) + b"\n\n"
            await put(last, more=False)
        except _Gone:
            return  # nobody is left to tell

    async def _pump(self, put: Callable[[bytes], Any]) -> bytes:
        """Send item after item; returns the event to end with."""
        closing = asyncio.create_task(self.closing.wait())
        following: asyncio.Task[Any] | None = None
        try:
            async with _closed(self.items) as items:
                try:
                    while True:
                        following = following or asyncio.create_task(_next(items))
                        waiting: set[asyncio.Task[Any]] = {following, closing}
                        await asyncio.wait(waiting, timeout=BEAT_S, return_when=asyncio.FIRST_COMPLETED)
                        if following.done():
                            done, following = following, None
                            if (item := done.result()) is _ENDED:
                                return b"event: end\ndata: {}\n\n"
                            await put(self._event(item))
                        if closing.done():
                            return b"retry: 200\nevent: closing\ndata: {}\n\n"
                        if following is not None:
                            await put(b": beat\n\n")
                finally:
                    if following is not None:  # before the iterator is closed, which must not be running
                        following.cancel()
                        await asyncio.wait({following})
        finally:
            closing.cancel()

    def _event(self, item: Any) -> bytes:
        name = self.id_of(item) if self.id_of else ""
        head = f"id: {name}\n" if name else ""
        return f"{head}event: {self.name}\ndata: ".encode() + _encode(item) + b"\n\n"


@dataclass(frozen=True)
class Download:
    """An ASGI answer: a file, as its parts come. One that is not whole ends without its last chunk, which a client sees."""

    parts: AsyncIterator[bytes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until its end; the client's end is met when it takes no more."""
        headers = [(b"content-type", FILE.encode()), (b"cache-control", b"no-store")]
        sending = asyncio.create_task(self._send(send, headers), name=f"download {scope['path']}")
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            sending.cancel()
            await asyncio.wait({sending, gone})
        if not sending.cancelled() and (problem := sending.exception()) is not None:
            raise problem  # the server drops the line, so that nobody takes it for whole

    async def _send(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        async with _closed(self.parts) as parts:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async for part in parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _closed(items: AsyncIterator[Any]) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
    """Closes a generator at the end; an iterator without `aclose` has nothing to close."""
    return aclosing(items) if isinstance(items, AsyncGenerator) else nullcontext(items)


async def _next(items: AsyncIterator[Any]) -> Any:
    return await anext(items, _ENDED)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
