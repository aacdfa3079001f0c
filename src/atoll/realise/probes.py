"""Asking a replica how it is: HTTP, gRPC health `Check`, TCP, a command. One question, one answer, never an exception."""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

from atoll.model.catalogue.ids import ErrorId
from atoll.model.errors import AtollError
from atoll.model.spec import Probe
from atoll.model.state import Address
from atoll.ports import Host, Launch

_LONGEST_LINE_BYTES = 4096
_SHOWN = 120  # characters of an answer that is not the right one
_GRPC_CHECK = "/grpc.health.v1.Health/Check"
_SERVING = (
    b"\x08\x01"  # HealthCheckResponse{status: SERVING}, https://github.com/grpc/grpc/blob/master/doc/health-checking.md
)


class Answer(NamedTuple):
    """Whether it is well; if not, what it said in a person's words, and the id of the page that explains it."""

    ok: bool
    text: str = ""
    id: ErrorId | Literal[""] = ""


def _ill(text: str, id: ErrorId = "probe-failed") -> Answer:
    return Answer(ok=False, text=text, id=id)


Ask = Callable[[Probe, Address | None, Host, Launch | None], Awaitable[Answer]]


async def ask(probe: Probe, address: Address | None, host: Host, launch: Launch | None) -> Answer:
    """Ask once, within `probe.timeout_s`. `launch` is what a command probe runs."""
    try:
        async with asyncio.timeout(probe.timeout_s):
            match probe.kind:
                case "process":
                    return Answer(ok=True)
                case "command":
                    return await _command(host, launch, probe.timeout_s)
                case _ if address is None:
                    return _ill(f"the probe's port '{probe.port}' does not exist", "no-such-port")
                case "tcp":
                    return await _tcp(probe, address)
                case "http":
                    return await _http(probe, address)
                case "grpc":
                    return await _grpc(probe, address)
    except TimeoutError:
        return _ill(f"no answer within {probe.timeout_s:g} s")
    except ConnectionRefusedError:
        return _ill(f"nothing listens on {address} yet", "port-not-used")
    except (OSError, ValueError) as exc:
        return _ill(f"{type(exc).__name__}: {exc}")
    except AtollError as exc:
        return _ill(str(exc), exc.id)


async def _command(host: Host, launch: Launch | None, timeout_s: float) -> Answer:
    if launch is None:
        return _ill("its environment is not known yet")
    exit_, output = await host.run(launch, timeout_s)
    last = output.strip().splitlines()[-1:] or [""]
    return Answer(ok=True) if exit_.code == 0 else _ill(f"{exit_.text}: {last[0]}".rstrip(": "))


async def _tcp(probe: Probe, address: Address) -> Answer:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        if not probe.expect:
            return Answer(ok=True)
        writer.write(probe.send.encode("latin-1"))
        said = ""
        while chunk := await reader.read(_LONGEST_LINE_BYTES):
            said += chunk.decode("latin-1")
            if re.match(probe.expect, said):
                return Answer(ok=True)
            if len(said) >= _LONGEST_LINE_BYTES:
                break
        return _ill(f"its answer is not what is expected: {_printable(said)}")
    finally:
        writer.transport.abort()


def _printable(said: str) -> str:
    """The beginning of an answer, as one line that a terminal may show."""
    return "".join(mark if mark.isprintable() else " " for mark in said)[:_SHOWN].strip() or "nothing"


async def _http(probe: Probe, address: Address) -> Answer:
    headers = {"host": str(address), "user-agent": "atoll-probe", "accept": "*/*", "connection": "close"}
    headers |= {name.lower(): value for name, value in probe.headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    said = await _status_line(address, f"GET {probe.path} HTTP/1.1\r\n{lines}\r\n".encode())
    version, _, rest = said.partition(b" ")
    if not version.startswith(b"HTTP/1") or not rest[:3].isdigit():
        return _ill(f"GET {probe.path} answered something that is not HTTP")
    status = int(rest[:3])
    # 2xx and 3xx, as Kubernetes judges.
    return Answer(ok=True) if 200 <= status < 400 else _ill(f"GET {probe.path} answered {status}")


async def _status_line(address: Address, request: bytes) -> bytes:
    """The first line of the answer. On a plain socket, at half a stream's cost: this is what an idle daemon does."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_STREAM) as line:
        line.setblocking(False)
        await loop.sock_connect(line, (address.host, address.port))
        await loop.sock_sendall(line, request)
        said = b""
        while b"\r\n" not in said and len(said) < _LONGEST_LINE_BYTES:
            if not (chunk := await loop.sock_recv(line, _LONGEST_LINE_BYTES)):
                raise ConnectionResetError("the connection ended before an answer")
            said += chunk
        return said.partition(b"\r\n")[0]


async def _grpc(probe: Probe, address: Address) -> Answer:
    # Imported late: only environments with a gRPC service pay for it. Check, never Watch: many servers lack it.
    import grpc
    import grpc.aio

    options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    name = probe.service.encode()
    request = b"\x0a" + bytes([len(name)]) + name if name else b""
    async with grpc.aio.insecure_channel(str(address), options=options) as channel:
        check = channel.unary_unary(_GRPC_CHECK, request_serializer=bytes, response_deserializer=bytes)
        try:
            reply: bytes = await check(request, timeout=probe.timeout_s)
        except grpc.aio.AioRpcError as exc:
            detail = (exc.details() or "").splitlines()[:1] or [""]
            return _ill(f"health Check: {exc.code().name} {detail[0]}".rstrip())
    return Answer(ok=True) if reply.startswith(_SERVING) else _ill("health Check: not serving")
