"""Messages that others shall get: a small queue in orders' own database, for consumers that compete.

A message is written in the same transaction as the order that it tells of: neither is there without the other. Whoever
takes one has a lease on it, and says when the work is done; a lease that runs out (its holder crashed) frees the message
for the next one. So each message is worked on at least once, and by one consumer at a time.

A broker does the same for many services. Between two, a table will do.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (
    topic        TEXT NOT NULL,
    id           TEXT NOT NULL,
    body         TEXT NOT NULL,
    lease        TEXT NOT NULL DEFAULT '',
    leased_until REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, id)
);
CREATE TRIGGER IF NOT EXISTS placed AFTER INSERT ON orders BEGIN
    INSERT INTO outbox (topic, id, body) VALUES ('orders.placed', NEW.id, json_object('id', NEW.id, 'sku', NEW.sku));
END;
"""
MOST = 100  # messages for one consumer at a time: the others want some, too
LONGEST_S = 600.0  # after so long a consumer that says nothing is taken for dead


class Outbox:
    """`run` executes one statement as a transaction of its own and returns its rows. Safe to call from any thread."""

    def __init__(self, run: Callable[..., list[dict[str, Any]]], clock: Callable[[], float] = time.time) -> None:
        self._run, self._clock = run, clock

    def take(self, topic: str, limit: int, seconds: float) -> dict[str, Any]:
        """Lease up to `limit` messages that nobody has, the oldest first. They come back after `seconds`."""
        lease, now = secrets.token_hex(8), self._clock()
        taken = self._run(
            "UPDATE outbox SET lease = ?, leased_until = ? WHERE rowid IN"
            " (SELECT rowid FROM outbox WHERE topic = ? AND leased_until <= ? ORDER BY rowid LIMIT ?) RETURNING rowid, body",
            lease, now + max(0.0, min(seconds, LONGEST_S)), topic, now, max(0, min(limit, MOST)),
        )  # fmt: skip
        return {"lease": lease, "messages": [row["body"] for row in sorted(taken, key=lambda row: row["rowid"])]}

    def done(self, topic: str, id: str, lease: str) -> bool:
        """The work is done: forget the message. False when the lease ran out and somebody else has it now."""
        return bool(
            self._run("DELETE FROM outbox WHERE topic = ? AND id = ? AND lease = ? RETURNING id", topic, id, lease)
        )

    def waiting(self, topic: str) -> int:
        """How many are not done, taken or not."""
        return int(self._run("SELECT count(*) AS n FROM outbox WHERE topic = ?", topic)[0]["n"])
