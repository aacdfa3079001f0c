"""State rows to table rows and back. Pure but for the connection it is handed; called by `sqlite` only."""

from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import Connection, Delete, Table, delete, select
from sqlalchemy.dialects.sqlite import Insert, insert

from atoll.model.errors import UserError
from atoll.model.records import TaskRecord
from atoll.model.rows import Row, RowKind
from atoll.model.state import Intent, JobRun, Receipt, Release, ReplicaRecord, Rollout
from atoll.store import schema

TABLES: Final[dict[RowKind, Table]] = {
    "release": schema.releases,
    "intent": schema.intents,
    "rollout": schema.rollouts,
    "replica": schema.replicas,
    "receipt": schema.receipts,
    "run": schema.job_runs,
    "record": schema.task_records,
}
_KINDS: Final[dict[type[Row], RowKind]] = {
    Release: "release",
    Intent: "intent",
    Rollout: "rollout",
    ReplicaRecord: "replica",
    Receipt: "receipt",
    JobRun: "run",
    TaskRecord: "record",
}
_R = TypeVar("_R", Release, Intent, Rollout, ReplicaRecord, Receipt, JobRun, TaskRecord)


def _upsert(table: Table) -> Insert:
    statement = insert(table)
    keys = [column.name for column in table.primary_key]
    changed = {column.name: statement.excluded[column.name] for column in table.c if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)


_UPSERTS: Final = {kind: _upsert(table) for kind, table in TABLES.items()}
_ENCODER: Final = msgspec.json.Encoder()


def put(row: Row) -> tuple[Insert, dict[str, Any]]:
    """The statement and its values that write `row`; columns are named as the row's fields are."""
    kind = _KINDS[type(row)]
    values = {column.name: getattr(row, column.name) for column in TABLES[kind].c if column.name != "body"}
    values["body"] = _ENCODER.encode(row).decode()
    return _UPSERTS[kind], values


def drop(kind: RowKind, key: str) -> Delete:
    """The statement that removes a row by its key: release "orders/7", intent "orders", others by id."""
    table = TABLES[kind]
    statement = delete(table)
    if kind == "release":
        service, _, n = key.rpartition("/")
        return statement.where(table.c.service == service, table.c.n == int(n))
    (column,) = table.primary_key
    return statement.where(column == key)


def load(connection: Connection, type_: type[_R]) -> Sequence[_R]:
    """All rows of one type by key. Unknown fields are skipped, missing ones get their default (additive evolution).

    Raises UserError naming table and key when a body does not fit its type.
    """
    table = TABLES[_KINDS[type_]]
    keys = list(table.primary_key)
    decoder = msgspec.json.Decoder(type_)
    rows: list[_R] = []
    for *key, body in connection.execute(select(*keys, table.c.body).order_by(*keys)):
        try:
            rows.append(decoder.decode(body))
        except (msgspec.DecodeError, UnicodeDecodeError, TypeError) as exc:
            name = "/".join(str(part) for part in key)
            raise UserError(
                f"The row {name} of table {table.name} cannot be read",
                str(exc),
                "start the version of Atoll that wrote it, or put back a copy of state.db from before",
                id="database-damaged",
            ) from exc
    return rows
