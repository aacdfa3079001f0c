"""What a run of all tests does about one that hangs (tests/conftest.py), with a real pytest and real workers."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

# As it happened: the time-out is raised in the test, and then the end of a `with` waits without a bound.
HANGS = """
import threading, time
from pathlib import Path

TRIED = Path(__file__).with_suffix(".tried")

class Pool:
    def __enter__(self): return self
    def __exit__(self, *_): threading.Event().wait(600)

def test_before(): pass

def test_hangs():
    if TRIED.exists() and not ALWAYS:
        return
    TRIED.touch()
    with Pool():
        time.sleep(600)

def test_after(): pass
"""


def run(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    asked = [
        "-q",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        "-o",
        "timeout=1",
        "--hung-after=1",
        f"--rootdir={folder}",
    ]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *asked, *argv, str(folder)],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{ROOT / 'scripts'}", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


@pytest.mark.parametrize("always", [False, True])
def test_a_test_that_hangs_after_its_time_out_is_ended_and_shown(tmp_path: Path, always: bool) -> None:
    (tmp_path / "test_it.py").write_text(f"ALWAYS = {always}\n{HANGS}")
    (tmp_path / "test_other.py").write_text("def test_other(): pass\n")
    rerun = tmp_path / "rerun"
    done = run(tmp_path, "-n", "2", "--dist", "loadfile", "--max-worker-restart=1", f"--rerunnable={rerun}")
    assert done.returncode != 0
    assert "in __exit__" in done.stderr, done.stderr  # where it hung
    assert "failed: test_it.py::test_hangs" in done.stderr  # said at once
    assert "crashed while running 'test_it.py::test_hangs'" in done.stdout
    if always:  # the run was given up before `test_after`
        assert not rerun.exists()
    else:
        assert "4 passed" in done.stdout
        assert rerun.read_text() == "test_it.py::test_hangs\n"


def test_a_failure_is_told_before_the_run_ends(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_wrong():\n    assert 1 == 2, 'by one'\n")
    rerun = tmp_path / "rerun"
    done = run(tmp_path, f"--rerunnable={rerun}")
    assert done.returncode == 1
    assert "failed: test_it.py::test_wrong (call): AssertionError: by one" in done.stderr
    assert rerun.read_text() == "test_it.py::test_wrong\n"


def test_a_thread_that_a_test_left_does_not_keep_the_run(tmp_path: Path) -> None:
    leaves = "import threading\n\ndef test_leaves():\n    threading.Thread(target=threading.Event().wait).start()\n"
    (tmp_path / "test_it.py").write_text(leaves)
    done = run(tmp_path)
    assert done.returncode == 1
    assert "1 passed" in done.stdout
    assert "_shutdown" in done.stderr  # where the interpreter waits for it
