"""The read-only API over a real TCP port: what it takes to be heard, and that it only reads."""

import asyncio
import contextlib
import errno
import hashlib
import json
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import msgspec
import pytest

from atoll.daemon.access_book import PREFIX, AccessBook
from atoll.daemon.api import Api
from atoll.daemon.clock import SystemClock
from atoll.daemon.doorkeeper import Doorkeeper
from atoll.daemon.endpoints import ENDPOINTS
from atoll.daemon.outside import KNOWN, UNKNOWN, Guard, serve_outside
from atoll.daemon.pulse import Pulse
from atoll.model import wire_access
from atoll.model.access import Holding, Peer
from atoll.model.environment import ReadApi
from atoll.model.errors import Conflict, NotFound, UserError
from atoll.model.state import Author, Now
from atoll.ports import Clock
from atoll.realise.records import Records
from atoll.testing.fake_control import FakeControl
from atoll.testing.memory_store import MemoryStore
from atoll.testing.ports import free_port

TOKEN = "atoll_good"
GOOD = {"Authorization": f"Bearer {TOKEN}"}


KNOWN_TOKENS = {TOKEN: Holding("grafana"), "atoll_other": Holding("other"), "atoll_old": Holding("old", ended=True)}


def holder(value: str) -> Holding | None:
    return KNOWN_TOKENS.get(value)


# An address of this process alone: at 127.0.0.1 somebody else may take a port that was free a moment ago.
HOST = f"127.{1 + os.getpid() // 65536 % 254}.{os.getpid() // 256 % 256}.{os.getpid() % 256}"


@contextlib.asynccontextmanager
async def outside(
    control: FakeControl | None = None, holder: Callable[[str], Holding | None] = holder
) -> AsyncIterator[httpx.AsyncClient]:
    spec = ReadApi(host=HOST, port=free_port(), names=("Atoll.Example.com",))
    serving = asyncio.create_task(serve_outside(Api(control or FakeControl()), spec, holder))
    try:
        async with httpx.AsyncClient(base_url=f"http://{spec}", timeout=30) as client:
            await until(lambda: connects(spec.port))
            yield client
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


def connects(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), 10):
        return True
    return False


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not happened():
            await asyncio.sleep(0.02)


async def test_a_token_reads_and_changes_nothing() -> None:
    control = FakeControl()
    async with outside(control) as client:
        for path in ("/v1/status", "/v1/health", "/metrics", "/openapi.json", "/v1/access"):
            answer = await client.get(path, headers=GOOD)
            assert answer.status_code == 200, path
            assert answer.headers["cache-control"] == "no-store"
        assert (await client.get("/v1/access", headers=GOOD)).json()["role"] == "reader"
        for endpoint in ENDPOINTS:
            if endpoint.method != "GET":
                path = endpoint.path.replace("{service}", "orders").replace("{name}", "db")
                answer = await client.request(endpoint.method, f"{path}?plan=true", headers=GOOD, content=b"{}")
                assert answer.status_code == 405, path
    assert control.requests == []


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer atoll_bad", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN} {TOKEN}", "Bearer \xff"],
)
async def test_without_a_known_token_nothing_is_told(header: str) -> None:
    async with outside() as client:
        answer = await client.get("/v1/status", headers={"Authorization": header.encode("latin-1")} if header else {})  # type: ignore[dict-item]
        assert (answer.status_code, answer.json()["id"]) == (401, "token-needed")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert (await client.get(f"/v1/status?token={TOKEN}")).status_code == 401  # addresses end in logs
    assert "orders" not in answer.text


async def test_who_has_a_token_that_ended_is_told_so() -> None:
    async with outside() as client:
        answer = await client.get("/v1/status", headers={"Authorization": "Bearer atoll_old"})
        assert (answer.status_code, answer.json()["id"]) == (401, "token-needed")
        assert answer.json()["what"] == "the token 'old' has ended"
        assert answer.json()["fix"] == "an admin makes a new one with `atoll access token old`"


async def test_a_stream_is_cut_when_its_token_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("atoll.daemon.outside._HELD_S", 0.1)
    tokens = dict(KNOWN_TOKENS)
    async with (
        outside(holder=tokens.get) as client,
        client.stream("GET", "/v1/events?follow=true", headers=GOOD) as stream,
    ):
        lines = stream.aiter_lines()
        assert await anext(lines) == ": hello"
        await asyncio.sleep(0.5)
        tokens[TOKEN] = Holding("grafana", ended=True)
        async with asyncio.timeout(60):
            assert [line async for line in lines if line.startswith("event: end")] == []
    assert "ASGI" not in caplog.text


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9180", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:9180", 200),
        ("10.1.2.3", 200),
        ("atoll.example.com", 200),
        ("atoll.example.com:443", 200),
        ("evil.example", 421),
        ("atoll.example.com.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost@evil.example", 421),
        ("", 421),
    ],
)
async def test_a_foreign_name_is_refused_even_with_a_token(host: str, status: int) -> None:
    async with outside() as client:
        assert (await client.get("/v1/status", headers={**GOOD, "Host": host})).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:9180", 200),
        ("https://localhost:9180", 200),
        ("http://localhost:9181", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("localhost:9180", 403),
        ("", 403),
    ],
)
async def test_a_page_of_another_origin_is_refused_even_with_a_token(origin: str, status: int) -> None:
    async with outside() as client:
        headers = {**GOOD, "Host": "localhost:9180", "Origin": origin}
        answer = await client.get("/v1/status", headers=headers)
        assert answer.status_code == status
        assert "access-control-allow-origin" not in answer.headers
        asked = await client.options("/v1/status", headers={**headers, "Access-Control-Request-Method": "GET"})
        assert asked.status_code == 405


async def ask(guard: Guard, headers: dict[str, str], address: str = "10.0.0.9") -> tuple[int, dict[str, str]]:
    transport = httpx.ASGITransport(app=guard, client=(address, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get("/v1/status", headers=headers)
        return answer.status_code, dict(answer.headers)


async def test_each_token_has_its_own_share_and_gets_it_back() -> None:
    now_s = 0.0
    guard = Guard(Api(FakeControl()).reading_app, (), holder, lambda: now_s)
    assert [(await ask(guard, GOOD))[0] for _ in range(KNOWN.burst + 1)] == [200] * KNOWN.burst + [429]
    assert int((await ask(guard, GOOD))[1]["retry-after"]) == 1
    assert (await ask(guard, {"Authorization": "Bearer atoll_other"}))[0] == 200
    now_s = KNOWN.each_s
    assert [(await ask(guard, GOOD))[0] for _ in range(2)] == [200, 429]


async def test_who_guesses_is_slowed_by_address_and_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    guard = Guard(Api(FakeControl()).reading_app, (), holder, lambda: 0.0)
    bad = {"Authorization": "Bearer atoll_hunter2"}
    with caplog.at_level(logging.INFO):
        assert [(await ask(guard, bad))[0] for _ in range(UNKNOWN.burst + 2)] == [401] * UNKNOWN.burst + [429, 429]
        assert (await ask(guard, bad, "10.0.0.8"))[0] == 401
        assert (await ask(guard, GOOD))[0] == 200  # whoever shares the address with one who guesses
    assert [record.getMessage() for record in caplog.records if record.name == "atoll.api"] == [
        "a request without a known token from 10.0.0.9",
        "a request without a known token from 10.0.0.8",
    ]
    assert "hunter2" not in caplog.text


async def test_guessing_from_many_addresses_costs_no_memory() -> None:
    guard = Guard(Api(FakeControl()).reading_app, (), holder, lambda: 0.0)
    for number in range(1500):
        scope = {"type": "http", "method": "GET", "headers": [(b"host", b"localhost")], "client": (f"a{number}", 1)}
        await guard(scope, _nothing, _nowhere)
    assert len(guard._buckets) == 1024


async def _nothing() -> dict[str, object]:
    return {"type": "http.request"}


async def _nowhere(_: object) -> None:
    pass


async def test_one_address_does_not_take_all_connections() -> None:
    async with outside() as client:
        port = client.base_url.port
        assert port is not None
        held = [socket.create_connection((HOST, port)) for _ in range(16)]
        with socket.create_connection((HOST, port), 30) as one_more:
            one_more.settimeout(30)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.to_thread(one_more.recv, 1) == b""
        for each in held:
            each.close()
        await until(lambda: connects(port))
        assert (await client.get("/v1/status", headers=GOOD)).status_code == 200


@pytest.mark.parametrize(
    "more",
    ["", "GET /v1/status HTTP/1.1\r\nX-Slow: ", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999\r\n\r\n"],
    ids=["nothing", "half a request", "half a body"],
)
async def test_who_was_answered_once_keeps_no_connection_by_saying_little(
    more: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atoll.daemon.outside._SILENT_S", 1.0)
    async with outside() as client:
        reader, writer = await asyncio.open_connection(HOST, client.base_url.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + more.encode())
        ended = asyncio.create_task(reader.read())
        async with asyncio.timeout(60):
            while not ended.done():
                if more:
                    writer.write(b"x")
                await asyncio.sleep(0.1)
        with contextlib.suppress(ConnectionResetError):
            assert b"401" in ended.result()
        writer.close()


async def test_who_follows_for_long_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.daemon.outside._SILENT_S", 0.5)
    async with outside() as client:
        assert (await client.get("/v1/status", headers=GOOD)).status_code == 200
        async with client.stream("GET", "/v1/events?follow=true", headers=GOOD) as answer:
            reading = asyncio.create_task(answer.aread())
            assert await asyncio.wait({reading}, timeout=2) == (set(), {reading})
            reading.cancel()


async def test_a_port_that_is_taken_costs_no_daemon(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        spec = ReadApi(port=taken.getsockname()[1])
        serving = asyncio.create_task(serve_outside(Api(FakeControl()), spec, holder))
        await until(lambda: f"the API is not served on {spec}" in caplog.text)
        assert not serving.done()
        serving.cancel()


# --- tokens


class Bent(SystemClock):
    """The clock of the wall, some seconds on; nobody sleeps long by it."""

    def __init__(self) -> None:
        super().__init__()
        self.on_s = 0.0

    def now(self) -> Now:
        now = super().now()
        return msgspec.structs.replace(now, wall=now.wall + self.on_s)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))


async def book(folder: Path | None, clock: Clock | None = None) -> AccessBook:
    store = MemoryStore()
    await store.lead()
    records = Records(store, await store.load())
    return AccessBook(Doorkeeper(), "", folder, records, clock or SystemClock(), Pulse())


def name_of(holding: Holding | None) -> str | None:
    return holding.name if holding and not holding.ended else None


async def test_a_token_is_told_once_and_kept_as_a_digest(tmp_path: Path) -> None:
    tokens = await book(tmp_path)
    made = await tokens.make_token("grafana", wire_access.TokenRequest(author=Author(actor="ada")))
    assert made.token.startswith(PREFIX)
    assert len(made.token) > 40
    kept = (tmp_path / "tokens.json").read_text()
    assert made.token not in kept
    assert made.token.removeprefix(PREFIX) not in kept
    assert stat.S_IMODE((tmp_path / "tokens.json").stat().st_mode) == 0o600
    after = await book(tmp_path)  # the next daemon's
    assert after.holder(made.token) == Holding("grafana")
    assert after.holder(json.loads(kept)["grafana"]["sha256"]) is None
    assert after.holder("") is None


async def test_a_revoked_token_opens_nothing_and_its_name_is_free_again(tmp_path: Path) -> None:
    tokens = await book(tmp_path)
    first = await tokens.make_token("grafana", wire_access.TokenRequest())
    with pytest.raises(Conflict):
        await tokens.make_token("grafana", wire_access.TokenRequest())
    await tokens.remove_token("grafana", Author())
    assert tokens.holder(first.token) is None
    with pytest.raises(NotFound):
        await tokens.remove_token("grafana", Author())
    second = await tokens.make_token("grafana", wire_access.TokenRequest())
    assert second.token != first.token
    assert (await book(tmp_path)).holder(first.token) is None


async def test_a_token_ends_and_its_name_is_free_for_the_next(tmp_path: Path) -> None:
    clock = Bent()
    tokens = await book(tmp_path, clock)
    first = await tokens.make_token("grafana", wire_access.TokenRequest(expires_s=3600.0))
    endless = await tokens.make_token("ever", wire_access.TokenRequest(expires_s=None))
    assert endless.ends_wall is None
    clock.on_s = 3590.0
    assert name_of(tokens.holder(first.token)) == "grafana"
    clock.on_s = 3601.0
    assert tokens.holder(first.token) == Holding("grafana", ended=True)
    assert (await book(tmp_path, clock)).holder(first.token) == Holding("grafana", ended=True)
    clock.on_s = 1e9
    assert name_of(tokens.holder(endless.token)) == "ever"
    second = await tokens.make_token("grafana", wire_access.TokenRequest())
    assert tokens.holder(first.token) is None
    assert name_of(tokens.holder(second.token)) == "grafana"


@pytest.mark.parametrize("expires_s", [0.0, -1.0, 59.0, 1e12, float("nan"), float("inf")])
async def test_a_time_that_cannot_be_meant_is_refused(expires_s: float) -> None:
    with pytest.raises(UserError):
        await (await book(None)).make_token("grafana", wire_access.TokenRequest(expires_s=expires_s))


async def test_a_token_of_before_there_were_ends_is_good_and_doctor_says_that_it_never_ends(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"atoll_early").hexdigest()
    (tmp_path / "tokens.json").write_text(json.dumps({"early": {"sha256": digest, "made_wall": 1.0, "by": "ada"}}))
    tokens = await book(tmp_path)
    assert name_of(tokens.holder("atoll_early")) == "early"
    (view,) = tokens.checks()
    assert view.text.startswith("early: no end")


async def test_when_a_token_was_used_last_outlives_the_daemon(tmp_path: Path) -> None:
    clock = Bent()
    tokens = await book(tmp_path, clock)
    made = await tokens.make_token("grafana", wire_access.TokenRequest())
    peer = Peer("ada", None)
    assert (await tokens.access(peer)).tokens[0].used_wall is None
    clock.on_s = 100.0
    tokens.holder(made.token)
    used = (await tokens.access(peer)).tokens[0].used_wall
    assert used is not None
    assert made.ends_wall == pytest.approx(used - 100 + 90 * 86_400, abs=5)
    keeping = asyncio.create_task(tokens.run())
    await until(lambda: f"{used}"[:9] in (tmp_path / "tokens.json").read_text())
    keeping.cancel()
    assert (await (await book(tmp_path, clock)).access(peer)).tokens[0].used_wall == used


@pytest.mark.parametrize("name", ["", "a b", "../x", "A", "x" * 64, "é"])
async def test_a_name_that_would_puzzle_somebody_is_refused(name: str) -> None:
    with pytest.raises(UserError):
        await (await book(None)).make_token(name, wire_access.TokenRequest())


async def test_a_damaged_file_of_tokens_opens_nothing_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "tokens.json").write_text('{"grafana": {"sha256"')
    tokens = await book(tmp_path)
    assert "no token opens anything" in caplog.text
    made = await tokens.make_token("grafana", wire_access.TokenRequest())
    assert (await book(tmp_path)).holder(made.token) == Holding("grafana")


async def test_on_a_full_disk_no_token_is_made_or_revoked_and_why_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = await book(tmp_path)
    value = (await access.make_token("grafana", wire_access.TokenRequest())).token
    monkeypatch.setattr("os.fsync", full)
    for ask in (
        lambda: access.make_token("other", wire_access.TokenRequest()),
        lambda: access.remove_token("grafana", Author()),
    ):
        with pytest.raises(UserError) as raised:
            await ask()
        assert raised.value.id == "disk-full"
    assert access.holder(value) is not None
    assert [token.name for token in (await access.access(Peer("ann", None))).tokens] == ["grafana"]


def full(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_who_made_and_revoked_a_token_is_in_the_ledger() -> None:
    store = MemoryStore()
    await store.lead()
    records = Records(store, await store.load())
    tokens = AccessBook(Doorkeeper(), "", None, records, SystemClock(), Pulse())
    made = await tokens.make_token("grafana", wire_access.TokenRequest(author=Author(actor="ada")))
    await tokens.remove_token("grafana", Author(actor="bob"))
    events = await store.events()
    assert [(event.kind, event.author.actor) for event in events] == [
        ("access.token-made", "ada"),
        ("access.token-removed", "bob"),
    ]
    assert made.token not in msgspec.json.encode(events).decode()
