"""One HTTP request to an address that somebody wrote down: a check's question, a webhook's message.

`daemon.checks` and `daemon.notifier` use it. Whatever is at the other end, nothing comes of it but an answer, OSError or
ValueError, within the time given; and no error names the address, which may hold a password.

Redirects are not followed: what is asked is what was written down. Proxies are those of the environment.
"""

import asyncio
import base64
import contextlib
import http.client
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

# Threads of its own: those of asyncio look for listening sockets, and receivers that are away must not stop readiness.
_THREADS = ThreadPoolExecutor(max_workers=16, thread_name_prefix="outward")


class Reply(NamedTuple):
    """Any status, and the beginning of the body."""

    status: int
    body: bytes

    @property
    def good(self) -> bool:
        """Whether it is any 2xx."""
        return 200 <= self.status < 300


async def fetch(
    url: str,
    timeout_s: float,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    most_bytes: int = 0,
) -> Reply:
    """GET, or POST of `body`. Reads at most `most_bytes` of the answer.

    Raises OSError (TimeoutError when all of it takes longer than `timeout_s`), ValueError (no http address, no HTTP).
    """
    talk = _Talk(timeout_s)
    request = _request(url, body, headers or {})
    try:
        async with asyncio.timeout(timeout_s):
            return await asyncio.get_running_loop().run_in_executor(_THREADS, talk.have, request, most_bytes)
    finally:
        talk.hang_up()


def reason(exc: OSError | ValueError) -> str:
    """What `fetch` raised, in words that hold nothing of the address."""
    cause = exc.reason if isinstance(exc, urllib.error.URLError) and isinstance(exc.reason, OSError) else exc
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {cause.verify_message.partition(',')[0]}"  # behind it stands the host
    if isinstance(cause, OSError):
        return cause.strerror or type(cause).__name__
    return type(cause).__name__ if isinstance(cause, UnicodeError) else str(cause)


def _request(url: str, body: bytes | None, headers: Mapping[str, str]) -> urllib.request.Request:
    """A user and password in the address become the header that they mean."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or 0) >= 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("its address is no http or https URL")
    user, _, place = parts.netloc.rpartition("@")
    found = {"user-agent": "atoll", **headers}
    if user:
        found["authorization"] = f"Basic {base64.b64encode(unquote(user).encode()).decode()}"
    return urllib.request.Request(urlunsplit(parts._replace(netloc=place)), body, found)  # noqa: S310  checked above


class _Talk:
    """One request and its answer, in a thread; another may end it."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._connections: list[http.client.HTTPConnection] = []

    def have(self, request: urllib.request.Request, most_bytes: int) -> Reply:
        opener = urllib.request.OpenerDirector()  # bare: no redirects, no files, every status is an answer
        for handler in (urllib.request.ProxyHandler(), _Http(self._connections), _Https(self._connections)):
            opener.add_handler(handler)
        try:
            with opener.open(request, timeout=self._timeout_s) as reply:
                return Reply(reply.status, reply.read(most_bytes) if most_bytes else b"")
        except http.client.HTTPException as exc:
            raise ValueError(f"it does not speak HTTP ({type(exc).__name__})") from None

    def hang_up(self) -> None:
        """A peer that sends byte by byte is never late for any one of them: the thread would wait for ever."""
        for connection in self._connections:
            if (sock := connection.sock) is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)


class _Http(urllib.request.HTTPHandler):
    """Remembers its connections."""

    def __init__(self, connections: list[http.client.HTTPConnection]) -> None:
        super().__init__()
        self._connections = connections

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_kept, self._connections, http.client.HTTPConnection), req)


class _Https(urllib.request.HTTPSHandler):
    """The same with TLS."""

    def __init__(self, connections: list[http.client.HTTPConnection]) -> None:
        super().__init__()
        self._connections = connections

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_kept, self._connections, http.client.HTTPSConnection), req)


def _kept(
    connections: list[http.client.HTTPConnection], kind: type[http.client.HTTPConnection], host: str, **how: Any
) -> http.client.HTTPConnection:
    made = kind(host, **how)
    connections.append(made)
    return made
