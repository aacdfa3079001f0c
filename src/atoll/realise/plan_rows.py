"""What one plan of a cell writes down before it is done: rows, leases and events, as one change. Does nothing itself."""

from collections.abc import Iterable, Mapping

import msgspec

from atoll.model.actions import Action, Drain, Forget, Kill, Publish, Signal, Start
from atoll.model.launch import Reach
from atoll.model.rows import Change, Lease
from atoll.model.spec import Port
from atoll.model.state import LOOPBACK, Event, Exit, Now, Reason, Release, ReplicaPhase, ReplicaRecord
from atoll.realise.facts import Facts
from atoll.realise.leases import Ports, free_address, own_numbers
from atoll.realise.records import Records, leased


class Ends:
    """How replicas of one service ended, by release; for people, and only as long as the daemon lives."""

    def __init__(self) -> None:
        self.exits: dict[int, Exit] = {}  # the last crash
        self.crashed: dict[int, str] = {}  # whose that was
        self.given_up: dict[int, Reason] = {}  # why the last one was ended that did not get ready


class PlanRows:
    """Collects the change of one plan. `ends` learns of crashes."""

    def __init__(
        self,
        service: str,
        releases: Mapping[int, Release],
        records: Records,
        ports: Ports,
        facts: Facts,
        now: Now,
        ends: Ends,
        reach: Reach,
    ) -> None:
        self._service, self._releases, self._records = service, releases, records
        self._ports, self._facts, self._now, self._ends, self._reach = ports, facts, now, ends, reach
        self._current = dict(records.replicas(service))
        self._rows: list[ReplicaRecord] = []
        self._gone: list[str] = []
        self._leases: list[Lease] = []
        self._freed: list[int] = []
        self._events: list[Event] = []

    def add(self, action: Action) -> None:
        """Take one action of the plan. Raises Retryable when no port or address is free."""
        match action:
            case Start():
                row = self._new(action)
                if row.host == LOOPBACK:
                    self._leases.extend(leased(row.id, row.ports.values()))
                self._rows.append(row)
                self._tell("replica.started", row, f"{row.id} is starting")
            case Publish():
                self._move(action.replica, "serving", "")
                self._tell("replica.ready", self._rows[-1], f"{action.replica} is ready")
            case Drain():
                self._move(action.replica, "draining", action.why)
                self._tell("replica.draining", self._rows[-1], f"{action.replica}: {action.why}")
            case Signal():
                self._note_slow_start(self._current[action.replica], Reason(action.why, action.id))
                self._move(action.replica, "stopping", action.why)
                self._tell("replica.stopping", self._rows[-1], f"{action.replica}: {action.why}")
            case Kill():
                self._tell(
                    "replica.killed", self._current[action.replica], f"{action.replica} did not stop within its grace"
                )
            case Forget():
                row = self._current[action.replica]
                self._gone.append(row.id)
                self._freed.extend(self._records.ports_of(row.id))
                self._tell_end(row, action.crashed)

    def change(self) -> Change:
        """Everything, for one transaction."""
        return Change(
            puts=tuple(self._rows),
            drops=tuple(("replica", id) for id in self._gone),
            leases=tuple(self._leases),
            freed=tuple(self._freed),
            events=tuple(self._events),
        )

    def _new(self, action: Start) -> ReplicaRecord:
        now, host, declared = self._now, LOOPBACK, self._releases[action.release].spec.ports
        if self._reach.network:
            host = free_address(self._reach.network, [row.host for row in (*self._current.values(), *self._rows)])
            ports = own_numbers(declared)
        else:
            ports = self._leased_numbers(declared)
        return ReplicaRecord(
            id=action.replica,
            service=self._service,
            release=action.release,
            slot=action.slot,
            host=host,
            ports=ports,
            boot_id=now.boot_id,
            created_s=now.boot_s,
            phase_since_s=now.boot_s,
            created_wall=now.wall,
        )

    def _leased_numbers(self, declared: Iterable[Port]) -> dict[str, int]:
        taken = {*self._records.leases, *(lease.port for lease in self._leases)}
        ports: dict[str, int] = {}
        for port in declared:
            ports[port.name] = self._ports.take(taken)
            taken.add(ports[port.name])
        return ports

    def _move(self, replica: str, phase: ReplicaPhase, why: str) -> None:
        row = self._current[replica]
        self._rows.append(msgspec.structs.replace(row, phase=phase, why=why, phase_since_s=self._now.boot_s))

    def _note_slow_start(self, row: ReplicaRecord, why: Reason) -> None:
        """Its successor will not know yet why it was ended."""
        release = self._releases.get(row.release)
        budget_s = release.spec.health.start_budget_s if release else float("inf")
        if row.phase == "starting" and self._now.boot_s >= row.created_s + budget_s:
            self._ends.given_up[row.release] = why

    def _tell(self, kind: str, row: ReplicaRecord, message: str, **data: object) -> None:
        told = {"replica": row.id, **data}
        event = Event(
            kind=kind, service=self._service, release=row.release, message=message, data=told, wall=self._now.wall
        )
        self._events.append(event)

    def _tell_end(self, row: ReplicaRecord, crashed: bool) -> None:
        hosted = self._facts.of(row.id)
        exit_ = hosted.exit if hosted else None
        if not crashed or exit_ is None:
            self._tell("replica.stopped", row, f"{row.id} stopped{f' ({exit_.text})' if exit_ else ''}")
            return
        if exit_.oom and row.release in self._releases:
            exit_ = msgspec.structs.replace(exit_, limit_bytes=self._releases[row.release].spec.limits.memory_bytes)
        self._ends.exits[row.release] = exit_
        self._ends.crashed[row.release] = row.id
        self._ends.given_up.pop(row.release, None)
        self._tell("replica.crashed", row, f"{row.id} crashed: {exit_.text}", exit=msgspec.to_builtins(exit_))
