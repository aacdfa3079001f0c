"""One real Envoy takes over from another, under load."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.proxy.lab import Lab, ask, edge, eventually, here, route, service, upstream

from atoll.model.state import Address
from atoll.model.traffic import Ack
from atoll.proxy import Sockets, took_over
from atoll.proxy.handover import stamp, terms

pytestmark = pytest.mark.e2e


class Load:
    """Clients that post without pause, each on a connection that it keeps as long as it is let."""

    def __init__(self, where: Address) -> None:
        self.where, self.done, self.failed = where, 0, list[str]()

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._connection(stop)
            except (OSError, EOFError) as exc:
                self.failed.append(repr(exc))

    async def _connection(self, stop: asyncio.Event) -> None:
        reader, writer = await asyncio.open_connection(self.where.host, self.where.port)
        with contextlib.closing(writer):
            while not stop.is_set():
                writer.write(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello")
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                assert await reader.readexactly(5) == b"hello"
                self.done += 1
                if " 200 " not in head.partition("\r\n")[0]:
                    self.failed.append(head)
                if "connection: close" in head:
                    return


@contextlib.asynccontextmanager
async def load(*where: Address) -> AsyncIterator[list[Load]]:
    found, stop = [Load(each) for each in where for _ in range(4)], asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for each in found:
            group.create_task(each.run(stop))
        try:
            yield found
        finally:
            stop.set()


async def served(lab: Lab) -> None:
    assert lab.envoy is not None
    assert await asyncio.to_thread(took_over, Sockets(lab.folder).admin, lab.envoy.pid, 60.0), lab.log()


async def test_no_request_fails_and_the_old_one_ends_by_itself(lab: Lab) -> None:
    one, port = await lab.backend("one"), here()
    await lab.apply(
        service("web", edges=(edge("orders", port),)),
        service("orders", upstream(1, one.address), weights={1: 100}, routes=(route(),)),
    )
    async with load(lab.gateway, port) as loads:
        await asyncio.sleep(1)
        for turn in (1, 2):
            await lab.start_envoy(turn=turn, parent_s=3)
            await served(lab)
            before = [each.done for each in loads]
            async with asyncio.timeout(60):
                assert await lab.olders[-1].wait() == 0
            await eventually(lambda before=before: all(each.done > at for each, at in zip(loads, before, strict=True)))
    assert [each.failed for each in loads if each.failed] == []
    assert sum(each.done for each in loads) > 200


async def test_a_stream_goes_on_at_the_old_one_and_nothing_is_counted_until_it_has_ended(lab: Lab) -> None:
    one = await lab.backend("one")
    await lab.apply(service("orders", upstream(1, one.address), weights={1: 100}, routes=(route(),)))
    assert await lab.proxy.inflight([one.address]) == {one.address: 0}
    reader, writer = await asyncio.open_connection(lab.gateway.host, lab.gateway.port)
    with contextlib.closing(writer):
        writer.write(b"GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        await lab.start_envoy(turn=1, parent_s=600)
        await served(lab)
        for _ in range(20):
            assert await lab.proxy.inflight([one.address]) is None
            await asyncio.sleep(0.2)
        writer.write(b"still there")
        assert await reader.readexactly(11) == b"STILL THERE"
    await eventually(lambda: counted(lab, one.address, 0))
    slow = asyncio.create_task(ask(lab.gateway, "/wait"))
    await eventually(lambda: counted(lab, one.address, 1))
    one.go.set()
    await slow


async def counted(lab: Lab, where: Address, count: int) -> bool:
    return await lab.proxy.inflight([where]) == {where: count}


async def test_what_changes_while_both_are_there_reaches_both_and_is_refused_by_neither(lab: Lab) -> None:
    one, two, port = await lab.backend("one"), await lab.backend("two"), here()
    await lab.apply(service("orders", upstream(1, one.address), weights={1: 100}, routes=(route(),)))
    reader, writer = await asyncio.open_connection(lab.gateway.host, lab.gateway.port)
    with contextlib.closing(writer):
        writer.write(b"GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        await lab.start_envoy(turn=1, parent_s=600)
        await served(lab)
        both = (upstream(1, one.address), upstream(2, two.address))
        # A new listener: the old Envoy must not be asked to take its port, too.
        outcome = await lab.apply(
            service("web", edges=(edge("orders", port),)),
            service("orders", *both, weights={1: 0, 2: 100}, routes=(route(releases=(1, 2)),)),
        )
        assert isinstance(outcome, Ack)
        for where in (lab.gateway, port):
            assert {(await ask(where)).who for _ in range(10)} == {"two"}
        await asyncio.sleep(2)
        assert lab.proxy.problem() == ""


async def test_a_new_daemon_knows_the_newer_of_two(lab: Lab) -> None:
    one, port = await lab.backend("one"), here()
    await lab.apply(service("orders", upstream(1, one.address), weights={1: 100}, routes=(route(),)))
    await lab.start_envoy(turn=1, parent_s=600)
    await served(lab)
    await lab.restart_proxy()
    await eventually(lab.proxy.generation)
    outcome = await lab.apply(
        service("web", edges=(edge("orders", port),)),
        service("orders", upstream(1, one.address), weights={1: 100}, routes=(route(),)),
    )
    assert isinstance(outcome, Ack)
    await asyncio.sleep(2)  # the older one has found the daemon again, too
    assert lab.proxy.problem() == ""
    assert (await ask(port)).who == "one"


async def test_one_that_is_killed_while_it_starts_costs_nothing(lab: Lab) -> None:
    one, port = await lab.backend("one"), here()
    await lab.apply(service("orders", upstream(1, one.address), weights={1: 100}, routes=(route(),)))
    async with load(lab.gateway) as loads:
        await lab.start_envoy(turn=1)
        await asyncio.sleep(0.05)
        await lab.kill_envoy()
        assert not took_over(Sockets(lab.folder).admin, lab.envoy.pid, 5.0)
        outcome = await lab.apply(service("web", edges=(edge("orders", port),)))
        assert isinstance(outcome, Ack)
        assert (await ask(port)).who == "one"
    assert [each.failed for each in loads if each.failed] == []


def test_the_stamp_follows_the_program_and_the_bootstrap(tmp_path: Path) -> None:
    (tmp_path / "envoy").write_text("a")
    (tmp_path / "envoy.json").write_text("{}")
    argv = (str(tmp_path / "envoy"), "-c", str(tmp_path / "envoy.json"))
    first = stamp(argv)
    assert stamp(argv) == first
    (tmp_path / "envoy.json").write_text('{"a": 1}')
    second = stamp(argv)
    (tmp_path / "envoy").write_text("ab")
    assert len({first, second, stamp(argv)}) == 3


async def test_what_a_line_leaves_behind_is_what_the_keeper_removes(lab: Lab) -> None:
    await lab.apply(service("orders"))
    await served(lab)
    line = str(lab.line)
    left = [
        path for pattern in terms(Sockets(lab.folder))["leaves"] for path in lab.found(pattern.replace("{line}", line))
    ]
    assert len([path for path in left if path.startswith("/dev/shm/")]) == 1
    assert {Path(path).name.rpartition("_")[0] for path in left if not path.startswith("/dev/shm/")} == {
        "h_child",
        "h_parent",
        "h_udp_child",
        "h_udp_parent",
    }
