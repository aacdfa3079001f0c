"""Jobs for real: what they print, how they end, schedules, migrations, and kill -9 of the daemon meanwhile."""

import json
import os
import signal
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from lab import Lab

from atoll.testing.steady import Steady

PYTHON = f"{sys.executable} -S"


def job(folder: Path, text: str) -> str:
    """A Python program as a job's command: the file lies in the service's folder, and so in the artifact."""
    (folder / "job.py").write_text(text)
    return f"{PYTHON} job.py"


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def notes(lab: Lab) -> Path:
    """A file that jobs of any user may append to."""
    path = lab.root.parent / "notes"
    path.touch()
    path.chmod(0o666)
    return path


def runs(lab: Lab, service: str, job: str) -> list[dict[str, Any]]:
    """The kept runs of a job, newest first."""
    [view] = lab.json("jobs", service, job)
    found: list[dict[str, Any]] = view["runs"]
    return found


def kill_the_daemon(lab: Lab) -> int:
    pid = lab.pid("daemon")
    os.kill(pid, signal.SIGKILL)
    lab.until(lambda: lab.pid("daemon") != pid)
    return pid


def test_a_job_by_hand_streams_its_output_and_ends_with_its_own_code_for_failure(lab: Lab) -> None:
    lab.service("catalog")
    lab.service("orders", f'[calls.catalog]\nenv = "CATALOG"\n[jobs]\nreindex = "{PYTHON} job.py"\n')
    job(
        lab.root / "orders",
        "import os, sys, urllib.request\n"
        "print('args', sys.argv[1:], flush=True)\n"
        "print(os.environ['VERSION'], 'PORT' in os.environ, os.environ['CATALOG'][:16])\n"
        "print(urllib.request.urlopen(os.environ['CATALOG'] + '/x').status, flush=True)\n"
        "print('to stderr', file=sys.stderr)\n"
        "sys.exit(4 if 'fail' in sys.argv else 0)\n",
    )
    lab.atoll("up")
    done = lab.run("run", "orders", "reindex", "--", "--since", "2026 01")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["args ['--since', '2026 01']", "v1 False http://127.0.0.1", "200"]
    assert "to stderr" in done.stderr
    assert "succeeded" in done.stderr
    failed = lab.run("run", "orders", "reindex", "fail")
    assert failed.returncode == 8
    assert "exit code 4" in failed.stderr
    view = lab.json("run", "orders", "reindex", code=0)
    assert (view["state"], view["exit"]["code"]) == ("succeeded", 0)
    newest, failure, _ = runs(lab, "orders", "reindex")
    assert newest["id"] == view["id"]
    assert (failure["state"], failure["output"].splitlines()[-1]) == ("failed", "to stderr")
    assert "args ['fail']" in lab.atoll("logs", "orders", "--job", "reindex")
    assert "reindex" in lab.atoll("jobs")
    assert lab.run("run", "orders", "reindx").returncode == 2
    lab.atoll("down", "orders")
    refused = lab.run("run", "orders", "reindex")
    assert refused.returncode == 4
    assert "is down" in refused.stderr


def test_a_schedule_runs_each_second_also_without_a_service_and_over_kills_of_the_daemon(lab: Lab, notes: Path) -> None:
    folder = lab.root / "ticker"
    folder.mkdir()
    (folder / "service.toml").write_text(
        f'[jobs.tick]\nrun = "{job(folder, "")}"\nschedule = "* * * * * *"\nenv = {{ NOTES = "{notes}" }}\n'
    )
    job(folder, "import os\nwith open(os.environ['NOTES'], 'a') as f: f.write(str(os.getpid()) + '\\n')\n")
    assert "tick (* * * * * *)" in lab.atoll("check")
    lab.atoll("up")
    lab.until(lambda: len(lines(notes)) >= 3)
    kill_the_daemon(lab)
    count = len(lines(notes))
    lab.until(lambda: len(lines(notes)) >= count + 3)
    found = runs(lab, "ticker", "tick")
    taken = [run for run in found if run["state"] != "missed"]  # as those are that no daemon was there for
    dues = [run["due_wall"] for run in taken]
    assert len(dues) == len(set(dues))
    assert all(run["state"] in {"succeeded", "running", "starting", "skipped"} for run in taken), found
    assert lab.of("ticker")["state"] == "up"
    lab.atoll("down", "ticker")
    going = {"running", "starting"}  # what was due before may go on
    lab.until(lambda: going.isdisjoint(run["state"] for run in runs(lab, "ticker", "tick")))
    count = len(lines(notes))
    time.sleep(2.5)
    assert len(lines(notes)) == count


def test_a_migration_that_fails_blocks_the_release_and_the_old_one_never_notices(lab: Lab) -> None:
    lab.service("orders")
    lab.atoll("up")
    before = lab.pids("orders")
    job(lab.root / "orders", "import sys, time\ntime.sleep(1)\nprint('column exists')\nsys.exit(3)\n")
    migration = f'[rollout]\nstrategy = "blue-green"\nbefore = "{PYTHON} job.py"\n'
    with Steady(lab.url, ("/orders/a",), rate=40) as load:
        lab.service("orders", migration, env={"VERSION": "v2"})
        done = lab.run("deploy", "orders")
    assert done.returncode == 3
    assert "exit code 3" in done.stdout
    assert "column exists" in done.stdout
    assert load.failures == []
    assert set(load.versions) == {"v1"}
    assert lab.pids("orders") == before
    job(lab.root / "orders", "print('migrated')\n")
    [operation] = lab.json("deploy", "orders")
    assert operation["receipt"]["seconds"]["preparing"] > 0
    assert lab.get("/orders/")["version"] == "v2"
    refused = lab.run("rollback", "orders")
    assert refused.returncode == 4
    assert "backward_compatible" in refused.stderr
    lab.atoll("rollback", "orders", "--force")
    assert lab.get("/orders/")["version"] == "v1"


@pytest.mark.parametrize("overlap", [True, False])
def test_kill_9_of_the_daemon_during_a_migration_and_during_a_job_loses_and_repeats_nothing(
    lab: Lab, notes: Path, overlap: bool
) -> None:
    slow = (
        "import os, sys, time\n"
        "def note(text):\n"
        "    with open(os.environ['NOTES'], 'a') as f: f.write(text + ' ' + sys.argv[1] + '\\n')\n"
        "note('begin'); time.sleep(4); note('end'); print('done with', sys.argv[1])\n"
    )
    usual = f"overlap = {json.dumps(overlap)}\n"
    lab.service("orders", usual)
    lab.atoll("up")
    job(lab.root / "orders", slow)
    extra = f'[rollout]\nbefore = "{PYTHON} job.py migrate"\n[jobs]\nreindex = "{PYTHON} job.py reindex"\n'
    lab.service("orders", usual + extra, env={"VERSION": "v2", "NOTES": str(notes)})
    lab.atoll("deploy", "orders", "--detach")
    lab.until(lambda: lines(notes) == ["begin migrate"])
    kill_the_daemon(lab)
    lab.until(lambda: lab.get("/orders/")["version"] == "v2")
    assert lines(notes) == ["begin migrate", "end migrate"]
    lab.until(lambda: not lab.of("orders")["candidate"])
    lab.atoll("run", "orders", "reindex", "--detach")
    lab.until(lambda: "begin reindex" in lines(notes))
    kill_the_daemon(lab)
    [run] = lab.until(lambda: [run for run in runs(lab, "orders", "reindex") if run["ended"]])
    assert run["state"] == "succeeded"
    assert lines(notes)[2:] == ["begin reindex", "end reindex"]
    assert "done with reindex" in lab.atoll("logs", "orders", "--job", "reindex")


def test_down_stops_a_job_that_runs_and_a_run_that_is_stopped_by_hand_says_so(lab: Lab) -> None:
    lab.service("orders", f'[stop]\ngrace = "1s"\n[jobs]\nslow = "{PYTHON} job.py"\n')
    job(lab.root / "orders", "import time\nprint('up', flush=True)\ntime.sleep(600)\n")
    lab.atoll("up")
    lab.atoll("run", "orders", "slow", "--detach")
    lab.until(lambda: "up" in lab.atoll("logs", "orders", "--job", "slow"))
    assert lab.run("run", "orders", "slow").returncode == 5
    assert "stopped" in lab.atoll("run", "orders", "slow", "--stop")
    lab.atoll("run", "orders", "slow", "--detach")
    lab.until(lambda: len([run for run in runs(lab, "orders", "slow") if run["state"] == "running"]) == 1)
    lab.atoll("down", "orders")
    assert lab.of("orders")["running_jobs"] == []
    assert [run["state"] for run in runs(lab, "orders", "slow")] == ["stopped", "stopped"]


def test_the_store_of_an_older_version_gains_its_table(lab: Lab) -> None:
    lab.service("orders")
    lab.atoll("up")
    lab.atoll("down", "--yes")
    [database] = lab.home.rglob("state.db")
    with sqlite3.connect(database) as connection:
        connection.execute("DROP TABLE job_runs")
        connection.execute("DROP TABLE task_records")
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    connection.close()
    lab.atoll("up")
    assert lab.json("jobs") == []
