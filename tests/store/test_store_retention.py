"""Old events go by their class, in small steps; everything else stays for ever."""

from collections.abc import Callable
from pathlib import Path

import pytest

from atoll.model.rows import Change
from atoll.model.state import Event
from atoll.store import database, ledger
from atoll.store.retention import DAY_S, expired
from atoll.store.sqlite import SqliteStore

NOW = 2_000_000_000.0


@pytest.mark.parametrize(
    ("kind", "age_days", "gone"),
    [
        ("replica.started", 29, False),
        ("replica.started", 31, True),
        ("daemon.started", 31, False),
        ("daemon.started", 91, True),
        ("rollout.live", 10_000, False),
        ("replicas", 10_000, False),
        ("", 10_000, False),
    ],
)
def test_the_table_says_how_long_a_class_of_events_stays(kind: str, age_days: float, gone: bool) -> None:
    assert expired(kind, NOW - age_days * DAY_S, NOW) is gone


def test_an_event_without_a_time_stays() -> None:
    assert not expired("replica.started", 0.0, NOW)


def swept(path: Path, now: float) -> int:
    """Sweep a closed store's ledger to its end; returns the number of steps."""
    engine = database.connect(path)
    steps, after = 0, 0
    while True:
        steps += 1
        with engine.begin() as connection:
            found = ledger.sweep(connection, after, now)
        if found is None:
            engine.dispose()
            return steps
        after = found


def old_and_new(count: int) -> tuple[Event, ...]:
    kinds = ("replica.started", "rollout.live")
    return tuple(Event(kind=kinds[n % 2], wall=NOW - (100 if n < count // 2 else 1) * DAY_S) for n in range(count))


async def test_a_sweep_goes_in_bounded_steps_and_keeps_numbers_and_what_must_stay(tmp_path: Path) -> None:
    count = 2 * ledger.SLICE + 500
    store = SqliteStore(tmp_path)
    await store.lead()
    await store.commit(Change(events=old_and_new(count)))
    await store.close()
    assert swept(tmp_path / "state.db", NOW) == 3
    store = SqliteStore(tmp_path)
    await store.lead()
    left = await store.events(limit=10_000)
    assert len(left) == count - count // 4
    assert all(not expired(event.kind, event.wall, NOW) for event in left)
    assert await store.commit(Change(events=old_and_new(1))) == count + 1
    await store.close()


async def test_a_number_is_never_given_twice_though_all_events_expired(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    await store.lead()
    await store.commit(Change(events=tuple(Event(kind="replica.started", wall=1.0) for _ in range(5))))
    await store.close()
    swept(tmp_path / "state.db", NOW)
    store = SqliteStore(tmp_path)
    await store.lead()
    assert (await store.load()).last_event == 5
    assert await store.commit(Change(events=(Event(kind="x"),))) == 6
    await store.close()


async def test_a_running_store_sweeps_beside_its_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.store.sqlite._FIRST_SWEEP_S", 0.0)
    monkeypatch.setattr("atoll.store.sqlite._SWEEP_STEP_S", 0.0)
    monkeypatch.setattr("atoll.store.sqlite._SWEEP_EVERY_S", 0.0)
    store = SqliteStore(tmp_path, wall=lambda: NOW)
    await store.lead()
    await store.commit(Change(events=old_and_new(40)))
    await eventually(store, lambda left: left == 30)
    await store.close()


async def eventually(store: SqliteStore, right: Callable[[int], bool]) -> None:
    for _ in range(20_000):  # each turn commits, too: a sweep never waits for silence
        await store.commit(Change())
        if right(len(await store.events())):
            return
    raise AssertionError("the ledger was not swept")
