"""The HTTP API of one environment: a table of endpoints over `Control`, and the one place where errors become answers.

`daemon.serve` runs it. It decides nothing: it decodes, calls, encodes. Anything that is not an error of
`atoll.model.errors` is a bug: it is logged with its traceback and answered as 500.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from atoll import __version__
from atoll.daemon.control import Control
from atoll.daemon.doorkeeper import Doorkeeper
from atoll.daemon.endpoint import Endpoint
from atoll.daemon.endpoints import ENDPOINTS
from atoll.daemon.openapi import document
from atoll.daemon.skew import client_of, refuse_unknown
from atoll.daemon.sse import Download, EventStream
from atoll.model import errors, wire
from atoll.model.version import advice, difference

_log = logging.getLogger("atoll.api")

MAX_BODY_BYTES = 16 * 2**20  # `up` of some hundred services is far below 1 MiB
RETRY_AFTER_S = 1


class Health(msgspec.Struct, frozen=True):
    """Whether the daemon answers for its environment yet."""

    ready: bool
    version: str


class NotReady(errors.Unreachable):
    """The daemon is starting or closing; try again after a second."""


# --- errors -------------------------------------------------------------------------------------------------------

_STATUS: tuple[tuple[type[Exception], int], ...] = (  # the first that fits
    (errors.NotFound, 404),
    (errors.Forbidden, 403),
    (errors.Refused, 422),
    (errors.UserError, 400),
    (errors.Conflict, 409),
    (errors.BuildFailed, 422),
    (errors.DeployFailed, 422),
    (NotReady, 503),
    (errors.Fenced, 503),
    (errors.Unreachable, 502),
    (errors.Retryable, 503),
    (errors.Permanent, 500),
    (errors.AtollError, 500),
)


def status_of(exc: Exception) -> int:
    """The HTTP status of an error."""
    return next((status for kind, status in _STATUS if isinstance(exc, kind)), 500)


def explain(exc: Exception) -> wire.ErrorView:
    """An error as people and clients get it. Logs what nobody foresaw."""
    kind = type(exc).__name__
    if isinstance(exc, errors.AtollError):
        fix = exc.fix or ("try again in a moment" if status_of(exc) in {502, 503} else "")
        return wire.ErrorView.of(exc, fix)
    _log.error("an answer failed in a way that nobody foresaw; please report this", exc_info=exc)
    fix = "the daemon's log has the traceback; please report it"
    what = "the daemon made a mistake"
    return wire.ErrorView(id="bug", kind="Bug", what=what, why=f"{kind}: {exc}", fix=fix, exit_code=1)


def _failure(exc: Exception) -> Response:
    status = status_of(exc)
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}
    return _json(explain(exc), status, headers)


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


# --- the application ----------------------------------------------------------------------------------------------


class Api:
    """The ASGI application. Until `control` is set, and once `closing` is, everything but health answers 503.

    Who asks is in each request's `state.peer`: whoever serves it puts a `Peer` there.
    """

    def __init__(self, control: Control | None = None, doorkeeper: Doorkeeper | None = None) -> None:
        self.control = control
        self.doorkeeper = doorkeeper or Doorkeeper()
        self.closing = asyncio.Event()
        routes = [Route(end.path, self._handler(end), methods=[end.method]) for end in ENDPOINTS]
        reading = [Route(end.path, self._handler(end), methods=["GET"]) for end in ENDPOINTS if _only_reads(end)]
        metrics = Route("/metrics", self._metrics)
        around = [Route("/v1/health", self._health), Route("/openapi.json", self._document), metrics]
        handlers = {HTTPException: _no_such_address}
        self.app = Starlette(routes=routes + around, exception_handlers=handlers)
        self.reading_app = Starlette(routes=reading + around, exception_handlers=handlers)  # for `daemon.outside`
        # For a port that anybody on this machine may ask: nothing but numbers, and no page of a browser that calls itself
        # by another name (DNS rebinding).
        guard = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
        self.metrics_app = Starlette(routes=[metrics], exception_handlers=handlers, middleware=[guard])

    def _handler(self, endpoint: Endpoint) -> Callable[[Request], Any]:
        async def handle(request: Request) -> Any:
            try:
                return await self._answer(endpoint, request)
            except Exception as exc:  # noqa: BLE001  the one place where errors become answers
                return _failure(exc)

        return handle

    async def _answer(self, endpoint: Endpoint, request: Request) -> Any:
        only_plans = endpoint.only_plans(request)
        self.doorkeeper.admit(request.state.peer, "reader" if only_plans else endpoint.role, endpoint.name)
        control = self._ready()
        body: Any = None if endpoint.body is None else await _decode(request, endpoint.body)
        service = request.path_params.get("service", "")
        if isinstance(body, wire.DeployRequest):
            _check_service(service, body)
        if only_plans:
            return _json(await control.plan(body, service))
        result = endpoint.call(control, body, request)
        if hasattr(result, "__await__"):
            result = await result
        if endpoint.stream:
            return EventStream(result, self.closing, explain, endpoint.event, endpoint.event_id)
        if endpoint.answer is bytes:
            return Download(result)
        return Response(status_code=204) if endpoint.answer is None else _json(result, endpoint.status)

    def _ready(self) -> Control:
        if self.closing.is_set():
            raise NotReady("the daemon is closing; its successor takes over in a moment", id="daemon-not-ready")
        if self.control is None:
            raise NotReady("the daemon is starting", id="daemon-not-ready")
        return self.control

    async def _metrics(self, _: Request) -> Response:
        try:
            view = await self._ready().totals()
        except Exception as exc:  # noqa: BLE001  see `_handler`
            return _failure(exc)
        from atoll.daemon import exposition  # 45 ms that only a scraped daemon pays

        return Response(exposition.text(view), media_type=exposition.CONTENT_TYPE)

    async def _health(self, _: Request) -> Response:
        return _json(Health(self.control is not None and not self.closing.is_set(), __version__))

    async def _document(self, _: Request) -> Response:
        return _json(document(ENDPOINTS, __version__))


def _only_reads(endpoint: Endpoint) -> bool:
    return endpoint.method == "GET" and endpoint.role == "reader"


async def _no_such_address(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    what = f"{request.method} {request.url.path}: {exc.detail.lower()}"
    why, fix, code = "", "GET /openapi.json lists every address", 1
    if client := client_of(request):  # of another version: no bug
        why, fix, code = difference(client, __version__), advice(client, __version__), errors.UserError.exit_code
    view = wire.ErrorView(id="versions-differ", kind="NoSuchAddress", what=what, why=why, fix=fix, exit_code=code)
    return _json(view, exc.status_code)


def _check_service(named: str, body: wire.DeployRequest) -> None:
    """Raise UserError unless the draft is of the service that the address names."""
    if body.spec.name != named:
        raise errors.UserError(
            f"the draft is of '{body.spec.name}', the address says '{named}'",
            "a release belongs to one service",
            "post it to the address of its own service",
            id="bad-request",
        )


async def _decode(request: Request, kind: Any) -> Any:
    """The body as it came, where `bytes` are asked for; else a struct, with the actor that the socket vouches for and the
    idempotency key of the header.
    """
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY_BYTES:
            limit = f"{MAX_BODY_BYTES // 2**20} MiB is the limit"
            raise errors.UserError(
                "the request is too large", limit, "deploy fewer services at a time", id="bad-request"
            )
    if kind is bytes:
        return bytes(raw)
    try:
        body = msgspec.json.decode(bytes(raw) or b"{}", type=kind)
        if client := client_of(request):
            refuse_unknown(bytes(raw), body, client)
    except (msgspec.MsgspecError, RecursionError) as exc:
        if client := client_of(request):
            why = f"{exc}; {difference(client, __version__)}"
            what, fix = "the request is not understood", advice(client, __version__)
            raise errors.UserError(what, why, fix, id="versions-differ") from exc
        fix = "GET /openapi.json says what is asked"
        raise errors.UserError("the request is not understood", str(exc), fix, id="bad-request") from exc
    if hasattr(body, "author"):
        author = msgspec.structs.replace(body.author, actor=request.state.peer.name)
        body = msgspec.structs.replace(body, author=author)
    if hasattr(body, "key") and (key := request.headers.get("idempotency-key")):
        body = msgspec.structs.replace(body, key=key)
    return body
