"""A laboratory: the real Envoy, the proxy, small backends and a client, all in the test's own loop."""

import asyncio
import contextlib
import glob
import random
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from atoll.keeper.fixtures import Run
from atoll.model.spec import EdgePolicy
from atoll.model.state import Address
from atoll.model.traffic import Edge, Endpoint, GatewayRoute, ServiceTraffic, Table, Upstream
from atoll.proxy import Door, EnvoyProxy, Sockets, command
from atoll.proxy.admin import Admin
from atoll.proxy.handover import PARENT_S
from atoll.proxy.scrape import GATEWAY_STATS
from atoll.testing.ports import free_port


class Reply:
    """What a client got."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def who(self) -> str:
        return self.headers.get("x-who", str(self.status))


class Backend:
    """An HTTP/1.1 server that says its name. The path orders: /status/N, /sleep/SECONDS, /reset, /cut, /echo, /sse, and
    /wait, which is answered once `go` is set: what a test looks at meanwhile is there however long its looks take.
    """

    def __init__(self, name: str) -> None:
        self.name, self.status, self.delay_s, self.reset = name, 200, 0.0, False
        self.go = asyncio.Event()
        self.heads: list[str] = []
        self.address = Address("127.0.0.1", free_port())
        self._connections: set[asyncio.StreamWriter] = set()

    async def start(self) -> "Backend":
        self.server = await asyncio.start_server(self._serve, self.address.host, self.address.port, backlog=1024)
        return self

    async def stop(self) -> None:
        self.server.close()
        for writer in list(self._connections):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                body = await _body(reader, _headers(head))
                self.heads.append(head)
                if not await self._answer(head, body, reader, writer):
                    return
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _answer(self, head: str, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        path, status = head.split()[1], self.status
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        what, _, value = path.lstrip("/").partition("/")
        if what == "sleep":
            await asyncio.sleep(float(value))
        if what == "wait":
            await self.go.wait()
        if what == "status":
            status = int(value)
        if what == "reset" or self.reset:
            writer.transport.abort()
            return False
        if what == "sse":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
            for number in range(5):
                writer.write(f"data: {number}\n\n".encode())
                await writer.drain()
                await asyncio.sleep(0.4)
            return False
        if what == "cut":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc")
            await writer.drain()
            await asyncio.sleep(0.1)
            writer.transport.abort()
            return False
        if "upgrade: websocket" in head.lower():
            writer.write(b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
            while data := await reader.read(1000):
                writer.write(data.upper())
            return False
        answer = body if what == "echo" else self.name.encode()
        writer.write(
            f"HTTP/1.1 {status} X\r\nx-who: {self.name}\r\nserver: mine\r\ncontent-length: {len(answer)}\r\n\r\n".encode()
            + answer
        )
        await writer.drain()
        return True


class Silent:
    """An address that answers no SYN, like that of a container that is gone: a queue that is full, and nobody accepts."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", free_port()), backlog=0)
        self.address = Address(*self._listening.getsockname())
        # The one place in the queue: Linux has one more than it is asked for.
        self._waiting = socket.create_connection(self._listening.getsockname())

    def close(self) -> None:
        self._waiting.close()
        self._listening.close()


def _headers(head: str) -> dict[str, str]:
    rows = (line.partition(":") for line in head.split("\r\n")[1:] if line)
    return {key.lower(): value.strip() for key, _, value in rows}


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "chunked" in headers.get("transfer-encoding", ""):
        parts = []
        while size := int((await reader.readline()).strip(), 16):
            parts.append(await reader.readexactly(size))
            await reader.readline()
        await reader.readline()
        return b"".join(parts)
    return await reader.readexactly(int(headers.get("content-length", "0")))


async def ask(
    where: Address, path: str = "/", *, method: str = "GET", body: bytes = b"", host: str = "x", **headers: str
) -> Reply:
    """One request on a connection of its own; a header `x_y` is sent as `x-y`."""
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection(where.host, where.port)
        try:
            more = "".join(f"{key.replace('_', '-')}: {value}\r\n" for key, value in headers.items())
            head = f"{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(body)}\r\n{more}\r\n"
            writer.write(head.encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).decode()
            found = _headers(answer)
            content = await _body(reader, found) if method != "HEAD" else b""
            return Reply(int(answer.split()[1]), found, content)
        finally:
            writer.close()


async def eventually(check: Callable[[], object], deadline_s: float = 30.0) -> None:
    """Wait until `check` says so; it may be a coroutine function."""
    async with asyncio.timeout(deadline_s):
        while True:
            found = check()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.02)


class Lab:
    """One environment's proxy. `envoy` is its process while it runs."""

    def __init__(self, folder: Path, door: Door | None = None) -> None:
        self.folder = folder
        self.proxy = EnvoyProxy(folder, folder, door)
        self.gateway = Address("127.0.0.1", free_port())
        self.envoy: asyncio.subprocess.Process | None = None
        self.olders: list[asyncio.subprocess.Process] = []
        self.line = 0
        self.services: dict[str, ServiceTraffic] = {}
        self._backends: list[Backend] = []
        self._log = (folder / "envoy.log").open("ab")

    async def backend(self, name: str) -> Backend:
        self._backends.append(await Backend(name).start())
        return self._backends[-1]

    async def start_envoy(self, *, turn: int = 0, parent_s: int = PARENT_S) -> None:
        """One in a new line, or the next of the last one, which goes on beside it (`olders`) for `parent_s` seconds."""
        if turn:
            assert self.envoy is not None
            self.olders.append(self.envoy)
        else:
            self._sweep()
            self.line = random.randrange(1, 1 << 24)
        run = Run("proxy", time.monotonic_ns() // 1_000_000, self.line, turn)
        argv = [run.filled(word) for word in command(self.folder, self.folder)]
        argv[argv.index("--parent-shutdown-time-s") + 1] = str(parent_s)
        self.envoy = await asyncio.create_subprocess_exec(*argv, stdout=self._log, stderr=self._log)

    def _sweep(self) -> None:
        """What the keeper does of a line that has ended."""
        for left in Path("/dev/shm").glob(f"envoy_shared_memory_{self.line}?"):
            left.unlink()

    async def restart_proxy(self) -> None:
        """Another daemon's end of it, at the same place."""
        await self.proxy.close()
        self.proxy = EnvoyProxy(self.folder, self.folder)
        await self.proxy.start()

    @staticmethod
    def found(pattern: str) -> list[str]:
        return glob.glob(pattern)

    async def kill_envoy(self) -> None:
        assert self.envoy is not None
        with contextlib.suppress(ProcessLookupError):
            self.envoy.send_signal(signal.SIGKILL)
        await self.envoy.wait()

    def log(self) -> str:
        return (self.folder / "envoy.log").read_text()

    async def apply(self, *entries: ServiceTraffic, deadline_s: float = 30.0, gone: tuple[str, ...] = ()) -> object:
        """Apply these entries over those of before."""
        self.services |= {entry.service: entry for entry in entries}
        for name in gone:
            del self.services[name]
        changed = frozenset({entry.service for entry in entries} | set(gone))
        table = Table(gateway=self.gateway, services=dict(self.services))
        return await self.proxy.apply(table, changed, deadline_s)

    async def at_the_gateway(self) -> int:
        """Requests that Envoy has begun there and not ended, also those that no replica has yet."""
        body = await Admin(Sockets(self.folder).admin).get("/stats", filter=f"^{GATEWAY_STATS}$")
        return sum(int(row.rpartition(b": ")[2]) for row in (body or b"").splitlines())

    async def close(self) -> None:
        for envoy in (self.envoy, *self.olders):
            if envoy and envoy.returncode is None:
                envoy.kill()
                await envoy.wait()
        self._sweep()
        await self.proxy.close()
        for backend in self._backends:
            await backend.stop()
        self._log.close()


def upstream(
    release: int, *addresses: Address, port: str = "http", protocol: str = "http", draining: tuple[Address, ...] = ()
) -> Upstream:
    points = tuple(
        Endpoint(
            replica=f"r{release}-{where.port}", address=where, state="draining" if where in draining else "serving"
        )
        for where in addresses
    )
    return Upstream(release=release, port=port, protocol=protocol, endpoints=points)


def edge(
    callee: str,
    listen: Address,
    *,
    release: int = 1,
    port: str = "http",
    protocol: str = "http",
    url: str | None = None,
    **policy: object,
) -> Edge:
    return Edge(
        caller_release=release,
        callee=callee,
        port=port,
        protocol=protocol,
        listen=listen,
        policy=EdgePolicy(**policy),
        url=url,
    )


def route(
    path: str = "/",
    *,
    releases: tuple[int, ...] = (1,),
    host: str | None = None,
    strip: bool = False,
    protocol: str = "http",
    port: str = "http",
    **policy: object,
) -> GatewayRoute:
    return GatewayRoute(
        path=path, host=host, port=port, protocol=protocol, strip=strip, policy=EdgePolicy(**policy), releases=releases
    )


def service(
    name: str,
    *upstreams: Upstream,
    weights: dict[int, int] | None = None,
    edges: tuple[Edge, ...] = (),
    routes: tuple[GatewayRoute, ...] = (),
    hold: bool = False,
) -> ServiceTraffic:
    if weights is None:
        weights = {one.release: 100 for one in upstreams}
    return ServiceTraffic(service=name, weights=weights, upstreams=upstreams, edges=edges, routes=routes, hold=hold)


def here() -> Address:
    """A free address."""
    return Address("127.0.0.1", free_port())
