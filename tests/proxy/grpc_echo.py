"""A gRPC service of bytes, and calls to it."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from tests.proxy.lab import here

from atoll.model.state import Address


class Echo:
    """A service `demo.Echo` of bytes: Say, Count (a slow stream), Fail (the code that it is sent), Hang."""

    def __init__(self) -> None:
        self.callers: list[str] = []
        self.address = here()

    async def start(self) -> "Echo":
        methods = {
            "Say": grpc.unary_unary_rpc_method_handler(self._say),
            "Count": grpc.unary_stream_rpc_method_handler(self._count),
            "Fail": grpc.unary_unary_rpc_method_handler(self._fail),
            "Hang": grpc.unary_unary_rpc_method_handler(self._hang),
        }
        self.server = grpc.aio.server()
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("demo.Echo", methods),))
        self.server.add_insecure_port(str(self.address))
        await self.server.start()
        return self

    async def stop(self) -> None:
        """End at once. A server that nobody stopped makes the whole process hang where its threads are joined."""
        await self.server.stop(0)

    async def _say(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
        self.callers.append(metadata.get("x-atoll-caller", ""))
        return request.upper()

    async def _count(self, request: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield str(number).encode()
            await asyncio.sleep(0.4)

    async def _fail(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        code = next(code for code in grpc.StatusCode if code.value[0] == int(request))
        await context.abort(code, "as asked")

    async def _hang(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await asyncio.sleep(60)
        return request


async def call(where: Address, method: str, request: bytes, timeout_s: float = 30.0) -> bytes:
    """One call on a connection of its own, which is there before the time runs: a call whose deadline ends before is never sent."""
    async with grpc.aio.insecure_channel(str(where)) as channel:
        await asyncio.wait_for(channel.channel_ready(), 30)
        return await channel.unary_unary(f"/demo.Echo/{method}")(request, timeout=timeout_s)


async def refused(where: Address, method: str, request: bytes, timeout_s: float = 30.0) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(where, method, request, timeout_s)
    return caught.value.code()
