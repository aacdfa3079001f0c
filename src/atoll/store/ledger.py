"""The ledger's table: append, read, and the sweep by which old events go. Called by `sqlite` only."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, delete, func, insert, select

from atoll.model.errors import UserError
from atoll.model.state import Author, Event
from atoll.store.retention import expired
from atoll.store.schema import ledger

SLICE: Final = 1000  # rows that one step of a sweep looks at: a few milliseconds of the writer's time

_APPEND: Final = insert(ledger)
_NEWEST: Final = select(func.max(ledger.c.seq))


def values(event: Event) -> dict[str, Any]:
    """The columns of an event; its `seq` is given by the table."""
    return {
        "wall": event.wall,
        "service": event.service,
        "release": event.release,
        "kind": event.kind,
        "message": event.message,
        "actor": event.author.actor,
        "commit": event.author.commit,
        "commit_wall": event.author.commit_wall,
        "dirty": int(event.author.dirty),
        "data": msgspec.json.encode(event.data).decode(),
    }


def append(connection: Connection, events: Sequence[dict[str, Any]]) -> int:
    """Add events in this order; returns the newest seq of the ledger (0: empty)."""
    if events:
        connection.execute(_APPEND, list(events))
    return newest(connection)


def newest(connection: Connection) -> int:
    """The highest seq; the sweep never removes that row, so numbers only grow."""
    return connection.execute(_NEWEST).scalar() or 0


def read(connection: Connection, *, after: int, limit: int, service: str | None, last: bool) -> list[Event]:
    """Events with seq > `after`, in order; `last` takes the newest `limit` of them instead of the oldest."""
    query = select(ledger).where(ledger.c.seq > after)
    if service is not None:
        query = query.where(ledger.c.service == service)
    order = ledger.c.seq.desc() if last else ledger.c.seq
    found = [_event(row) for row in connection.execute(query.order_by(order).limit(limit)).mappings()]
    return found[::-1] if last else found


def sweep(connection: Connection, after: int, now_wall: float) -> int | None:
    """Remove what has expired among the next `SLICE` events after `after`; where to go on, None at the end."""
    query = select(ledger.c.seq, ledger.c.kind, ledger.c.wall).where(ledger.c.seq > after)
    rows = connection.execute(query.order_by(ledger.c.seq).limit(SLICE)).all()
    top = newest(connection)
    gone = [seq for seq, kind, wall in rows if seq != top and expired(kind, wall, now_wall)]
    if gone:
        connection.execute(delete(ledger).where(ledger.c.seq.in_(gone)))
    return rows[-1].seq if len(rows) == SLICE else None


def _event(row: Any) -> Event:
    try:
        data = msgspec.json.decode(row["data"])
    except msgspec.DecodeError as exc:
        raise UserError(
            f"The row {row['seq']} of table ledger cannot be read",
            str(exc),
            "put back a copy of state.db from before",
            id="database-damaged",
        ) from exc
    author = Author(actor=row["actor"], commit=row["commit"], commit_wall=row["commit_wall"], dirty=bool(row["dirty"]))
    return Event(
        kind=row["kind"],
        service=row["service"],
        release=row["release"],
        message=row["message"],
        author=author,
        data=data,
        wall=row["wall"],
        seq=row["seq"],
    )
