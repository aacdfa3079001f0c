"""The API on unix sockets: one of mode 0600 for the environment's owner and, where others have roles, a public one beside it.

The daemon's `run` awaits `serve`; cancelling it closes gracefully. It owns the sockets' files. Who has no role is turned away as soon as
the connection is there: not a byte of what a stranger sends is parsed. Only /metrics may have a port on 127.0.0.1, too.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from atoll import __version__
from atoll.daemon.api import RETRY_AFTER_S, Api
from atoll.daemon.doorkeeper import Doorkeeper
from atoll.daemon.peer import credentials_of, name_of
from atoll.model.access import Credentials, Peer
from atoll.model.errors import Permanent, UserError
from atoll.model.version import HEADER
from atoll.model.wire import ErrorView

_log = logging.getLogger("atoll.api")
CLOSE_S = 2.0  # for answers in progress; streams end at once
METRICS_AGAIN_S = 10.0
_PATH_MAX = 107  # sun_path of Linux, without its NUL
_OWNERS, _EVERYBODYS = 0o600, 0o666  # the public one is everybody's to open, since three roles are three groups
_MOST_EACH = 64  # connections of a user who is not the owner: a terminal follows one or two streams
_MOST_STRANGERS = 16  # who are being told no; further ones are cut off without a word
_AWAY_S = 2.0  # for a stranger to read the answer
_AWAY_BYTES = 64 * 2**10  # of what a stranger sends meanwhile


async def serve(api: Api, path: Path, public: Path | None = None) -> None:
    """Serve until cancelled. Raises UserError when a path cannot be a socket's, Permanent when the server dies."""
    wanted = {path: _OWNERS, **({public: _EVERYBODYS} if public else {})}
    server = server_of(api.app, http=partial(_Protocol, _Hall(api.doorkeeper)), headers=[(HEADER, __version__)])
    await api.doorkeeper.look()
    with contextlib.ExitStack() as opened:
        listeners = [opened.enter_context(contextlib.closing(listen(each, mode))) for each, mode in wanted.items()]
        inodes = {each: each.stat().st_ino for each in wanted}

        def closing() -> None:
            api.closing.set()
            for each, inode in inodes.items():
                with contextlib.suppress(FileNotFoundError):
                    if each.stat().st_ino == inode:  # not our successor's
                        each.unlink()

        await until_cancelled(server, listeners, "the API's server", closing)


async def until_cancelled(
    server: uvicorn.Server, listeners: list[socket.socket], name: str, closing: Callable[[], None] = lambda: None
) -> None:
    """Run it; when cancelled call `closing`, then end gracefully. Raises Permanent when it ends by itself."""
    running = asyncio.create_task(server.serve(sockets=listeners), name=name)
    try:
        await asyncio.shield(running)
        raise Permanent(f"{name} ended by itself", id="bug")
    finally:
        closing()
        server.should_exit = True
        await asyncio.wait({running}, timeout=CLOSE_S + 1)
        running.cancel()


def server_of(app: ASGIApp, **fields: Any) -> uvicorn.Server:
    """A server as all of ours are; `fields` are uvicorn's, such as `http`, a protocol."""
    config = uvicorn.Config(
        app,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=int(CLOSE_S),
        **fields,
    )
    return _Server(config)


async def serve_metrics(api: Api, port: int) -> None:
    """Serve /metrics on 127.0.0.1 until cancelled. A port that is taken is told and tried again: it costs no daemon."""
    while True:
        try:
            listener = socket.create_server(("127.0.0.1", port))
        except OSError as exc:
            _log.warning("metrics are not served on 127.0.0.1:%d: %s", port, exc.strerror)
            await asyncio.sleep(METRICS_AGAIN_S)
            continue
        with contextlib.closing(listener):
            await until_cancelled(server_of(api.metrics_app), [listener], "the server of metrics")


def listen(path: Path, mode: int = _OWNERS) -> socket.socket:
    """A listening socket at `path`, closed to others until it has its `mode`, in place of a stale one.

    The caller must already lead the environment: a live daemon's socket would be replaced, too.
    """
    fresh = path.with_name(path.name + "~")
    if len(os.fsencode(fresh)) > _PATH_MAX:
        raise UserError(
            f"the path of the daemon's socket is too long: {path}",
            f"the kernel allows {_PATH_MAX} bytes",
            "set ATOLL_HOME to a shorter folder",
            id="socket-path-too-long",
        )
    fresh.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o077)  # 0700 then: harmless to files that other threads make in these microseconds
        try:
            listener.bind(os.fspath(fresh))
        finally:
            os.umask(before)
        fresh.chmod(mode)
        listener.listen(128)
        listener.setblocking(False)
        fresh.replace(path)  # atomic: a client meets the old one or this one, listening
    except BaseException:
        listener.close()
        raise
    return listener


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: signals belong to the daemon."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Hall:
    """Who is in, of those who are not the owner: no user of many may use up the daemon's connections."""

    def __init__(self, doorkeeper: Doorkeeper) -> None:
        self.doorkeeper = doorkeeper
        self.strangers = 0
        self._inside: Counter[int] = Counter()

    def enter(self, credentials: Credentials) -> bool:
        """False when the user has enough connections already; `leave` ends each that was let in."""
        if self._inside[credentials.uid] >= _MOST_EACH and not self.doorkeeper.is_owner(credentials):
            return False
        self._inside[credentials.uid] += 1
        return True

    def leave(self, uid: int) -> None:
        """One connection less."""
        self._inside[uid] -= 1
        if not self._inside[uid]:
            del self._inside[uid]


class _Protocol(H11Protocol):
    """Puts a `Peer` into the state of each request, and its name and uid where ASGI has the client's host and port.

    Who has no role, or too many connections, gets one answer and is not listened to.
    """

    def __init__(self, hall: _Hall, **given: Any) -> None:
        super().__init__(**given)
        self._hall = hall
        self._uid: int | None = None  # of who was let in
        self._unheard: int | None = None  # bytes of who was not

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        credentials = credentials_of(transport.get_extra_info("socket"))
        if self._hall.doorkeeper.role(credentials) is None:
            self._turn_away(_STRANGER)
        elif not self._hall.enter(credentials):
            self._turn_away(_CROWD)
        else:
            self._uid = credentials.uid
            peer = Peer(name_of(credentials.uid), credentials)
            self.client = peer.name, credentials.uid
            self.app_state = {"peer": peer}

    def data_received(self, data: bytes) -> None:
        if self._unheard is None:
            super().data_received(data)
            return
        self._unheard += len(data)  # read, so that the client's write does not fail before it reads the answer
        if self._unheard > _AWAY_BYTES:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._uid is not None:
            self._hall.leave(self._uid)
        elif self._unheard is not None:
            self._hall.strangers -= 1

    def _turn_away(self, answer: bytes) -> None:
        self._unheard = 0
        self._hall.strangers += 1
        if self._hall.strangers > _MOST_STRANGERS:
            self.transport.abort()
            return
        self.transport.write(answer)
        self.transport.write_eof()
        self.loop.call_later(_AWAY_S, self.transport.abort)


def _answer(status: str, view: ErrorView, *headers: str) -> bytes:
    """A whole answer of HTTP. It says nothing of the environment: whoever gets it has not shown who they are."""
    body = msgspec.json.encode(view)
    fields = ("Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close", *headers)
    return "\r\n".join((f"HTTP/1.1 {status}", *fields, "", "")).encode() + body


_STRANGER = _answer(
    "403 Forbidden",
    ErrorView(
        id="not-allowed",
        kind="Forbidden",
        what="you may not talk to this environment",
        why="none of your groups holds a role here",
        fix="ask somebody who administers the machine; if you were just added to a group, log in anew",
        exit_code=4,
    ),
)
_CROWD = _answer(
    "503 Service Unavailable",
    ErrorView(
        id="too-many-requests",
        kind="Retryable",
        what=f"you have {_MOST_EACH} connections to this environment, which is the most",
        why="the daemon has no more for one user",
        fix="end some of what follows it, such as `atoll logs --follow`",
        exit_code=1,
    ),
    f"Retry-After: {RETRY_AFTER_S}",
)
