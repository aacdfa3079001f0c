"""`atoll run`, `atoll jobs` and what other commands say of jobs, against a pretend daemon."""

import json
import subprocess
import sys
from pathlib import Path

from atoll.model.wire_jobs import RunRequest, StopRunRequest
from atoll.testing.fake_control import Served


def test_run_prints_what_the_job_prints_and_ends_with_zero(atoll, daemon: Served) -> None:
    done = atoll("run", "orders", "reindex", "--", "--since", "2026-01-01")
    assert done.returncode == 0
    assert done.stdout.startswith("output of orders.reindex.")
    assert "reindex of orders r1 succeeded in 1.00 s" in done.stderr
    [request] = [each for each in daemon.control.requests if isinstance(each, RunRequest)]
    assert (request.job, request.args) == ("reindex", ("--since", "2026-01-01"))


def test_a_job_that_fails_ends_with_8_and_says_how(atoll, daemon: Served) -> None:
    done = atoll("run", "orders", "reindex", "fail")
    assert done.returncode == 8
    assert "reindex of orders r1 failed: exit code 4" in done.stderr
    view = json.loads(atoll("run", "orders", "reindex", "--json", "fail").stdout)
    assert (view["state"], view["exit"]["code"], view["output"]) == ("failed", 4, "no such index\n")


def test_a_run_can_be_begun_alone_looked_at_and_stopped(atoll, daemon: Served) -> None:
    begun = atoll("run", "orders", "nightly", "--detach", "hang")
    assert begun.returncode == 0
    assert "`atoll logs orders --job nightly` shows it" in begun.stdout
    shown = atoll("jobs", "orders").stdout
    assert "running" in shown
    assert "0 3 * * * Europe/Berlin" in shown
    stopped = atoll("run", "orders", "nightly", "--stop")
    assert "stopped: stopped by ada" in stopped.stdout
    assert any(isinstance(each, StopRunRequest) for each in daemon.control.requests)
    again = atoll("run", "orders", "nightly", "--stop")
    assert (again.returncode, "does not run" in again.stderr) == (2, True)
    assert "stopped by ada" in atoll("jobs", "orders", "nightly").stdout


def test_the_history_of_a_job_ends_with_the_last_output_of_a_failure(atoll, daemon: Served) -> None:
    atoll("run", "orders", "reindex", "fail")
    shown = atoll("jobs", "orders", "reindex").stdout
    assert "exit code 4" in shown
    assert shown.rstrip().endswith("no such index")


def test_a_mistyped_job_gets_a_suggestion_and_one_of_a_service_that_is_down_is_refused(atoll, daemon: Served) -> None:
    wrong = atoll("run", "orders", "reindx")
    assert (wrong.returncode, "did you mean 'reindex'?" in wrong.stderr) == (2, True)
    atoll("down", "orders")
    refused = atoll("run", "orders", "reindex")
    assert (refused.returncode, "start it: `atoll up orders`" in refused.stderr) == (4, True)


def test_a_run_can_be_planned(atoll, daemon: Served) -> None:
    done = atoll("run", "orders", "reindex", "--plan")
    assert done.returncode == 0
    assert "run reindex" in done.stdout
    assert daemon.control.job_desk.runs == {}


def test_logs_of_a_job_are_those_of_its_runs(atoll, daemon: Served) -> None:
    atoll("run", "orders", "reindex", "--quiet")
    shown = atoll("logs", "orders", "--job", "reindex").stdout
    assert "output of orders.reindex." in shown
    assert "line 1 of orders" not in shown
    assert atoll("logs", "--job", "reindex").returncode == 2


def test_rollback_over_a_migration_is_asked_for_by_force(atoll, daemon: Served) -> None:
    atoll("rollback", "orders", "--force")
    assert daemon.control.requests[-1].force  # type: ignore[attr-defined]


def test_check_shows_when_schedules_are_due(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "atoll.toml").write_text("")
    folder = tmp_path / "sweeper"
    folder.mkdir()
    (folder / "service.toml").write_text(
        '[jobs.sweep]\nrun = "x"\nschedule = "0 3 * * MON"\ntime_zone = "Europe/Berlin"\n'
    )
    command = [sys.executable, "-m", "atoll.app", "check"]  # with the real files' reader
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=True)
    assert "sweeper sweep (0 3 * * MON): Mon " in done.stdout
    assert done.stdout.count(" 03:00 CE") == 3
