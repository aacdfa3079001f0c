"""What a probe makes of what it meets, against real sockets."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from atoll.model.catalogue.ids import ErrorId
from atoll.model.spec import Probe
from atoll.model.state import Address
from atoll.realise.probes import Answer, ask
from atoll.testing.fake_host import FakeHost

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[Address]:
    """The address of a server whose connections have all ended afterwards."""
    connections: set[asyncio.Task[None]] = set()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the probe has heard enough
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    try:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await asyncio.gather(*connections)
        await asyncio.sleep(0)  # transports close in the loop's next turn


def answering(*parts: bytes, heard: list[bytes] | None = None) -> Serve:
    """Reads a request, answers with these parts, a little apart, and closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if heard is not None:
            heard.append(request)
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.02)

    return serve


async def probed(address: Address, **more: object) -> Answer:
    probe = Probe(**{"kind": "http", "path": "/healthz", "timeout_s": 20.0, **more})  # type: ignore[arg-type]
    return await ask(probe, address, FakeHost.__new__(FakeHost), None)


def said(text: str, id: ErrorId = "probe-failed") -> Answer:
    return Answer(ok=False, text=text, id=id)


@pytest.mark.parametrize(("status", "ok"), [(200, True), (204, True), (302, True), (404, False), (503, False)])
async def test_an_http_probe_judges_by_the_status(status: int, ok: bool) -> None:
    async with serving(answering(f"HTTP/1.1 {status} Whatever\r\n\r\n".encode())) as address:
        assert await probed(address) == (Answer(ok=True) if ok else said(f"GET /healthz answered {status}"))


async def test_it_asks_as_it_was_told() -> None:
    heard: list[bytes] = []
    async with serving(answering(b"HTTP/1.1 200 OK\r\n\r\n", heard=heard)) as address:
        await probed(address, path="/ready?x=1", headers={"Host": "orders.local"})
    lines = heard[0].split(b"\r\n")
    assert lines[0] == b"GET /ready?x=1 HTTP/1.1"
    assert b"host: orders.local" in lines
    assert b"connection: close" in lines


async def test_an_answer_may_come_in_pieces_and_be_long() -> None:
    async with serving(answering(b"HTT", b"P/1.1 20", b"0 OK\r\nX: y\r\n\r\n", b"x" * 1_000_000)) as address:
        assert (await probed(address)).ok


@pytest.mark.parametrize("nonsense", [b"hello\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 \r\n", b"\r\n", b"x" * 9000])
async def test_what_is_not_http_is_said_to_be_so(nonsense: bytes) -> None:
    async with serving(answering(nonsense)) as address:
        assert await probed(address) == said("GET /healthz answered something that is not HTTP")


async def test_a_connection_that_ends_without_an_answer_is_no_answer() -> None:
    async with serving(answering()) as address:
        answer = await probed(address)
    assert not answer.ok
    assert "the connection ended before an answer" in answer.text


async def test_nobody_there_is_told_as_not_yet() -> None:
    with socket.socket() as bound:  # and nobody listens
        bound.bind(("127.0.0.1", 0))
        address = Address("127.0.0.1", bound.getsockname()[1])
        answer = await probed(address)
    assert answer == said(f"nothing listens on {address} yet", "port-not-used")


async def test_silence_ends_at_the_deadline() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(silent) as address:
        assert await probed(address, timeout_s=0.1) == said("no answer within 0.1 s")


# --- a TCP probe that asks -----------------------------------------------------------------------------------------


def saying(*parts: bytes, heard: list[bytes] | None = None) -> Serve:
    """Says these parts, a little apart, after it was asked (or at once where nobody wants to hear), and closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if heard is not None:
            heard.append(await reader.read(100))
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.02)

    return serve


async def test_a_tcp_probe_expects_what_a_server_says_by_itself() -> None:
    async with serving(saying(b"INFO {}\r\n")) as address:
        assert await probed(address, kind="tcp", expect="INFO ") == Answer(ok=True)


async def test_it_sends_its_bytes_and_its_answer_may_come_in_pieces() -> None:
    heard: list[bytes] = []
    async with serving(saying(b"+OK\r", b"\n+PO", b"NG\r\n", heard=heard)) as address:
        answer = await probed(address, kind="tcp", send="PING\xff\0\r\n", expect=r"\+OK\r\n\+PONG")
    assert answer == Answer(ok=True)
    assert heard == [b"PING\xff\0\r\n"]


@pytest.mark.parametrize(
    ("says", "shown"),
    [
        (b"-LOADING the dataset\r\n", "-LOADING the dataset"),
        (b"", "nothing"),
        (b"\0\x1b[31mE", "[31mE"),
        (b"not at first: +PONG", "not at first: +PONG"),
    ],
)
async def test_another_answer_is_shown_as_it_came_but_for_what_a_terminal_obeys(says: bytes, shown: str) -> None:
    async with serving(saying(says)) as address:
        answer = await probed(address, kind="tcp", expect=r"\+PONG")
    assert answer == said(f"its answer is not what is expected: {shown}")


async def test_one_that_talks_without_end_is_not_listened_to_without_end() -> None:
    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with serving(endless) as address:
        answer = await probed(address, kind="tcp", expect="y")
    assert not answer.ok
    assert len(answer.text) < 300
