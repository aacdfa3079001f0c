"""The OpenAPI document against what really goes over the line: every operation is asked, by hand and by the command line's client."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
from jsonschema import Draft202012Validator
from starlette.types import ASGIApp, Receive, Scope, Send

from atoll.cli.client import Client
from atoll.cli.http import Line
from atoll.daemon.endpoint import Endpoint
from atoll.daemon.endpoints import ENDPOINTS
from atoll.daemon.openapi import document
from atoll.model import wire, wire_access, wire_artifacts, wire_backup, wire_jobs
from atoll.model.environment import EnvironmentSpec
from atoll.model.records import TaskRecord
from atoll.model.spec import Server, Store
from atoll.model.state import Artifact
from atoll.testing.fake_control import Served, spec_of

ARTIFACT = Artifact(key="k", digest="d", builder="command", platform="linux", path="/nowhere")
DEPLOY = wire.DeployRequest(spec=spec_of("orders"), artifact=ARTIFACT)
RECORD = TaskRecord(task="orders.test", key="k", outcome="passed", seconds=1.0, wall=1.0)
STORE = Store(name="db", type="postgres", server=Server())
BODIES: Mapping[str, Any] = {
    "up": wire.UpRequest(drafts=(wire.Draft(spec=spec_of("orders"), artifact=ARTIFACT),)),
    "deploy": DEPLOY,
    "rollback": wire.RollbackRequest(to=1),
    "inject": wire.FaultRequest(kind="kill"),
    "clear": wire.Mutation(),
    "steer": wire.SteerRequest(word="pause"),
    "restart": wire.RestartRequest(),
    "scale": wire.ScaleRequest(replicas=2),
    "stop": wire.StopRequest(),
    "exec": wire.ExecRequest(argv=("true",)),
    "run_job": wire_jobs.RunRequest(job="reindex"),
    "stop_run": wire_jobs.StopRunRequest(),
    "import_records": wire.RecordsRequest(records=(RECORD,)),
    "set_environment": wire.EnvironmentRequest(environment=EnvironmentSpec()),
    "take_artifact": wire_artifacts.ArtifactOffer(service="orders", artifact=ARTIFACT),
    "keep_contents": b"contents",
    "sweep_artifacts": wire_artifacts.SweepRequest(),
    "store_drafts": wire_artifacts.StoresRequest(stores=(STORE,)),
    "set_secret": wire_access.SecretRequest(value="hunter2"),
    "make_token": wire_access.TokenRequest(),
    "backup": wire_backup.BackupRequest(),
    "backup_kept": wire_backup.BackupKept(id="b", size_bytes=1, made_wall=1.0),
    "backup_key": wire_backup.BackupKeyRequest(passphrase="correct horse battery staple"),
}
STREAMED = {"watch_run", "watch_operation", "events", "logs"}
NAMES = {"remove_token": "old", "remove_secret": "db", "remove_store": "main-db"}
CLIENT: Mapping[str, str] = {"run_job": "run"}  # where the client calls it otherwise


class World(NamedTuple):
    fake: Served
    client: httpx.Client
    made: Mapping[str, Any]
    asked: list[tuple[str, str, str]]  # method, address, content type


class _Heard:
    """Writes down what comes, and passes it on."""

    def __init__(self, app: ASGIApp, asked: list[tuple[str, str, str]]) -> None:
        self._app, self._asked = app, asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = dict(scope["headers"]).get(b"content-type", b"").decode()
        self._asked.append((scope["method"], scope["path"], kind))
        await self._app(scope, receive, send)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Served(tmp_path / "s") as fake:
        asked: list[tuple[str, str, str]] = []
        fake.api.app.add_middleware(_Heard, asked=asked)
        fake.control.vault["db"] = 1
        fake.control.services["main-db"] = wire.ServiceView(name="main-db", state="down", store="postgres")
        transport = httpx.HTTPTransport(uds=str(fake.socket))
        with httpx.Client(transport=transport, base_url="http://atoll", timeout=30) as client:
            made = json.loads(msgspec.json.encode(document(ENDPOINTS, "1")))
            yield World(fake, client, made, asked)


def valid(world: World, schema: Mapping[str, Any], value: object) -> None:
    Draft202012Validator({**schema, "components": world.made["components"]}).validate(value)


def address(world: World, endpoint: Endpoint) -> str:
    """With an operation and a run that there are, where it takes one."""
    path = endpoint.path.replace("{service}", "orders").replace("{name}", NAMES.get(endpoint.name, "new"))
    path = path.replace("{key}", "k").replace("{subject}", "orders")
    if "{id}" in path and "operations" in path:
        begun = world.client.post("/v1/services/orders/deploy", content=msgspec.json.encode(DEPLOY)).json()
        return path.replace("{id}", begun["id"])
    if "{id}" in path:
        run = world.client.post("/v1/services/orders/run", json={"job": "reindex"}).json()
        return path.replace("{id}", run["id"])
    return path


def operation(world: World, endpoint: Endpoint) -> Mapping[str, Any]:
    found: Mapping[str, Any] = world.made["paths"][endpoint.path][endpoint.method.lower()]
    return found


def sent(endpoint: Endpoint) -> bytes | None:
    body = BODIES.get(endpoint.name)
    return body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)


def data_of(text: str, event: str) -> list[Any]:
    blocks = [
        dict(line.split(": ", 1) for line in block.splitlines() if line[0] != ":") for block in text.split("\n\n")
    ]
    return [json.loads(block["data"]) for block in blocks if block.get("event") == event]


def test_every_operation_is_asked_with_a_body_where_it_takes_one() -> None:
    assert set(BODIES) == {endpoint.name for endpoint in ENDPOINTS if endpoint.body is not None}
    assert {endpoint.name for endpoint in ENDPOINTS if endpoint.stream} == STREAMED


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_what_is_asked_and_answered_is_what_the_document_says(world: World, endpoint: Endpoint) -> None:
    told, body, headers = operation(world, endpoint), sent(endpoint), {}
    if body is not None:
        (kind,) = told["requestBody"]["content"]
        headers = {"content-type": kind}
        if kind == "application/json":
            valid(world, told["requestBody"]["content"][kind]["schema"], json.loads(body))
    if endpoint.name == "steer":  # it takes a rollout under way
        world.client.post("/v1/services/orders/deploy", content=msgspec.json.encode(DEPLOY))
    answer = world.client.request(endpoint.method, address(world, endpoint), content=body, headers=headers)
    assert str(answer.status_code) in told["responses"], answer.text
    content = told["responses"][str(answer.status_code)].get("content", {})
    assert [answer.headers["content-type"]] == list(content) if content else answer.content == b""
    schema = next(iter(content.values()))["schema"] if content else {}
    if endpoint.stream:
        items = data_of(answer.text, endpoint.event)
        assert items
        for item in items:
            valid(world, schema, item)
    elif content and endpoint.answer is not bytes:
        valid(world, schema, answer.json())


@pytest.mark.parametrize("endpoint", [one for one in ENDPOINTS if one.plans], ids=lambda endpoint: endpoint.name)
def test_a_plan_is_what_the_document_says(world: World, endpoint: Endpoint) -> None:
    told = operation(world, endpoint)["responses"]["200"]["content"]["application/json"]
    answer = world.client.request(
        endpoint.method, address(world, endpoint), params={"plan": True}, content=sent(endpoint)
    )
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    valid(world, told["schema"], answer.json())


@pytest.mark.parametrize(
    "endpoint",
    [one for one in ENDPOINTS if one.body not in {None, bytes} or "{service}" in one.path],
    ids=lambda endpoint: endpoint.name,
)
def test_an_error_is_what_the_document_says(world: World, endpoint: Endpoint) -> None:
    path = (
        endpoint.path.replace("{service}", "nobody")
        .replace("{name}", "new")
        .replace("{id}", "no")
        .replace("{key}", "k")
    )
    answer = world.client.request(endpoint.method, path, content=b"{" if endpoint.body else None)
    assert 400 <= answer.status_code < 500
    (kind,) = (told := operation(world, endpoint)["responses"]["default"]["content"])
    assert answer.headers["content-type"] == kind
    valid(world, told[kind]["schema"], answer.json())


@pytest.mark.parametrize("endpoint", [one for one in ENDPOINTS if one.body], ids=lambda endpoint: endpoint.name)
def test_the_command_line_sends_what_the_document_says(world: World, endpoint: Endpoint) -> None:
    path, body = address(world, endpoint), BODIES[endpoint.name]
    if endpoint.name == "steer":
        world.client.post("/v1/services/orders/deploy", content=msgspec.json.encode(DEPLOY))
    client = Client(Line(world.fake.socket, lambda _: False), "local", lambda: None, lambda _: None)
    call: Callable[..., object] = getattr(client, CLIENT.get(endpoint.name, endpoint.name))
    before = path.split("/")[3:4] if "{" in endpoint.path else []
    match endpoint.name:
        case "clear":
            call("orders")
        case "take_artifact" | "deploy":
            call(body)
        case "backup":
            call(body, lambda _: None)
        case _:
            call(*before, body)
    (kind,) = operation(world, endpoint)["requestBody"]["content"]
    assert world.asked[-1] == (endpoint.method, path, kind)
