"""The load generator against a real server that misbehaves on demand."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from examples.load import Load, Phase, Request, run

LOAD = Path(__file__).resolve().parents[2] / "examples" / "load.py"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    """A server that reads requests and lets `answer` write the answers; its URL."""
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
                await answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0.05)


def always(data: bytes) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return answer


async def one_phase(answer: Answer, *, deadline_s: float = 20, request: Request | None = None) -> Phase:
    async with serving(answer) as url:
        return await run(url, 100, 0.5, (request or Request(contains=b"ok"),), deadline_s)


async def test_good_answers_are_counted_and_timed() -> None:
    phase = await one_phase(always(OK))
    assert phase.sent > 0
    assert phase.failed == 0
    assert len(phase.latencies) == phase.sent
    assert 0 < phase.percentile_ms(50) <= phase.percentile_ms(99) <= phase.percentile_ms(100)


async def test_a_chunked_answer_is_read_to_its_end() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n"
    assert (await one_phase(always(chunked))).failed == 0


async def test_a_server_error_is_a_failure() -> None:
    phase = await one_phase(always(b"HTTP/1.1 503 Sorry\r\nContent-Length: 0\r\n\r\n"))
    assert phase.failures == {"status 503": phase.sent}


async def test_a_wrong_body_is_a_failure() -> None:
    phase = await one_phase(always(OK), request=Request(contains=b"not there"))
    assert phase.failures == {"wrong body": phase.sent}


async def test_half_an_answer_is_a_failure_and_is_not_sent_again() -> None:
    asked = 0

    async def answer(writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.write(OK[:-1])
        await writer.drain()
        writer.transport.close()

    phase = await one_phase(answer)
    assert phase.failures == {"connection broken": phase.sent}
    assert asked == phase.sent


async def test_silence_beyond_the_deadline_is_a_failure() -> None:
    async def answer(_: asyncio.StreamWriter) -> None: ...

    phase = await one_phase(answer, deadline_s=0.2)
    assert phase.failures == {"no answer within 0.2 s": phase.sent}


async def test_a_refused_connection_is_a_failure_of_its_own_kind() -> None:
    async with serving(always(OK)) as url:
        pass
    phase = await run(url, 100, 0.3, (Request(),), 20)
    assert phase.failures == {"connection refused": phase.sent}


async def test_a_server_that_closes_after_each_answer_loses_nothing() -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        await writer.drain()
        writer.close()

    assert (await one_phase(answer)).failed == 0


async def test_a_request_counts_in_the_phase_in_which_it_was_due() -> None:
    async with serving(always(OK)) as url:
        load = Load(url, 100)
        load.start("before")
        await asyncio.sleep(0.2)
        load.mark("after")
        await asyncio.sleep(0.2)
        before, after = await load.stop()
    assert before.sent > 0
    assert after.sent > 0
    assert load.sent == before.sent + after.sent
    assert load.failed == 0


async def test_posts_carry_a_new_body_each() -> None:
    bodies: list[bytes] = []

    def body() -> bytes:
        bodies.append(b"%d" % len(bodies))
        return bodies[-1]

    phase = await one_phase(always(OK), request=Request("POST", body=body))
    assert phase.failed == 0
    assert len(set(bodies)) == phase.sent


async def test_as_a_program_it_prints_json_and_its_exit_code_tells() -> None:
    async def load(url: str) -> tuple[int, dict[str, object]]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, LOAD, url, "--rate", "50", "--seconds", "0.5", "--json", stdout=subprocess.PIPE
        )
        printed, _ = await asyncio.wait_for(process.communicate(), 60)
        return process.returncode or 0, json.loads(printed)

    async with serving(always(OK)) as url:
        code, report = await load(url)
    assert (code, report["failed"]) == (0, 0)
    code, report = await load(url)
    assert code == 1
    assert report["failures"] == {"connection refused": report["sent"]}
