"""Rows and observations as people see them. Pure; `daemon.environment` gathers, this shapes."""

from collections.abc import Mapping, Sequence

from atoll.daemon.collector import Rates
from atoll.decide.rollout import seconds
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
from atoll.model.wire import OperationView, ReleaseView, ReplicaView, ServiceState, ServiceView


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
    ready = sum(1 for replica in seen.replicas if replica.record.release == current and serving(replica))
    state = _state(intent, active, ready, wanted)
    spec = releases[current].spec if current is not None and current in releases else None
    routes = spec.routes if spec and state != "down" else ()
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
        urls=tuple(f"http://{route.host}{gateway[gateway.rfind(':'):]}{route.path}" if route.host else f"{gateway}{route.path}" for route in routes),
        reason=reason_of(state, rollout, seen, current, now),
        replicas=tuple(replica_view(replica, seen, usage, now) for replica in seen.replicas),
    )


def serving(replica: Replica) -> bool:
    """Whether it may get traffic now."""
    return replica.record.phase == "serving" and replica.ready and bool(replica.alive)


def _state(intent: Intent, active: Rollout | None, ready: int, wanted: int) -> ServiceState:
    if active is not None:
        return "deploying"
    if intent.target is None or wanted == 0:
        return "down"
    if ready >= wanted:
        return "up"
    return "degraded" if ready else "failing"


def _since(rollout: Rollout | None, releases: Mapping[int, Release], current: int | None) -> float:
    if rollout is not None and rollout.candidate == current:
        return rollout.started_wall
    return releases[current].created_wall if current is not None and current in releases else 0.0


def reason_of(
    state: ServiceState, rollout: Rollout | None, seen: Observation, current: int | None, now: Now
) -> str:
    """Why it is not simply up, in a sentence; '' when it is."""
    if seen.problem:
        return seen.problem
    if state == "deploying" and rollout is not None:
        return rollout.reason or f"r{rollout.candidate} is {rollout.phase}"
    if state == "down":
        return f"r{rollout.candidate} was undone: {rollout.reason}" if rollout and rollout.phase == "undone" else ""
    if state == "up":
        if rollout and rollout.phase == "undone":
            return f"r{rollout.candidate} was undone: {rollout.reason}"
        return ""
    crashes = seen.backoff.get(current, 0) if current is not None else 0
    if current is not None and crashes and current in seen.last_exit:
        text = seen.last_exit[current].text
        return f"crash loop: {crashes} crashes in a row, last: {text}" if crashes > 1 else f"restarting after: {text}"
    waiting = next((r.reason for r in seen.replicas if r.record.release == current and r.reason and not r.ready), "")
    return waiting or "starting"


def replica_view(
    replica: Replica, seen: Observation, usage: Mapping[str, tuple[int, float]], now: Now
) -> ReplicaView:
    """One replica now."""
    row = replica.record
    return ReplicaView(
        id=row.id,
        release=f"r{row.release}",
        phase=row.phase,
        ready=serving(replica),
        pid=replica.pid,
        ports=row.ports,
        memory_bytes=usage[row.id][0] if row.id in usage else None,
        restarts=seen.backoff.get(row.release, 0),
        inflight=replica.inflight,
        since_s=round(max(0.0, now.boot_s - row.phase_since_s), 3) if row.boot_id == now.boot_id else 0.0,
        reason=row.why or replica.reason,
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
    ready = sum(1 for r in seen.replicas if r.record.release == rollout.candidate and serving(r))
    spent = dict(receipt.seconds) if receipt else _so_far(rollout, now)
    total = spent.pop("total", 0.0)
    ended = rollout.phase in LIVE | ENDED and (receipt is not None or rollout.phase == "superseded")
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
        text=rollout.reason or seen.problem or _waiting_for(rollout, seen),
        output=rollout.output,
        ended=ended,
        receipt=receipt,
    )


def _so_far(rollout: Rollout, now: Now) -> dict[str, float]:
    spent = dict(seconds(rollout))
    if rollout.boot_id == now.boot_id:
        lasting = max(0.0, now.boot_s - rollout.phase_since_s)
        spent[rollout.phase] = round(spent.get(rollout.phase, 0.0) + lasting, 3)
        spent["total"] = round(spent.get("total", 0.0) + lasting, 3)
    return spent


def _waiting_for(rollout: Rollout, seen: Observation) -> str:
    if rollout.phase == "starting":
        return next((r.reason for r in seen.replicas if r.record.release == rollout.candidate and r.reason), "")
    if rollout.phase == "draining":
        inflight = sum(r.inflight or 0 for r in seen.replicas if r.record.release == rollout.stable)
        return f"{inflight} requests in flight at r{rollout.stable}" if inflight else ""
    return ""


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
