"""The real API over a real unix socket, with an environment of pretend behind it."""

import json
import os
import stat
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from atoll import __version__
from atoll.daemon.api import Api, explain, status_of
from atoll.daemon.endpoints import ENDPOINTS
from atoll.daemon.openapi import document
from atoll.daemon.serve import listen
from atoll.model import errors, wire, wire_backup
from atoll.model.state import Artifact
from atoll.testing.fake_control import Served, spec_of

ARTIFACT = Artifact(key="k", digest="d", builder="command", platform="linux", path="/nowhere")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path / "s") as fake:
        yield fake


def connect(fake: Served) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=str(fake.socket))
    return httpx.Client(transport=transport, base_url="http://atoll", timeout=30)


def draft(service: str, **fields: object) -> bytes:
    return msgspec.json.encode(wire.DeployRequest(spec=spec_of(service), artifact=ARTIFACT, **fields))  # type: ignore[arg-type]


def until(happened: object, within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while not happened():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_status_is_what_the_environment_says(served: Served) -> None:
    with connect(served) as client:
        view = msgspec.json.decode(client.get("/v1/status").content, type=wire.StatusView)
    assert [service.name for service in view.services] == ["catalog", "orders"]


def test_the_socket_is_for_its_owner_alone_and_goes_with_the_server(tmp_path: Path) -> None:
    with Served(tmp_path / "s") as fake:
        assert stat.S_IMODE(fake.socket.stat().st_mode) == 0o600
    assert not fake.socket.exists()


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    listen(tmp_path / "s").close()
    assert (tmp_path / "s").exists()
    with Served(tmp_path / "s") as fake, connect(fake) as client:
        assert client.get("/v1/health").json() == {"ready": True, "version": __version__}


def test_a_path_that_no_socket_can_have_is_explained(tmp_path: Path) -> None:
    with pytest.raises(errors.UserError, match="too long"):
        listen(tmp_path / ("x" * 120))


def test_a_deploy_is_accepted_at_once_and_watched_to_its_end(served: Served) -> None:
    with connect(served) as client:
        answer = client.post("/v1/services/orders/deploy", content=draft("orders"))
        assert answer.status_code == 202
        begun = answer.json()
        assert begun["phase"] == "starting"
        stream = client.get(f"/v1/operations/{begun['id']}/watch").text
    seen = [json.loads(line.removeprefix("data: ")) for line in stream.splitlines() if line.startswith("data: ")]
    assert seen[-1] == {}  # of the event `end`
    assert seen[-2]["phase"] == "live"
    assert seen[-2]["receipt"]["outcome"] == "live"


def test_the_actor_is_whom_the_kernel_vouches_for(served: Served) -> None:
    import pwd

    with connect(served) as client:
        client.post("/v1/services/orders/restart", json={"author": {"actor": "somebody else", "commit": "c0ffee"}})
    (request,) = served.control.requests
    assert isinstance(request, wire.RestartRequest)
    assert request.author.actor == pwd.getpwuid(os.getuid()).pw_name
    assert request.author.commit == "c0ffee"


def test_the_same_key_is_the_same_request(served: Served) -> None:
    with connect(served) as client:
        first, second = (
            client.post("/v1/services/orders/deploy", content=draft("orders"), headers={"Idempotency-Key": "k1"})
            for _ in range(2)
        )
    assert first.json()["id"] == second.json()["id"]
    assert len(served.control.requests) == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "kind", "exit_code"),
    [
        ("GET", "/v1/services/ordres/releases", None, 404, "NotFound", 2),
        ("GET", "/v1/operations/nope/watch", None, 404, "NotFound", 2),
        ("POST", "/v1/services/orders/deploy", draft("orders", note="refuse"), 422, "Refused", 4),
        ("POST", "/v1/services/orders/deploy", draft("orders", expect=99), 409, "Conflict", 5),
        ("POST", "/v1/services/orders/deploy", draft("catalog"), 400, "UserError", 2),
        ("POST", "/v1/services/orders/deploy", b"{", 400, "UserError", 2),
        ("POST", "/v1/services/orders/scale", b'{"replicas": "many"}', 400, "UserError", 2),
        ("GET", "/v1/events?after=soon", None, 400, "UserError", 2),
        ("GET", "/v1/logs?tail=all", None, 400, "UserError", 2),
        ("POST", "/v1/services/orders/exec", b'{"argv": ["bug"]}', 500, "Bug", 1),
        ("GET", "/v1/nothing", None, 404, "NoSuchAddress", 1),
        ("DELETE", "/v1/status", None, 405, "NoSuchAddress", 1),
    ],
)
def test_errors_become_answers(
    served: Served, method: str, path: str, body: bytes | None, status: int, kind: str, exit_code: int
) -> None:
    with connect(served) as client:
        answer = client.request(method, path, content=body)
    view = msgspec.json.decode(answer.content, type=wire.ErrorView)
    assert (answer.status_code, view.kind, view.exit_code) == (status, kind, exit_code)
    assert view.what


def test_every_error_class_has_a_status_and_keeps_its_exit_code() -> None:
    cases: list[tuple[Exception, int]] = [
        (errors.UserError("w", "y", "f", id="bug"), 400),
        (errors.NotFound("w", id="bug"), 404),
        (errors.Refused("w", id="bug"), 422),
        (errors.Conflict("w", id="bug"), 409),
        (errors.BuildFailed("orders", "w", id="bug"), 422),
        (errors.DeployFailed("w", id="bug"), 422),
        (errors.Unreachable("w", id="bug"), 502),
        (errors.Retryable("w", id="bug"), 503),
        (errors.Fenced("w", id="bug"), 503),
        (errors.Permanent("w", id="bug"), 500),
        (ValueError("w"), 500),
    ]
    for exc, status in cases:
        assert status_of(exc) == status
        view = explain(exc)
        assert (view.id, view.exit_code) == ("bug", getattr(exc, "exit_code", 1))


def test_a_daemon_that_starts_says_when_to_come_back(tmp_path: Path) -> None:
    with Served(tmp_path / "s", ready=False) as fake, connect(fake) as client:
        answer = client.get("/v1/status")
        assert (answer.status_code, answer.headers["retry-after"], answer.json()["kind"]) == (503, "1", "NotReady")
        assert client.get("/v1/health").json()["ready"] is False
        fake.become_ready()
        until(lambda: client.get("/v1/status").status_code == 200)


def test_events_resume_after_the_last_one_that_arrived(served: Served) -> None:
    def ids(text: str) -> list[str]:
        return [line.removeprefix("id: ") for line in text.splitlines() if line.startswith("id: ")]

    with connect(served) as client:
        assert ids(client.get("/v1/events").text) == ["1", "2", "3"]
        assert ids(client.get("/v1/events?after=2").text) == ["3"]
        assert ids(client.get("/v1/events?after=0", headers={"Last-Event-ID": "1"}).text) == ["2", "3"]
        assert ids(client.get("/v1/events?service=catalog").text) == []


def test_a_follower_gets_what_happens_next_and_leaves_nothing_behind(served: Served) -> None:
    with connect(served) as client:
        with client.stream("GET", "/v1/events?after=3&follow=true") as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith(":")  # connected
            served.record("replica.crashed", "orders", "exit code 3")
            data = next(line for line in lines if line.startswith("data: "))
            assert json.loads(data.removeprefix("data: "))["message"] == "exit code 3"
        until(lambda: served.control.world.streams == 0)


def test_closing_ends_followers_at_once(tmp_path: Path) -> None:
    with Served(tmp_path / "s") as fake:
        client = connect(fake)
        stream = client.send(client.build_request("GET", "/v1/events?after=3&follow=true"), stream=True)
        until(lambda: fake.control.world.streams == 1)
    text = b"".join(stream.iter_raw()).decode()
    assert "event: closing" in text
    client.close()


def test_an_error_in_a_stream_is_its_last_event(served: Served) -> None:
    with connect(served) as client:
        text = client.get("/v1/logs?service=nobody").text
    last = text.strip().split("\n\n")[-1].splitlines()
    assert last[0] == "event: error"
    assert json.loads(last[1].removeprefix("data: "))["kind"] == "NotFound"


def test_secrets_go_in_and_never_come_out(served: Served) -> None:
    with connect(served) as client:
        assert client.put("/v1/secrets/db", json={"value": "hunter2"}).json() == {
            "name": "db",
            "version": 1,
            "used_by": {},
        }
        listed = client.get("/v1/secrets")
        assert client.delete("/v1/secrets/db").status_code == 204
        assert client.delete("/v1/secrets/db").status_code == 404
    assert "hunter2" not in listed.text


# --- the document


def test_the_document_describes_every_address_that_answers(served: Served) -> None:
    with connect(served) as client:
        made = client.get("/openapi.json").json()
    described = {(method.upper(), path) for path, methods in made["paths"].items() for method in methods}
    answering = {
        (method, route.path)
        for route in Api().app.routes
        for method in getattr(route, "methods", ())
        if method != "HEAD" and route.path not in {"/openapi.json", "/v1/health", "/metrics"}  # type: ignore[attr-defined]
    }
    assert described == answering == {(end.method, end.path) for end in ENDPOINTS}


def test_the_document_is_whole() -> None:
    made = json.loads(msgspec.json.encode(document(ENDPOINTS, "1")))
    assert made["openapi"].startswith("3.1")
    names = [operation["operationId"] for path in made["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names))
    for path, methods in made["paths"].items():
        for operation in methods.values():
            assert operation["summary"].endswith(".")
            declared = {part["name"] for part in operation["parameters"] if part["in"] == "path"}
            assert all("{" + name + "}" in path for name in declared)
            assert path.count("{") == len(declared)
            assert "default" in operation["responses"]
    schemas = made["components"]["schemas"]
    for reference in _references(made):
        assert reference.removeprefix("#/components/schemas/") in schemas


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _references(child)


async def test_a_stream_closes_its_iterator_when_the_client_goes() -> None:
    import asyncio

    from atoll.daemon.sse import EventStream

    closed = asyncio.Event()

    async def items() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(3600)
        finally:
            closed.set()

    sent: list[bytes] = []
    gone = asyncio.Event()

    async def receive() -> dict[str, str]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        body = message.get("body", b"")
        assert isinstance(body, bytes)
        sent.append(body)
        if b"data: 1" in body:
            gone.set()

    stream = EventStream(items(), asyncio.Event(), explain, "n", str)
    await asyncio.wait_for(stream({"type": "http", "path": "/"}, receive, send), 30)  # type: ignore[arg-type]
    assert closed.is_set()
    assert b"id: 1\nevent: n\ndata: 1\n\n" in sent


def test_what_changes_a_service_can_be_planned_at_its_own_address(served: Served) -> None:
    planned = {end.path for end in ENDPOINTS if end.plans}
    assert planned == {"/v1/up"} | {
        f"/v1/services/{{service}}/{what}"
        for what in ("deploy", "fault", "rollback", "run", "restart", "scale", "steer", "stop")
    }
    with connect(served) as client:
        for what in ("rollback", "restart", "scale", "stop"):
            answer = client.post(f"/v1/services/orders/{what}?plan=true", content=b"{}")
            assert (answer.status_code, [view["kind"] for view in answer.json()]) == (200, [what])
        assert client.post("/v1/services/nobody/stop?plan=true", content=b"{}").status_code == 404
        assert client.post("/v1/services/orders/stop?plan=perhaps", content=b"{}").status_code == 400
    assert served.control.requests == []


def test_signals_are_asked_for_by_service_release_and_caller(served: Served) -> None:
    with connect(served) as client:
        view = client.get("/v1/signals", params={"service": "orders", "release": 3, "caller": "", "seconds": 20}).json()
        series = client.get("/v1/services/orders/series", params={"seconds": 120, "step": 60}).json()
        totals = client.get("/v1/totals").json()
        wrong = client.get("/v1/signals", params={"seconds": "many"})
    assert [(row["service"], row["release"], row["seconds"]) for row in view["releases"]] == [("orders", 3, 20)]
    assert [point["wall"] for point in series["points"]] == [1_700_000_000.0, 1_700_000_060.0]
    assert {row["edge"]["callee"] for row in totals["edges"]} == {"catalog", "orders"}
    assert (wrong.status_code, "seconds=many" in wrong.json()["what"]) == (400, True)


def test_metrics_are_what_prometheus_reads(served: Served) -> None:
    with connect(served) as client:
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    labels = {"service": "orders", "release": "r1", "caller": "gateway", "caller_release": ""}
    counted = {frozenset(one.labels.items()): one.value for one in families["atoll_requests"].samples}
    assert counted[frozenset(labels.items())] == 100
    buckets = {
        one.labels["le"]: one.value
        for one in families["atoll_request_duration_seconds"].samples
        if one.name.endswith("_bucket") and one.labels["service"] == "orders"
    }
    assert (buckets["0.005"], buckets["0.1"], buckets["0.25"], buckets["+Inf"]) == (90, 90, 100, 100)


async def test_the_port_of_metrics_serves_nothing_else_and_no_other_name(served: Served) -> None:
    api = Api(served.control)
    transport = httpx.ASGITransport(app=api.metrics_app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9464") as client:
        assert (await client.get("/metrics")).status_code == 200
        assert (await client.get("/v1/status")).status_code == 404
        assert (await client.get("/metrics", headers={"host": "evil.example"})).status_code == 400
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=Api().metrics_app), base_url="http://localhost"
    ) as client:
        assert (await client.get("/metrics")).status_code == 503


def test_a_backup_comes_as_bytes_and_one_that_breaks_off_is_seen_to(served: Served) -> None:
    body = msgspec.json.encode(wire_backup.BackupRequest())
    with connect(served) as client:
        whole = client.post("/v1/backup", content=body)
        assert (whole.headers["content-type"], whole.content) == ("application/octet-stream", b"this is no backup")
        served.control.archive = b""
        with pytest.raises(httpx.RemoteProtocolError):
            client.post("/v1/backup", content=body)


# --- clients of other versions ------------------------------------------------------------------------------------


def test_each_answer_has_the_daemons_version(served: Served) -> None:
    with connect(served) as client:
        for path in ("/v1/status", "/v1/nothing", "/v1/health"):
            assert client.get(path).headers["atoll-version"] == __version__


def test_a_client_of_another_version_learns_so_where_it_asks_for_what_is_not_there(served: Served) -> None:
    with connect(served) as client:
        view = client.get("/v1/nothing", headers={"Atoll-Version": "99.0"}).json()
        assert (view["id"], f"Atoll {__version__}, older than" in view["why"]) == ("versions-differ", True)
        assert ("atoll up" in view["fix"], view["exit_code"]) == (True, 2)
        unknown = client.get("/v1/nothing").json()
        assert (unknown["why"], unknown["exit_code"]) == ("", 1)
        bad = client.post("/v1/services/orders/deploy", content=b"{}", headers={"Atoll-Version": "0.0.1"}).json()
        assert bad["id"] == "versions-differ"
        assert "newer than this command's 0.0.1" in bad["why"]


@pytest.mark.parametrize("value", [True, 5, "x", [1], {"a": 1}])
def test_what_a_newer_client_asks_for_and_this_daemon_would_drop_is_refused(served: Served, value: object) -> None:
    sent = json.loads(draft("orders", key="k1"))
    sent["spec"]["health"] |= {"moon_phase": value}
    with connect(served) as client:
        answer = client.post("/v1/services/orders/deploy", json=sent, headers={"Atoll-Version": "99.0"})
        assert answer.status_code == 422
        assert answer.json()["what"] == "this daemon does not know spec.health.moon_phase"
        # Of the same version it is a field that was never there; of another one, nothing is lost with nothing.
        same = client.post("/v1/services/orders/deploy", json=sent, headers={"Atoll-Version": __version__})
        assert same.status_code == 202


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
def test_a_field_that_says_nothing_is_passed_over(served: Served, value: object) -> None:
    sent = json.loads(draft("orders", key="k2"))
    sent["spec"]["health"] |= {"moon_phase": value}
    sent["moon"] = value
    with connect(served) as client:
        answer = client.post("/v1/services/orders/deploy", json=sent, headers={"Atoll-Version": "99.0"})
        assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("last", ["-1", "²", "9" * 19, "9" * 5000, "a"])
def test_what_is_no_number_of_an_event_is_said_to_be_none(served: Served, last: str) -> None:
    with connect(served) as client:
        answers = [
            client.get("/v1/events", headers={"Last-Event-ID": last.encode()}),
            client.get("/v1/events", params={"after": last}),
        ]
    assert [(answer.status_code, answer.json()["id"]) for answer in answers] == [(400, "bad-request")] * 2


@pytest.mark.parametrize("version", ["", "9.9.9"])
@pytest.mark.parametrize("body", [b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}", b'{"x":1e999}', b"\xff", b"["])
def test_a_body_that_nobody_wrote_is_a_mistake_of_the_client_and_no_bug(
    served: Served, body: bytes, version: str
) -> None:
    with connect(served) as client:
        answer = client.post("/v1/backup/kept", content=body, headers={"Atoll-Version": version} if version else {})
    assert (answer.status_code, answer.json()["id"] != "bug") == (400, True)
