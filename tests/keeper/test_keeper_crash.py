"""kill -9 of keeper, shims and replicas at any instant: nothing is lost, doubled or left behind."""

import asyncio
import os
import random
import signal
import sys
import time

import msgspec
import pytest

from atoll.keeper.client import is_keeper_up, proc
from atoll.model.errors import Retryable

PATIENCE_S = 60.0


async def eventually(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not (value := await condition()):
        assert time.monotonic() < deadline, f"never came true: {what}"
        await asyncio.sleep(0.02)
    return value


def exit_of(host, replica):
    async def look():
        return next((each.exit for each in await host.list() if each.id == replica and each.exit), None)

    return eventually(look, f"{replica} ends")


async def test_replicas_outlive_their_keeper_and_are_adopted(box):
    keeper = box.boot()
    host = box.host()
    launch = box.launch("i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done")
    before = await host.start(launch)
    box.kill(keeper)
    seen = await host.last_output(launch.id)

    async def goes_on():
        return await host.last_output(launch.id) != seen

    await eventually(goes_on, "it goes on printing without a keeper")
    after = next(each for each in await host.list())  # revives the keeper
    assert (after.id, after.pid, after.started_s, after.exit) == (launch.id, before.pid, before.started_s, None)
    assert await host.start(launch) == before
    assert await host.signal(launch.id, "SIGTERM")
    assert (await exit_of(host, launch.id)).signal == signal.SIGTERM
    await host.close()


async def test_an_exit_without_a_keeper_is_known_to_the_next(box):
    keeper = box.boot()
    host = box.host()
    launch = box.launch("sleep 0.7; exit 5")
    started = await host.start(launch)
    box.kill(keeper)
    start = proc.start_of(started.pid)
    box.wait(lambda: not proc.is_running(started.pid, start), "it ends by itself")
    assert (await exit_of(host, launch.id)).code == 5
    await host.close()


async def test_the_stream_of_exits_goes_on_across_keepers(box):
    keeper = box.boot()
    host = box.host()
    found = []

    async def watch():
        async for each in host.exits():
            found.append(each.id)

    watching = asyncio.create_task(watch())
    first, second, third = (box.launch("read x < /dev/zero & exec sleep {mark}") for _ in range(3))
    pids = [each.pid for each in await asyncio.gather(*map(host.start, (first, second, third)))]
    box.kill(pids[0])
    await eventually(lambda: asyncio.sleep(0, first.id in found), "the first is told")
    box.kill(keeper)
    box.kill(pids[1], wait=False)
    await eventually(lambda: asyncio.sleep(0, second.id in found), "what ended meanwhile is told")
    box.kill(pids[2], wait=False)
    await eventually(lambda: asyncio.sleep(0, third.id in found), "and what ends after")
    assert len(found) == 3
    watching.cancel()
    await host.close()


async def test_a_killed_shim_ends_its_tree_with_an_exit_that_says_so(box):
    box.boot()
    host = box.host()
    launch = box.launch("setsid sh -c 'setsid sleep {mark} & exec sleep {mark}' & sleep {mark} & exec sleep {mark}")
    started = await host.start(launch)
    box.wait(lambda: len(box.marked()) == 4, "four processes")
    box.kill(box.shim_of(started.pid))
    ended = await exit_of(host, launch.id)
    assert "shim was killed" in ended.error
    assert box.marked() == []
    await host.close()


async def test_shim_and_keeper_killed_together_leave_nothing(box):
    keeper = box.boot()
    host = box.host()
    launch = box.launch("sleep {mark} & sh -c 'sleep {mark} & exec sleep {mark}' & exec sleep {mark}")
    started = await host.start(launch)
    box.wait(lambda: len(box.marked()) == 4, "four processes")
    shim = box.shim_of(started.pid)
    box.kill(keeper)
    box.kill(shim)
    assert (await exit_of(host, launch.id)).error
    assert box.marked() == []
    await host.close()


async def test_a_keeper_killed_during_a_start_starts_it_once(box):
    box.boot()
    host = box.host()
    for _ in range(12):
        launch = box.launch()
        keeper = box.boot()
        starting = asyncio.create_task(host.start(launch))
        await asyncio.sleep(random.uniform(0, 0.012))
        box.kill(keeper, wait=False)
        try:
            started = await starting
        except Retryable:
            started = await host.start(launch)
        assert started.exit is None
        box.wait(lambda: len(box.marked()) == 1, "one process", 20)
        await asyncio.sleep(0.05)
        assert box.marked() == [started.pid]
        await host.forget(launch.id)
        assert box.marked() == []
    await host.close()


async def test_a_shim_killed_during_a_start_leaves_nothing(box):
    keeper = box.boot()
    host = box.host()
    for _ in range(12):
        launch = box.launch()
        starting = asyncio.create_task(host.start(launch))
        shims: list[int] = []
        while not shims and not starting.done():
            await asyncio.sleep(0)
            shims = proc.children(keeper)
        await asyncio.sleep(random.uniform(0, 0.006))
        for pid in shims:
            os.kill(pid, signal.SIGKILL)
        await starting
        assert (await exit_of(host, launch.id)).error
        assert box.marked() == []
        await host.forget(launch.id)
    await host.close()


async def test_a_replica_killed_at_any_instant_has_one_exit(box):
    box.boot()
    host = box.host()
    for _ in range(12):
        launch = box.launch()
        started = await host.start(launch)
        await asyncio.sleep(random.uniform(0, 0.01))
        os.kill(started.pid, signal.SIGKILL)
        ended = await exit_of(host, launch.id)
        assert (ended.signal, ended.code, ended.oom) == (9, None, False)
        await host.forget(launch.id)
    await host.close()


async def test_a_removed_run_folder_does_not_lose_a_replica(box):
    keeper = box.boot()
    host = box.host()
    launch = box.launch()
    started = await host.start(launch)
    box.kill(keeper)
    for path in box.run.rglob("*.sock"):
        path.unlink()
    box.boot()
    found = next(each for each in await host.list())
    assert (found.pid, found.exit) == (started.pid, None)
    await host.forget(launch.id)
    assert box.marked() == []
    await host.close()


async def test_a_one_off_run_does_not_outlive_its_asker(box):
    box.boot()
    host = box.host()
    running = asyncio.create_task(host.run(box.launch(), 600.0))
    while not box.marked():
        await asyncio.sleep(0.02)
    await host.close()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    box.wait(lambda: not box.marked(), "it is ended")


async def test_a_one_off_run_ends_with_its_keeper(box):
    keeper = box.boot()
    host = box.host()
    running = asyncio.create_task(host.run(box.launch(), 600.0))
    await eventually(lambda: asyncio.sleep(0, box.marked()), "it runs")
    box.kill(keeper)
    with pytest.raises(Retryable):
        await running
    box.wait(lambda: not box.marked(), "it is ended")
    await host.close()


async def test_after_a_reboot_everything_has_ended_and_nobody_is_touched(box):
    """Pretended: the journal names another boot, and a pid that belongs to somebody else by now."""
    keeper = box.boot()
    host = box.host()
    launch = box.launch()
    started = await host.start(launch)
    journal = box.state / "replicas" / f"{launch.id}.journal"
    text = journal.read_bytes().rstrip(b"\0")
    shim = box.shim_of(started.pid)
    box.kill(keeper)
    box.kill(shim)
    box.kill(started.pid)
    innocent = await asyncio.create_subprocess_exec("/bin/sleep", box.mark)
    text = text.replace(str(started.pid).encode(), str(innocent.pid).encode())
    journal.write_bytes(text.replace(b'"boot":"', b'"boot":"another-'))
    ended = await exit_of(host, launch.id)
    assert ended.error == "the machine restarted"
    assert proc.is_running(innocent.pid, proc.start_of(innocent.pid))
    innocent.kill()
    await innocent.wait()
    await host.close()


async def test_a_reused_pid_is_nobodys_replica(box):
    keeper = box.boot()
    host = box.host()
    launch = box.launch()
    started = await host.start(launch)
    journal = box.state / "replicas" / f"{launch.id}.journal"
    shim = box.shim_of(started.pid)
    box.kill(keeper)
    box.kill(shim)
    box.kill(started.pid)
    innocent = await asyncio.create_subprocess_exec("/bin/sleep", box.mark, start_new_session=True)
    text = journal.read_bytes().rstrip(b"\0")
    journal.write_bytes(text.replace(b'"pid":%d' % started.pid, b'"pid":%d' % innocent.pid))
    assert (await exit_of(host, launch.id)).error
    assert proc.is_running(innocent.pid, proc.start_of(innocent.pid))
    innocent.kill()
    await innocent.wait()
    await host.close()


@pytest.mark.parametrize(
    ("takes_s", "grace_s"),
    [(0.5, 10.0), pytest.param(11, 30.0, marks=pytest.mark.slow)],
    ids=["at once", "in a long grace"],
)
async def test_children_of_a_stopped_replica_may_end_in_order(box, takes_s: float, grace_s: float):
    box.boot()
    host = box.host()
    child = f'trap "sleep {takes_s}; echo child is done; exit 0" TERM; echo ready; while :; do sleep 0.05; done'
    launch = msgspec.structs.replace(box.launch(f"setsid sh -c '{child}' & wait"), grace_s=grace_s)
    await host.start(launch)
    await eventually(lambda: host.last_output(launch.id), "it is ready")
    assert await host.signal(launch.id, "SIGTERM")
    assert (await exit_of(host, launch.id)).signal == signal.SIGTERM
    assert "child is done" in await host.last_output(launch.id)
    await host.close()


def test_a_keeper_that_the_daemon_revived_outlives_the_daemon(box):
    keeper = box.boot()
    revive = (
        "import sys, time; from pathlib import Path; from atoll.keeper.client import is_keeper_up, start_keeper\n"
        "state, run = map(Path, sys.argv[1:3])\n"
        "while is_keeper_up(run): time.sleep(0.02)\n"
        "start_keeper(state, run, 60.0); time.sleep(600)"
    )
    path = os.pathsep.join(sys.path)
    log = box.state / "logs" / "daemon.log"
    argv = [sys.executable, "-c", revive, str(box.state), str(box.run), box.mark]
    box.client.ensure("daemon", argv, {"PYTHONPATH": path}, log)
    box.client.ensure("proxy", ["/bin/sleep", box.mark], {}, box.state / "logs" / "proxy.log")
    box.kill(keeper)
    box.wait(lambda: is_keeper_up(box.run), "the daemon starts a keeper")
    revived = box.client.status()["pid"]
    assert revived != keeper
    box.client.stop("daemon")
    assert box.client.status()["pid"] == revived
    assert box.client.status()["fixtures"]["proxy"]["state"] == "running"
    box.client.shutdown(20.0)
    assert box.marked() == []


async def test_a_stopped_tree_of_sessions_is_gone_when_its_exit_is_told(box):
    box.boot()
    host = box.host()
    for _ in range(5):
        tree = "setsid sh -c 'setsid sleep {mark} & setsid sleep {mark} & sleep {mark}' & exec sleep {mark}"
        launches = [box.launch(tree) for _ in range(8)]
        await asyncio.gather(*map(host.start, launches))
        await asyncio.gather(*(host.signal(launch.id, "SIGTERM") for launch in launches))
        await asyncio.gather(*(exit_of(host, launch.id) for launch in launches))
        assert box.marked() == []
    await host.close()
