import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="subreapers are Linux's")


def bounded(seconds: float, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "scripts/bounded.py", "--seconds", str(seconds), "--", *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_exits_as_the_command_did() -> None:
    assert bounded(30, "sh", "-c", "exit 7").returncode == 7


def test_ends_a_daemon_that_left_the_process_group_and_names_it(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    daemon = f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 300"
    done = bounded(30, "sh", "-c", f"setsid --fork sh -c '{daemon}'; while [ ! -e {pid_file} ]; do sleep 0.05; done")
    assert not is_alive(int(pid_file.read_text()))
    assert done.returncode == 0
    assert "left running, ended now" in done.stderr


def test_a_command_that_runs_too_long_is_ended() -> None:
    done = bounded(0.5, "sleep", "300")
    assert done.returncode == 124
    assert "still running after 0.5 s" in done.stderr
