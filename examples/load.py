"""A steady load on an HTTP server that counts every failure: a library for the demo and the benchmarks, and a program.

    python examples/load.py http://127.0.0.1:8080 --rate 500 --seconds 20 --shop --json

Open loop: requests leave by the clock at `rate` per second, however slow the answers are, and a latency counts from the
moment when the request was due (no coordinated omission). Connections are kept and reused, as real clients do, which is
what makes switching hard to survive. Nothing is ever retried. A request has failed when

  - its connection was refused, reset or closed before the whole answer,
  - the whole answer was not there within `deadline_s` of the moment when it was due,
  - the status is 500 or more, or not one that the request expects,
  - the body is not the one that the request expects,
  - it could not be sent, because all of `connections` were waiting for answers.

Standard library only. Talks to the address that it is given and nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

MAX_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True)
class Request:
    """One kind of request. `body` makes a new body each time; `contains` must stand in the answer's body.

    `share` weighs it against the others of a mix. `seen` is told status and body of each whole answer.
    """

    method: str = "GET"
    path: str = "/"
    body: Callable[[], bytes] | None = None
    content_type: str = "application/json"
    statuses: frozenset[int] = frozenset({200})
    contains: bytes = b""
    share: int = 1
    seen: Callable[[int, bytes], None] | None = None


def _purchase() -> bytes:
    return f"sku=lamp&order={uuid.uuid4()}".encode()


def shop() -> tuple[Request, ...]:
    """What a shop's customers do: four look, one buys. The order's id makes each purchase another one."""
    return (
        Request("GET", "/", contains=b"Reading lamp", share=4),
        Request(
            "POST",
            "/buy",
            body=_purchase,
            content_type="application/x-www-form-urlencoded",
            statuses=frozenset({200, 201}),
            contains=b"Thank you",
        ),
    )


class Failed(Exception):
    """A request failed; the text is the kind of failure that is counted."""


@dataclass
class Phase:
    """What happened to the requests that were due in one phase. Times in seconds, on the loop's clock."""

    name: str
    began: float
    ended: float = 0.0
    sent: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    first_failure: float | None = None
    last_failure: float | None = None

    @property
    def failed(self) -> int:
        return self.failures.total()

    @property
    def failing_s(self) -> float:
        """From when the first failed request was due until the last one was; 0 when none failed."""
        if self.first_failure is None or self.last_failure is None:
            return 0.0
        return self.last_failure - self.first_failure

    def percentile_ms(self, pct: float) -> float:
        """The latency that `pct` per cent of the good answers did not exceed, in milliseconds; 0 without any."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * pct / 100))] * 1000 if ordered else 0.0

    def failure(self, kind: str, due: float) -> None:
        self.failures[kind] += 1
        self.first_failure = due if self.first_failure is None else min(self.first_failure, due)
        self.last_failure = due if self.last_failure is None else max(self.last_failure, due)

    def report(self) -> dict[str, Any]:
        return {
            "phase": self.name,
            "seconds": round(self.ended - self.began, 3),
            "sent": self.sent,
            "failed": self.failed,
            "failures": dict(self.failures),
            "failing_s": round(self.failing_s, 3),
            "p50_ms": round(self.percentile_ms(50), 2),
            "p99_ms": round(self.percentile_ms(99), 2),
            "max_ms": round(self.percentile_ms(100), 2),
        }


class Connection:
    """One kept HTTP/1.1 connection; one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.reusable = True

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        return cls(*await asyncio.open_connection(host, port, limit=MAX_HEAD_BYTES))

    @property
    def alive(self) -> bool:
        """False once the other side closed it while it was idle: no request is lost by not using it."""
        return self.reusable and not self._reader.at_eof() and not self._writer.is_closing()

    async def ask(self, head: bytes, body: bytes) -> tuple[int, bytes]:
        """Send one request; its status and body. OSError, EOFError or ValueError when that is not what comes back."""
        self.reusable = False  # until the answer was read to its end
        self._writer.write(head + body)
        status_line, *lines = (await self._reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
        status = int(status_line.split(b" ", 2)[1])
        headers = {}
        for line in lines:
            name, _, value = line.partition(b":")
            headers[name.strip().lower()] = value.strip().lower()
        answer = await self._body(headers)
        self.reusable = headers.get(b"connection") != b"close"
        return status, answer

    async def _body(self, headers: dict[bytes, bytes]) -> bytes:
        if headers.get(b"transfer-encoding") == b"chunked":
            chunks = []
            while size := int((await self._reader.readline()).split(b";")[0] or b"", 16):
                chunks.append((await self._reader.readexactly(size + 2))[:-2])
            await self._reader.readline()
            return b"".join(chunks)
        return await self._reader.readexactly(int(headers.get(b"content-length", b"0")))

    def close(self) -> None:
        self._writer.transport.abort()


class Load:
    """A steady load. `start`, `mark` a new phase whenever something happens, `stop`; then read `phases`.

    `rate` is requests per second over all of `requests`; `connections` bounds how many may be open at once.
    """

    def __init__(
        self,
        url: str,
        rate: float,
        requests: Sequence[Request] = (Request(),),
        *,
        deadline_s: float = 10.0,
        connections: int = 256,
    ) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._interval_s = 1 / rate
        self._mix = [request for request in requests for _ in range(request.share)]
        self._deadline_s = deadline_s
        self._connections = connections
        self._idle: list[Connection] = []
        self._pending: set[asyncio.Task[None]] = set()
        self._schedule: asyncio.Task[None] | None = None
        self.phases: list[Phase] = []

    def start(self, phase: str = "steady") -> None:
        """Begin to send; call it in a running loop."""
        self.mark(phase)
        self._schedule = asyncio.create_task(self._send_by_the_clock())

    def mark(self, phase: str) -> Phase:
        """Count what is due from now on under this name. The phase before is complete once `settle` was waited for."""
        now = asyncio.get_running_loop().time()
        if self.phases:
            self.phases[-1].ended = now
        self.phases.append(Phase(phase, now))
        return self.phases[-1]

    async def settle(self) -> None:
        """Wait (at most `deadline_s`) for the answers that are due by now, so that what is done next hits none of them."""
        if self._pending:
            await asyncio.wait(set(self._pending), timeout=self._deadline_s + 1)

    async def stop(self) -> list[Phase]:
        """Send no more, wait for the answers that are due (at most `deadline_s`), close every connection.

        Raises what ended the schedule, should it have ended by itself.
        """
        if self._schedule is not None:
            self._schedule.cancel()
            try:
                await self._schedule
            except asyncio.CancelledError:
                pass  # that is what was asked for
            self._schedule = None
        await self.settle()
        for connection in self._idle:
            connection.close()
        self._idle.clear()
        if self.phases:
            self.phases[-1].ended = asyncio.get_running_loop().time()
        return self.phases

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def sent(self) -> int:
        return sum(phase.sent for phase in self.phases)

    @property
    def failed(self) -> int:
        return sum(phase.failed for phase in self.phases)

    async def _send_by_the_clock(self) -> None:
        loop = asyncio.get_running_loop()
        due, count = loop.time(), 0
        while True:
            if (early := due - loop.time()) > 0:
                await asyncio.sleep(early)
            elif count % 64 == 0:
                await asyncio.sleep(0)  # late: catch up, but let answers in
            phase = self.phases[-1]
            phase.sent += 1
            if len(self._pending) >= self._connections:
                phase.failure("not sent: every connection waits for an answer", due)
            else:
                task = asyncio.create_task(self._one(self._mix[count % len(self._mix)], phase, due))
                self._pending.add(task)
                task.add_done_callback(self._pending.discard)
            due += self._interval_s
            count += 1

    async def _one(self, request: Request, phase: Phase, due: float) -> None:
        """Send one request and count what came of it. Never raises."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(due + self._deadline_s):
                await self._exchange(request)
        except Failed as failed:
            phase.failure(str(failed), due)
        except TimeoutError:
            phase.failure(f"no answer within {self._deadline_s:g} s", due)
        except ConnectionRefusedError:
            phase.failure("connection refused", due)
        except (OSError, EOFError):
            phase.failure("connection broken", due)
        except (ValueError, IndexError, asyncio.LimitOverrunError):
            phase.failure("answer is not HTTP", due)
        else:
            phase.latencies.append(loop.time() - due)

    async def _exchange(self, request: Request) -> None:
        body = request.body() if request.body else b""
        head = (
            f"{request.method} {request.path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Content-Type: {request.content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode()
        connection = await self._connection()
        try:
            status, answer = await connection.ask(head, body)
        finally:
            if connection.reusable:
                self._idle.append(connection)
            else:
                connection.close()
        if request.seen:
            request.seen(status, answer)
        if status not in request.statuses:
            raise Failed(f"status {status}")
        if request.contains not in answer:
            raise Failed("wrong body")

    async def _connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.alive:
                return connection
            connection.close()
        return await Connection.open(self._host, self._port)


async def run(url: str, rate: float, seconds: float, requests: Sequence[Request], deadline_s: float) -> Phase:
    """One phase of load, from start to end."""
    load = Load(url, rate, requests, deadline_s=deadline_s)
    load.start("load")
    try:
        await asyncio.sleep(seconds)
    finally:
        await load.stop()
    return load.phases[0]


def main() -> int:
    parser = argparse.ArgumentParser(description="A steady load on an HTTP server; exits 1 when any request failed.")
    parser.add_argument("url", help="http://HOST:PORT[/PATH]; PATH is what is asked for, unless --shop")
    parser.add_argument("--rate", type=float, default=100, help="requests per second")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--deadline", type=float, default=10, help="seconds within which an answer counts")
    parser.add_argument("--shop", action="store_true", help="the mix of the example's customers: look and buy")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    mix = shop() if asked.shop else (Request(path=urlsplit(asked.url).path or "/"),)
    began = time.perf_counter()
    report = asyncio.run(run(asked.url, asked.rate, asked.seconds, mix, asked.deadline)).report()
    report["rate"] = round(report["sent"] / report["seconds"], 1) if report["seconds"] else 0.0
    report["wall_s"] = round(time.perf_counter() - began, 3)
    if asked.json:
        print(json.dumps(report))
    else:
        print("{sent} sent at {rate}/s, {failed} failed {failures}".format(**report))
        print("p50 {p50_ms} ms, p99 {p99_ms} ms, max {max_ms} ms".format(**report))
    return 1 if report["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
