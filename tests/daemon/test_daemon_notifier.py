"""Webhooks against a real receiver: signed as Standard Webhooks says, tried again, never lost, in nobody's way."""

import asyncio
import base64
import hashlib
import hmac
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from atoll.daemon.clock import SystemClock
from atoll.daemon.notifier import Notifier, compose, signature
from atoll.daemon.outward import fetch, reason
from atoll.daemon.pulse import Pulse
from atoll.model.environment import Notify
from atoll.model.rows import Change
from atoll.model.spec import Plain, SecretRef
from atoll.model.state import Event, Now
from atoll.realise.records import Records
from atoll.testing.memory_store import MemoryDisk, MemoryStore, MemoryVault

WHERE = {"workspace": "shop", "environment": "local"}


class Receiver(BaseHTTPRequestHandler):
    """Keeps what it got; refuses as often as it was told."""

    got: list[tuple[dict[str, str], bytes]]
    refuse: int
    moved: str
    away: str
    unwanted: dict[str, int]  # kind of event -> what it is answered with

    def do_GET(self) -> None:
        type(self).got.append(({}, b'{"type": "a GET"}'))
        self.reply(204)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        kind = type(self)
        if kind.moved:
            self.send_response(302)
            self.send_header("location", kind.moved)
            self.send_header("content-length", "0")
            self.end_headers()
            return
        if status := kind.unwanted.get(json.loads(body)["type"]):
            self.reply(status)
            return
        if kind.refuse or self.path == kind.away:
            kind.refuse = max(0, kind.refuse - 1)
            self.reply(503)
            return
        kind.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.reply(204)

    def reply(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Any]:
    handler = type("Handler", (Receiver,), {"got": [], "refuse": 0, "moved": "", "away": "", "unwanted": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    handler.url = f"http://127.0.0.1:{server.server_port}/hook"  # type: ignore[attr-defined]
    yield handler
    server.shutdown()
    server.server_close()


def event(kind: str, service: str = "orders", wall: float | None = None) -> Event:
    return Event(kind=kind, service=service, message=f"{kind} of {service}", wall=time.time() if wall is None else wall)


async def until(what: Any) -> None:
    async with asyncio.timeout(60):
        while not what():
            await asyncio.sleep(0.02)


def told(receiver: Any) -> list[str]:
    return [json.loads(body)["type"] for _, body in receiver.got]


class Noted(Notifier):
    """Counts what it knows to be taken: a receiver has a message a moment before."""

    taken = 0

    async def _try(self, target: Notify, event: Event) -> tuple[str, bool]:
        problem, there = await super()._try(target, event)
        self.taken += not problem
        return problem, there


class Bent(SystemClock):
    """The clock of the wall, some seconds on."""

    on_s = 0.0

    def now(self) -> Now:
        now = super().now()
        return replace(now, wall=now.wall + self.on_s)


async def play(
    receiver: Any, folder: Path | None, store: MemoryStore, kinds: list[str], expect: int, **how: Any
) -> None:
    vault, pulse = MemoryVault(), Pulse()
    await vault.set("key", "s3cret")
    await vault.set("hook", receiver.url)
    usual = {"url": Plain(receiver.url), "events": ("rollout.*",), "secret": "key"}
    targets = how.pop("targets", None) or (Notify(**(usual | how)),)  # type: ignore[arg-type]
    records = Records(store, await store.load())
    notifier = Noted(targets, WHERE, records, store, vault, SystemClock(), pulse, folder)
    before = len(receiver.got)
    running = asyncio.create_task(notifier.run())
    await asyncio.sleep(0.1)
    for kind in kinds:
        await store.commit(Change(events=(event(kind),)))
        pulse.beat("orders")
    await until(lambda: notifier.taken >= expect - before)
    await asyncio.sleep(0.2)  # for what must not come
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def led() -> MemoryStore:
    store = MemoryStore(MemoryDisk())
    await store.lead()
    return store


def test_events_that_match_are_told_in_order_and_the_signature_holds(receiver: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        await play(receiver, tmp_path, await led(), ["rollout.live", "replica.ready", "rollout.undone"], 2)

    asyncio.run(scenario())
    assert told(receiver) == ["rollout.live", "rollout.undone"]
    headers, body = receiver.got[0]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(b"s3cret", signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert json.loads(body)["data"]["workspace"] == "shop"


def test_a_receiver_that_is_away_is_tried_again_and_misses_nothing(receiver: Any, tmp_path: Path) -> None:
    receiver.refuse = 2

    async def scenario() -> None:
        await play(receiver, tmp_path, await led(), ["rollout.live", "rollout.undone"], 2)

    asyncio.run(scenario())
    assert told(receiver) == ["rollout.live", "rollout.undone"]
    ids = [headers["webhook-id"] for headers, _ in receiver.got]
    assert [re.fullmatch(r"shop-local-(\d)-\d{10}", id)[1] for id in ids] == ["1", "2"]  # type: ignore[index]


def test_the_next_daemon_goes_on_where_this_one_ended(receiver: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await led()
        await play(receiver, tmp_path, store, ["rollout.live"], 1)
        await store.commit(Change(events=(event("rollout.undone"),)))  # nobody was there to tell of it
        await play(receiver, tmp_path, store, [], 2)

    asyncio.run(scenario())
    assert told(receiver) == ["rollout.live", "rollout.undone"]


def test_an_address_may_be_a_secret_and_a_new_receiver_is_not_told_of_the_past(receiver: Any) -> None:
    async def scenario() -> None:
        store = await led()
        await store.commit(Change(events=(event("rollout.live"),)))
        await play(receiver, None, store, ["rollout.undone"], 1, url=SecretRef("hook"), secret="")

    asyncio.run(scenario())
    assert told(receiver) == ["rollout.undone"]
    assert "webhook-signature" not in receiver.got[0][0]


def test_a_key_of_the_standard_is_decoded() -> None:
    key = "whsec_" + base64.b64encode(b"bytes").decode()
    assert signature(key, "id", 1, b"body") == signature("bytes", "id", 1, b"body")


def test_a_message_has_what_the_standard_asks_for() -> None:
    message = compose("http://x/", "", event("rollout.live", wall=1_700_000_000.0), WHERE, 1_700_000_001)
    assert message.headers["webhook-timestamp"] == "1700000001"
    assert json.loads(message.body)["timestamp"] == "2023-11-14T22:13:20Z"


def test_two_receivers_on_one_host_are_each_told_of_all_that_is_theirs(receiver: Any, tmp_path: Path) -> None:
    """Chat services have one host for all channels; what one of them took, the other has not."""
    receiver.away = "/hook/1"
    targets = tuple(Notify(url=Plain(f"{receiver.url}/{n}"), events=("rollout.*",)) for n in range(2))

    async def scenario() -> None:
        store = await led()
        await play(receiver, tmp_path, store, ["rollout.live", "rollout.undone"], 2, targets=targets)
        receiver.away = ""
        await play(receiver, tmp_path, store, [], 4, targets=targets)

    asyncio.run(scenario())
    assert told(receiver) == ["rollout.live", "rollout.undone"] * 2


def test_what_is_older_than_a_day_is_told_to_nobody(receiver: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await led()
        await play(receiver, tmp_path, store, ["rollout.live"], 1)
        await store.commit(Change(events=(event("rollout.undoing", wall=time.time() - 90_000),)))
        await play(receiver, tmp_path, store, ["rollout.undone"], 2)

    asyncio.run(scenario())
    assert told(receiver) == ["rollout.live", "rollout.undone"]


def test_a_message_is_not_sent_on_to_where_a_receiver_points(receiver: Any, tmp_path: Path) -> None:
    """Followed, a POST becomes a GET without the message, whose 200 would count as taken."""
    receiver.moved = receiver.url

    async def scenario() -> None:
        running = asyncio.create_task(play(receiver, tmp_path, await led(), ["rollout.live"], 1))
        await asyncio.sleep(0.6)
        assert told(receiver) == []
        receiver.moved = ""
        await running

    asyncio.run(scenario())
    assert told(receiver) == ["rollout.live"]


@pytest.fixture
def babble() -> Iterator[str]:
    """Somebody who answers, but not in HTTP."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                peer.recv(4096)
                peer.sendall(b"hello\r\n\r\n")

    threading.Thread(target=answer, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.mark.parametrize(
    "url", ["babble", "file:///etc/hostname", "http://user:pass@127.0.0.1:9/", "http://x:y/", "no"]
)
def test_an_address_at_which_nobody_can_be_told_is_in_nobody_elses_way(
    receiver: Any, tmp_path: Path, babble: str, url: str
) -> None:
    async def scenario() -> None:
        targets = (
            Notify(url=Plain(babble if url == "babble" else url), events=("rollout.*",)),
            Notify(url=Plain(receiver.url), events=("rollout.*",)),
        )
        await play(receiver, tmp_path, await led(), ["rollout.live", "rollout.undone"], 2, targets=targets)

    asyncio.run(scenario())
    assert told(receiver) == ["rollout.live", "rollout.undone"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://user:hush@127.0.0.1:{closed}/hush", "Connection refused"),
        ("https://127.0.0.1:{plain}/hush", "WRONG_VERSION_NUMBER"),
        ("http://hush.invalid/hush", "not known"),
        ("hush", "its address is no http or https URL"),
    ],
)
def test_why_a_receiver_takes_nothing_is_said_without_its_address(receiver: Any, url: str, words: str) -> None:
    async def scenario() -> str:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            plain = receiver.url.rpartition(":")[2].partition("/")[0]
            address = url.format(closed=closed.getsockname()[1], plain=plain)
            with pytest.raises((OSError, ValueError)) as caught:
                await fetch(address, 20.0)
            return reason(caught.value)

    said = asyncio.run(scenario())
    assert words.lower() in said.lower()
    assert "hush" not in said


@pytest.mark.parametrize("status", [400, 500])
def test_an_event_that_a_receiver_refuses_holds_up_no_later_one(receiver: Any, tmp_path: Path, status: int) -> None:
    receiver.unwanted = {"rollout.undone": status}

    async def scenario() -> None:
        await play(receiver, tmp_path, await led(), ["rollout.undone", "rollout.live", "rollout.paused"], 2)

    asyncio.run(scenario())
    assert told(receiver) == ["rollout.live", "rollout.paused"]


def test_what_was_put_aside_is_told_by_the_next_daemon_with_the_same_id(receiver: Any, tmp_path: Path) -> None:
    receiver.unwanted = {"rollout.undone": 400}
    file = tmp_path / "notified.json"

    async def scenario() -> None:
        store = await led()
        await play(receiver, tmp_path, store, ["rollout.undone", "rollout.live"], 1)
        receiver.unwanted = {}
        kept = json.loads(file.read_text())
        for line in kept.values():
            (aside,) = line["aside"]
            aside["again_wall"] = 0.0  # half a minute later
        file.write_text(json.dumps(kept))
        await play(receiver, tmp_path, store, [], 2)

    asyncio.run(scenario())
    assert told(receiver) == ["rollout.live", "rollout.undone"]
    assert receiver.got[1][0]["webhook-id"].startswith("shop-local-1-")


def test_what_nobody_could_be_told_of_is_in_the_ledger_and_a_notice(receiver: Any) -> None:
    receiver.unwanted = {"rollout.undone": 400, "notify.lost": 400}

    async def scenario() -> None:
        store, pulse = await led(), Pulse()
        records = Records(store, await store.load())
        target = Notify(url=Plain(receiver.url), events=("rollout.*", "notify.*"))
        clock = Bent()
        notifier = Notifier((target,), WHERE, records, store, MemoryVault(), clock, pulse, None)
        running = asyncio.create_task(notifier.run())
        await asyncio.sleep(0.1)
        old = event("rollout.undone", wall=time.time() - 86_400 + 600.0)
        await records.commit(Change(events=(old, event("rollout.live"))))
        pulse.beat()
        await until(lambda: len(notifier.notices()) == 1 and "refuses an event" in notifier.notices()[0])
        clock.on_s = 600.0
        pulse.beat()
        async with asyncio.timeout(60):
            while (newest := (await store.events(newest=True, limit=1))[0]).kind != "notify.lost":
                await asyncio.sleep(0.05)
        assert newest.message.endswith("was never told of event 1")
        assert any("was never told of one event" in notice for notice in notifier.notices())
        assert "/hook" not in newest.message + "".join(notifier.notices())  # the address may be as good as a password
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())
    assert told(receiver) == ["rollout.live"]


def test_how_far_an_earlier_version_had_told_is_understood(receiver: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await led()
        await play(receiver, tmp_path, store, ["rollout.live"], 1)
        file = tmp_path / "notified.json"
        file.write_text(json.dumps(dict.fromkeys(json.loads(file.read_text()), 1)))
        await store.commit(Change(events=(event("rollout.undone"),)))
        await play(receiver, tmp_path, store, [], 2)

    asyncio.run(scenario())
    assert told(receiver) == ["rollout.live", "rollout.undone"]
