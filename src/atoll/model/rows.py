"""The state tables of an environment: their rows, and a change of them. A `ports.Store` keeps them."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from atoll.model.records import TaskRecord
from atoll.model.state import Event, Intent, JobRun, Receipt, Release, ReplicaRecord, Rollout

Row = Release | Intent | Rollout | ReplicaRecord | Receipt | JobRun | TaskRecord


RowKind = Literal["release", "intent", "rollout", "replica", "receipt", "run", "record"]


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A port number in use, stored before its first use. `holder` is a replica id or `edge:orders-r7->catalog.grpc`."""

    port: int
    holder: str


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction: rows to write, rows to drop, leases, and the events that say why."""

    puts: tuple[Row, ...] = ()
    drops: tuple[tuple[RowKind, str], ...] = ()  # keys: release "orders/7", intent "orders", others by id
    leases: tuple[Lease, ...] = ()
    freed: tuple[int, ...] = ()  # ports
    events: tuple[Event, ...] = ()
    expect: Mapping[str, int] = {}  # service -> the intent's generation that must still stand (0: none yet)


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """All state tables of an environment."""

    releases: tuple[Release, ...] = ()
    intents: tuple[Intent, ...] = ()
    rollouts: tuple[Rollout, ...] = ()
    replicas: tuple[ReplicaRecord, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    runs: tuple[JobRun, ...] = ()
    records: tuple[TaskRecord, ...] = ()
    leases: tuple[Lease, ...] = ()
    last_event: int = 0
