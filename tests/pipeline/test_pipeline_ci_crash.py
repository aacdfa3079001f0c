"""`atoll ci` as a process of its own: killed at any moment, twice at once, on a full disk, told to end."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from killing import eventually, own_seconds

from atoll.pipeline.artifacts import Artifacts, remove_tree

SOURCE = Path(__file__).parents[2] / "src"
ROUNDS = 12  # kills at random moments
SEED = 20_261_126


class Command:
    """The real command line in a workspace with a home of its own."""

    def __init__(self, folder: Path, run: str) -> None:
        self.root, self.home = folder / "shop", folder / "home"
        self.root.mkdir()
        (self.root / "atoll.toml").touch()
        self.env = {
            **os.environ,
            "PYTHONPATH": str(SOURCE),
            "ATOLL_HOME": str(self.home),
            "ATOLL_RUN": run,
        }

    def service(self, name: str, toml: str) -> None:
        (self.root / name).mkdir()
        (self.root / name / "NAME").write_text(name)
        (self.root / name / "service.toml").write_text(f'run = "x"\n{toml}')

    def start(self, *argv: str) -> "subprocess.Popen[str]":
        argv = (sys.executable, "-m", "atoll.app", "ci", *argv)
        return subprocess.Popen(
            argv, cwd=self.root, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, *argv: str) -> "tuple[int, dict[str, object]]":
        with self.start(*argv, "--json") as program:
            out, err = program.communicate(timeout=120)
        assert out, err
        return program.returncode, json.loads(out)

    @property
    def artifacts(self) -> Path:
        return next(self.home.iterdir()) / "artifacts"


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    with tempfile.TemporaryDirectory(prefix="atl-") as run:  # short: sockets would lie in it
        made = Command(tmp_path, run)
        yield made
    for mounted in made.home.glob("*/artifacts") if made.home.exists() else ():
        if os.path.ismount(mounted):
            subprocess.run(["umount", str(mounted)], check=True, timeout=30)
    remove_tree(made.home)


@pytest.mark.slow
def test_killed_at_random_moments_nothing_half_written_is_used_and_no_process_is_left(command, processes_with) -> None:
    """Each task makes two files that must agree; who needs it looks. A half-written result could not pass."""
    marker = f"0.7{os.getpid():07}"
    for name in ("a", "b"):
        command.service(
            name,
            f"[tasks.gen]\nrun = 'head -c 100000 /dev/urandom > one; (setsid sleep {marker} &); sleep 0.05; cp one two'\n"
            "outputs = ['one', 'two']\n"
            "[tasks.test]\nrun = 'cmp {needs.gen}/one {needs.gen}/two'\nneeds = ['gen']",
        )
    began = time.monotonic()
    code, _ = command.run()
    took = time.monotonic() - began
    assert code == 0
    moments = random.Random(SEED)
    for number in range(ROUNDS):
        for name in ("a", "b"):
            (command.root / name / "NAME").write_text(f"{name} {number}")
        program = command.start()
        time.sleep(moments.uniform(0.2, 1.0) * took)
        program.kill()
        program.communicate(timeout=30)
        code, result = command.run()
        assert code == 0, result
        assert command.run()[1]["unaffected"] == 2
        eventually(lambda: processes_with(f"sleep {marker}") == [])
    place = Artifacts(command.artifacts)
    place.sweep()
    keys = {path.name for path in place.root.iterdir() if not path.name.startswith(".")}
    assert keys == set(place.keys())
    assert list(place.staging.iterdir()) == []


@pytest.mark.slow
def test_two_at_once_do_each_task_once_and_agree(command) -> None:
    count = command.root.parent / "count"
    for name in ("a", "b", "c"):
        command.service(name, f"[tasks]\ntest = 'echo {name} >> {count}; sleep 0.3'")
    programs = [command.start("--json") for _ in range(3)]
    results = [json.loads(program.communicate(timeout=120)[0]) for program in programs]
    assert sorted(count.read_text().split()) == ["a", "b", "c"]
    for result in results:
        assert result["ok"]
        assert result["passed"] + result["cached"] + 2 * result["unaffected"] == 6
    assert sum(result["passed"] for result in results) == 6


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_end_it_ends_what_runs(command, processes_with, number: signal.Signals) -> None:
    marker = own_seconds()
    command.service("a", f"[tasks]\ntest = '(setsid sleep {marker} &); sleep {marker}'")
    with command.start() as program:
        eventually(lambda: len(processes_with(f"sleep {marker}")) >= 3)
        program.send_signal(number)
        assert program.wait(30) == 128 + number
    assert processes_with(f"sleep {marker}") == []
    assert list(Artifacts(command.artifacts).staging.iterdir()) == []


@pytest.mark.slow
def test_a_full_disk_is_told_of_the_task_that_met_it_and_passes_when_there_is_space(command) -> None:
    command.service("a", "[tasks]\nbig = 'head -c 6000000 /dev/zero > big'\nsmall = 'true'")
    command.service("b", "[tasks]\ntest = 'true'")
    command.run("b.test")
    mounted = command.artifacts
    remove_tree(mounted)
    mounted.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=4096k", "atoll-test", str(mounted)]
    if os.geteuid() != 0 or subprocess.run(argv, capture_output=True, timeout=30, check=False).returncode:
        pytest.skip("a small file system takes root")
    code, result = command.run("--jobs", "1")
    assert code == 3
    told = {task["task"]: task for task in result["tasks"]}
    assert (told["a.big"]["outcome"], told["a.big"]["id"]) == ("failed", "disk-full")
    assert "free some space" in told["a.big"]["fix"]
    assert told["a.small"]["outcome"] == "passed"
    subprocess.run(["mount", "-o", "remount,size=65536k", str(mounted)], check=True, timeout=30)
    assert command.run()[0] == 0
