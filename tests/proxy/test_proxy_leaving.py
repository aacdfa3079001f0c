"""A gateway that is closed before all of it ends, with a real Envoy."""

import asyncio
import contextlib
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.proxy.lab import Lab, ask, edge, eventually, here, route, service, upstream

from atoll.model.state import Address
from atoll.proxy import Sockets, emptied

pytestmark = pytest.mark.e2e


async def closing(lab: Lab, within_s: float, told: list[int]) -> int:
    lab.proxy.close_gateway()
    return await emptied(Sockets(lab.folder).admin, [lab.gateway.port], 10.0, within_s, told.append)


async def refused(where: Address) -> bool:
    try:
        await ask(where)
    except ConnectionError:
        return True
    return False


async def test_what_is_in_flight_is_answered_and_nothing_new_comes_in(lab: Lab) -> None:
    one, port = await lab.backend("one"), here()
    orders = service("orders", upstream(1, one.address), weights={1: 100}, routes=(route(),))
    await lab.apply(service("web", edges=(edge("orders", port),)), orders)
    slow, told = asyncio.create_task(ask(lab.gateway, "/wait")), list[int]()
    await eventually(lambda: counted(lab, one.address, 1))
    waiting = asyncio.create_task(closing(lab, 30.0, told))
    await eventually(lambda: refused(lab.gateway))
    await eventually(lambda: told)
    assert not slow.done()
    assert (await ask(port)).who == "one"  # services still reach each other
    one.go.set()
    reply = await slow
    assert (reply.who, reply.headers["connection"]) == ("one", "close")
    assert await waiting == 0
    assert len(told) == 1
    assert told[0] >= 1, "the slow one, and perhaps the last that asked whether it is refused by now"
    await lab.apply(orders)
    assert await refused(lab.gateway)  # a change does not open it again


async def test_a_stream_is_not_waited_for_longer_than_asked(lab: Lab) -> None:
    one = await lab.backend("one")
    await lab.apply(service("orders", upstream(1, one.address), weights={1: 100}, routes=(route(),)))
    slow = asyncio.create_task(ask(lab.gateway, "/wait"))  # for ever
    await eventually(lambda: counted(lab, one.address, 1))
    began = time.monotonic()
    assert await closing(lab, 1.0, []) == 1
    assert time.monotonic() - began >= 1.0
    slow.cancel()


async def test_the_next_daemon_opens_it_again(lab: Lab) -> None:
    one = await lab.backend("one")
    orders = service("orders", upstream(1, one.address), weights={1: 100}, routes=(route(),))
    await lab.apply(orders)
    assert await closing(lab, 10.0, []) == 0
    assert await refused(lab.gateway)
    await lab.restart_proxy()
    await eventually(lab.proxy.generation)
    await lab.apply(orders)
    assert (await ask(lab.gateway)).who == "one"


async def test_it_is_opened_again_when_somebody_thought_better_of_it(lab: Lab) -> None:
    one = await lab.backend("one")
    await lab.apply(service("orders", upstream(1, one.address), weights={1: 100}, routes=(route(),)))
    lab.proxy.open_gateway()  # which it is
    assert (await ask(lab.gateway)).who == "one"
    assert await closing(lab, 10.0, []) == 0
    assert await refused(lab.gateway)
    lab.proxy.open_gateway()
    await eventually(lambda: answered(lab.gateway))


async def answered(where: Address) -> bool:
    return not await refused(where) and (await ask(where)).who == "one"


async def test_without_an_envoy_there_is_nothing_to_wait_for(lab: Lab) -> None:
    await lab.kill_envoy()
    assert await closing(lab, 30.0, []) == 0


@contextlib.asynccontextmanager
async def answering(counts: list[int], then: Callable[[], object] = bool) -> AsyncIterator[Path]:
    """An admin interface that says what is in flight, one of `counts` a question (below 0: never), and does `then` before."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readline():  # else only looked whether anybody is there
            count = counts.pop(0)
            then()
            if count < 0:
                await reader.read()  # until whoever asked has given up
            else:
                writer.write(f"HTTP/1.1 200 OK\r\n\r\nhttp.gateway.downstream_rq_active: {count}\n".encode())
        writer.close()

    with tempfile.TemporaryDirectory(prefix="lab") as folder:  # pytest's own paths are too long for a socket
        async with await asyncio.start_unix_server(serve, path := Path(folder) / "admin"):
            yield path


async def test_what_comes_in_just_before_it_closes_is_waited_for() -> None:
    counts, told = [0, 1, 0], list[int]()
    with socket.create_server(("127.0.0.1", 0)) as gateway:
        port = gateway.getsockname()[1]
        async with answering(counts, gateway.close) as admin:
            assert await emptied(admin, [port], 10.0, 30.0, told.append) == 0
    assert (told, counts) == ([1], [])


async def test_an_envoy_too_busy_to_answer_may_have_requests() -> None:
    counts, told = [-1, 1, 0], list[int]()
    with socket.create_server(("127.0.0.1", 0)) as gateway:
        port = gateway.getsockname()[1]
    async with answering(counts) as admin:
        assert await emptied(admin, [port], 10.0, 30.0, told.append) == 0
    assert (told, counts) == ([1], [])


async def counted(lab: Lab, where: Address, count: int) -> bool:
    return await lab.proxy.inflight([where]) == {where: count}
