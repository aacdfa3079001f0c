"""Rows and observations as people see them. Pure; `daemon.environment` gathers, this shapes."""

from collections.abc import Mapping, Sequence

from atoll.daemon.collector import Rates
from atoll.decide.facts import is_ready
from atoll.decide.jobs import CLOCK_BACK_S, failing
from atoll.decide.plan import routes
from atoll.decide.rollout import seconds
from atoll.decide.runs import took
from atoll.decide.schedule import next_due
from atoll.decide.states import judge_service
from atoll.decide.stepping import verdict_by_s, weight_pct
from atoll.model.analysis import Verdict
from atoll.model.spec import Job, ServiceSpec
from atoll.model.state import (
    ENDED,
    LIVE,
    Intent,
    JobRun,
    Now,
    Observation,
    Receipt,
    Release,
    Replica,
    Rollout,
    RolloutPhase,
    ServiceDesired,
)
from atoll.model.wire import ReleaseView, ReplicaView, ServiceView
from atoll.model.wire_jobs import JobRunView, JobView
from atoll.model.wire_operations import OperationView, SteppingView

_ALL: frozenset[RolloutPhase] = LIVE | {"shifting", "releasing", "draining"}  # all of the traffic was sent to it


def service_view(
    intent: Intent,
    rollout: Rollout | None,
    want: ServiceDesired,
    seen: Observation,
    releases: Mapping[int, Release],
    rates: Rates,
    usage: Mapping[str, tuple[int, float]],
    gateway: str,
    now: Now,
    runs: Sequence[JobRun] = (),
) -> ServiceView:
    """One service now."""
    active = rollout if rollout and rollout.phase not in ENDED | LIVE else None
    current = intent.target if intent.target is not None else active.candidate if active else None
    wanted = next((revision.replicas for revision in want.revisions if revision.release == current), 0)
    ready = sum(1 for replica in seen.replicas if replica.record.release == current and is_ready(replica))
    spec = releases[current].spec if current is not None and current in releases else None
    jobs_only = spec is not None and spec.run is None
    state, reason, reason_id = judge_service(intent, rollout, want, seen, jobs_only=jobs_only)
    return ServiceView(
        name=intent.service,
        state=state,
        store=_store(spec, releases),
        release=f"r{current}" if current is not None else "",
        candidate=f"r{active.candidate}" if active else "",
        generation=intent.generation,
        ready=ready,
        wanted=wanted,
        unheard=sum(1 for replica in seen.replicas if _is_unheard(replica)),
        override=intent.replicas,
        rps=None if rates.rps is None else round(rates.rps, 2),
        error_pct=None if rates.error_pct is None else round(rates.error_pct, 2),
        p95_ms=None if rates.p95_ms is None else round(rates.p95_ms, 2),
        since_wall=_since(rollout, releases, current),
        urls=routes(spec, gateway) if spec and state != "down" else (),
        reason=reason,
        jobs=tuple(job.name for job in spec.jobs) if spec else (),
        running_jobs=tuple(run.id for run in runs if not run.ended),
        failing_jobs=tuple(failing_text(run, now) for _, run in failing(spec, runs))
        if spec and state != "down"
        else (),
        reason_id=reason_id,
        replicas=tuple(replica_view(replica, seen, usage, now) for replica in seen.replicas),
    )


def _is_unheard(replica: Replica) -> bool:
    """Whether the proxy sends it requests though it goes, or none though it is ready, by what it acknowledged."""
    if not replica.record.ports:
        return False
    if replica.record.phase == "draining":
        return replica.in_proxy not in ("draining", "absent")
    return is_ready(replica) and replica.in_proxy != "serving"


def _store(spec: ServiceSpec | None, releases: Mapping[int, Release]) -> str:
    """The type of a store; of one that is down, that of its newest release."""
    if spec is None and releases:
        spec = releases[max(releases)].spec
    return "" if spec is None else spec.store


def failing_text(run: JobRun, now: Now) -> str:
    """`job nightly failed 3 h ago: exit code 1`."""
    ago_s = now.wall - (run.ended_wall or run.created_wall)
    shown = (
        f"{ago_s / 3600:.0f} h"
        if ago_s >= 5400
        else f"{ago_s / 60:.0f} min"
        if ago_s >= 90
        else f"{max(0, ago_s):.0f} s"
    )
    what = "was missed" if run.state == "missed" else "failed"
    return f"job {run.job} {what} {shown} ago: {run.reason}"


def _since(rollout: Rollout | None, releases: Mapping[int, Release], current: int | None) -> float:
    if rollout is not None and rollout.candidate == current:
        return rollout.started_wall
    return releases[current].created_wall if current is not None and current in releases else 0.0


def replica_view(replica: Replica, seen: Observation, usage: Mapping[str, tuple[int, float]], now: Now) -> ReplicaView:
    """One replica now."""
    row = replica.record
    return ReplicaView(
        id=row.id,
        release=f"r{row.release}",
        phase=row.phase,
        ready=is_ready(replica),
        pid=replica.pid,
        host=row.host,
        ports=row.ports,
        memory_bytes=usage[row.id][0] if row.id in usage else None,
        restarts=seen.backoff.get(row.release, 0),
        inflight=replica.inflight,
        since_s=round(max(0.0, now.boot_s - row.phase_since_s), 3) if row.boot_id == now.boot_id else 0.0,
        reason=row.why or replica.reason,
        reason_id="" if row.why else replica.reason_id,
    )


def operation_view(
    rollout: Rollout,
    seen: Observation,
    wanted: int,
    measured: tuple[int, int],
    receipt: Receipt | None,
    now: Now,
    run: JobRun | None = None,
    stepping: SteppingView | None = None,
) -> OperationView:
    """A rollout, in progress or ended."""
    ready = sum(1 for r in seen.replicas if r.record.release == rollout.candidate and is_ready(r))
    spent = dict(receipt.seconds) if receipt else dict(seconds(rollout, now))
    total = spent.pop("total", 0.0)
    ended = rollout.phase in LIVE | ENDED and (receipt is not None or rollout.phase == "superseded")
    text, reason_id = _text(rollout, seen, run)
    return OperationView(
        id=rollout.id,
        service=rollout.service,
        kind=rollout.kind,
        release=f"r{rollout.candidate}",
        previous="" if rollout.stable is None else f"r{rollout.stable}",
        phase=rollout.phase,
        phases=spent,
        seconds=total,
        ready=ready,
        wanted=wanted,
        requests=receipt.requests if receipt else measured[0],
        failed=receipt.failed if receipt else measured[1],
        text=text,
        reason_id=reason_id,
        output=rollout.output,
        ended=ended,
        receipt=receipt,
        stepping=stepping,
    )


def stepping_view(rollout: Rollout, candidate: Release, verdict: Verdict | None, now: Now) -> SteppingView | None:
    """How a deploy moves its traffic; None for what moves none."""
    if not rollout.strategy:
        return None
    policy = candidate.spec.rollout
    stepping = rollout.phase == "stepping"
    left_s: float | None = None
    if stepping and rollout.stage == "watching" and not rollout.paused:
        left_s = max(0.0, verdict_by_s(rollout, policy) - now.boot_s)
    elif rollout.phase == "live" and rollout.boot_id == now.boot_id:
        left_s = max(0.0, rollout.phase_since_s + policy.bake_s - now.boot_s)
    return SteppingView(
        strategy=rollout.strategy,
        why=rollout.why,
        steps=rollout.steps,
        step=rollout.step,
        stage=rollout.stage,
        weight_pct=weight_pct(rollout) if stepping else 100 if rollout.phase in _ALL else 0,
        left_s=left_s,
        paused=rollout.paused,
        waits=rollout.waits,
        kept=rollout.kept,
        verdict=verdict,
        detects=rollout.detects,
        exposure=rollout.exposure,
    )


def _text(rollout: Rollout, seen: Observation, run: JobRun | None) -> tuple[str, str]:
    """What went wrong or is waited for, and the page that explains it."""
    if rollout.reason:
        return rollout.reason, rollout.reason_id
    if seen.problem:
        return seen.problem, seen.problem_id
    if rollout.phase == "preparing":
        return (f"`{run.command.text}` runs", "") if run else ("", "")
    if rollout.phase == "starting":
        crashes, end = seen.backoff.get(rollout.candidate, 0), seen.last_exit.get(rollout.candidate)
        if crashes and end is not None:
            return f"crashed {crashes} time{'' if crashes == 1 else 's'}, last: {end.text}", end.id
        waits = (r for r in seen.replicas if r.record.release == rollout.candidate and r.reason)
        return next(((r.reason, r.reason_id) for r in waits), ("", ""))
    if rollout.phase == "draining":
        inflight = sum(r.inflight or 0 for r in seen.replicas if r.record.release == rollout.stable)
        return (f"{inflight} requests in flight at r{rollout.stable}" if inflight else ""), ""
    return "", ""


def run_view(run: JobRun, now: Now) -> JobRunView:
    """One run of a job."""
    return JobRunView(
        id=run.id,
        service=run.service,
        job=run.job,
        release=f"r{run.release}",
        trigger=run.trigger,
        state=run.state,
        command=run.command.text,
        attempt=run.attempt,
        attempts=run.retries + 1,
        count=run.count,
        due_wall=run.due_wall,
        created_wall=run.created_wall,
        started_wall=run.started_wall,
        ended_wall=run.ended_wall,
        seconds=round(took(run, now), 3),
        exit=run.exit,
        reason=run.reason or run.stop,
        output=run.output,
        ended=run.ended,
        author=run.author,
    )


def job_view(job: Job, release: Release, live: bool, runs: Sequence[JobRun], now: Now) -> JobView:
    """One job of a release; `runs` are the kept ones of this job. It is due only while its service is `live`."""
    last = max(runs, key=lambda run: run.created_wall, default=None)
    text = "" if live else f"{release.service} is down: its jobs do not run"
    dues = [run.due_wall for run in runs if run.due_wall is not None and run.due_wall <= now.wall + CLOCK_BACK_S]
    return JobView(
        service=release.service,
        job=job.name,
        command=job.run.text,
        release=f"r{release.n}" if live else "",
        schedule=job.schedule or "",
        time_zone=job.time_zone if job.schedule else "",
        next_wall=next_due(job, max([now.wall, *dues])) if live else None,
        last=None if last is None else run_view(last, now),
        text=text,
    )


def release_views(
    releases: Mapping[int, Release],
    intent: Intent,
    rollout: Rollout | None,
    receipts: Sequence[Receipt],
    running: frozenset[int],
) -> tuple[ReleaseView, ...]:
    """The kept history of a service, newest first."""
    newest = {receipt.release: receipt for receipt in sorted(receipts, key=lambda row: row.wall)}
    active = rollout.candidate if rollout and rollout.phase not in ENDED | LIVE else None

    def state(n: int) -> str:
        if n == active:
            return "candidate"
        if n == intent.target:
            return "current"
        if n in running:
            return "warm"
        return "failed" if n in newest and newest[n].outcome == "undone" else "past"

    return tuple(
        ReleaseView(
            service=intent.service,
            release=f"r{n}",
            n=n,
            state=state(n),  # type: ignore[arg-type]
            artifact=release.artifact.key,
            created_wall=release.created_wall,
            author=release.author,
            note=release.note,
            receipt=newest.get(n),
        )
        for n, release in sorted(releases.items(), reverse=True)
    )
