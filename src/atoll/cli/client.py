"""The daemon's API as methods, typed. Commands use it; it uses `conversation`. One method an endpoint.

`raw` answers the JSON as it came, for --json: what an answer is made of is imported only when it is looked into.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from atoll.cli.conversation import Conversation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from atoll.cli.failed import Failed
    from atoll.cli.http import Line
    from atoll.model import (
        wire,
        wire_access,
        wire_artifacts,
        wire_backup,
        wire_doctor,
        wire_jobs,
        wire_operations,
        wire_signals,
    )
    from atoll.model.cache import ArtifactsSwept
    from atoll.model.hosted import LogLine
    from atoll.model.records import TaskRecord
    from atoll.model.state import Artifact, Event

_MISSED_LINES = 100_000  # of one service, while its lines did not come through
_BACKUP_S = 600.0  # for the first byte: every artifact is read before
_COPIED_S = 960.0  # an artifact of gigabytes, put together on a slow disk; an image, pulled
_SENT_S = 600.0  # a request of contents, over a line of 10 kB/s
_PULLED_S = 900.0  # images of stores
_MISSED_S = 60.0  # how far apart lines of two services may come


class Client:
    """One environment's daemon. Every method raises Failed: what the daemon said, or that nobody answers."""

    def __init__(
        self,
        line: Line,
        environment: str,
        mistyped: Callable[[], Failed | None],
        differs: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`mistyped` says that there is no such environment, when nothing of it runs; `differs` is told, once, of which
        other version the daemon is.
        """
        self._daemon = Conversation(line, environment, mistyped, differs)

    # --- reading

    def raw(self, path: str) -> bytes:
        """The JSON of a GET."""
        return self._daemon.raw(path)

    def status(self) -> wire.StatusView:
        """Everything on one page."""
        from atoll.model.wire import StatusView

        return self._daemon.get("/v1/status", StatusView)

    def signals(self, path: str) -> wire_signals.SignalsView:
        """Golden signals of now; `path` says over what."""
        from atoll.model.wire_signals import SignalsView

        return self._daemon.get(path, SignalsView)

    def releases(self, service: str) -> list[wire.ReleaseView]:
        """Newest first."""
        from atoll.model.wire import ReleaseView

        return self._daemon.get(_of(service, "releases"), list[ReleaseView])

    def why(self, subject: str) -> wire.WhyView:
        """Why a service or release is as it is."""
        from atoll.model.wire import WhyView

        return self._daemon.get(why_path(subject), WhyView)

    def jobs(self, service: str | None = None, job: str | None = None) -> list[wire_jobs.JobView]:
        """Jobs of a service, or of all; `job` alone comes with its runs."""
        from atoll.model.wire_jobs import JobView

        return self._daemon.get(jobs_path(service, job), list[JobView])

    def records(self, service: str | None) -> list[TaskRecord]:
        """Records of tasks that the environment holds, newest first."""
        from atoll.model.records import TaskRecord

        return self._daemon.get(
            "/v1/records" + (f"?{urlencode({'service': service})}" if service else ""), list[TaskRecord]
        )

    def environment(self) -> wire.EnvironmentView:
        """What the daemon runs with."""
        from atoll.model.wire import EnvironmentView

        return self._daemon.get("/v1/environment", EnvironmentView)

    def secrets(self) -> list[wire_access.SecretView]:
        """Names and versions."""
        from atoll.model.wire_access import SecretView

        return self._daemon.get("/v1/secrets", list[SecretView])

    def access(self) -> wire_access.AccessView:
        """Who may do what, and who asks."""
        from atoll.model.wire_access import AccessView

        return self._daemon.get("/v1/access", AccessView)

    def doctor(self) -> list[wire_doctor.DoctorView]:
        """What the daemon can check of itself."""
        from atoll.model.wire_doctor import DoctorView

        return self._daemon.get("/v1/doctor", list[DoctorView])

    # --- changing

    def up(self, request: wire.UpRequest) -> wire.UpView:
        """Deploy what is not running."""
        from atoll.model.wire import UpView

        return self._daemon.post("/v1/up", request, UpView)

    def plan(self, request: wire.Mutation, service: str = "") -> list[wire.PlanView]:
        """What a request would do; `service` is its address's, none for `up`."""
        from atoll.model.wire import PlanView

        what = type(request).__name__.removesuffix("Request").lower()
        path = f"{_of(service, what) if service else f'/v1/{what}'}?plan=true"
        return self._daemon.post(path, request, list[PlanView])

    def deploy(self, request: wire.DeployRequest) -> wire_operations.OperationView:
        """Begin a deploy."""
        return self._operation(_of(request.spec.name, "deploy"), request)

    def rollback(self, service: str, request: wire.RollbackRequest) -> wire_operations.OperationView:
        """Begin a rollback."""
        return self._operation(_of(service, "rollback"), request)

    def steer(self, service: str, request: wire.SteerRequest) -> wire_operations.OperationView:
        """Say a word to the rollout under way."""
        return self._operation(_of(service, "steer"), request)

    def inject(self, service: str, request: wire.FaultRequest) -> wire.FaultView:
        """Begin a fault. Never sent twice: a kill is one kill."""
        from atoll.model.wire import FaultView

        return self._daemon.post(_of(service, "fault"), request, FaultView)

    def faults(self) -> list[wire.FaultView]:
        """Those in force."""
        from atoll.model.wire import FaultView

        return self._daemon.get("/v1/faults", list[FaultView])

    def clear(self, service: str) -> list[wire.FaultView]:
        """End those of a service."""
        from atoll.model.wire import FaultView, Mutation

        return self._daemon.post(f"{_of(service, 'fault')}/clear", Mutation(), list[FaultView])

    def restart(self, service: str, request: wire.RestartRequest) -> wire_operations.OperationView:
        """Begin a restart."""
        return self._operation(_of(service, "restart"), request)

    def scale(self, service: str, request: wire.ScaleRequest) -> wire.ServiceView:
        """Set or clear the replicas by hand."""
        from atoll.model.wire import ServiceView

        return self._daemon.post(_of(service, "scale"), request, ServiceView)

    def stop(self, service: str, request: wire.StopRequest) -> wire.ServiceView:
        """Want it down."""
        from atoll.model.wire import ServiceView

        return self._daemon.post(_of(service, "stop"), request, ServiceView)

    def exec(self, service: str, request: wire.ExecRequest) -> wire.ExecView:
        """Run a command and wait for its end. Never sent twice."""
        from atoll.model.wire import ExecView

        answer_s = request.timeout_s + 10
        return self._daemon.post(_of(service, "exec"), request, ExecView, answer_s=answer_s)

    def run(self, service: str, request: wire_jobs.RunRequest) -> wire_jobs.JobRunView:
        """Begin a run of a job."""
        from atoll.model.wire_jobs import JobRunView

        return self._daemon.post(_of(service, "run"), request, JobRunView)

    def stop_run(self, run: str, request: wire_jobs.StopRunRequest) -> wire_jobs.JobRunView:
        """Want a run ended."""
        from atoll.model.wire_jobs import JobRunView

        return self._daemon.post(f"/v1/runs/{quote(run, safe='')}/stop", request, JobRunView)

    def set_environment(self, request: wire.EnvironmentRequest) -> wire.EnvironmentView:
        """Have it run with that; its successor answers in a moment."""
        from atoll.model.wire import EnvironmentView

        return self._daemon.put("/v1/environment", request, EnvironmentView)

    def set_secret(self, name: str, request: wire_access.SecretRequest) -> wire_access.SecretView:
        """Store a new version."""
        from atoll.model.wire_access import SecretView

        return self._daemon.put(f"/v1/secrets/{quote(name, safe='')}", request, SecretView)

    def import_records(self, request: wire.RecordsRequest) -> wire.RecordsView:
        """Hold further records of tasks."""
        from atoll.model.wire import RecordsView

        return self._daemon.post("/v1/records", request, RecordsView)

    def artifacts(self, keys: Sequence[str]) -> list[Artifact]:
        """Those of these artifacts that lie on the environment's machine."""
        from atoll.model.state import Artifact

        return self._daemon.get(f"/v1/artifacts?{urlencode([('key', key) for key in keys])}", list[Artifact])

    def take_artifact(self, offer: wire_artifacts.ArtifactOffer) -> wire_artifacts.ArtifactView:
        """Offer an artifact; the answer has it as it lies there, or what is missing."""
        from atoll.model.wire_artifacts import ArtifactView

        path = f"/v1/artifacts/{quote(offer.artifact.key, safe='')}"
        return self._daemon.put(path, offer, ArtifactView, answer_s=_COPIED_S)

    def keep_contents(self, body: bytes) -> wire_artifacts.ContentsView:
        """Send contents."""
        from atoll.model.wire_artifacts import ContentsView

        return self._daemon.upload("/v1/contents", body, ContentsView, _SENT_S)

    def sweep_artifacts(self, request: wire_artifacts.SweepRequest) -> ArtifactsSwept:
        """Have artifacts removed on the environment's machine that no release needs."""
        from atoll.model.cache import ArtifactsSwept

        return self._daemon.post("/v1/artifacts/sweep", request, ArtifactsSwept, answer_s=_COPIED_S)

    def store_drafts(self, request: wire_artifacts.StoresRequest) -> wire_artifacts.StoresView:
        """What would be run for these stores on the environment's machine."""
        from atoll.model.wire_artifacts import StoresView

        return self._daemon.post("/v1/stores", request, StoresView, answer_s=_PULLED_S)

    def remove_secret(self, name: str) -> None:
        """Forget all versions."""
        self._daemon.delete(f"/v1/secrets/{quote(name, safe='')}")

    def make_token(self, name: str, request: wire_access.TokenRequest) -> wire_access.TokenMade:
        """A token of the read-only API. Never sent twice: a second one of that name is refused."""
        from atoll.model.wire_access import TokenMade

        return self._daemon.post(f"/v1/tokens/{quote(name, safe='')}", request, TokenMade)

    def remove_token(self, name: str) -> None:
        """It opens nothing any more."""
        self._daemon.delete(f"/v1/tokens/{quote(name, safe='')}")

    def backup(self, request: wire_backup.BackupRequest, write: Callable[[bytes], object]) -> None:
        """Have a backup made; its bytes are given to `write` as they come."""
        self._daemon.download("/v1/backup", request, write, _BACKUP_S, "the backup")

    def backup_kept(self, request: wire_backup.BackupKept) -> wire.BackupView:
        """Tell that it is kept."""
        from atoll.model.wire import BackupView

        return self._daemon.post("/v1/backup/kept", request, BackupView)

    def backup_key(self, request: wire_backup.BackupKeyRequest) -> wire_backup.BackupKeyView:
        """The key of the secrets, sealed."""
        from atoll.model.wire_backup import BackupKeyView

        return self._daemon.post("/v1/backup/key", request, BackupKeyView)

    def remove_store(self, name: str) -> None:
        """Erase a store that Atoll ran, with its data."""
        self._daemon.delete(f"/v1/stores/{quote(name, safe='')}")

    # --- following

    def watch(self, operation: str, until: str = "live") -> Iterator[wire_operations.OperationView]:
        """An operation, change by change, until it is live (or certified) or has ended otherwise."""
        from atoll.model.wire_operations import OperationView

        path = f"/v1/operations/{quote(operation, safe='')}/watch?until={until}"
        for view, _ in self._daemon.stream(path, OperationView):
            yield view
            if view.settled(until):
                return

    def watch_run(self, run: str) -> Iterator[wire_jobs.JobRunView]:
        """A run of a job, change by change, until it has ended."""
        from atoll.model.wire_jobs import JobRunView

        for view, _ in self._daemon.stream(f"/v1/runs/{quote(run, safe='')}/watch", JobRunView):
            yield view
            if view.ended:
                return

    def events(self, *, after: int, service: str | None, follow: bool) -> Iterator[tuple[Event, bytes]]:
        """The ledger, each event with its JSON."""
        from atoll.model.state import Event

        query = {"after": after, "follow": str(follow).lower()} | ({"service": service} if service else {})
        yield from self._daemon.stream(f"/v1/events?{urlencode(query)}", Event)

    def logs(
        self,
        services: Sequence[str],
        *,
        replica: str | None,
        tail: int,
        follow: bool,
        since_wall: float,
        until_wall: float | None = None,
    ) -> Iterator[tuple[LogLine, bytes]]:
        """Lines, each with its JSON; over a restart of the daemon none is lost and none comes twice."""
        import time

        from atoll.model.hosted import LogLine
        from atoll.model.seen import Seen

        seen = Seen(time.time())

        def target(again: bool) -> str:
            many, since = tail, since_wall
            if again:  # what did not come through is asked for once more; what did is dropped below
                many, since = _MISSED_LINES, max(since_wall, seen.newest_wall - _MISSED_S)
                seen.begin_again()
            query = [("service", service) for service in services]
            query += [("tail", str(many)), ("since", repr(since)), ("follow", str(follow).lower())]
            query += [("replica", replica)] if replica else []
            query += [("until", repr(until_wall))] if until_wall is not None else []
            return f"/v1/logs?{urlencode(query)}"

        for line, data in self._daemon.stream(target, LogLine):
            if seen.is_new(line):
                yield line, data

    def _operation(self, path: str, request: wire.Mutation) -> wire_operations.OperationView:
        from atoll.model.wire_operations import OperationView

        return self._daemon.post(path, request, OperationView)


def jobs_path(service: str | None, job: str | None) -> str:
    """The address of a list of JobView."""
    query = {name: value for name, value in (("service", service), ("job", job)) if value}
    return "/v1/jobs" + (f"?{urlencode(query)}" if query else "")


def why_path(subject: str) -> str:
    """The address of WhyView."""
    return f"/v1/why/{quote(subject, safe='')}"


def _of(service: str, what: str) -> str:
    return f"/v1/services/{quote(service, safe='')}/{what}"
