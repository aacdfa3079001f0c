"""Takes orders, once each, and publishes them: HTTP and SQLite, nothing but the standard library.

    POST   /orders                      {"id", "sku", "price_cents"}: 201; 200 when that order is known, 409 when it differs
    GET    /orders/ID                   the order
    POST   /topics/TOPIC/leases         {"limit", "seconds"}: {"lease", "messages"}, for this caller alone so long
    DELETE /topics/TOPIC/ID?lease=...   the message is worked on: 200; 409 when the lease had run out
    GET    /topics/TOPIC                {"waiting"}: how many messages are not worked on yet
    GET    /healthz                     200 when the database answers

The one topic is orders.placed; how its messages are kept and handed out is in outbox.py. Several replicas, and two
releases at once, share the database file.

SIGTERM ends this process at once, in the middle of whatever it does: like most services it has no code for draining.
Deploying it under load without a failed request is the platform's work.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import outbox

VERSION = "1"

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    id          TEXT PRIMARY KEY,
    sku         TEXT NOT NULL,
    price_cents INTEGER NOT NULL,
    taken_at    REAL NOT NULL,
    taken_by    TEXT NOT NULL
);
"""


class Orders:
    """The orders in a SQLite file. Safe to call from any thread."""

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        # Autocommit: each statement here is a transaction of its own. The timeout is for the other replicas' writes.
        self._db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(SCHEMA + outbox.SCHEMA)
        self.outbox = outbox.Outbox(self.run)

    def run(self, sql: str, *values: object) -> list[dict[str, Any]]:
        with self._lock:
            return [dict(row) for row in self._db.execute(sql, values)]

    def take(self, id: str, sku: str, price_cents: int) -> bool:
        """Keep the order; False when it is already there. ValueError when another order has this id."""
        taken = self.run(
            "INSERT INTO orders (id, sku, price_cents, taken_at, taken_by) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (id) DO NOTHING RETURNING id",
            id, sku, price_cents, time.time(), VERSION,
        )  # fmt: skip
        if taken:
            return True
        known = self.find(id)
        if known and (known["sku"], known["price_cents"]) != (sku, price_cents):
            raise ValueError(f"order {id} is another one")
        return False

    def find(self, id: str) -> dict[str, Any] | None:
        found = self.run("SELECT id, sku, price_cents, taken_by FROM orders WHERE id = ?", id)
        return found[0] if found else None

    def check(self) -> None:
        self.run("SELECT 1")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave in one packet; two would wait 40 ms for each other (Nagle, delayed ACK)
    orders: Orders

    def do_GET(self) -> None:
        match self.path.strip("/").split("/"):
            case ["healthz"]:
                self.orders.check()
                self.answer(200, {"ok": True, "version": VERSION})
            case ["orders", id]:
                order = self.orders.find(id)
                self.answer(200, order) if order else self.answer(404, {"error": "no such order"})
            case ["topics", topic]:
                self.answer(200, {"waiting": self.orders.outbox.waiting(topic)})
            case _:
                self.answer(404, {"error": "no such page"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        match self.path.strip("/").split("/"):
            case ["orders"]:
                self.take_order(body)
            case ["topics", topic, "leases"]:
                self.lease(topic, body)
            case _:
                self.answer(404, {"error": "no such page"})

    def take_order(self, body: bytes) -> None:
        try:
            asked = json.loads(body)
            id, sku, price_cents = str(asked["id"]), str(asked["sku"]), int(asked["price_cents"])
        except (ValueError, KeyError, TypeError):
            self.answer(400, {"error": "an order has id, sku and price_cents"})
            return
        try:
            new = self.orders.take(id, sku, price_cents)
        except ValueError as problem:
            self.answer(409, {"error": str(problem)})
            return
        self.answer(201 if new else 200, {"id": id, "version": VERSION})

    def lease(self, topic: str, body: bytes) -> None:
        try:
            asked = json.loads(body)
            limit, seconds = int(asked["limit"]), float(asked["seconds"])
        except (ValueError, KeyError, TypeError):
            self.answer(400, {"error": "a lease has limit and seconds"})
            return
        taken = self.orders.outbox.take(topic, limit, seconds)
        self.answer(200, {**taken, "messages": [json.loads(message) for message in taken["messages"]]})

    def do_DELETE(self) -> None:
        path, _, query = self.path.partition("?")
        match path.strip("/").split("/"):
            case ["topics", topic, id]:
                known = self.orders.outbox.done(topic, id, query.removeprefix("lease="))
                self.answer(*((200, {"id": id}) if known else (409, {"error": "the lease is not yours any more"})))
            case _:
                self.answer(404, {"error": "no such page"})

    def answer(self, status: int, body: object) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:
        """The proxy counts requests; a line for each would only hide what matters."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def serve(port: int, path: str, host: str = "127.0.0.1") -> Server:
    """A server that listens already; call its `serve_forever`. Port 0 takes a free one."""
    handler = type("OrdersHandler", (Handler,), {"orders": Orders(path)})
    return Server((host, port), handler)


if __name__ == "__main__":
    database, host = os.environ.get("ORDERS_DB", "orders.db"), os.environ.get("HOST", "127.0.0.1")
    server = serve(int(os.environ["PORT"]), database, host)
    print(f"orders {VERSION} takes orders on port {server.server_port}", flush=True)
    server.serve_forever()
