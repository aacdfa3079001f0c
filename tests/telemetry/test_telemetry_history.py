"""The file: it outlives the daemon, stays small, and its trouble is nobody else's."""

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest

from atoll.model.signals import Counts, EdgeKey, Histogram
from atoll.model.state import Now
from atoll.model.traffic import Reading, Sample
from atoll.telemetry import Telemetry
from atoll.telemetry.history import History
from atoll.telemetry.memory import Stored
from atoll.telemetry.minute import Second, pack, pack_second, together
from atoll.testing.clock import VirtualClock

EDGE = EdgeKey("web", 4, "orders", 1)
SECOND = Second(Counts(requests=10, failures=1, latency=Histogram.of({5: 9, 120: 1})), 2.0)
WALL = 1_800_000_000.0


def now(minute: int, *, boot: str = "one", wall: float | None = None) -> Now:
    return Now(boot, minute * 60.0, WALL + minute * 60 if wall is None else wall)


def stored(minute: int, key: EdgeKey = EDGE) -> Stored:
    seconds = {0: SECOND, 1: SECOND, 2: SECOND}
    return Stored(key, minute, 0b111, pack(seconds), pack_second(together(list(seconds.values()))))


def test_the_next_daemon_goes_on_with_the_hour(tmp_path: Path) -> None:
    clock = VirtualClock(boot_s=60_000)
    path = tmp_path / "signals.sqlite"

    async def daemon(seconds: int) -> Telemetry:
        telemetry = Telemetry(path, clock)
        await telemetry.open()
        running = asyncio.create_task(telemetry.run())
        for _ in range(seconds):
            await clock.sleep(1)
            telemetry.record(Reading(seconds=1, edges={EDGE: Sample(counts=SECOND.counts, inflight=2)}))
        running.cancel()
        await asyncio.wait({running})
        return telemetry

    async def main() -> None:
        await daemon(100)
        await clock.sleep(20)  # nobody looks
        second = await daemon(50)
        window = second.window("orders", 1, 60_000, 60_170)
        assert (window.seconds, window.counts.requests, window.rps) == (150, 1500, 10.0)
        assert window.counts.latency.total == 1500
        assert second.edge(EDGE, 60_100, 60_120).rps is None
        third = await daemon(0)
        points = await third.past("orders", None, 0, 1e12)
        assert sum(point.seconds for point in points) == 150
        assert sum(point.counts.requests for point in points) == 1500
        assert await third.past("orders", 7, 0, 1e12) == [] or all(
            point.counts.requests == 0 for point in await third.past("orders", 7, 0, 1e12)
        )

    clock.run(main())


def test_a_clock_that_is_set_back_puts_no_two_minutes_in_one_row(tmp_path: Path) -> None:
    history = History(tmp_path / "signals.sqlite")
    assert history.save([stored(1)], now(1))
    assert history.save([stored(2)], now(2, wall=WALL - 86_400))
    assert history.save([stored(3)], now(3, wall=WALL + 86_400))
    points = history.read([EDGE], 0, 1e12, now(4))
    assert [point.counts.requests for point in points] == [30, 30, 30]
    history.close()
    again = History(tmp_path / "signals.sqlite")  # and a machine that was started again with a clock of 1970
    assert again.save([stored(0)], now(0, boot="two", wall=60.0))
    assert [point.counts.requests for point in again.read([EDGE], 0, 1e12, now(1, boot="two"))] == [30] * 4
    assert [one[:4] for one in again.load(now(1, boot="two"))] == [stored(0)[:4]]  # none of the boot before


def test_age_and_bytes_are_bounded(tmp_path: Path) -> None:
    history = History(tmp_path / "signals.sqlite", limit_bytes=200_000)
    keys = [EdgeKey("web", n, "orders", 1) for n in range(20)]
    for minute in range(1, 400):
        assert history.save([stored(minute, key) for key in keys], now(minute))
    size = sum(
        file.stat().st_size for file in tmp_path.glob("signals.sqlite*") if not file.name.endswith(("-wal", "-shm"))
    )
    assert size <= 250_000
    points = history.read([EDGE, *keys], 0, 1e12, now(400))
    assert points[-1].counts.requests == 20 * 30
    assert points[0].wall > WALL + 600  # the oldest are gone
    month = 30 * 24 * 60
    assert history.save([stored(month + 500)], now(month + 500))
    assert len(history.read([EDGE, *keys], 0, 1e12, now(month + 500))) == 1


def test_idle_minutes_cost_nothing_after_an_hour_and_are_zero_all_the_same(tmp_path: Path) -> None:
    history = History(tmp_path / "signals.sqlite")
    for minute in range(1, 100):
        assert history.save([Stored(EDGE, minute, (1 << 60) - 1, b"", b"")], now(minute))
    database = sqlite3.connect(tmp_path / "signals.sqlite")
    (rows,) = database.execute(
        "SELECT count(*) FROM minute JOIN edge ON edge.id = edge WHERE callee = 'orders'"
    ).fetchone()
    database.close()
    assert rows < 80
    points = history.read([EDGE], 0, 1e12, now(100))
    assert {(point.seconds, point.counts.requests) for point in points} == {(60, 0)}
    assert len(points) == 99


@pytest.mark.parametrize("content", [b"", b"not a database, by far" * 1000, os.urandom(5000)])
def test_a_broken_file_is_told_and_begun_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "signals.sqlite"
    path.write_bytes(content)
    history = History(path)
    history.load(now(1))
    assert (history.problem == "") == (content == b"")
    assert history.save([stored(1)], now(1))
    assert len(history.read([EDGE], 0, 1e12, now(2))) == 1
    if content:
        assert (tmp_path / "signals.sqlite.broken").read_bytes() == content
        assert "begun anew" in history.problem


def test_a_file_of_another_version_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "signals.sqlite"
    history = History(path)
    assert history.save([stored(1)], now(1))
    history.close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    history = History(path)
    assert history.load(now(2)) == []
    assert "another version" in history.problem
    assert history.save([stored(2)], now(2))
    assert path.with_name("signals.sqlite.broken").exists()


def test_rows_that_were_overwritten_are_told_and_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "signals.sqlite"
    history = History(path)
    assert history.save([stored(1)], now(1))
    history.close()
    database = sqlite3.connect(path)
    database.execute("UPDATE minute SET seconds = x'deadbeef', sums = x'00'")
    database.commit()
    database.close()
    assert History(path).load(now(1)) == []
    assert history.save([stored(2)], now(2))


def test_a_file_that_cannot_be_written_is_told_until_it_can(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    history = History(folder / "signals.sqlite")
    assert not history.save([stored(1)], now(1))
    assert "not kept" in history.problem
    folder.mkdir()
    assert history.save([stored(1)], now(1))
    assert history.problem == ""


def test_a_full_disk_loses_the_oldest_and_not_the_daemon(tmp_path: Path) -> None:
    history = History(tmp_path / "signals.sqlite", limit_bytes=60_000)  # a few pages: sqlite says that it is full
    keys = [EdgeKey("web", n, "orders", 1) for n in range(200)]
    results = [history.save([stored(minute, key) for key in keys], now(minute)) for minute in range(1, 30)]
    assert not all(results)
    assert "full" in history.problem or history.problem == ""
    assert history.save([stored(30)], now(30)) or "full" in history.problem
