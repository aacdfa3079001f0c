"""Watching real folders with the kernel's real notifications."""

import contextlib
import queue
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from atoll.cli.dev.watcher import QUIET_MS, Watcher

WITHIN_S = 60.0
Batches = queue.Queue[frozenset[str]]


@pytest.fixture
def watch(tmp_path: Path) -> Callable[[], Batches]:
    """Watch all folders below `tmp_path` but `ignored`; batches come with paths relative to it."""

    def folders() -> frozenset[str]:
        below = (path for path in tmp_path.rglob("*") if path.is_dir() and not {".git", "ignored"} & set(path.parts))
        return frozenset(map(str, (tmp_path, *below)))

    def begin() -> Batches:
        batches: Batches = queue.Queue()

        def changed(paths: frozenset[str], at_s: float) -> None:
            assert 0 <= time.monotonic() - at_s < WITHIN_S
            batches.put(frozenset(path.removeprefix(f"{tmp_path}/") for path in paths))

        Watcher(folders, changed, lambda exc: batches.put(frozenset({repr(exc)})), tmp_path / ".git")
        return batches

    return begin


def told(batches: Batches, *wanted: str) -> set[str]:
    """Everything up to and with the batch in which the last of `wanted` came."""
    found: set[str] = set()
    until = time.monotonic() + WITHIN_S
    while not set(wanted) <= found:
        found |= batches.get(timeout=max(0.1, until - time.monotonic()))
    return found


def test_an_atomic_save_is_one_change_of_one_file(tmp_path: Path, watch: Callable[[], Batches]) -> None:
    (tmp_path / "orders.py").write_text("1")
    batches = watch()
    took_s = 1.0
    while took_s > QUIET_MS / 2000:  # the system had better things to do in the middle of it: those are two changes
        began = time.monotonic()
        (tmp_path / "orders.py.tmp123").write_text("2")
        (tmp_path / "orders.py.tmp123").rename(tmp_path / "orders.py")
        took_s = time.monotonic() - began
        found = told(batches, "orders.py")
    assert found == {"orders.py"}


def test_files_of_a_folder_that_has_just_come_are_not_missed(tmp_path: Path, watch: Callable[[], Batches]) -> None:
    batches = watch()
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "early.py").write_text("1")
    assert {"a/"} <= told(batches, "a/")  # whatever is in it
    found: set[str] = set()
    until = time.monotonic() + WITHIN_S
    while (
        "a/b/late.py" not in found and time.monotonic() < until
    ):  # `b` came after `a`: as long as it is new, it is told
        (tmp_path / "a" / "b" / "late.py").write_text("1")
        with contextlib.suppress(queue.Empty):
            found |= batches.get(timeout=1.0)
    assert "a/b/late.py" in found


def test_a_folder_that_goes_is_told_as_one(tmp_path: Path, watch: Callable[[], Batches]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.py").write_text("1")
    batches = watch()
    shutil.rmtree(tmp_path / "a")
    assert "a/" in told(batches, "a/")


def test_a_checkout_is_one_change_however_long_it_takes(tmp_path: Path, watch: Callable[[], Batches]) -> None:
    (tmp_path / ".git").mkdir()
    batches = watch()
    (tmp_path / ".git" / "index.lock").write_text("")
    for n in range(4):
        (tmp_path / f"{n}.py").write_text("1")
        time.sleep(0.3)
    (tmp_path / ".git" / "index.lock").unlink()
    assert batches.get(timeout=WITHIN_S) >= {"0.py", "1.py", "2.py", "3.py"}


def test_what_is_not_watched_is_not_told(tmp_path: Path, watch: Callable[[], Batches]) -> None:
    (tmp_path / "ignored").mkdir()
    batches = watch()
    (tmp_path / "ignored" / "x.log").write_text("1")
    (tmp_path / "seen.py").write_text("1")
    assert told(batches, "seen.py") == {"seen.py"}


LIMITED = """
import sys
from pathlib import Path
Path("/proc/sys/user/{limit}").write_text("3")
from atoll.cli.dev.watcher import QUIET_MS, Watcher
from atoll.cli.failed import Failed
top = Path(sys.argv[1])
folders = frozenset(map(str, top.iterdir()))
try:
    kept = [Watcher(lambda: folders, print, print, top) for _ in range(5)]
except Failed as exc:
    print(exc.id, exc.why, exc.fix, sep="|")
"""


@pytest.mark.parametrize(
    ("limit", "named"), [("max_inotify_watches", "max_user_watches"), ("max_inotify_instances", "max_user_instances")]
)
def test_the_kernels_limits_are_told_with_the_fix(tmp_path: Path, limit: str, named: str) -> None:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "--user", "--map-root-user", "true"], check=False).returncode:
        pytest.skip("needs user namespaces, in which the kernel's limits can be lowered")
    for n in range(10):
        (tmp_path / str(n)).mkdir()
    script = LIMITED.replace("{limit}", limit)
    command = [unshare, "--user", "--map-root-user", sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.startswith("watch-limit|"), done.stdout + done.stderr
    assert f"fs.inotify.{named}" in done.stdout
    assert f"sudo sysctl fs.inotify.{named}=" in done.stdout
