"""What it costs to read the golden signals, beside the raw read of the same pages.

The floor opens Envoy's admin socket, asks for the same pages and reads each answer to its end. Atoll's read does that, takes
them apart, and makes differences by edge, release and replica. It is the largest of its kind: every edge has had twelve
requests since the read before, with latencies in as many buckets, and the page of hosts, which is read each fifth second
only, is among it. CPU time is this process's, and for Envoy that of its whole process; ratios are taken round by round.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import psutil

from atoll.model.spec import EdgePolicy
from atoll.model.state import Address
from atoll.model.traffic import Ack, Edge, Endpoint, ServiceTraffic, Table, Upstream
from atoll.proxy import EnvoyProxy, command
from atoll.proxy.admin import Admin
from atoll.proxy.stats import REPLICAS_EVERY_S
from bench.report import Result
from bench.site import ended, free_ports, temporary
from bench.stats import Sample, ratio

TARGET = 8.0
SIZES = (10, 100, 500)
REPLICAS = 3
DELAYS_MS = (0, 1, 2, 3, 5, 8, 12, 18, 30, 45, 70, 110)
PER_ROUND = 4  # raw reads a measurement
PER_ENVOY = 20  # its CPU time is counted in hundredths of a second
QUERY = {"usedonly": "", "histogram_buckets": "detailed"}


def run(*, quick: bool) -> Result:
    result = Result()
    for size in SIZES[: 1 if quick else None]:
        with temporary() as folder, contextlib.ExitStack() as running:
            asyncio.run(_measure(folder, running, result, size, 2 if quick else 7))
    return result


async def _measure(folder: Path, running: contextlib.ExitStack, result: Result, size: int, rounds: int) -> None:
    first = free_ports(size + 2)
    addresses = [f"127.0.0.{number}" for number in range(1, REPLICAS + 1)]
    backend = await asyncio.start_server(_answer, addresses, first + 1)
    adapter, admin = EnvoyProxy(folder, folder), Admin(folder / "envoy.sock")
    await adapter.start()
    try:
        argv = command(folder, folder)
        envoy = _started(argv)
        running.enter_context(ended(envoy))
        table = _table(first, first + 1, size)
        if await adapter.apply(table, frozenset(table.services), 60) != Ack():
            raise RuntimeError("Envoy did not take the table")
        process = psutil.Process(envoy.pid)
        ports = range(first + 2, first + 2 + size)
        await _load(ports)
        await asyncio.sleep(1.5)
        await adapter.read()
        floor: list[float] = []
        ours: list[float] = []
        of_envoy: list[float] = []
        hosts: list[float] = []
        for _ in range(rounds):
            due = time.monotonic() + REPLICAS_EVERY_S
            await _load(ports)
            await asyncio.sleep(max(1.2, due - time.monotonic()))  # Envoy merges its histograms each second
            floor.append(await _cpu_s(lambda: _raw(admin)))
            ours.append(await _cpu_s(adapter.read, 1))
            of_envoy.append(await _envoy_ms(process, lambda: admin.get("/stats", **QUERY)))
            hosts.append(await _envoy_ms(process, lambda: admin.get("/clusters")))
        compared = ratio(ours, floor)
        text = f"{compared.text('x')}; {Sample.of(ours).median * 1e3:.1f} ms a read"
        what = f"{size} edges, {size * REPLICAS} hosts: Atoll's read to the raw one, CPU"
        result.add(what, text, f"at most {TARGET:.0f} x", compared.median <= TARGET)
        result.add(f"{size} edges: Envoy, CPU for the page of each second", Sample.of(of_envoy).text("ms"))
        result.add(f"{size} edges: Envoy, CPU for the page of each fifth", Sample.of(hosts).text("ms"))
    finally:
        await adapter.close()
        backend.close()


def _started(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


async def _cpu_s(do: Callable[[], Awaitable[object]], times: int = PER_ROUND) -> float:
    """CPU seconds of this process for one."""
    before = time.process_time()
    for _ in range(times):
        await do()
    return (time.process_time() - before) / times


async def _raw(admin: Admin) -> None:
    await admin.get("/stats", **QUERY)
    await admin.get("/clusters")


async def _envoy_ms(process: psutil.Process, do: Callable[[], Awaitable[object]]) -> float:
    """CPU milliseconds of Envoy for one."""
    before = sum(process.cpu_times()[:2])
    for _ in range(PER_ENVOY):
        await do()
    return (sum(process.cpu_times()[:2]) - before) / PER_ENVOY * 1e3


async def _load(ports: range) -> None:
    """One request a delay and edge, some hundred at a time."""
    limit = asyncio.Semaphore(200)

    async def one(port: int, delay_ms: int) -> None:
        async with limit:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET /{delay_ms} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
            await reader.read()
            writer.close()

    await asyncio.gather(*(one(port, delay_ms) for port in ports for delay_ms in DELAYS_MS))


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(int(head.split()[1][1:]) / 1000)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            await writer.drain()
    writer.close()


def _table(gateway: int, backend: int, size: int) -> Table:
    points = tuple(
        Endpoint(replica=f"r{number}", address=Address(f"127.0.0.{number}", backend))
        for number in range(1, REPLICAS + 1)
    )
    upstream = Upstream(release=1, port="http", protocol="http", endpoints=points)
    names = [f"s{number}" for number in range(size)]
    edges = tuple(
        Edge(
            caller_release=1,
            callee=name,
            port="http",
            protocol="http",
            listen=Address("127.0.0.1", backend + 1 + number),
            policy=EdgePolicy(),
        )
        for number, name in enumerate(names)
    )
    services = {name: ServiceTraffic(service=name, weights={1: 100}, upstreams=(upstream,)) for name in names}
    services["caller"] = ServiceTraffic(service="caller", edges=edges)
    return Table(gateway=Address("127.0.0.1", gateway), services=services)
