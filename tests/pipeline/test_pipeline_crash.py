"""What is left when a builder is killed, cancelled, or runs out of disk: nothing that looks like an artifact."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from killing import eventually, own_seconds

from atoll.model.errors import BuildFailed, UserError
from atoll.model.state import Artifact
from atoll.pipeline import artifacts as artifacts_module
from atoll.pipeline.artifacts import Artifacts

SOURCE = Path(__file__).parents[2] / "src"

BUILDER = """
import asyncio, json, os
from pathlib import Path
from atoll.model.spec import Build, Command, ServiceSpec
from atoll.pipeline.build import build_all
from atoll.pipeline.work import Site
root, step = Path(os.environ["ROOT"]), os.environ["STEP"]
spec = ServiceSpec(name="orders", folder="orders", run=Command(argv=("x",)), build=Build(steps=(Command(shell=step),)))
done = asyncio.run(build_all([spec], Site(root=root, artifacts=root / ".atoll/artifacts", toolchains=root / ".atoll/toolchains", records=root / ".atoll/records.db")))["orders"]
if isinstance(done, Exception):
    raise done
print(json.dumps([done.key, done.digest]))
"""


def start(root: Path, step: str) -> "subprocess.Popen[str]":
    env = {**os.environ, "PYTHONPATH": str(SOURCE), "ROOT": str(root), "STEP": step}  # not argv: tests search that
    return subprocess.Popen([sys.executable, "-c", BUILDER], env=env, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_kill_9_in_the_middle_ends_the_build_and_leaves_no_artifact(workshop, processes_with) -> None:
    marker = own_seconds()
    workshop.write("orders/a", "1")
    step = f"echo half > made; (setsid sleep {marker} &); sleep {marker}"
    builder = start(workshop.root, step)
    try:
        eventually(lambda: len(processes_with(f"sleep {marker}")) >= 3)
    finally:
        builder.kill()
        builder.wait(30)
        builder.stdout.close()
    eventually(lambda: processes_with(f"sleep {marker}") == [])
    left = [path.name for path in workshop.artifacts.iterdir() if not path.name.startswith(".")]
    assert len(left) == 1, "the half-made folder is there, and incomplete"
    assert Artifacts(workshop.artifacts).find(left[0]) is None
    workshop.one(workshop.spec("other", "true"))
    assert workshop.half_made() == [], "the next build cleans up"


@pytest.mark.slow
def test_killed_at_any_instant_the_next_build_gives_the_same_as_an_undisturbed_one(workshop) -> None:
    for number in range(40):
        workshop.write(f"orders/f{number}", "x" * 1000)
    step = "seq 20000 > made; mkdir -p a/b; cp f* a/b; sleep 0.1"
    began = time.monotonic()
    builder = start(workshop.root, step)
    undisturbed = json.loads(builder.communicate(timeout=60)[0])
    took = time.monotonic() - began
    for share in (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95):
        artifacts_module.remove_tree(workshop.artifacts)
        builder = start(workshop.root, step)
        time.sleep(took * share)
        builder.kill()
        builder.communicate(timeout=30)
        builder = start(workshop.root, step)
        assert json.loads(builder.communicate(timeout=60)[0]) == undisturbed
        Artifacts(workshop.artifacts).sweep()  # when it began, the killed one's last process may have been there
        assert workshop.half_made() == []
        made = workshop.artifacts / undisturbed[0]
        assert len(list((made / "a/b").iterdir())) == 40


@pytest.mark.slow
def test_two_processes_that_build_the_same_build_it_once(workshop) -> None:
    workshop.write("orders/a", "1")
    count = workshop.root / "count"
    step = f"echo x >> {count}; sleep 1; date +%N > made"
    builders = [start(workshop.root, step) for _ in range(3)]
    results = [builder.communicate(timeout=60)[0] for builder in builders]
    assert len(set(results)) == 1, results
    assert count.read_text() == "x\n"
    assert workshop.half_made() == []


@pytest.mark.slow
def test_a_builder_that_died_is_taken_over_from_only_when_its_processes_are_gone(workshop) -> None:
    """The build's own processes hold its lock: else the next builder would share the folder with them."""
    workshop.write("orders/a", "1")
    log = workshop.root / "log"
    # The first ignores the polite signal, and writes until it is really gone.
    step = f"trap '' TERM; echo begin >> {log}; n=0; while [ $n -lt 30 ]; do echo w$$ >> {log}; sleep 0.1; n=$((n+1)); done"
    first = start(workshop.root, step)
    eventually(lambda: log.exists() and "w" in log.read_text())
    first.kill()
    first.communicate(timeout=30)
    second = start(workshop.root, step)
    assert second.communicate(timeout=60)[0]
    lines = log.read_text().splitlines()
    assert lines.count("begin") == 2
    after = lines[len(lines) - lines[::-1].index("begin") :]
    assert len(set(after)) == 1, "only one process wrote after the second began"


async def test_a_cancelled_build_leaves_no_process_and_no_file(workshop, processes_with) -> None:
    marker = own_seconds()
    for name in ("one", "two"):
        workshop.write(f"{name}/a", name)
    specs = [workshop.spec(name, f"(setsid sleep {marker} &); sleep {marker}; {name}") for name in ("one", "two")]
    task = asyncio.create_task(workshop.build_async(specs, jobs=2))
    for _ in range(1500):
        if len(processes_with(f"sleep {marker}")) >= 6:
            break
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert processes_with(f"sleep {marker}") == []
    assert workshop.half_made() == []


@pytest.mark.slow
async def test_cancelled_at_any_instant_nothing_is_left(workshop) -> None:
    for number in range(300):
        workshop.write(f"orders/f{number}", "x" * 1000)
    spec = workshop.spec("orders", "cp f1 made")
    for milliseconds in (0, 1, 5, 10, 15, 20, 30, 40, 60, 80, 100, 130):
        task = asyncio.create_task(workshop.build_async([spec]))
        await asyncio.sleep(milliseconds / 1000)
        task.cancel()
        try:
            assert isinstance((await task)["orders"], Artifact)
        except asyncio.CancelledError:
            pass
        if workshop.artifacts.exists():
            assert workshop.half_made() == []
            artifacts_module.remove_tree(workshop.artifacts)


@pytest.mark.slow
def test_ctrl_c_ends_everything(workshop, processes_with) -> None:
    marker = own_seconds()
    workshop.write("orders/a", "1")
    builder = start(workshop.root, f"sleep {marker}")
    try:
        eventually(lambda: bool(processes_with(f"sleep {marker}")))
        builder.send_signal(signal.SIGINT)
        assert builder.wait(30) != 0
    finally:
        builder.kill()
        builder.communicate(timeout=30)
    assert processes_with(f"sleep {marker}") == []
    assert workshop.half_made() == []


@pytest.fixture
def small_disk(workshop) -> "Callable[[int], None]":
    """A function that puts the artifacts on a file system of so many kilobytes."""
    mounted = []

    def mount(kilobytes: int) -> None:
        workshop.artifacts.mkdir(parents=True)
        argv = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "atoll-test", str(workshop.artifacts)]
        if os.geteuid() != 0 or shutil.which("mount") is None:
            pytest.skip("a small file system takes root")
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode != 0:
            pytest.skip(f"cannot mount here: {done.stderr.strip()}")
        mounted.append(workshop.artifacts)

    yield mount
    for path in mounted:
        subprocess.run(["umount", str(path)], check=True, timeout=30)


@pytest.mark.parametrize("step", ["true", "head -c 8000000 /dev/zero > big"])
def test_a_full_disk_is_said_and_nothing_half_made_stays(workshop, small_disk, step: str) -> None:
    small_disk(2048)
    workshop.write("orders/a", "x" * (3_000_000 if step == "true" else 10))
    failed = workshop.failure(workshop.spec("orders", step))
    assert f"the disk that holds {workshop.artifacts} is full" in failed.what
    assert "free some space" in failed.fix
    assert workshop.half_made() == []
    assert isinstance(workshop.one(workshop.spec("small", "true")), Artifact)


def test_a_disk_that_is_full_before_is_one_error(workshop, small_disk) -> None:
    small_disk(64)
    with pytest.raises(OSError, match="No space"):
        (workshop.artifacts / "filler").write_bytes(b"x" * (1 << 20))
    with pytest.raises(UserError, match="is full"):
        workshop.build(workshop.spec("orders"), workshop.spec("other"))


def test_a_disk_that_fails_at_the_very_end_leaves_no_artifact(workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device", str(folder))

    monkeypatch.setattr(artifacts_module, "flush", full)
    failed = workshop.failure(workshop.spec("orders", "true"))
    assert isinstance(failed, BuildFailed)
    assert "is full" in failed.what
    assert workshop.half_made() == []
    assert list((workshop.artifacts / ".records").iterdir()) == []
