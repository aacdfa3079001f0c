"""The table of the API's endpoints: what each is called, takes and answers.

`daemon.api` serves it and makes the OpenAPI document of it. It decides nothing.

Each says the role that it takes (`model.access` tells what a role is for): what reads is a reader's, what moves releases and replicas
a deployer's, the rest an admin's.
"""

from typing import Any, Literal

from starlette.requests import Request

from atoll.daemon.control import Control
from atoll.daemon.endpoint import Call, Endpoint, Query
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
from atoll.model.state import Artifact, Event

_MOST_DIGITS = 18  # SQLite's integers have no more in any case
_SERVICE = Query("service", str, "only of this service")
_SERVICES = Query("service", str, "of these services; none is all", many=True, argument="services")
_AFTER = Query("after", int, "only what came after this event", 0)
_FOLLOW = Query("follow", bool, "go on with what happens from now on", False)
_TAIL = Query("tail", int, "that many of the newest lines a service first", 100)
_SINCE = Query("since", float, "only lines after this time, in seconds since the epoch", 0.0, argument="since_wall")
_UNTIL = Query("until", float, "only lines up to this time, in seconds since the epoch", argument="until_wall")
_REPLICA = Query("replica", str, "only of this replica; with a dot at its end, of all whose ids begin so: a job's runs")
_JOB = Query("job", str, "only this one of the service, with its kept runs")
_RELEASE = Query("release", int, "only of this release, by its number")
_CALLER = Query("caller", str, "only what this service called; an empty one is the gateway")
_SECONDS = Query("seconds", int, "so much of the past, at most an hour", 10)
_SPAN = Query("seconds", int, "so much of the past, at most 30 days", 3600)
_STEP = Query("step", int, "seconds a point; beyond an hour whole minutes", 60)
_HOW_FAR = Query("until", Literal["live", "certified"], "how far: live, or through the bake, too", "live")
_KEYS = Query("key", str, "of the artifact with this key", many=True, argument="keys")


def _deploy(control: Control, body: wire.DeployRequest, _: Request) -> Any:
    return control.deploy(body)  # its draft names the service


def _access(control: Control, _: None, request: Request) -> Any:
    return control.access(request.state.peer)


def _events(control: Control, _: None, request: Request) -> Any:
    after = str(request.headers.get("last-event-id") or _AFTER.of(request))
    if not after.isdecimal() or len(after) > _MOST_DIGITS:
        raise errors.UserError(
            f"'{after[:80]}' is no event's number",
            "events are numbered from 1",
            "leave it out, or use 0",
            id="bad-request",
        )
    return control.events(after=int(after), service=_SERVICE.of(request), follow=_FOLLOW.of(request))


async def _watch_run(control: Control, _: None, request: Request) -> Any:
    await control.job_run(request.path_params["id"])  # a 404 before the stream begins
    return control.watch_run(request.path_params["id"])


async def _watch_operation(control: Control, _: None, request: Request) -> Any:
    await control.operation(request.path_params["id"])  # a 404 before the stream begins
    return control.watch_operation(request.path_params["id"], _HOW_FAR.of(request))


def _get(path: str, name: str, doc: str, answer: Any, *query: Query) -> Endpoint:
    return Endpoint("GET", path, "reader", name, doc, answer, query=query)


def _stream(
    event: str, path: str, name: str, doc: str, answer: Any, *query: Query, special: Call | None = None
) -> Endpoint:
    return Endpoint("GET", path, "reader", name, doc, answer, query=query, event=event, special=special)


def _post(
    path: str, role: Role, name: str, doc: str, body: Any, answer: Any, status: int = 200, *, plans: bool = False
) -> Endpoint:
    return Endpoint("POST", path, role, name, doc, answer, body, status=status, plans=plans)


def _put(path: str, role: Role, name: str, doc: str, body: Any, answer: Any) -> Endpoint:
    return Endpoint("PUT", path, role, name, doc, answer, body)


def _delete(path: str, name: str, doc: str) -> Endpoint:
    return Endpoint("DELETE", path, "admin", name, doc, None, status=204)


_ONE = "/v1/services/{service}"
_OPERATION = wire_operations.OperationView
ENDPOINTS: tuple[Endpoint, ...] = (
    _get("/v1/status", "status", "The whole environment on one page.", wire.StatusView),
    _post("/v1/up", "deployer", "up", "Deploy what is not running.", wire.UpRequest, wire.UpView, 202, plans=True),
    Endpoint(
        "POST",
        f"{_ONE}/deploy",
        "deployer",
        "deploy",
        "Make a release and move all traffic to it.",
        _OPERATION,
        wire.DeployRequest,
        status=202,
        plans=True,
        special=_deploy,
    ),
    _post(
        f"{_ONE}/rollback",
        "deployer",
        "rollback",
        "Go back to an earlier release.",
        wire.RollbackRequest,
        _OPERATION,
        202,
        plans=True,
    ),
    _post(
        f"{_ONE}/fault",
        "admin",
        "inject",
        "Break something for a while.",
        wire.FaultRequest,
        wire.FaultView,
        plans=True,
    ),
    _post(f"{_ONE}/fault/clear", "deployer", "clear", "End its faults now.", wire.Mutation, list[wire.FaultView]),
    _get("/v1/faults", "faults", "Faults in force.", list[wire.FaultView]),
    _post(
        f"{_ONE}/steer",
        "deployer",
        "steer",
        "Say a word to the rollout under way.",
        wire.SteerRequest,
        _OPERATION,
        plans=True,
    ),
    _post(
        f"{_ONE}/restart",
        "deployer",
        "restart",
        "Replace every replica by a fresh one.",
        wire.RestartRequest,
        _OPERATION,
        202,
        plans=True,
    ),
    _post(
        f"{_ONE}/scale",
        "deployer",
        "scale",
        "Set or clear the replicas by hand.",
        wire.ScaleRequest,
        wire.ServiceView,
        plans=True,
    ),
    _post(
        f"{_ONE}/stop",
        "deployer",
        "stop",
        "Drain and stop it; its releases stay.",
        wire.StopRequest,
        wire.ServiceView,
        plans=True,
    ),
    _post(f"{_ONE}/exec", "admin", "exec", "Run a command as a replica would.", wire.ExecRequest, wire.ExecView),
    _get(f"{_ONE}/releases", "releases", "Its releases, newest first.", list[wire.ReleaseView]),
    _get("/v1/jobs", "jobs", "Jobs, their schedules and last runs.", list[wire_jobs.JobView], _SERVICE, _JOB),
    _post(
        f"{_ONE}/run",
        "deployer",
        "run_job",
        "Run a job now.",
        wire_jobs.RunRequest,
        wire_jobs.JobRunView,
        202,
        plans=True,
    ),
    _get("/v1/runs/{id}", "job_run", "A run of a job, in progress or past.", wire_jobs.JobRunView),
    _stream(
        "run",
        "/v1/runs/{id}/watch",
        "watch_run",
        "A run of a job, change by change, to its end.",
        wire_jobs.JobRunView,
        special=_watch_run,
    ),
    _post(
        "/v1/runs/{id}/stop",
        "deployer",
        "stop_run",
        "End a run before its time.",
        wire_jobs.StopRunRequest,
        wire_jobs.JobRunView,
    ),
    _get("/v1/operations/{id}", "operation", "A rollout, in progress or past.", _OPERATION),
    _stream(
        "operation",
        "/v1/operations/{id}/watch",
        "watch_operation",
        "A rollout, change by change, to its end.",
        _OPERATION,
        _HOW_FAR,
        special=_watch_operation,
    ),
    Endpoint(
        "GET",
        "/v1/events",
        "reader",
        "events",
        "The ledger, resumable.",
        Event,
        query=(_AFTER, _SERVICE, _FOLLOW),
        event="event",
        event_id=lambda event: str(event.seq),
        special=_events,
    ),
    _stream(
        "line",
        "/v1/logs",
        "logs",
        "What replicas print.",
        LogLine,
        *(_SERVICES, _REPLICA, _TAIL, _SINCE, _UNTIL, _FOLLOW),
    ),
    _get(
        "/v1/signals",
        "signals",
        "Golden signals of now: services, releases, edges, replicas.",
        wire_signals.SignalsView,
        *(_SERVICE, _RELEASE, _CALLER, _SECONDS),
    ),
    _get(
        f"{_ONE}/series",
        "series",
        "Golden signals of a service over time.",
        wire_signals.SeriesView,
        *(_RELEASE, _CALLER, _SPAN, _STEP),
    ),
    _get(
        "/v1/totals",
        "totals",
        "Everything counted since the daemon started; /metrics has it as Prometheus reads it.",
        wire_signals.TotalsView,
    ),
    _get("/v1/why/{subject}", "why", "Why a service or release is as it is.", wire.WhyView),
    _get(
        "/v1/records",
        "records",
        "Records of tasks that the environment holds, newest first.",
        list[TaskRecord],
        _SERVICE,
    ),
    _post(
        "/v1/records",
        "deployer",
        "import_records",
        "Hold further records of tasks.",
        wire.RecordsRequest,
        wire.RecordsView,
    ),
    Endpoint(
        "GET",
        "/v1/environment",
        "deployer",  # it holds URLs of webhooks, of which some are as good as a password
        "environment",
        "What atoll.toml says of the environment, as it runs.",
        wire.EnvironmentView,
    ),
    _put(
        "/v1/environment",
        "admin",
        "set_environment",
        "Run with what atoll.toml says now; where it differs, the daemon starts anew.",
        wire.EnvironmentRequest,
        wire.EnvironmentView,
    ),
    _get(
        "/v1/artifacts",
        "artifacts",
        "Those of these artifacts that are complete on this machine.",
        list[Artifact],
        _KEYS,
    ),
    _put(
        "/v1/artifacts/{key}",
        "deployer",
        "take_artifact",
        "Complete an artifact that was built elsewhere, or tell which of its contents are missing.",
        wire_artifacts.ArtifactOffer,
        wire_artifacts.ArtifactView,
    ),
    _put(
        "/v1/contents",
        "deployer",
        "keep_contents",
        "Keep contents of artifacts that are on their way.",
        bytes,
        wire_artifacts.ContentsView,
    ),
    _post(
        "/v1/artifacts/sweep",
        "deployer",
        "sweep_artifacts",
        "Remove artifacts that no release needs, or tell what would be removed.",
        wire_artifacts.SweepRequest,
        ArtifactsSwept,
    ),
    _post(
        "/v1/stores",
        "deployer",
        "store_drafts",
        "What would be run for these stores on this machine.",
        wire_artifacts.StoresRequest,
        wire_artifacts.StoresView,
    ),
    _get("/v1/secrets", "secrets", "Names and versions of secrets, never values.", list[wire_access.SecretView]),
    _put(
        "/v1/secrets/{name}",
        "admin",
        "set_secret",
        "Store a new version of a secret.",
        wire_access.SecretRequest,
        wire_access.SecretView,
    ),
    _delete("/v1/secrets/{name}", "remove_secret", "Forget all versions of a secret."),
    _delete("/v1/stores/{name}", "remove_store", "Erase a store that Atoll ran, with all its data."),
    Endpoint(
        "GET",
        "/v1/access",
        "reader",
        "access",
        "Who may do what, and who asks.",
        wire_access.AccessView,
        special=_access,
    ),
    _post(
        "/v1/tokens/{name}",
        "admin",
        "make_token",
        "Make a token of the read-only API; it is told once.",
        wire_access.TokenRequest,
        wire_access.TokenMade,
    ),
    _delete("/v1/tokens/{name}", "remove_token", "Let a token open nothing any more."),
    _post("/v1/backup", "admin", "backup", "A backup, as one file.", wire_backup.BackupRequest, bytes),
    _post(
        "/v1/backup/kept",
        "admin",
        "backup_kept",
        "Tell that a backup is kept, whole.",
        wire_backup.BackupKept,
        wire.BackupView,
    ),
    _post(
        "/v1/backup/key",
        "admin",
        "backup_key",
        "The key of the secrets, sealed with a passphrase.",
        wire_backup.BackupKeyRequest,
        wire_backup.BackupKeyView,
    ),
    _get("/v1/doctor", "doctor", "What the daemon can check of itself.", list[wire_doctor.DoctorView]),
)
