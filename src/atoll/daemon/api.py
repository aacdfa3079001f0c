"""The HTTP API of one environment: a table of endpoints over `Control`, and the one place where errors become answers.

`daemon.serve` runs it. It decides nothing: it decodes, calls, encodes. Anything that is not an error of
`atoll.model.errors` is a bug: it is logged with its traceback and answered as 500.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Literal

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
from atoll.daemon.openapi import Call, Endpoint, Query, document
from atoll.daemon.sse import EventStream
from atoll.model import errors, wire, wire_signals
from atoll.model.state import Event
from atoll.ports import LogLine

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


# --- the table ----------------------------------------------------------------------------------------------------

_SERVICE = Query("service", str, "only of this service")
_AFTER = Query("after", int, "only what came after this event", 0)
_FOLLOW = Query("follow", bool, "go on with what happens from now on", False)
_TAIL = Query("tail", int, "that many of the newest lines a service first", 100)
_SINCE = Query("since", float, "only lines after this time, in seconds since the epoch", 0.0)
_REPLICA = Query("replica", str, "only of this replica; with a dot at its end, of all whose ids begin so: a job's runs")
_JOB = Query("job", str, "only this one of the service, with its kept runs")
_UNTIL = Query("until", float, "only lines up to this time, in seconds since the epoch")
_RELEASE = Query("release", int, "only of this release, by its number")
_CALLER = Query("caller", str, "only what this service called; an empty one is the gateway")
_SECONDS = Query("seconds", int, "so much of the past, at most an hour", 10)
_SPAN = Query("seconds", int, "so much of the past, at most 30 days", 3600)
_STEP = Query("step", int, "seconds a point; beyond an hour whole minutes", 60)
_PLAN = Query("plan", bool, "only say what would be done", False)
_HOW_FAR = Query("until", Literal["live", "certified"], "how far: live, or through the bake, too", "live")
_SERVICES = Query("service", str, "of these services; none is all", many=True)


def _direct(name: str) -> Call:
    """The method of Control of that name, with the address's parts and then the body."""

    def call(control: Control, body: Any, request: Request) -> Any:
        arguments = [*request.path_params.values(), *([] if body is None else [body])]
        return getattr(control, name)(*arguments)

    return call


def _deploy(control: Control, body: wire.DeployRequest, request: Request) -> Any:
    return control.deploy(_same_service(request.path_params["service"], body))


def _jobs(control: Control, _: None, request: Request) -> Any:
    return control.jobs(_query(request, _SERVICE), _query(request, _JOB))


def _same_service(named: str, body: Any) -> Any:
    """The body, when a draft in it is of the service that the address names."""
    if isinstance(body, wire.DeployRequest) and body.spec.name != named:
        raise errors.UserError(
            f"the draft is of '{body.spec.name}', the address says '{named}'",
            "a release belongs to one service",
            "post it to the address of its own service",
            id="bad-request",
        )
    return body


def _events(control: Control, _: None, request: Request) -> Any:
    after = request.headers.get("last-event-id") or _query(request, _AFTER)
    if not str(after).isdigit():
        raise errors.UserError(
            f"'{after}' is no event's number", "events are numbered from 1", "leave it out, or use 0", id="bad-request"
        )
    return control.events(after=int(after), service=_query(request, _SERVICE), follow=_query(request, _FOLLOW))


def _logs(control: Control, _: None, request: Request) -> Any:
    return control.logs(
        request.query_params.getlist("service"),
        replica=_query(request, _REPLICA),
        tail=_query(request, _TAIL),
        follow=_query(request, _FOLLOW),
        since_wall=_query(request, _SINCE),
        until_wall=_query(request, _UNTIL),
    )


def _signals(control: Control, _: None, request: Request) -> Any:
    return control.signals(
        service=_query(request, _SERVICE),
        release=_query(request, _RELEASE),
        caller=_query(request, _CALLER),
        seconds=_query(request, _SECONDS),
    )


def _series(control: Control, _: None, request: Request) -> Any:
    return control.series(
        request.path_params["service"],
        release=_query(request, _RELEASE),
        caller=_query(request, _CALLER),
        seconds=_query(request, _SPAN),
        step=_query(request, _STEP),
    )


async def _watch_run(control: Control, _: None, request: Request) -> Any:
    await control.job_run(request.path_params["id"])  # a 404 before the stream begins
    return control.watch_run(request.path_params["id"])


async def _watch(control: Control, _: None, request: Request) -> Any:
    await control.operation(request.path_params["id"])  # a 404 before the stream begins
    return control.watch_operation(request.path_params["id"], _query(request, _HOW_FAR))


def _get(path: str, name: str, doc: str, answer: Any) -> Endpoint:
    return Endpoint("GET", path, name, doc, answer, _direct(name))


def _post(path: str, name: str, doc: str, body: Any, answer: Any, status: int = 200, *, plans: bool = True) -> Endpoint:
    query = (_PLAN,) if plans else ()
    return Endpoint("POST", path, name, doc, answer, _direct(name), body, query, status=status, plans=plans)


_ONE = "/v1/services/{service}"
_OPERATION = wire.OperationView
ENDPOINTS: tuple[Endpoint, ...] = (
    _get("/v1/status", "status", "The whole environment on one page.", wire.StatusView),
    _post("/v1/up", "up", "Deploy what is not running.", wire.UpRequest, wire.UpView, 202),
    Endpoint(
        "POST",
        f"{_ONE}/deploy",
        "deploy",
        "Make a release and move all traffic to it.",
        _OPERATION,
        _deploy,
        body=wire.DeployRequest,
        query=(_PLAN,),
        status=202,
        plans=True,
    ),
    _post(f"{_ONE}/rollback", "rollback", "Go back to an earlier release.", wire.RollbackRequest, _OPERATION, 202),
    _post(f"{_ONE}/fault", "inject", "Break something for a while.", wire.FaultRequest, wire.FaultView),
    _post(f"{_ONE}/fault/clear", "clear", "End its faults now.", wire.Mutation, list[wire.FaultView], plans=False),
    _get("/v1/faults", "faults", "Faults in force.", list[wire.FaultView]),
    _post(f"{_ONE}/steer", "steer", "Say a word to the rollout under way.", wire.SteerRequest, _OPERATION),
    _post(f"{_ONE}/restart", "restart", "Replace every replica by a fresh one.", wire.RestartRequest, _OPERATION, 202),
    _post(f"{_ONE}/scale", "scale", "Set or clear the replicas by hand.", wire.ScaleRequest, wire.ServiceView),
    _post(f"{_ONE}/stop", "stop", "Drain and stop it; its releases stay.", wire.StopRequest, wire.ServiceView),
    _post(f"{_ONE}/exec", "exec", "Run a command as a replica would.", wire.ExecRequest, wire.ExecView, plans=False),
    _get(f"{_ONE}/releases", "releases", "Its releases, newest first.", list[wire.ReleaseView]),
    Endpoint(
        "GET",
        "/v1/jobs",
        "jobs",
        "Jobs, their schedules and last runs.",
        list[wire.JobView],
        _jobs,
        query=(_SERVICE, _JOB),
    ),
    _post(f"{_ONE}/run", "run_job", "Run a job now.", wire.RunRequest, wire.JobRunView, 202),
    _get("/v1/runs/{id}", "job_run", "A run of a job, in progress or past.", wire.JobRunView),
    Endpoint(
        "GET",
        "/v1/runs/{id}/watch",
        "watch_run",
        "A run of a job, change by change, to its end.",
        wire.JobRunView,
        _watch_run,
        stream=True,
        event="run",
    ),
    _post(
        "/v1/runs/{id}/stop",
        "stop_run",
        "End a run before its time.",
        wire.StopRunRequest,
        wire.JobRunView,
        plans=False,
    ),
    _get("/v1/operations/{id}", "operation", "A rollout, in progress or past.", _OPERATION),
    Endpoint(
        "GET",
        "/v1/operations/{id}/watch",
        "watch_operation",
        "A rollout, change by change, to its end.",
        _OPERATION,
        _watch,
        query=(_HOW_FAR,),
        stream=True,
        event="operation",
    ),
    Endpoint(
        "GET",
        "/v1/events",
        "events",
        "The ledger, resumable.",
        Event,
        _events,
        query=(_AFTER, _SERVICE, _FOLLOW),
        stream=True,
        event="event",
        event_id=lambda event: str(event.seq),
    ),
    Endpoint(
        "GET",
        "/v1/logs",
        "logs",
        "What replicas print.",
        LogLine,
        _logs,
        query=(_SERVICES, _REPLICA, _TAIL, _SINCE, _UNTIL, _FOLLOW),
        stream=True,
        event="line",
    ),
    Endpoint(
        "GET",
        "/v1/signals",
        "signals",
        "Golden signals of now: services, releases, edges, replicas.",
        wire_signals.SignalsView,
        _signals,
        query=(_SERVICE, _RELEASE, _CALLER, _SECONDS),
    ),
    Endpoint(
        "GET",
        f"{_ONE}/series",
        "series",
        "Golden signals of a service over time.",
        wire_signals.SeriesView,
        _series,
        query=(_RELEASE, _CALLER, _SPAN, _STEP),
    ),
    _get(
        "/v1/totals",
        "totals",
        "Everything counted since the daemon started; /metrics has it as Prometheus reads it.",
        wire_signals.TotalsView,
    ),
    _get("/v1/why/{subject}", "why", "Why a service or release is as it is.", wire.WhyView),
    _get("/v1/secrets", "secrets", "Names and versions of secrets, never values.", list[wire.SecretView]),
    Endpoint(
        "PUT",
        "/v1/secrets/{name}",
        "set_secret",
        "Store a new version of a secret.",
        wire.SecretView,
        _direct("set_secret"),
        body=wire.SecretRequest,
    ),
    Endpoint(
        "DELETE",
        "/v1/secrets/{name}",
        "remove_secret",
        "Forget all versions of a secret.",
        None,
        _direct("remove_secret"),
        status=204,
    ),
    _get("/v1/doctor", "doctor", "What the daemon can check of itself.", list[wire.DoctorView]),
)


# --- the application ----------------------------------------------------------------------------------------------


class Api:
    """The ASGI application. Until `control` is set, and once `closing` is, everything but health answers 503."""

    def __init__(self, control: Control | None = None) -> None:
        self.control = control
        self.closing = asyncio.Event()
        routes = [Route(end.path, self._handler(end), methods=[end.method]) for end in ENDPOINTS]
        metrics = Route("/metrics", self._metrics)
        routes += [Route("/v1/health", self._health), Route("/openapi.json", self._document), metrics]
        handlers = {HTTPException: _no_such_address}
        self.app = Starlette(routes=routes, exception_handlers=handlers)
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
        control = self._ready()
        body = None if endpoint.body is None else await _decode(request, endpoint.body)
        if endpoint.plans and _query(request, _PLAN):
            service = request.path_params.get("service", "")
            return _json(await control.plan(_same_service(service, body), service))
        result = endpoint.call(control, body, request)
        if hasattr(result, "__await__"):
            result = await result
        if endpoint.stream:
            return EventStream(result, self.closing, explain, endpoint.event, endpoint.event_id)
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


async def _no_such_address(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    what = f"{request.method} {request.url.path}: {exc.detail.lower()}"
    fix = "GET /openapi.json lists every address; client and daemon may be of different versions"
    view = wire.ErrorView(id="versions-differ", kind="NoSuchAddress", what=what, fix=fix, exit_code=1)
    return _json(view, exc.status_code)


async def _decode(request: Request, kind: Any) -> Any:
    """The body as a struct, with the actor that the socket vouches for and the idempotency key of the header."""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY_BYTES:
            limit = f"{MAX_BODY_BYTES // 2**20} MiB is the limit"
            raise errors.UserError(
                "the request is too large", limit, "deploy fewer services at a time", id="bad-request"
            )
    try:
        body = msgspec.json.decode(bytes(raw) or b"{}", type=kind)
    except msgspec.MsgspecError as exc:
        fix = "GET /openapi.json says what is asked; client and daemon may be of different versions"
        raise errors.UserError("the request is not understood", str(exc), fix, id="bad-request") from exc
    if hasattr(body, "author"):
        author = body.author
        if request.client is not None:
            author = msgspec.structs.replace(author, actor=request.client.host)
        key = request.headers.get("idempotency-key") or body.key
        body = msgspec.structs.replace(body, author=author, key=key)
    return body


def _query(request: Request, query: Query) -> Any:
    """One query parameter, converted to its type; the default when it is absent."""
    raw = request.query_params.get(query.name)
    if raw is None:
        return query.default
    try:
        return msgspec.convert(raw, query.type, strict=False)
    except msgspec.ValidationError as exc:
        raise errors.UserError(f"{query.name}={raw} is not understood", str(exc), query.doc, id="bad-request") from exc
