"""The environment's rows in memory, in step with the store: read at once, written by transaction.

The daemon and the cells share one `Records`. A row is changed here only after the store has it for good.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping

from atoll.model.records import TaskRecord
from atoll.model.rows import Change, Lease, Row, RowKind, Saved
from atoll.model.state import ENDED, LIVE, Event, Intent, JobRun, Receipt, Release, ReplicaRecord, Rollout
from atoll.ports import Store

_log = logging.getLogger("atoll.ledger")  # by this name who has the ledger itself leaves these lines out
_BAD = frozenset(
    {"replica.crashed", "replica.killed", "rollout.undoing", "rollout.undone", "job.failed", "job.missed"}
) | {"certificate.refused", "certificate.failed", "certificate.expiring", "certificate.expired"}


class Records:
    """A mirror of the state tables. Raises what `Store.commit` raises, and then nothing has changed."""

    def __init__(self, store: Store, saved: Saved) -> None:
        self._store = store
        self.releases: dict[str, dict[int, Release]] = {}
        self.intents: dict[str, Intent] = {}
        self.rollouts: dict[str, Rollout] = {}
        self.receipts: dict[str, Receipt] = {}
        self.runs: dict[str, JobRun] = {}
        self._task_records: dict[str, dict[str, TaskRecord]] = {}  # by key
        self.leases: dict[int, str] = {}
        self._replicas: dict[str, dict[str, ReplicaRecord]] = {}
        self._runs_locks: dict[str, asyncio.Lock] = {}
        for rows in (saved.releases, saved.intents, saved.rollouts, saved.replicas, saved.receipts, saved.runs):
            for row in rows:
                self._put(row)
        for record in saved.records:
            self._put(record)
        for lease in saved.leases:
            self.leases[lease.port] = lease.holder

    async def commit(self, change: Change) -> None:
        """Write all of `change` durably, then show it. An empty change costs nothing."""
        if not (change.puts or change.drops or change.leases or change.freed or change.events):
            return
        await self._store.commit(change)
        for event in change.events:
            _tell(event)
        for row in change.puts:
            self._put(row)
        for kind, key in change.drops:
            self._drop(kind, key)
        for lease in change.leases:
            self.leases[lease.port] = lease.holder
        for port in change.freed:
            self.leases.pop(port, None)

    def replicas(self, service: str) -> Mapping[str, ReplicaRecord]:
        """The replica rows of one service by id."""
        return self._replicas.get(service, {})

    def runs_of(self, service: str) -> list[JobRun]:
        """The kept job runs of a service, the oldest first."""
        mine = (run for run in self.runs.values() if run.service == service)
        return sorted(mine, key=lambda run: (run.created_wall, run.id))

    def runs_lock(self, service: str) -> asyncio.Lock:
        """Held by whoever changes a run's row, from reading it to its commit."""
        return self._runs_locks.setdefault(service, asyncio.Lock())

    def of_tasks(self, service: str | None = None) -> list[TaskRecord]:
        """The records that were imported: of a service's tasks, or all."""
        every = (record for mine in self._task_records.values() for record in mine.values())
        return [record for record in every if service in {None, record.service}]

    def of_keys(self, keys: Iterable[str]) -> list[TaskRecord]:
        """Those of the tasks with these keys, whoever's they are: services with the same files share them."""
        return [record for key in dict.fromkeys(keys) for record in self._task_records.get(key, {}).values()]

    def services(self) -> Iterable[str]:
        """Every service that was ever deployed here."""
        return sorted({*self.releases, *self.intents})

    def releases_of(self, service: str) -> Mapping[int, Release]:
        """The kept releases of a service by number."""
        return self.releases.get(service, {})

    def rollout_of(self, service: str) -> Rollout | None:
        """The newest rollout of a service, ended or not."""
        found = [row for row in self.rollouts.values() if row.service == service]
        return max(found, key=lambda row: row.started_wall) if found else None

    def settled(self, service: str) -> int | None:
        """The release that is no candidate: the stable one of a rollout under way, else what is wanted."""
        rollout = self.rollout_of(service)
        if rollout is not None and rollout.phase not in ENDED | LIVE:
            return rollout.stable
        intent = self.intents.get(service)
        return intent.target if intent else None

    def live_since(self, service: str, release: int) -> float:
        """Since when a release has the traffic (wall); when it was made, where nothing tells."""
        mine = [row for row in self.receipts.values() if row.service == service and row.outcome == "live"]
        newest = max((row.wall for row in mine if row.release == release), default=0.0)
        return newest or self.releases[service][release].created_wall

    def later(self, service: str, wall: float) -> float:
        """`wall`, or just after the newest rollout or receipt: they are told apart by it, and clocks are set back."""
        rollouts = (row.started_wall for row in self.rollouts.values() if row.service == service)
        receipts = (row.wall for row in self.receipts.values() if row.service == service)
        return max([wall, *(at + 0.001 for at in (*rollouts, *receipts))])

    def ports_of(self, holder: str) -> list[int]:
        """The numbers leased to a holder."""
        return [port for port, who in self.leases.items() if who == holder]

    def _put(self, row: Row) -> None:
        match row:
            case Release():
                self.releases.setdefault(row.service, {})[row.n] = row
            case Intent():
                self.intents[row.service] = row
            case Rollout():
                self.rollouts[row.id] = row
            case ReplicaRecord():
                self._replicas.setdefault(row.service, {})[row.id] = row
            case Receipt():
                self.receipts[row.rollout] = row
            case JobRun():
                self.runs[row.id] = row
            case TaskRecord():
                self._task_records.setdefault(row.key, {})[row.id] = row

    def _drop(self, kind: RowKind, key: str) -> None:
        match kind:
            case "release":
                service, _, n = key.rpartition("/")
                known = self.releases.get(service, {})
                known.pop(int(n), None)
                if not known:  # of a store that was removed
                    self.releases.pop(service, None)
            case "intent":
                self.intents.pop(key, None)
            case "rollout":
                self.rollouts.pop(key, None)
            case "replica":
                for rows in self._replicas.values():
                    rows.pop(key, None)
            case "receipt":
                self.receipts.pop(key, None)
            case "run":
                self.runs.pop(key, None)
            case "record":
                for mine in self._task_records.values():
                    mine.pop(key, None)


def _tell(event: Event) -> None:
    """The ledger's line in the daemon's log: what it decided, and for whom."""
    level = logging.WARNING if event.kind in _BAD else logging.INFO
    subject = "" if event.service in event.message else f"{event.service}: "
    asked = event.kind.startswith(("rollout.started", "intent.", "secret."))
    who = f" (asked for by {event.author.actor})" if asked and event.author.actor else ""
    _log.log(level, "%s%s%s", subject, event.message, who)


def leased(holder: str, ports: Iterable[int]) -> tuple[Lease, ...]:
    """Leases of `ports` for one holder."""
    return tuple(Lease(port=port, holder=holder) for port in ports)
