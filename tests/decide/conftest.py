"""Builders of facts about one service, `orders`, so that a test names only what its case is about."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from atoll.decide.reconcile import Plan, reconcile
from atoll.model.spec import Command, Health, Limits, Port, Route, ServiceSpec, Stop
from atoll.model.state import (
    Artifact,
    Author,
    Backoff,
    Exit,
    Intent,
    Now,
    Observation,
    Release,
    Replica,
    ReplicaRecord,
    Revision,
    Rollout,
    ServiceDesired,
)

NOW_S = 1000.0


class Orders:
    """The service of the tables: r6 is usually stable, r7 the candidate; it is second 1000 of boot `b1`."""

    def now(self, at_s: float = NOW_S, boot: str = "b1") -> Now:
        return Now(boot_id=boot, boot_s=at_s, wall=at_s)

    def spec(self, **changes: Any) -> ServiceSpec:
        first = ServiceSpec(
            name="orders",
            run=Command(argv=("orders", "--port", "{port}")),
            ports=(Port(),),
            routes=(Route(path="/orders"),),
            health=Health(start_budget_s=30.0, stable_for_s=1.0),
            stop=Stop(drain_s=30.0, grace_s=10.0),
            limits=Limits(),
        )
        return msgspec.structs.replace(first, **changes)

    def release(self, n: int = 7, **changes: Any) -> Release:
        key = f"{n}{n}{n}{n}aaaabbbb"
        made = Artifact(key=key, digest=key, builder="python", platform="any", path=f"/artifacts/{n}")
        return Release(service="orders", n=n, spec=self.spec(**changes), artifact=made)

    def replica(self, id: str = "a", n: int = 7, slot: int = 0, phase: str = "serving", **facts: Any) -> Replica:
        """Alive, since second 900; a serving one is ready and in the proxy. `since`, `created`, `boot` set its row."""
        since = facts.pop("since", 900.0)
        record = ReplicaRecord(
            id=id,
            service="orders",
            release=n,
            slot=slot,
            phase=phase,  # type: ignore[arg-type]
            ports=facts.pop("ports", {"http": 20000 + slot}),
            boot_id=facts.pop("boot", "b1"),
            created_s=facts.pop("created", since),
            phase_since_s=since,
            why=facts.pop("why", ""),
        )
        usual: dict[str, Any] = {"alive": True, "in_proxy": "absent"}
        if phase == "serving":
            usual = {"alive": True, "ready": True, "ready_since_s": since, "in_proxy": "serving", "inflight": 0}
        return Replica(record=record, **{**usual, **facts})

    def crashed(self, id: str = "a", **facts: Any) -> Replica:
        return self.replica(
            id, **{"alive": False, "exit": Exit(code=1, at_s=facts.pop("at", NOW_S)), "ready": False, **facts}
        )

    def want(self, *revisions: tuple[int, int, int], hold: bool = False) -> ServiceDesired:
        """Revisions as (release, replicas, weight)."""
        rows = tuple(Revision(release=n, replicas=count, weight_pct=weight) for n, count, weight in revisions)
        return ServiceDesired(service="orders", generation=1, revisions=rows, hold=hold)

    def seen(self, *replicas: Replica, **facts: Any) -> Observation:
        usual: dict[str, Any] = {"weights": {7: 100}, "holding": False}
        return Observation(service="orders", replicas=replicas, **{**usual, **facts})

    def plan(
        self,
        want: ServiceDesired,
        seen: Observation,
        *releases: Release,
        backoff: Mapping[tuple[int, int], Backoff] | None = None,
        at_s: float = NOW_S,
    ) -> Plan:
        """What reconcile says; new replicas are called `new-r7-0`."""
        known = {release.n: release for release in (self.release(6), self.release(7), *releases)}
        return reconcile(want, seen, known, backoff or {}, self.now(at_s), lambda n, slot: f"new-r{n}-{slot}")

    def intent(self, target: int | None = 6, **changes: Any) -> Intent:
        return Intent(service="orders", generation=1, target=target, **changes)

    def rollout(self, phase: str, stable: int | None = 6, **changes: Any) -> Rollout:
        """Of r7, in `phase` since second 990."""
        first = Rollout(
            id="op1",
            service="orders",
            kind="deploy",
            candidate=7,
            stable=stable,
            phase=phase,  # type: ignore[arg-type]
            boot_id="b1",
            phase_since_s=990.0,
            entered_s={phase: 990.0},
            author=Author(actor="ada"),
        )
        return msgspec.structs.replace(first, **changes)


@pytest.fixture
def orders() -> Orders:
    return Orders()
