"""What replicas in containers print: as it was, once, whoever reads and whatever goes away meanwhile. On a real dockerd."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
from tests.engines.cabin import ended, says

from atoll.engines.docker import DockerHost
from atoll.model.environment import DockerSpec
from atoll.testing.host_suite import PATIENCE_S, eventually
from dockerd import Dockerd

# 500 lines, 500 more when it is told to stop, and 500 last ones; without the shell's word on its child's end.
_BURST = "for i in $(seq $n $((n + 499))); do echo line $i; done; n=$((n + 500))"
TALKS = f"exec 2>/dev/null; n=1; {_BURST}; trap '{_BURST}' TERM; while [ $n -lt 1001 ]; do sleep 0.05; done; {_BURST}"


class Line:
    """A way to dockerd's socket that can be cut."""

    def __init__(self, dockerd: Dockerd, socket: Path) -> None:
        self._dockerd, self.socket = dockerd, socket
        self._ways: set[asyncio.StreamWriter] = set()

    async def join(self) -> None:
        self._server = await asyncio.start_unix_server(self._carry, self.socket)

    async def cut(self) -> None:
        self._server.close()
        self.socket.unlink()
        for way in self._ways:
            way.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_unix_connection(self._dockerd.socket)
        ways = {writer, onward}
        self._ways |= ways
        await asyncio.gather(self._pump(reader, onward), self._pump(there, writer))
        self._ways -= ways

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()


async def test_a_line_of_any_length_is_one_line_and_is_kept_as_one(host: DockerHost, launch: Any) -> None:
    await host.start(launch("head -c 40000 /dev/zero | tr '\\0' x; echo; echo after; printf unfinished"))
    await ended(host, "cabin-r1-1")
    wanted = ["x" * 40000, "after", "unfinished"]
    before = [line async for line in host.logs("cabin")]
    assert [line.text for line in before] == wanted
    await host.forget("cabin-r1-1")
    after = [line async for line in host.logs("cabin")]
    assert [(line.text, line.stream, line.replica) for line in after] == [
        (line.text, line.stream, line.replica) for line in before
    ]
    assert [line.wall for line in after] == pytest.approx([line.wall for line in before], abs=1e-5)


async def test_a_follower_misses_nothing_of_one_that_came_and_went(host: DockerHost, launch: Any) -> None:
    found: list[str] = []

    async def follow() -> None:
        async for line in host.logs("cabin", follow=True):
            found.append(line.text)

    following = asyncio.create_task(follow())
    for number in range(3):
        await host.start(launch(f"echo line {number}", f"cabin-r1-{number}"))
        await ended(host, f"cabin-r1-{number}")
        await host.forget(f"cabin-r1-{number}")

    async def all_there() -> bool:
        assert not following.done()
        return len(found) >= 3

    await eventually(all_there, "each line is told")
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    assert sorted(found) == ["line 0", "line 1", "line 2"]


async def test_a_follower_goes_on_in_the_file_of_one_that_was_forgotten_while_dockerd_did_not_answer(
    host: DockerHost, dockerd: Dockerd, launch: Any, home: Path
) -> None:
    line = Line(dockerd, home / "line")
    await line.join()
    other = DockerHost(home / "state", home / "run", DockerSpec(socket=str(line.socket)))
    found: list[str] = []

    async def follow() -> None:
        async for each in other.logs("cabin", replica="cabin-r1-1", tail=1, follow=True):
            found.append(each.text)

    async def told(last: str) -> bool:
        assert not following.done()
        return found[-1:] == [last]

    await host.start(launch(TALKS))
    await says(host, "cabin-r1-1", "line 500")
    following = asyncio.create_task(follow())
    await eventually(lambda: told("line 500"), "it is followed")
    await line.cut()
    assert await host.signal("cabin-r1-1", "SIGTERM")
    await ended(host, "cabin-r1-1")
    await host.forget("cabin-r1-1")
    await line.join()
    await eventually(lambda: told("line 1500"), "the file is read")
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await other.close()
    await line.cut()
    assert found == [f"line {number}" for number in range(500, 1501)]


async def test_a_follower_tells_nothing_twice_of_one_that_was_forgotten_before_its_second_look(
    host: DockerHost, dockerd: Dockerd, launch: Any, home: Path
) -> None:
    line = Line(dockerd, home / "line")
    await line.join()
    other = DockerHost(home / "state", home / "run", DockerSpec(socket=str(line.socket)))
    await host.start(launch(TALKS))
    await says(host, "cabin-r1-1", "line 500")
    following = other.logs("cabin", replica="cabin-r1-1", tail=1, follow=True)
    found = [(await anext(following)).text]
    await line.cut()
    assert await host.signal("cabin-r1-1", "SIGTERM")
    await ended(host, "cabin-r1-1")
    await host.forget("cabin-r1-1")
    await line.join()
    async with asyncio.timeout(PATIENCE_S):
        while found[-1] != "line 1500":
            found.append((await anext(following)).text)
    await following.aclose()
    await other.close()
    await line.cut()
    assert found == [f"line {number}" for number in range(500, 1501)]


async def test_output_is_there_at_each_instant_while_a_replica_is_forgotten(host: DockerHost, launch: Any) -> None:
    looks = 0

    async def reads(replica: str, gone: asyncio.Event) -> None:
        nonlocal looks
        last = False
        while not last:
            last = gone.is_set()  # once more when it is gone
            assert [line.text async for line in host.logs("cabin", replica=replica)] == ["ouch"]
            assert await host.last_output(replica) == "ouch"
            looks += 1

    for number in range(5):
        replica, gone = f"cabin-r1-{number + 1}", asyncio.Event()
        await host.start(launch("echo ouch; exit 3", replica))
        await ended(host, replica)
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(reads(replica, gone))
            await host.forget(replica)
            gone.set()
    assert looks > 20, "some looks were made while it was being forgotten"
