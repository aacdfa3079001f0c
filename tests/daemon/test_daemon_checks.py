"""Checks of a rollout's file, asked of real servers; and what their answers do to a rollout in virtual time."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from atoll.daemon.checks import ask
from atoll.decide.verdict import answered, judge
from atoll.model.analysis import Analysis, AnalysisPolicy, Check
from atoll.model.spec import Command
from atoll.model.state import Exit, Observation, Replica, ReplicaRecord


class Answering(BaseHTTPRequestHandler):
    """`/gate?CODE` answers it; `/api/v1/query` is Prometheus', whose query says what comes back."""

    authorization = ""

    def do_GET(self) -> None:
        at = urlsplit(self.path)
        if at.path.startswith("/gate"):
            type(self).authorization = self.headers["authorization"] or ""
            self.send(int(at.query or 200), b"")
            return
        query = parse_qs(at.query)["query"][0]
        if query.startswith("raw:"):
            self.send(200, query[4:].encode())
            return
        if query == "nonsense(":
            self.send(400, b'{"status":"error","error":"parse error"}')
            return
        rows = [{"metric": {}, "value": [0, value]} for value in query.split(",") if value != "nothing"]
        self.send(200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": rows}}).encode())

    def send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()


class Execs:
    """An engine that only runs commands, as it was told."""

    def __init__(self, code: int) -> None:
        self.code, self.ran = code, []  # type: ignore[var-annotated]

    async def exec(self, replica: str, argv: Any, timeout_s: float) -> tuple[Exit, str]:
        self.ran.append((replica, tuple(argv), timeout_s))
        return Exit(code=self.code), "checking\nthe queue is full\n"


def seen(ready: bool = True) -> Observation:
    row = ReplicaRecord(id="orders-r2-0-a", service="orders", release=2, slot=0, phase="serving")
    return Observation(service="orders", replicas=(Replica(record=row, alive=True, ready=ready),))


def asked(check: Check, engine: Any = None, what: Observation | None = None) -> tuple[bool | None, str]:
    return asyncio.run(ask(check, engine, what or seen(), 2))


@pytest.mark.parametrize(("status", "good"), [(200, True), (204, True), (404, False), (500, False)])
def test_a_url_is_well_when_it_answers_so(server: str, status: int, good: bool) -> None:
    assert asked(Check(name="gate", http=f"{server}/gate?{status}")) == (good, f"status {status}")


def test_nobody_there_is_no_answer() -> None:
    good, text = asked(Check(name="gate", http="http://127.0.0.1:9/", timeout_s=2.0))
    assert good is None
    assert text


@pytest.mark.parametrize(
    ("query", "good", "text"),
    [
        ("3", True, "3, at least 1 and at most 5 is wanted"),
        ("3,9", False, "9, at least 1 and at most 5 is wanted"),
        ("0", False, "0, at least 1 and at most 5 is wanted"),
        ("nothing", None, "the query has no value"),
        ("NaN", None, "the query has no value"),
    ],
)
def test_prometheus_is_well_when_every_value_is_within_the_limits(
    server: str, query: str, good: bool | None, text: str
) -> None:
    check = Check(name="depth", query=query, prometheus=server, min=1.0, max=5.0)
    assert asked(check) == (good, text)


def test_a_query_that_is_none_is_no_answer_and_says_what_prometheus_said(server: str) -> None:
    good, text = asked(Check(name="depth", query="nonsense(", prometheus=server, max=1.0))
    assert (good, "400" in text) == (None, True)


@pytest.mark.parametrize(
    "body",
    [
        "", "null", "[]", "5", "<html>", '{"data": null}', '{"data": {}}', '{"data": {"resultType": "vector"}}',
        '{"data": {"resultType": "vector", "result": [5]}}', '{"data": {"resultType": "scalar", "result": [1]}}',
        '{"data": {"resultType": "vector", "result": [{"value": [0, null]}]}}',
        '{"data": {"resultType": "string", "result": [0, "x"]}}',
    ],
)  # fmt: skip
def test_an_answer_that_is_none_of_prometheus_is_no_answer(server: str, body: str) -> None:
    good, text = asked(Check(name="depth", query=f"raw:{body}", prometheus=server, max=1.0))
    assert (good, text) == (None, "the answer is none of Prometheus'")


@pytest.mark.parametrize("url", ["http://ada:s3cret@127.0.0.1:9/", "http://127.0.0.1:s3cret/", "http://[s3cret/"])
def test_what_goes_wrong_is_told_without_the_address_which_may_hold_a_password(url: str) -> None:
    good, text = asked(Check(name="gate", http=url, timeout_s=2.0))
    assert good is None
    assert text
    assert "s3cret" not in text


def test_a_user_and_password_in_an_address_are_sent_as_the_header_that_they_mean(server: str) -> None:
    assert asked(Check(name="gate", http=f"{server.replace('//', '//ada:s%40crt@')}/gate?200")) == (True, "status 200")
    assert Answering.authorization == "Basic YWRhOnNAY3J0"


def test_a_peer_that_is_never_done_takes_no_longer_than_the_checks_time() -> None:
    """Each of its bytes is in time, all of them never are."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()

        def drip() -> None:
            peer, _ = listener.accept()
            with peer:
                try:
                    peer.sendall(b"HTTP/1.1 200 OK\r\nx: ")
                    for _ in range(200):
                        peer.sendall(b"y")
                        time.sleep(0.05)
                except OSError:
                    ended.set()

        threading.Thread(target=drip, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        assert asked(Check(name="gate", http=url, timeout_s=0.5)) == (None, "no answer within 0.5 s")
        assert ended.wait(30), "nobody hung up: its thread waits for ever"


@pytest.mark.parametrize(("code", "good"), [(0, True), (3, False)])
def test_a_command_runs_in_a_ready_replica_of_the_candidate(code: int, good: bool) -> None:
    engine = Execs(code)
    check = Check(name="smoke", command=Command(shell="./smoke"))
    assert asked(check, engine) == (good, f"exit code {code}: the queue is full")
    assert engine.ran == [("orders-r2-0-a", ("/bin/sh", "-c", "./smoke"), 10.0)]
    assert asked(check, engine, seen(ready=False)) == (None, "no replica of the candidate is ready")


def test_one_bad_answer_convicts_unless_the_file_lets_it_go() -> None:
    strict, patient = Check(name="smoke", http="x"), Check(name="smoke", http="x", failures=1)
    once = answered(answered(Analysis(), "smoke", True, "status 200"), "smoke", False, "status 500")
    assert judge(AnalysisPolicy(), once, [strict]).outcome == "fail"
    assert judge(AnalysisPolicy(), once, [strict]).text == "smoke is not well: status 500"
    assert judge(AnalysisPolicy(), once, [patient]).outcome == "no data"


def test_a_check_that_stays_silent_is_an_error_and_never_a_pass() -> None:
    analysis = Analysis()
    check = Check(name="smoke", http="x")
    assert judge(AnalysisPolicy(), analysis, [check]).outcome == "no data"
    for _ in range(3):
        analysis = answered(analysis, "smoke", None, "refused")
    assert (verdict := judge(AnalysisPolicy(), analysis, [check])).outcome == "error"
    assert verdict.text == "smoke does not answer: refused"
    assert judge(AnalysisPolicy(), answered(analysis, "smoke", True, "status 200"), [check]).outcome == "no data"
