"""The table of the API's endpoints: what each is called, takes and answers, and the method of `Control` that it calls.

`daemon.api` serves it and makes the OpenAPI document of it. It decides nothing.

Each says the role that it takes (`model.access` tells what a role is for): what reads is a reader's, what moves releases and replicas
a deployer's, the rest an admin's.
"""

from typing import Any, Literal

import msgspec
from starlette.requests import Request

from atoll.daemon.control import Control
from atoll.daemon.openapi import Call, Endpoint, Query
from atoll.model import (
    errors,
    wire,
    wire_access,
    wire_artifacts,
    wire_backup,
    wire_doctor,
    wire_jobs,
    wire_operations,
    wire_signals,
)
from atoll.model.access import Role
from atoll.model.cache import ArtifactsSwept
from atoll.model.hosted import LogLine
from atoll.model.records import TaskRecord
from atoll.model.state import Artifact, Author, Event


def query_of(request: Request, query: Query) -> Any:
    """One query parameter, converted to its type; the default when it is absent."""
    raw = request.query_params.get(query.name)
    if raw is None:
        return query.default
    try:
        return msgspec.convert(raw, query.type, strict=False)
    except msgspec.ValidationError as exc:
        raise errors.UserError(f"{query.name}={raw} is not understood", str(exc), query.doc, id="bad-request") from exc


_MOST_DIGITS = 18  # SQLite's integers have no more in any case
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
PLAN = Query("plan", bool, "only say what would be done", False)
_HOW_FAR = Query("until", Literal["live", "certified"], "how far: live, or through the bake, too", "live")
_KEYS = Query("key", str, "of the artifact with this key", many=True)
_SERVICES = Query("service", str, "of these services; none is all", many=True)


def _direct(name: str) -> Call:
    """The method of Control of that name, with the address's parts and then the body."""

    def call(control: Control, body: Any, request: Request) -> Any:
        arguments = [*request.path_params.values(), *([] if body is None else [body])]
        return getattr(control, name)(*arguments)

    return call


def _deploy(control: Control, body: wire.DeployRequest, request: Request) -> Any:
    return control.deploy(same_service(request.path_params["service"], body))


def _jobs(control: Control, _: None, request: Request) -> Any:
    return control.jobs(query_of(request, _SERVICE), query_of(request, _JOB))


def _records(control: Control, _: None, request: Request) -> Any:
    return control.records(query_of(request, _SERVICE))


def _artifacts(control: Control, _: None, request: Request) -> Any:
    return control.artifacts(request.query_params.getlist(_KEYS.name))


def _access(control: Control, _: None, request: Request) -> Any:
    return control.access(request.state.peer)


def same_service(named: str, body: Any) -> Any:
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
    after = str(request.headers.get("last-event-id") or query_of(request, _AFTER))
    if not after.isdecimal() or len(after) > _MOST_DIGITS:
        raise errors.UserError(
            f"'{after[:80]}' is no event's number",
            "events are numbered from 1",
            "leave it out, or use 0",
            id="bad-request",
        )
    return control.events(after=int(after), service=query_of(request, _SERVICE), follow=query_of(request, _FOLLOW))


def _logs(control: Control, _: None, request: Request) -> Any:
    return control.logs(
        request.query_params.getlist("service"),
        replica=query_of(request, _REPLICA),
        tail=query_of(request, _TAIL),
        follow=query_of(request, _FOLLOW),
        since_wall=query_of(request, _SINCE),
        until_wall=query_of(request, _UNTIL),
    )


def _signals(control: Control, _: None, request: Request) -> Any:
    return control.signals(
        service=query_of(request, _SERVICE),
        release=query_of(request, _RELEASE),
        caller=query_of(request, _CALLER),
        seconds=query_of(request, _SECONDS),
    )


def _series(control: Control, _: None, request: Request) -> Any:
    return control.series(
        request.path_params["service"],
        release=query_of(request, _RELEASE),
        caller=query_of(request, _CALLER),
        seconds=query_of(request, _SPAN),
        step=query_of(request, _STEP),
    )


async def _watch_run(control: Control, _: None, request: Request) -> Any:
    await control.job_run(request.path_params["id"])  # a 404 before the stream begins
    return control.watch_run(request.path_params["id"])


async def _watch(control: Control, _: None, request: Request) -> Any:
    await control.operation(request.path_params["id"])  # a 404 before the stream begins
    return control.watch_operation(request.path_params["id"], query_of(request, _HOW_FAR))


def _removal(name: str) -> Call:
    """The method of Control of that name, with the address's parts and who asks: DELETE has no body to say it in."""

    def call(control: Control, _: None, request: Request) -> Any:
        return getattr(control, name)(*request.path_params.values(), Author(actor=request.state.peer.name))

    return call


def _get(path: str, name: str, doc: str, answer: Any) -> Endpoint:
    return Endpoint("GET", path, "reader", name, doc, answer, _direct(name))


def _post(
    path: str, role: Role, name: str, doc: str, body: Any, answer: Any, status: int = 200, *, plans: bool = True
) -> Endpoint:
    query = (PLAN,) if plans else ()
    return Endpoint("POST", path, role, name, doc, answer, _direct(name), body, query, status=status, plans=plans)


_ONE = "/v1/services/{service}"
_OPERATION = wire_operations.OperationView
ENDPOINTS: tuple[Endpoint, ...] = (
    _get("/v1/status", "status", "The whole environment on one page.", wire.StatusView),
    _post("/v1/up", "deployer", "up", "Deploy what is not running.", wire.UpRequest, wire.UpView, 202),
    Endpoint(
        "POST",
        f"{_ONE}/deploy",
        "deployer",
        "deploy",
        "Make a release and move all traffic to it.",
        _OPERATION,
        _deploy,
        body=wire.DeployRequest,
        query=(PLAN,),
        status=202,
        plans=True,
    ),
    _post(
        f"{_ONE}/rollback",
        "deployer",
        "rollback",
        "Go back to an earlier release.",
        wire.RollbackRequest,
        _OPERATION,
        202,
    ),
    _post(f"{_ONE}/fault", "admin", "inject", "Break something for a while.", wire.FaultRequest, wire.FaultView),
    _post(
        f"{_ONE}/fault/clear",
        "deployer",
        "clear",
        "End its faults now.",
        wire.Mutation,
        list[wire.FaultView],
        plans=False,
    ),
    _get("/v1/faults", "faults", "Faults in force.", list[wire.FaultView]),
    _post(f"{_ONE}/steer", "deployer", "steer", "Say a word to the rollout under way.", wire.SteerRequest, _OPERATION),
    _post(
        f"{_ONE}/restart",
        "deployer",
        "restart",
        "Replace every replica by a fresh one.",
        wire.RestartRequest,
        _OPERATION,
        202,
    ),
    _post(
        f"{_ONE}/scale", "deployer", "scale", "Set or clear the replicas by hand.", wire.ScaleRequest, wire.ServiceView
    ),
    _post(
        f"{_ONE}/stop", "deployer", "stop", "Drain and stop it; its releases stay.", wire.StopRequest, wire.ServiceView
    ),
    _post(
        f"{_ONE}/exec",
        "admin",
        "exec",
        "Run a command as a replica would.",
        wire.ExecRequest,
        wire.ExecView,
        plans=False,
    ),
    _get(f"{_ONE}/releases", "releases", "Its releases, newest first.", list[wire.ReleaseView]),
    Endpoint(
        "GET",
        "/v1/jobs",
        "reader",
        "jobs",
        "Jobs, their schedules and last runs.",
        list[wire_jobs.JobView],
        _jobs,
        query=(_SERVICE, _JOB),
    ),
    _post(f"{_ONE}/run", "deployer", "run_job", "Run a job now.", wire_jobs.RunRequest, wire_jobs.JobRunView, 202),
    _get("/v1/runs/{id}", "job_run", "A run of a job, in progress or past.", wire_jobs.JobRunView),
    Endpoint(
        "GET",
        "/v1/runs/{id}/watch",
        "reader",
        "watch_run",
        "A run of a job, change by change, to its end.",
        wire_jobs.JobRunView,
        _watch_run,
        stream=True,
        event="run",
    ),
    _post(
        "/v1/runs/{id}/stop",
        "deployer",
        "stop_run",
        "End a run before its time.",
        wire_jobs.StopRunRequest,
        wire_jobs.JobRunView,
        plans=False,
    ),
    _get("/v1/operations/{id}", "operation", "A rollout, in progress or past.", _OPERATION),
    Endpoint(
        "GET",
        "/v1/operations/{id}/watch",
        "reader",
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
        "reader",
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
        "reader",
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
        "reader",
        "signals",
        "Golden signals of now: services, releases, edges, replicas.",
        wire_signals.SignalsView,
        _signals,
        query=(_SERVICE, _RELEASE, _CALLER, _SECONDS),
    ),
    Endpoint(
        "GET",
        f"{_ONE}/series",
        "reader",
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
    Endpoint(
        "GET",
        "/v1/records",
        "reader",
        "records",
        "Records of tasks that the environment holds, newest first.",
        list[TaskRecord],
        _records,
        query=(_SERVICE,),
    ),
    _post(
        "/v1/records",
        "deployer",
        "import_records",
        "Hold further records of tasks.",
        wire.RecordsRequest,
        wire.RecordsView,
        plans=False,
    ),
    Endpoint(
        "GET",
        "/v1/environment",
        "deployer",  # it holds URLs of webhooks, of which some are as good as a password
        "environment",
        "What atoll.toml says of the environment, as it runs.",
        wire.EnvironmentView,
        _direct("environment"),
    ),
    Endpoint(
        "PUT",
        "/v1/environment",
        "admin",
        "set_environment",
        "Run with what atoll.toml says now; where it differs, the daemon starts anew.",
        wire.EnvironmentView,
        _direct("set_environment"),
        body=wire.EnvironmentRequest,
    ),
    _post(
        "/v1/environment/check",
        "admin",
        "check_environment",
        "Whether it could run with what atoll.toml says now; refused as setting it would be.",
        wire.EnvironmentRequest,
        wire.EnvironmentView,
        plans=False,
    ),
    Endpoint(
        "GET",
        "/v1/artifacts",
        "reader",
        "artifacts",
        "Those of these artifacts that are complete on this machine.",
        list[Artifact],
        _artifacts,
        query=(_KEYS,),
    ),
    Endpoint(
        "PUT",
        "/v1/artifacts/{key}",
        "deployer",
        "take_artifact",
        "Complete an artifact that was built elsewhere, or tell which of its contents are missing.",
        wire_artifacts.ArtifactView,
        _direct("take_artifact"),
        body=wire_artifacts.ArtifactOffer,
    ),
    Endpoint(
        "PUT",
        "/v1/contents",
        "deployer",
        "keep_contents",
        "Keep contents of artifacts that are on their way.",
        wire_artifacts.ContentsView,
        _direct("keep_contents"),
        body=bytes,
    ),
    _post(
        "/v1/artifacts/sweep",
        "deployer",
        "sweep_artifacts",
        "Remove artifacts that no release needs, or tell what would be removed.",
        wire_artifacts.SweepRequest,
        ArtifactsSwept,
        plans=False,
    ),
    _post(
        "/v1/stores",
        "deployer",
        "store_drafts",
        "What would be run for these stores on this machine.",
        wire_artifacts.StoresRequest,
        wire_artifacts.StoresView,
        plans=False,
    ),
    _get("/v1/secrets", "secrets", "Names and versions of secrets, never values.", list[wire_access.SecretView]),
    Endpoint(
        "PUT",
        "/v1/secrets/{name}",
        "admin",
        "set_secret",
        "Store a new version of a secret.",
        wire_access.SecretView,
        _direct("set_secret"),
        body=wire_access.SecretRequest,
    ),
    Endpoint(
        "DELETE",
        "/v1/secrets/{name}",
        "admin",
        "remove_secret",
        "Forget all versions of a secret.",
        None,
        _removal("remove_secret"),
        status=204,
    ),
    Endpoint(
        "DELETE",
        "/v1/stores/{name}",
        "admin",
        "remove_store",
        "Erase a store that Atoll ran, with all its data.",
        None,
        _removal("remove_store"),
        status=204,
    ),
    Endpoint(
        "GET", "/v1/access", "reader", "access", "Who may do what, and who asks.", wire_access.AccessView, _access
    ),
    _post(
        "/v1/tokens/{name}",
        "admin",
        "make_token",
        "Make a token of the read-only API; it is told once.",
        wire_access.TokenRequest,
        wire_access.TokenMade,
        plans=False,
    ),
    Endpoint(
        "DELETE",
        "/v1/tokens/{name}",
        "admin",
        "remove_token",
        "Let a token open nothing any more.",
        None,
        _removal("remove_token"),
        status=204,
    ),
    _post("/v1/backup", "admin", "backup", "A backup, as one file.", wire_backup.BackupRequest, bytes, plans=False),
    _post(
        "/v1/backup/kept",
        "admin",
        "backup_kept",
        "Tell that a backup is kept, whole.",
        wire_backup.BackupKept,
        wire.BackupView,
        plans=False,
    ),
    _post(
        "/v1/backup/key",
        "admin",
        "backup_key",
        "The key of the secrets, sealed with a passphrase.",
        wire_backup.BackupKeyRequest,
        wire_backup.BackupKeyView,
        plans=False,
    ),
    _get("/v1/doctor", "doctor", "What the daemon can check of itself.", list[wire_doctor.DoctorView]),
)
