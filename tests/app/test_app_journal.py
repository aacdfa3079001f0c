"""What the machine's journal is told, read by a socket in its place."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from atoll.app.journal import Journal
from atoll.model.rows import Change
from atoll.model.state import Author, Event
from atoll.realise.records import Records
from atoll.testing.memory_store import MemoryStore


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(str(tmp_path / "journal"))
        one.settimeout(5.0)
        yield one


def fields(journald: socket.socket) -> dict[str, str]:
    """One entry, by the protocol's two ways to write a field."""
    data, found = journald.recv(2**20), {}
    while data:
        head, _, rest = data.partition(b"\n")
        name, equals, value = head.partition(b"=")
        if not equals:
            size = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + size], rest[8 + size + 1 :]
        found[name.decode()] = value.decode()
        data = rest
    return found


async def some(*events: Event) -> AsyncIterator[Event]:
    for event in events:
        yield event


def test_an_event_of_the_ledger_is_a_line_that_can_be_asked_for_by_its_service(
    journald: socket.socket, tmp_path: Path
) -> None:
    journal = Journal({"ATOLL_ENVIRONMENT": "production"}, tmp_path / "journal")
    good = Event(
        kind="rollout.live", service="orders", release=7, message="all traffic", author=Author(actor="ada"), seq=3
    )
    asyncio.run(journal.follow(some(good, Event(kind="replica.crashed", service="orders", message="exit code 1"))))
    journal.close()
    first, second = fields(journald), fields(journald)
    assert first["MESSAGE"] == "rollout.live orders r7: all traffic"
    assert (first["ATOLL_SERVICE"], first["ATOLL_ACTOR"], first["PRIORITY"]) == ("orders", "ada", "6")
    assert first["ATOLL_ENVIRONMENT"] == "production"
    assert second["PRIORITY"] == "4"
    assert "ATOLL_RELEASE" not in second


async def test_what_happens_stands_there_once_though_it_is_logged_as_well(
    journald: socket.socket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal, store = Journal({}, tmp_path / "journal"), MemoryStore()
    logging.getLogger().addHandler(journal)
    try:
        await store.lead()
        records = Records(store, await store.load())
        with caplog.at_level(logging.INFO):
            await records.commit(Change(events=(Event(kind="replica.crashed", service="orders", message="exit 1"),)))
            logging.getLogger("atoll.daemon").info("something else")
        await journal.follow(some(*await store.events(after=journal.told)))
    finally:
        logging.getLogger().removeHandler(journal)
        journal.close()
    assert "orders: exit 1" in caplog.text
    assert [fields(journald)["MESSAGE"] for _ in range(2)] == ["something else", "replica.crashed orders: exit 1"]
    journald.setblocking(False)
    with pytest.raises(BlockingIOError):
        journald.recv(1)
    assert journal.told == 1


def test_a_traceback_is_one_entry(journald: socket.socket, tmp_path: Path) -> None:
    journal = Journal({}, tmp_path / "journal")
    journal.handle(logging.LogRecord("atoll", logging.ERROR, "x.py", 1, "one\ntwo=2\n\nthree", (), None))
    journal.close()
    told = fields(journald)
    assert told["MESSAGE"] == "one\ntwo=2\n\nthree"
    assert told["PRIORITY"] == "3"


def test_a_journal_that_is_away_holds_nobody_up(tmp_path: Path) -> None:
    journal = Journal({}, tmp_path / "nothing")
    journal.tell(6, "unheard", {})
    journal.close()
