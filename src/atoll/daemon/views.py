"""Rows and observations as people see them. Pure; `daemon.environment` gathers, this shapes."""

from collections.abc import Mapping, Sequence

from atoll.daemon.collector import Rates
from atoll.decide.facts import is_ready
from atoll.decide.plan import routes
from atoll.decide.rollout import seconds
from atoll.decide.states import judge_service
from atoll.model.state import (
    ENDED,
    LIVE,
    Intent,
    Now,
    Observation,
    Receipt,
    Release,
    Replica,
    Rollout,
    ServiceDesired,
)
from atoll.model.wire import OperationView, ReleaseView, ReplicaView, ServiceView


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
) -> ServiceView:
    """One service now."""
    active = rollout if rollout and rollout.phase not in ENDED | LIVE else None
    current = intent.target if intent.target is not None else active.candidate if active else None
    wanted = next((revision.replicas for revision in want.revisions if revision.release == current), 0)
    ready = sum(1 for replica in seen.replicas if replica.record.release == current and is_ready(replica))
    state, reason, reason_id = judge_service(intent, rollout, want, seen)
    spec = releases[current].spec if current is not None and current in releases else None
    return ServiceView(
        name=intent.service,
        state=state,
        release=f"r{current}" if current is not None else "",
        candidate=f"r{active.candidate}" if active else "",
        generation=intent.generation,
        ready=ready,
        wanted=wanted,
        override=intent.replicas,
        rps=round(rates.rps, 2),
        error_pct=None if rates.error_pct is None else round(rates.error_pct, 2),
        p95_ms=None if rates.p95_ms is None else round(rates.p95_ms, 2),
        since_wall=_since(rollout, releases, current),
        urls=routes(spec, gateway) if spec and state != "down" else (),
        reason=reason,
        reason_id=reason_id,
        replicas=tuple(replica_view(replica, seen, usage, now) for replica in seen.replicas),
    )


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
) -> OperationView:
    """A rollout, in progress or ended."""
    ready = sum(1 for r in seen.replicas if r.record.release == rollout.candidate and is_ready(r))
    spent = dict(receipt.seconds) if receipt else dict(seconds(rollout, now))
    total = spent.pop("total", 0.0)
    ended = rollout.phase in LIVE | ENDED and (receipt is not None or rollout.phase == "superseded")
    text, reason_id = _text(rollout, seen)
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
    )


def _text(rollout: Rollout, seen: Observation) -> tuple[str, str]:
    """What went wrong or is waited for, and the page that explains it."""
    if rollout.reason:
        return rollout.reason, rollout.reason_id
    if seen.problem:
        return seen.problem, seen.problem_id
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
