"""Memory and CPU limits: by control group where there is one, by watching where not."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from atoll.keeper import cgroups
from atoll.keeper.cgroups import Group, Hierarchy
from atoll.model.spec import Command, Limits

PATIENCE_S = 60.0
MIB = 1024 * 1024
EATER = "import time\nhoard = []\nfor n in range(3000): hoard.append(bytearray(1 << 20)); time.sleep(0.002)\ntime.sleep(600)"


async def end_of(host, replica):
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = {each.id: each for each in await host.list()}[replica]
        if found.exit:
            return found.exit
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def eater(box, **limits):
    launch = box.launch(limits=Limits(memory_bytes=64 * MIB, **limits))
    return type(launch)(
        id=launch.id,
        service=launch.service,
        release=1,
        command=Command(argv=(sys.executable, "-c", EATER)),
        folder="/",
        env={},
        limits=launch.limits,
    )


async def test_over_its_memory_it_ends_as_out_of_memory(box):
    box.boot()
    host = box.host()
    launch = eater(box)
    await host.start(launch)
    ended = await end_of(host, launch.id)
    assert ended.oom
    assert ended.text == "out of memory"
    await host.close()


async def test_without_control_groups_memory_is_watched(box):
    script = (
        "import sys\nfrom atoll.keeper import __main__, cgroups\n"
        "cgroups.hierarchies = lambda _environment: []\nsys.exit(__main__.main())"
    )
    keeper = subprocess.Popen([sys.executable, "-c", script, box.state, box.run, "--foreground"])
    box.wait((box.run / "keeper.sock").exists, "it listens")
    host = box.host()
    launch = eater(box)
    await host.start(launch)
    ended = await end_of(host, launch.id)
    assert ended.oom
    assert ended.signal == 9
    box.client.shutdown(20.0)
    assert keeper.wait(60) == 0
    await host.close()


async def test_groups_are_limited_and_removed(box):
    if not any(os.access(Path(each.base).parent, os.W_OK) for each in cgroups.hierarchies(str(box.state))):
        pytest.skip("no control group may be written here")
    box.boot()
    host = box.host()
    launch = box.launch(limits=Limits(memory_bytes=256 * MIB, cpu_weight=200, open_files=77))
    started = await host.start(launch)
    groups = Path(f"/proc/{started.pid}/cgroup").read_text()
    assert launch.id in groups
    limits = Path(f"/proc/{started.pid}/limits").read_text()
    assert [line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files")] == [["77", "77"]]
    bases = [Path(each.base) for each in cgroups.hierarchies(str(box.state))]
    folders = [folder for base in bases for folder in base.glob(f"{launch.id}.*")]
    assert folders
    names = ("memory.max", "memory.limit_in_bytes", "cpu.weight", "cpu.shares")
    files = [folder / name for folder in folders for name in names if (folder / name).exists()]
    values = {file.name: file.read_text().strip() for file in files}
    assert values.get("memory.max", values.get("memory.limit_in_bytes")) == str(256 * MIB)
    assert values.get("cpu.weight", "200") == "200"
    assert values.get("cpu.shares", "2048") == "2048"
    await host.forget(launch.id)
    box.wait(lambda: not any(folder.exists() for folder in folders), "the groups are removed")
    box.client.shutdown(20.0)
    assert not any(base.exists() for base in bases)
    await host.close()


async def test_groups_that_a_crash_left_are_removed_by_the_next_keeper(box):
    usable = [each for each in cgroups.hierarchies(str(box.state)) if os.access(Path(each.base).parent, os.W_OK)]
    if not usable:
        pytest.skip("no control group may be written here")
    stale = Path(usable[0].base) / "reef-r1-1.4711"
    stale.mkdir(parents=True)
    box.boot()
    assert not stale.exists()


def test_version_two_files_are_written_as_the_kernel_documents_them(tmp_path):
    names = ("memory.max", "memory.swap.max", "memory.oom.group", "cpu.weight", "memory.events")
    for name in names:
        (tmp_path / name).write_text("")
    group = Group([str(tmp_path)])
    group.limit(str(tmp_path), Hierarchy(2, frozenset({"memory", "cpu"}), ""), 64 * MIB, 250)
    assert [(tmp_path / name).read_text() for name in names[:4]] == [str(64 * MIB), "0", "1", "250"]
    assert group.limits_memory
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n")
    assert group.oom_kills() == 2


def test_a_group_without_the_controller_leaves_memory_to_be_watched(tmp_path):
    group = Group([str(tmp_path)])
    group.limit(str(tmp_path), Hierarchy(2, frozenset({"memory", "cpu"}), ""), 64 * MIB, 250)
    assert not group.limits_memory
    assert list(tmp_path.iterdir()) == []
