"""The API on a unix socket, mode 0600, never TCP; only its /metrics may have a port on 127.0.0.1, too. The daemon's `run` awaits `serve`; cancelling it closes gracefully.

It owns the socket file. It knows who is on the other side: the kernel vouches for the peer's uid (SO_PEERCRED).
"""

import asyncio
import contextlib
import logging
import os
import pwd
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from atoll import __version__
from atoll.daemon.api import Api
from atoll.model.errors import Permanent, UserError
from atoll.model.version import HEADER

_log = logging.getLogger("atoll.api")
CLOSE_S = 2.0  # for answers in progress; streams end at once
METRICS_AGAIN_S = 10.0
_PATH_MAX = 107  # sun_path of Linux, without its NUL


async def serve(api: Api, path: Path) -> None:
    """Serve until cancelled. Raises UserError when the path cannot be a socket's, Permanent when the server dies."""
    listener = listen(path)
    inode = path.stat().st_ino
    server = _Server(_config(api.app, http=_Protocol, headers=[(HEADER, __version__)]))
    running = asyncio.create_task(server.serve(sockets=[listener]), name="api server")
    try:
        await asyncio.shield(running)
        raise Permanent("the API's server ended by itself", id="bug")
    finally:
        api.closing.set()
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == inode:  # not our successor's
                path.unlink()
        server.should_exit = True
        await asyncio.wait({running}, timeout=CLOSE_S + 1)
        running.cancel()
        listener.close()


def _config(app: ASGIApp, **fields: Any) -> uvicorn.Config:
    return uvicorn.Config(
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


async def serve_metrics(api: Api, port: int) -> None:
    """Serve /metrics on 127.0.0.1 until cancelled. A port that is taken is told and tried again: it costs no daemon."""
    while True:
        try:
            listener = socket.create_server(("127.0.0.1", port))
        except OSError as exc:
            _log.warning("metrics are not served on 127.0.0.1:%d: %s", port, exc.strerror)
            await asyncio.sleep(METRICS_AGAIN_S)
            continue
        server = _Server(_config(api.metrics_app))
        running = asyncio.create_task(server.serve(sockets=[listener]), name="metrics server")
        try:
            await asyncio.shield(running)
            raise Permanent("the server of metrics ended by itself", id="bug")
        finally:
            server.should_exit = True
            await asyncio.wait({running}, timeout=CLOSE_S + 1)
            running.cancel()
            listener.close()


def listen(path: Path) -> socket.socket:
    """A listening socket at `path`, mode 0600 from its first instant, in place of a stale one.

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
        fresh.chmod(0o600)
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


class _Protocol(H11Protocol):
    """Puts the peer's user name and uid where ASGI has the client's host and port."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.client = _peer(transport.get_extra_info("socket"))


def _peer(connection: socket.socket) -> tuple[str, int] | None:
    option = getattr(socket, "SO_PEERCRED", None)  # Linux; elsewhere the client's word must do
    if option is None:
        return None
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i")))
    try:
        return pwd.getpwuid(uid).pw_name, uid
    except KeyError:
        return f"uid {uid}", uid
