"""The private dockerd of tests: shared, cleared up after those who were killed, and gone in the end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dockerd import Dockerd, lacking, own, shared
from leases import RUN

USER = """
import sys; sys.path.insert(0, sys.argv[1])
import dockerd, pathlib
folder, data = map(pathlib.Path, sys.argv[2:4])
with dockerd.shared(folder, data, slot=20) as daemon:
    print(daemon.pid, flush=True)
    for line in sys.stdin:
        print(daemon.docker(*line.split()), flush=True)
"""


class User:
    """Another process that uses the daemon in `folder`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout
        self.pid = int(process.stdout.readline())

    def docker(self, line: str) -> str:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


@contextmanager
def user(folder: Path) -> Iterator[User]:
    argv = [sys.executable, "-c", USER, "scripts", str(folder), str(folder / "data")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield User(process)
        assert process.stdin
        process.stdin.close()
        assert process.wait(timeout=60) in {0, -signal.SIGKILL}


@pytest.fixture
def folder(dockerd: Dockerd) -> Iterator[Path]:
    """Of a daemon that is shared by the processes of this test alone."""
    folder = RUN / f"shared-{os.getpid()}"
    yield folder
    with shared(folder, folder / "data", slot=20) as daemon:
        left = daemon.docker("ps", "--all", "--quiet")
    subprocess.run(["rm", "-rf", folder], check=True)
    assert left == ""
    assert not Path("/sys/class/net/atolltest20").exists()


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_processes_share_one_until_the_last_has_left(folder: Path) -> None:
    with user(folder) as first:
        with user(folder) as second:
            assert second.pid == first.pid
        assert first.docker("version --format {{.Server.Os}}") == "linux"
    assert not is_alive(first.pid)


def test_the_next_one_clears_up_after_one_that_was_killed(folder: Path, dockerd: Dockerd) -> None:
    image = dockerd.base("runtime")
    with user(folder) as killed:
        Dockerd(folder, folder / "data", slot=20).take(image, dockerd)
        killed.docker("network create left")
        killed.docker(f"run --detach --network left {image} sleep 600")
        init = int(killed.docker("inspect --format {{.State.Pid}} " + killed.docker("ps --quiet")))
        killed.process.kill()
        killed.process.wait()
    assert is_alive(init)
    with user(folder) as following:
        assert following.pid != killed.pid
        assert not is_alive(killed.pid)
        assert not is_alive(init)
        assert following.docker("ps --all --quiet") == ""
        assert following.docker("network ls --filter type=custom --quiet") == ""
        assert following.docker(f"image ls --quiet {image}") != ""  # a base stays


def test_its_own_is_killed_with_its_containers_going_on_and_leaves_nothing(own_dockerd: Dockerd) -> None:
    image = own_dockerd.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}")
    container = own_dockerd.docker("run", "--detach", image, "sleep", "600")
    init = int(own_dockerd.docker("inspect", "--format", "{{.State.Pid}}", container))
    own_dockerd.kill()
    assert not own_dockerd.answers()
    assert is_alive(init)
    own_dockerd.start()
    assert own_dockerd.docker("ps", "--quiet", "--no-trunc") == container
    own_dockerd.stop()
    assert is_alive(init)
    # Its fixture must now end a container that no daemon knows of; the next one's slot is the same.


def test_what_runs_in_one_that_is_away_at_its_end_is_ended(dockerd: Dockerd) -> None:
    image = dockerd.base("runtime")
    with own() as daemon:
        daemon.take(image, dockerd)
        daemon.docker("network", "create", "left")
        container = daemon.docker("run", "--detach", "--network", "left", image, "sleep", "600")
        init = int(daemon.docker("inspect", "--format", "{{.State.Pid}}", container))
        daemon.kill()
    deadline = time.monotonic() + 20
    while is_alive(init) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(init)
    assert not daemon.folder.exists()
    assert not Path(f"/sys/class/net/{daemon.bridge}").exists()


def test_says_why_none_can_run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lacking() == "" or "scripts/apt" in lacking() or "root" in lacking()
    monkeypatch.setattr("dockerd.PATH", "/nowhere")
    assert "dockerd" in lacking()
    assert "scripts/apt installs" in lacking()
