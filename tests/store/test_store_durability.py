"""What is committed survives kill -9, a full disk and a lost lock; what is damaged is said, never guessed."""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy.event import listen

import atoll
from atoll.model.errors import Conflict, Fenced, Retryable, UserError
from atoll.model.rows import Change
from atoll.model.state import Event
from atoll.store.sqlite import SqliteStore
from atoll.testing.store_suite import a_release, a_replica, events

DEADLINE_S = 120.0


def program(text: str) -> tuple[list[str], dict[str, str]]:
    """The argv and the environment of a Python program that can import atoll."""
    source = str(Path(atoll.__file__).parents[1])
    return [sys.executable, "-c", textwrap.dedent(text)], {**os.environ, "PYTHONPATH": source}


async def filled(state: Path, count: int = 300) -> None:
    """A closed store with enough in it to have many pages."""
    store = SqliteStore(state)
    await store.lead()
    await store.commit(Change(puts=tuple(a_release(n=n) for n in range(1, count)), events=events(count)))
    await store.close()


COMMITTER = """
    import asyncio, sys
    from pathlib import Path
    from atoll.model.state import Event, Intent
    from atoll.ports import Change
    from atoll.store.sqlite import SqliteStore

    async def one(store, worker):
        n = 0
        while True:
            n += 1
            name = f"w{worker}"
            seq = await store.commit(Change(puts=(Intent(service=name, generation=n),),
                                            events=(Event(kind="test.commit", service=name, data={"n": n}),)))
            sys.stdout.write(f"{worker} {n} {seq}\\n")
            sys.stdout.flush()

    async def main():
        store = SqliteStore(Path(sys.argv[1]))
        await store.lead()
        await asyncio.gather(*(one(store, worker) for worker in range(8)))

    asyncio.run(main())
"""


@pytest.mark.slow
async def test_kill_9_at_any_instant_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    argv, env = program(COMMITTER)
    ends: dict[Path, int] = {}
    for turn in range(6):
        state = tmp_path / f"state{turn % 2}"  # both are opened again and again
        process = subprocess.Popen([*argv, str(state)], env=env, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            lines = [process.stdout.readline()]  # it works; now let it work a little, a different while each time
            assert lines[0]
            time.sleep(0.05 + 0.037 * turn)
        finally:
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.read().splitlines(keepends=True)
            process.wait(DEADLINE_S)
            process.stdout.close()
        acknowledged = [tuple(map(int, line.split())) for line in lines if line.endswith("\n")]
        store = SqliteStore(state)
        await store.lead()
        saved = await store.load()
        generations = {intent.service: intent.generation for intent in saved.intents}
        newest: dict[str, int] = {}
        for event in await store.events(after=ends.get(state, 0), limit=1_000_000):
            newest[event.service] = event.data["n"]
        for worker, n, seq in acknowledged:
            assert seq <= saved.last_event
            assert n <= generations[f"w{worker}"]
        assert newest == generations  # state and history were written together
        ends[state] = await store.commit(Change(drops=tuple(("intent", name) for name in generations)))
        await store.close()


async def test_a_leader_whose_lock_was_taken_away_is_fenced_and_writes_nothing(tmp_path: Path) -> None:
    first, second = SqliteStore(tmp_path), SqliteStore(tmp_path)
    await first.lead()
    (tmp_path / "leader.lock").unlink()
    await second.lead()
    with pytest.raises(Fenced, match="another daemon"):
        await first.commit(Change(events=events(1)))
    assert (await second.load()).last_event == 0
    await first.close()
    await second.commit(Change(events=events(1)))
    await second.close()


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_leader_whose_database_was_removed_stops_instead_of_writing_into_nowhere(
    tmp_path: Path, replaced: bool
) -> None:
    store = SqliteStore(tmp_path)
    await store.lead()
    (tmp_path / "state.db").rename(tmp_path / "elsewhere.db")
    if replaced:
        (tmp_path / "state.db").touch()
    with pytest.raises(Fenced, match="removed or replaced"):
        await store.commit(Change(events=events(1)))
    await store.close()


async def test_a_conflict_names_the_process_that_leads(tmp_path: Path) -> None:
    first, second = SqliteStore(tmp_path), SqliteStore(tmp_path)
    await first.lead()
    with pytest.raises(Conflict) as caught:
        await second.lead()
    assert f"pid {os.getpid()} " in caught.value.why
    await first.close()


async def test_the_lock_of_a_killed_leader_is_free(tmp_path: Path) -> None:
    argv, env = program(COMMITTER)
    process = subprocess.Popen([*argv, str(tmp_path)], env=env, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline()
        with pytest.raises(Conflict, match="leads this environment"):
            await SqliteStore(tmp_path).lead()
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE_S)
    store = SqliteStore(tmp_path)
    assert await store.lead() == 2
    await store.close()


async def test_a_file_that_is_no_database_is_said_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"this is no database" * 1000)
    with pytest.raises(UserError, match="is damaged") as caught:
        await SqliteStore(tmp_path).lead()
    assert (tmp_path / "state.db").exists()
    subprocess.run(["sh", "-c", caught.value.fix.split("`")[1]], check=True)  # to the letter
    assert sorted(path.name for path in tmp_path.glob("state.db*")) == ["state.db.damaged"]
    store = SqliteStore(tmp_path)
    assert await store.lead() == 1
    await store.close()


async def test_damage_after_an_unclean_end_is_found_at_once(tmp_path: Path) -> None:
    await filled(tmp_path)
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as raw:  # as a crash leaves it
        raw.execute("UPDATE leader SET clean = 0")
        (page,) = raw.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'releases'").fetchone()
        (size,) = raw.execute("PRAGMA page_size").fetchone()
    raw.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)
    with pytest.raises(UserError, match="is damaged"):
        await SqliteStore(tmp_path).lead()
    with pytest.raises(UserError, match="is damaged"):  # and the lock is free again
        await SqliteStore(tmp_path).lead()


async def test_a_truncated_database_is_damaged_not_empty(tmp_path: Path) -> None:
    await filled(tmp_path)
    path = tmp_path / "state.db"
    os.truncate(path, path.stat().st_size // 2)
    store = SqliteStore(tmp_path)

    async def opened() -> None:
        await store.lead()
        await store.load()

    with pytest.raises(UserError, match="is damaged"):
        await opened()
    await store.close()


async def test_a_clean_end_leaves_one_file_and_no_check_for_the_next(tmp_path: Path) -> None:
    await filled(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"state.db", "leader.lock"}
    raw = sqlite3.connect(tmp_path / "state.db")
    assert raw.execute("SELECT clean FROM leader").fetchone() == (1,)
    raw.close()


async def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state")
    await store.lead()
    await store.commit(Change(events=events(1)))
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "state").iterdir()} == {0o600}
    await store.close()


async def test_a_state_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(UserError, match="cannot be used"):
        await SqliteStore(tmp_path / "state").lead()


FULL = """
    import asyncio, os, resource, sys
    from pathlib import Path
    from atoll.model.errors import Retryable
    from atoll.model.state import Event
    from atoll.ports import Change
    from atoll.store.sqlite import SqliteStore

    state, how = Path(sys.argv[1]), sys.argv[2]
    ballast = state / "ballast"
    large = (Event(kind="test.large", message="x" * 20000),)

    def fill():
        if how == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
            return
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass

    def empty():
        if how == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        else:
            ballast.unlink()

    async def main():
        store = SqliteStore(state)
        await store.lead()
        await store.commit(Change(events=large))
        fill()
        good = bad = 0
        for _ in range(100):
            results = await asyncio.gather(*(store.commit(Change(events=large)) for _ in range(3)), return_exceptions=True)
            for result in results:
                if isinstance(result, Retryable):
                    bad += 1
                    text = str(result)
                else:
                    assert isinstance(result, int), result
                    good += 1
            if bad >= 9:
                break
        assert bad >= 9, (good, bad)
        assert str(state / "state.db") in text, text
        seen = (await store.load()).last_event
        assert seen == 1 + good, (seen, good)  # nothing of what was refused
        empty()
        assert await store.commit(Change(events=large)) == seen + 1
        await store.close()
        store = SqliteStore(state)
        await store.lead()
        assert [event.seq for event in await store.events(limit=1000)] == list(range(1, seen + 2))
        await store.close()
        print("passed", text)

    asyncio.run(main())
"""


def test_a_commit_that_the_disk_refuses_is_retryable_and_writes_nothing(tmp_path: Path) -> None:
    argv, env = program(FULL)
    done = subprocess.run(
        [*argv, str(tmp_path), "limit"], env=env, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert "passed" in done.stdout, done.stderr


def test_a_full_disk_refuses_commits_until_there_is_space(tmp_path: Path) -> None:
    argv, env = program(FULL)
    mount = f'mount -t tmpfs -o size=1m none {tmp_path} || exit 77; exec "$@"'
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not there to mount a small disk")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, "sh", *argv, str(tmp_path), "disk"],
        env=env,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    if done.returncode in {1, 77} and "passed" not in done.stdout and "Traceback" not in done.stderr:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    assert "passed" in done.stdout, done.stderr
    assert "no space left" in done.stdout


async def test_a_database_that_somebody_else_locks_is_retryable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atoll.store.database._BUSY_MS", 50)
    store = SqliteStore(tmp_path)
    await store.lead()
    raw = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    raw.execute("BEGIN IMMEDIATE")
    with pytest.raises(Retryable, match="locked"):
        await store.commit(Change(events=events(1)))
    raw.execute("ROLLBACK")
    raw.close()
    assert await store.commit(Change(events=events(1))) == 1
    await store.close()


async def test_a_change_that_cannot_be_written_is_its_callers_mistake_alone(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    await store.lead()
    bad = Change(puts=(a_replica(),), events=(Event(kind="x", release=2**80),))  # too large for SQLite
    results = await asyncio.gather(
        store.commit(Change(events=events(1))),
        store.commit(bad),
        store.commit(Change(events=events(1))),
        return_exceptions=True,
    )
    assert results[::2] == [1, 2]
    assert isinstance(results[1], OverflowError)
    assert (await store.load()).replicas == ()
    await store.close()


async def test_a_cancelled_commit_harms_nobody(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    await store.lead()
    tasks = [asyncio.create_task(store.commit(Change(events=events(1)))) for _ in range(200)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, int) for result in results[1::2])
    assert 100 <= (await store.load()).last_event <= 200
    await store.close()


async def test_commits_that_wait_together_share_a_transaction_off_the_loop(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    await store.lead()
    threads: list[int] = []
    assert store._write_engine is not None
    listen(store._write_engine, "commit", lambda _connection: threads.append(threading.get_ident()))
    seqs = await asyncio.gather(*(store.commit(Change(puts=(a_replica(n),), events=events(1))) for n in range(1000)))
    assert seqs == list(range(1, 1001))
    assert len(threads) <= 100  # at most 256 share one; the first few go alone
    assert len(set(threads)) == 1
    assert threading.get_ident() not in threads
    await store.close()
