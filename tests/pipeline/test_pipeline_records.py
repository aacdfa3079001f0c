"""The records of tasks: what is asked of them, who may believe them, and what happens to their file."""

import multiprocessing
import os
import sqlite3
import subprocess
import sys
import time
import zlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from atoll.model.errors import UserError
from atoll.model.records import TaskRecord
from atoll.model.state import Author
from atoll.pipeline import records as records_module
from atoll.pipeline.inputs import Input
from atoll.pipeline.key import Manifest
from atoll.pipeline.records import MIGRATIONS, Records


def run(task: str = "orders.test", key: str = "k1", wall: float = 1.0, **rest: object) -> TaskRecord:
    given = {"outcome": "passed", "seconds": 2.0, **rest}
    return TaskRecord(task=task, key=key, wall=wall, **given)


def manifest(content: str) -> Manifest:
    inputs = (Input("a.py", "file", content),)
    return Manifest(builder="b", recipe=1, steps=(), outputs=(), env={}, tools={}, platform="p", inputs=inputs)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "new" / "records.db"


def test_the_last_green_run_counts_and_a_failure_after_it_does_not(file) -> None:
    author = Author(actor="ann@laptop", commit="c" * 40, commit_wall=5.0, dirty=True)
    second = run(key="k2", wall=2.0, author=author, attempts=2, outcome="flaky", digest="d")
    with Records(file) as records:
        records.add(run(), manifest("1"))
        records.add(second, manifest("2"))
        records.add(run(key="k3", wall=3.0, outcome="failed", reason="step 1 ended with exit code 1"), None)
    with Records(file) as records:
        assert records.green("orders.test") == second
        assert records.greens() == {"orders.test": second}
        assert set(records.passed(["k1", "k2", "k3", "k4"])) == {"k1", "k2"}
        assert records.manifest("k2") == manifest("2")
        assert records.manifest("k3") is None


def test_contents_are_those_of_the_manifests_that_are_still_to_be_read(file) -> None:
    with Records(file) as records:
        for number in range(1, 6):
            records.add(run(key=f"k{number}", wall=float(number)), manifest(str(number)))
        with sqlite3.connect(file) as db:
            for key, damaged in (("k2", b"x"), ("k3", zlib.compress(b"{}")), ("k4", zlib.compress(b"["))):
                db.execute("UPDATE manifests SET manifest = ? WHERE key = ?", (damaged, key))
        db.close()
        asked = ["k1", "k2", "k3", "k4", "unknown"]
        assert records.contents(asked) == {"k1": {"a.py": "1"}}


def test_who_fails_with_the_very_key_that_passed_is_green_no_more_until_it_passes_again(file) -> None:
    with Records(file) as records:
        records.add(run(key="before", wall=1.0), None)
        records.add(run(wall=2.0), None)
        records.merge([run(wall=1.5, outcome="failed")], "trusted")
        assert set(records.passed(["k1"])) == {"k1"}, "a failure that came late hides no later pass"
        records.add(run(wall=3.0, outcome="failed", namespace="pr-7"), None)
        assert records.greens()["orders.test"].key == "k1", "what a pull request's run says, nobody else believes"
        records.add(run(wall=4.0, outcome="timed-out"), None)
        assert records.passed(["k1"]) == {}
        assert records.greens()["orders.test"].key == "before"
        records.add(run(wall=5.0), None)
        assert (records.greens()["orders.test"].key, set(records.passed(["k1"]))) == ("k1", {"k1"})


def test_a_run_that_came_late_does_not_hide_a_later_one(file) -> None:
    with Records(file) as records:
        records.add(run(key="new", wall=9.0), None)
        assert records.merge([run(key="old", wall=3.0), run(key="new", wall=9.0)], "trusted") == 1
        found = records.green("orders.test")
        assert found is not None
        assert found.key == "new"


def test_nobody_else_may_read_them(file) -> None:
    with Records(file) as records:
        records.add(run(), manifest("1"))
        modes = {each.name: each.stat().st_mode & 0o777 for each in file.parent.iterdir()}
        assert modes == {"records.db": 0o600, "records.db-wal": 0o600, "records.db-shm": 0o600}


def test_what_a_pull_request_recorded_is_believed_by_itself_only(file) -> None:
    with Records(file) as records:
        records.add(run(namespace="pr-7"), None)
        assert records.green("orders.test") is None
        assert records.passed(["k1"]) == {}
        assert records.greens(("trusted", "pr-8")) == {}
        assert set(records.greens(("trusted", "pr-7"))) == {"orders.test"}
        records.renew({"copy.test": run(namespace="pr-7")}, "pr-7")
        assert records.green("copy.test") is None


def test_files_as_they_were_once_make_the_earlier_run_the_last_one(file) -> None:
    with Records(file) as records:
        records.add(run(key="k1", wall=1.0), None)
        records.add(run(key="k2", wall=2.0), None)
        records.renew({"orders.test": records.passed(["k1"])["k1"], "twin.test": run(key="k1")}, "trusted")
        assert {task: each.key for task, each in records.greens().items()} == {"orders.test": "k1", "twin.test": "k1"}
        assert len(records.history()) == 3, "a twin gets a run of its own, the task itself none"


def test_how_long_a_task_takes_is_the_median_of_its_last_runs(file) -> None:
    with Records(file) as records:
        for wall, seconds in enumerate((90.0, 1.0, 2.0, 3.0, 4.0, 50.0)):
            records.add(run(wall=wall, seconds=seconds), None)
        records.add(run(wall=9.0, seconds=700.0, outcome="timed-out"), None)
        assert records.durations() == {"orders.test": 3.0}


def test_history_is_of_one_service_the_last_first_and_is_exported_in_order(file) -> None:
    with Records(file) as records:
        for wall, task in enumerate(("orders.test", "orders-db.test", "orders.build")):
            records.add(run(task=task, wall=float(wall + 1)), None)
        assert [each.task for each in records.history(service="orders", limit=9)] == ["orders.build", "orders.test"]
        assert [each.task for each in records.history(limit=1)] == ["orders.build"]
        assert [each.wall for each in records.export(1.5)] == [2.0, 3.0]


def test_old_runs_are_forgotten_but_never_the_green_one_that_counts(file, monkeypatch) -> None:
    monkeypatch.setattr(records_module, "KEPT_RUNS", 5)
    with Records(file) as records:
        records.add(run(key="green", wall=1.0), manifest("1"))
        for wall in range(2, 30):
            records.add(run(key="red", wall=float(wall), outcome="failed"), None)
        records.prune()
        assert len(records.history()) == 6
        assert set(records.passed(["green"])) == {"green"}
        assert records.manifest("green") is not None


def _write(file: Path, number: int) -> int:
    with Records(file) as records:
        for wall in range(20):
            records.add(run(task=f"s{number}.test", key=f"{number}-{wall}", wall=float(wall)), manifest(str(number)))
    return number


def test_several_processes_write_at_once_and_nothing_is_lost(file) -> None:
    """They begin with no file at all: each may be the one that makes it."""
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(_write, [file] * 4, range(4))) == [0, 1, 2, 3]
    with Records(file) as records:
        assert len(records.history(limit=1000)) == 80


@pytest.mark.parametrize("damage", ["text", "page", "cut"])
def test_a_damaged_file_is_put_aside_told_and_begun_anew(file, damage: str) -> None:
    with Records(file) as records:
        for wall in range(300):
            records.add(run(key=f"k{wall}", wall=float(wall)), None)
    raw = file.read_bytes()
    broken = {"text": b"not a database", "page": raw[:4096] + b"\xff" * (len(raw) - 4096), "cut": raw[: len(raw) // 2]}
    file.write_bytes(broken[damage])
    told: list[str] = []
    with Records(file, told.append) as records:
        records.add(run(key="after", wall=999.0), None)
        assert set(records.passed(["after"])) == {"after"}
        assert len(list(records.history(limit=1000))) == 1
    (said,) = told
    assert "begin anew" in said
    (aside,) = file.parent.glob("records.db.damaged-*")
    assert aside.read_bytes() == broken[damage]


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system takes root")
def test_a_disk_without_room_for_the_logs_index_is_called_full(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=1m", "atoll-test", str(folder)]
    if subprocess.run(argv, capture_output=True, timeout=30, check=False).returncode != 0:
        pytest.skip("cannot mount here")
    try:
        with Records(folder / "records.db") as records:
            records.add(run(), manifest("1"))
        with (folder / "fill").open("wb", buffering=0) as fill:
            while fill.write(bytes(4096)) == 4096 and os.statvfs(folder).f_bavail:
                pass
        records = Records(folder / "records.db")
        with pytest.raises(UserError, match="the disk that holds") as told:
            records.add(run(wall=2.0), manifest("2"))
        assert told.value.id == "disk-full"
    finally:
        subprocess.run(["umount", str(folder)], check=True, timeout=30)


def test_a_file_of_a_newer_version_is_left_alone(file) -> None:
    with Records(file) as records:
        records.add(run(), None)
    with sqlite3.connect(file) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    with Records(file) as records, pytest.raises(UserError, match="newer Atoll") as failed:
        records.greens()
    assert failed.value.id == "database-newer"


_WRITE_FOREVER = """
import sys
from pathlib import Path
from atoll.model.records import TaskRecord
from atoll.pipeline.records import Records
with Records(Path(sys.argv[1])) as records:
    for number in range(10**9):
        records.add(TaskRecord(task=f"s{number}.test", key=str(number), outcome="passed", seconds=1.0, wall=float(number)), None)
        print(number, flush=True)
"""


@pytest.mark.slow
def test_killed_at_any_instant_every_run_that_was_kept_is_there(file) -> None:
    for attempt in range(5):
        writer = subprocess.Popen([sys.executable, "-c", _WRITE_FOREVER, str(file)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.02 * attempt)
        writer.kill()
        said = writer.stdout.read().split()
        writer.wait(30)
        writer.stdout.close()
        with Records(file) as records:
            kept = {each.key for each in records.history(limit=10**6)}
        assert set(said) <= kept
        file.unlink()
