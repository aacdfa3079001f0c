"""The read-only API over TCP, for what reads from afar: GET and a token, and nothing else.

`Guard` stands before the application: it looks at method, Host, Origin, rate and token, in this order, so that what costs nothing comes
first. A stream is cut when its token ends. It encrypts nothing: a token is safe on the loopback, in a tunnel, or behind something that speaks TLS.
"""

import asyncio
import contextlib
import ipaddress
import logging
import re
import socket
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from atoll.daemon.api import Api
from atoll.daemon.serve import server_of, until_cancelled
from atoll.decide.rate import Allowance, Bucket, take
from atoll.model.access import Holding, Peer
from atoll.model.environment import ReadApi
from atoll.model.wire import ErrorView

_log = logging.getLogger("atoll.api")
KNOWN = Allowance(burst=60, each_s=0.1)  # a dashboard's first page, then ten a second
UNKNOWN = Allowance(burst=10, each_s=2.0)  # for an address without a token: enough for a person who mistypes
_MOST_ASKERS = 1024  # buckets that are kept; the one not used for longest goes
_MOST_EACH = 16  # connections from one address
_MOST = 128
_HELD_S = 5.0  # a stream outlives its token by so much at most
_SILENT_S = 10.0  # from the connection, or from an answer, to the next answer's beginning
_AGAIN_S = 10.0
_SAFE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

Holder = Callable[[str], Holding | None]  # what a token is worth; None: nothing, and it is not known


async def serve_outside(api: Api, spec: ReadApi, holder: Holder) -> None:
    """Serve until cancelled. An address that cannot be had is told and tried again: it costs no daemon."""
    guard = Guard(api.reading_app, spec.names, holder)
    while True:
        try:
            family = socket.AF_INET6 if ":" in spec.host else socket.AF_INET
            listener = socket.create_server((spec.host, spec.port), family=family)
        except OSError as exc:
            _log.warning("the API is not served on %s: %s", spec, exc.strerror or exc)
            await asyncio.sleep(_AGAIN_S)
            continue
        with contextlib.closing(listener):
            protocol = partial(_Protocol, Counter[str]())
            server = server_of(guard, http=protocol, limit_concurrency=_MOST)
            await until_cancelled(server, [listener], "the server of the read-only API")


class Guard:
    """Lets through a GET by a known token, under a name of this machine. The rest gets an answer that says nothing."""

    def __init__(
        self, app: ASGIApp, names: Iterable[str], holder: Holder, now_s: Callable[[], float] | None = None
    ) -> None:
        self._app, self._holder = app, holder
        self._names = frozenset(name.lower() for name in names) | {"localhost"}
        self._now_s = now_s or (lambda: asyncio.get_running_loop().time())
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        headers, cut = Headers(scope=scope), False
        refused, peer = self._judged(scope["method"], headers, (scope.get("client") or ("?", 0))[0])
        if refused is not None:
            await refused(scope, receive, send)
            return
        scope.setdefault("state", {})["peer"] = peer

        async def safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_SAFE)
            await send(message)

        async def while_held() -> Message:
            """What the client says; that it went, once its token opens nothing any more."""
            nonlocal cut
            while True:
                try:
                    async with asyncio.timeout(_HELD_S):
                        return await receive()
                except TimeoutError:
                    held = self._held(headers)
                if held is None or held.ended:
                    cut = True
                    return {"type": "http.disconnect"}

        await self._app(scope, while_held, safely)
        if cut:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _held(self, headers: Headers) -> Holding | None:
        scheme, _, value = headers.get("authorization", "").partition(" ")
        return self._holder(value.strip()) if scheme.lower() == "bearer" and value else None

    def _judged(self, method: str, headers: Headers, address: str) -> tuple[Response | None, Peer | None]:
        """Why not, or who."""
        if method not in {"GET", "HEAD"}:
            fix = "change things through the environment's socket, by `atoll` and SSH"
            return _no(405, "not-allowed", f"{method} is not served here", "this address only reads", fix), None
        host = headers.get("host", "")
        if not self._ours(host):
            why = "a page of a browser may have been led here by a name of its own (DNS rebinding)"
            fix = "name the machine by its address, or add the name to `names` of `api` in atoll.toml"
            return _no(421, "host-refused", f"'{host[:100]}' is no name of this machine", why, fix), None
        origin = headers.get("origin")
        if origin is not None and (urlsplit(origin).netloc.lower() != host.lower() or "://" not in origin):
            why = "pages of other origins have no business here"
            return _no(403, "host-refused", f"'{origin[:100]}' may not ask", why, "ask without a browser"), None
        held = self._held(headers)
        name = held.name if held and not held.ended else None
        wait_s = self._waits(f"token {name}" if name else address, KNOWN if name else UNKNOWN, address)
        if wait_s > 0:
            more = {"Retry-After": str(int(wait_s) + 1)}
            fix = "ask less often; a stream (`follow=true`) tells of changes by itself"
            return _no(
                429, "too-many-requests", "too many requests", "the daemon's time is for services", fix, more
            ), None
        if name is None:
            more = {"WWW-Authenticate": 'Bearer realm="atoll"'}
            if held is not None:  # to who has it, no secret is told by this
                fix = f"an admin makes a new one with `atoll access token {held.name}`"
                why = "a token is good for so long as was said when it was made"
                return _no(401, "token-needed", f"the token '{held.name}' has ended", why, fix, more), None
            fix = "send `Authorization: Bearer TOKEN`; an admin makes one with `atoll access token NAME`"
            return _no(401, "token-needed", "this address takes a token", "none came, or one unknown", fix, more), None
        return None, Peer(f"token {name}", None)

    def _ours(self, host: str) -> bool:
        """Whether a Host header names this machine: an address, which no foreign name server answers with, or a known name."""
        found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::\d{1,5})?", host)
        if found is None:
            return False
        name = found[1].strip("[]").lower()
        return name in self._names or _is_address(name)

    def _waits(self, who: str, allowance: Allowance, address: str) -> float:
        if who == address and who not in self._buckets:
            _log.warning("a request without a known token from %s", address)
        self._buckets[who], wait_s = take(self._buckets.pop(who, None), allowance, self._now_s())
        if len(self._buckets) > _MOST_ASKERS:
            self._buckets.popitem(last=False)
        return wait_s


class _Protocol(H11Protocol):
    """Cuts off who connects or was answered and then asks nothing whole, or has too many connections already."""

    def __init__(self, inside: Counter[str], **given: Any) -> None:
        super().__init__(**given)
        self._inside, self._address = inside, ""
        self._impatience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._address = self.client[0] if self.client else "?"
        self._inside[self._address] += 1
        if self._inside[self._address] > _MOST_EACH:
            transport.abort()
            return
        self._wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._impatience is not None:
            self._impatience.cancel()
        self._inside[self._address] -= 1
        if not self._inside[self._address]:
            del self._inside[self._address]

    def _wait(self) -> None:
        if self._impatience is not None:
            self._impatience.cancel()
        self._impatience = self.loop.call_later(_SILENT_S, self._silent)

    def _silent(self) -> None:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is None or cycle.response_complete:  # nothing is being answered
            self.transport.abort()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _no(status: int, id: Any, what: str, why: str, fix: str, more: Mapping[str, str] | None = None) -> Response:
    view = ErrorView(id=id, kind="Forbidden", what=what, why=why, fix=fix, exit_code=4)
    headers = {**_SAFE, **(more or {})}
    return Response(msgspec.json.encode(view), status, headers, media_type="application/json")
