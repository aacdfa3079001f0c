"""A dockerd that is restarted, is gone, or has no room. Each test has one of its own."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from atoll.daemon.clock import SystemClock
from atoll.engines.docker import DockerHost
from atoll.model.errors import Retryable
from atoll.model.hosted import Hosted
from atoll.model.state import Image
from atoll.realise.facts import Facts
from atoll.testing.host_suite import eventually
from dockerd import Dockerd, own


@pytest.fixture
async def host(own_dockerd: Dockerd, make_host: Any) -> AsyncIterator[DockerHost]:
    yield make_host(own_dockerd)
    await asyncio.to_thread(_revive, own_dockerd)  # so that what it has can be removed


def _revive(dockerd: Dockerd) -> None:
    if not dockerd.answers():
        dockerd.start()


async def restart(dockerd: Dockerd, *, by_force: bool = False) -> None:
    await asyncio.to_thread(dockerd.kill if by_force else dockerd.stop)
    await asyncio.to_thread(dockerd.start)


class Ends:
    """Listens to `exits` beside a test."""

    def __init__(self, host: DockerHost) -> None:
        self.told: dict[str, Hosted] = {}
        self._task = asyncio.create_task(self._listen(host))

    async def _listen(self, host: DockerHost) -> None:
        async for each in host.exits():
            assert each.id not in self.told, "an end is told once"
            self.told[each.id] = each

    async def of(self, replica: str) -> Hosted:
        async def look() -> Hosted | None:
            assert not self._task.done()
            return self.told.get(replica)

        found = await eventually(look, f"the end of {replica} is told")
        assert isinstance(found, Hosted)
        return found

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest.mark.parametrize("by_force", [False, True], ids=["stopped", "killed"])
async def test_containers_go_on_over_a_restart_that_leaves_them_and_ends_are_told_again(
    host: DockerHost, own_dockerd: Dockerd, launch: Any, by_force: bool
) -> None:
    stays = await host.start(launch("sleep 600", "cabin-r1-stays"))
    await host.start(launch("while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 3", "cabin-r1-ends"))
    ends = Ends(host)
    await restart(own_dockerd, by_force=by_force)
    await eventually(lambda: _listed(host, "cabin-r1-stays"), "it is listed again")
    (found,) = [each for each in await host.list() if each.id == "cabin-r1-stays"]
    assert (found.pid, found.started_s, found.exit) == (stays.pid, stays.started_s, None)
    await host.run(launch("touch /tmp/go", "cabin-r1-ends"), 30.0)
    ended = await ends.of("cabin-r1-ends")
    assert ended.exit is not None
    assert ended.exit.code == 3
    assert "cabin-r1-stays" not in ends.told
    await ends.close()


async def test_an_end_that_nobody_saw_is_told_when_dockerd_is_back(
    host: DockerHost, own_dockerd: Dockerd, launch: Any
) -> None:
    started = await host.start(launch("sleep 600", "cabin-r1-1"))
    ends = Ends(host)
    await asyncio.to_thread(own_dockerd.stop)
    assert started.pid is not None
    os.kill(started.pid, signal.SIGKILL)  # not by itself after some time: dockerd may take longer to stop
    await eventually(lambda: _is_gone(started.pid), "it ends while dockerd is away")
    assert not ends.told
    await asyncio.to_thread(own_dockerd.start)
    found = await ends.of("cabin-r1-1")
    assert found.exit is not None
    assert found.exit.code is not None or found.exit.signal is not None  # what dockerd makes of it differs by version
    await ends.close()


async def test_containers_that_ended_with_dockerd_are_told_as_ended(
    host: DockerHost, own_dockerd: Dockerd, launch: Any
) -> None:
    await asyncio.to_thread(own_dockerd.stop)
    own_dockerd.live_restore = False
    await asyncio.to_thread(own_dockerd.start)
    await host.start(launch("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done", "cabin-r1-1"))
    await host.start(launch("trap '' TERM; echo ready; while :; do sleep 0.05; done", "cabin-r1-2"))
    await eventually(lambda: _said(host, ["ready", "ready"]), "both heed the signal in their own way")
    ends = Ends(host)
    await restart(own_dockerd)
    orderly, forced = await ends.of("cabin-r1-1"), await ends.of("cabin-r1-2")
    assert (orderly.exit and orderly.exit.code, forced.exit and forced.exit.signal) == (7, 9)
    assert all(each.exit is not None for each in await host.list())
    assert await host.start(launch("sleep 600", "cabin-r1-3"))
    await ends.close()


async def test_while_dockerd_is_away_nothing_is_dead_and_a_start_waits(
    host: DockerHost, own_dockerd: Dockerd, launch: Any
) -> None:
    """What the daemon does with a host that does not answer, by the part of it that asks."""
    changes: list[str] = []
    facts = Facts(host, SystemClock(), changes.append)
    following = asyncio.create_task(facts.run())
    await facts.start(launch("exec python3 -m http.server 8080", "cabin-r1-1"))
    (before,) = await host.list()
    await eventually(lambda: _listens(host, "cabin-r1-1", 8080), "it listens")
    await asyncio.to_thread(own_dockerd.stop)
    starting = asyncio.create_task(facts.start(launch("sleep 600", "cabin-r1-2")))
    with pytest.raises(Retryable, match=rf"dockerd does not answer at {own_dockerd.socket} \([A-Z][a-z ]+\)$"):
        await host.list()
    with pytest.raises(Retryable):
        await host.signal("cabin-r1-1", "SIGTERM")
    with pytest.raises(Retryable):
        await facts.refresh()
    assert facts.of("cabin-r1-1") == before
    assert await _listens(host, "cabin-r1-1", 8080)  # the kernel is asked
    assert not starting.done()
    assert not following.done()
    await asyncio.to_thread(own_dockerd.start)
    async with asyncio.timeout(60):
        await starting
    second = facts.of("cabin-r1-2")
    assert second is not None
    assert second.exit is None
    assert (await host.usage()).keys() == {"cabin-r1-1", "cabin-r1-2"}
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_who_follows_the_output_goes_on_when_dockerd_is_back(
    host: DockerHost, own_dockerd: Dockerd, launch: Any
) -> None:
    line = "i=0; while [ $i -lt 600 ]; do echo line $i; i=$((i+1)); sleep 0.1; done"
    await host.start(launch(line, "cabin-r1-1"))
    found: list[str] = []

    async def follow() -> None:
        async for each in host.logs("cabin", follow=True):
            found.append(each.text)

    following = asyncio.create_task(follow())
    await eventually(lambda: _many(found, 3), "it is followed")
    await restart(own_dockerd)
    seen = len(found)
    await eventually(lambda: _many(found, seen + 30), "it is followed again")
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert found == [f"line {number}" for number in range(len(found))], "no line is missing, none comes twice"


@pytest.fixture
def small_dockerd(dockerd: Dockerd, image: Image) -> Iterator[Dockerd]:
    """One with all its data on a small file system of its own."""
    with own() as daemon:
        daemon.stop()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=900m", "tmpfs", str(daemon.data)], check=True)
        daemon.start()
        daemon.take(image.id, dockerd)
        yield daemon


async def test_a_full_disk_is_told_and_harms_nothing_that_runs(
    small_dockerd: Dockerd, make_host: Any, launch: Any
) -> None:
    host = make_host(small_dockerd)
    await host.start(launch("sleep 600", "cabin-r1-1"))
    room = os.statvfs(small_dockerd.data)
    assert room.f_blocks * room.f_frsize < 2**30, "no disk of the machine is ever filled"
    filler = small_dockerd.data / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for _ in range(2**30 // 4096):
            file.write(bytes(4096))
    with pytest.raises(Retryable, match="no space left on device") as told:
        await host.start(launch("sleep 600", "cabin-r1-2"))
    assert told.value.id == "disk-full"
    assert [(each.id, each.exit) for each in await host.list()] == [("cabin-r1-1", None)]
    filler.unlink()
    again = await host.start(launch("sleep 600", "cabin-r1-2"))
    assert again.exit is None
    await host.clear()


async def _listed(host: DockerHost, replica: str) -> bool:
    try:
        return any(each.id == replica for each in await host.list())
    except Retryable:
        return False


async def _said(host: DockerHost, lines: list[str]) -> bool:
    return [line.text async for line in host.logs("cabin")] == lines


async def _listens(host: DockerHost, replica: str, port: int) -> bool:
    return (await host.listener(replica, port)).state == "own"


async def _is_gone(pid: int | None) -> bool:
    return not Path(f"/proc/{pid}").exists()


async def _many(found: list[str], count: int) -> bool:
    return len(found) >= count
