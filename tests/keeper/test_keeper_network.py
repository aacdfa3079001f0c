"""A network of a replica's own: the same port many times over, reached through leased ones, and nothing left of it."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from atoll.keeper.client import proc, try_network
from atoll.keeper.network import Namespaces, argv
from atoll.model.launch import Network
from atoll.model.spec import Command
from atoll.ports import Launch
from atoll.testing.ports import free_port

WHY = try_network()
needs_networks = pytest.mark.skipif(bool(WHY), reason=f"no network of a replica's own here: {WHY}")
INNER = 8080
HERE = Path(__file__).parent
SERVER = """
import socket, sys, time
if sys.argv[1] == "late":
    time.sleep(2)
server = socket.create_server(("0.0.0.0", int(sys.argv[2])))
print("ready", flush=True)
while True:
    line, _ = server.accept()
    line.sendall(sys.argv[3].encode())
    line.close()
"""


def test_the_forwarders_command_line_is_exactly_this() -> None:
    network = {"inward": [[20001, 8080], [20002, 20002]], "outward": [20007, 20008]}
    common = ["/usr/bin/pasta", "--quiet", "--config-net", "--no-netns-quit", "--no-map-gw"]
    ports = ["--tcp-ports", "127.0.0.1/20001:8080", "--tcp-ports", "127.0.0.1/20002:20002", "--tcp-ns", "20007,20008"]
    ports += ["--udp-ports", "none", "--udp-ns", "none"]
    made = argv("/usr/bin/pasta", network, Namespaces("/proc/self/fd/7", ""))
    assert made == [*common, "--runas", "0", *ports, "--netns", "/proc/self/fd/7"]
    made = argv("/usr/bin/pasta", network, Namespaces("/proc/self/fd/7", "/proc/self/fd/8"))
    assert made == [*common, "--userns", "/proc/self/fd/8", *ports, "--netns", "/proc/self/fd/7"]
    closed = argv("p", {"inward": [], "outward": []}, Namespaces("n", ""))
    assert closed[7:] == [
        "--tcp-ports",
        "none",
        "--tcp-ns",
        "none",
        "--udp-ports",
        "none",
        "--udp-ns",
        "none",
        "--netns",
        "n",
    ]


def test_a_resolver_on_the_machines_loopback_is_asked_through_the_forwarder() -> None:
    made = argv("p", {"inward": [], "outward": []}, Namespaces("n", ""), stub=True)
    assert made[4:7] == ["--no-map-gw", "--dns-forward", "169.254.1.1"]


def serving(
    box, says: str, outer: int, *, when: str = "now", outward: tuple[int, ...] = (), inner: int = INNER
) -> Launch:
    command = Command(argv=(sys.executable, "-S", "-c", SERVER, when, str(inner), says))
    network = Network(inward={outer: inner}, outward=outward)
    return msgspec.structs.replace(box.launch(), command=command, network=network, ports={"http": outer})


async def answer(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = (await reader.read(100)).decode()
    writer.close()
    return said


async def listening(host, launch: Launch, outer: int) -> None:
    async def own() -> bool:
        return (await host.listener(launch.id, outer)).state == "own"

    async with asyncio.timeout(60):
        while not await own():
            await asyncio.sleep(0.05)


def forwarder_of(box, pid: int, *, other_than: int = 0) -> int:
    """The forwarder beside a replica's main process, as soon as it has its own name (a fork has its parent's)."""

    def one() -> int:
        stats = [stat for child in proc.children(box.shim_of(pid)) if (stat := proc.read_stat(child))]
        return next((stat.pid for stat in stats if stat.comm.startswith("pas") and stat.pid != other_than), 0)

    return box.wait(one, "a forwarder runs")


@needs_networks
async def test_two_replicas_listen_on_the_same_port_at_once(box):
    box.boot()
    host = box.host()
    ports = [free_port(), free_port()]
    for n, port in enumerate(ports):
        launch = serving(box, f"replica {n}", port)
        started = await host.start(launch)
        assert started.exit is None, started
        await listening(host, launch, port)
    assert [await answer(port) for port in ports] == ["replica 0", "replica 1"]
    await host.close()


@needs_networks
async def test_a_port_below_1024_needs_no_root(box):
    box.boot()
    host = box.host()
    port = free_port()
    launch = serving(box, "low", port, inner=80)
    await host.start(launch)
    await listening(host, launch, port)
    assert await answer(port) == "low"
    await host.close()


@needs_networks
async def test_that_the_forwarder_takes_connections_does_not_pass_as_listening(box):
    box.boot()
    host = box.host()
    port = free_port()
    launch = serving(box, "late", port, when="late")
    await host.start(launch)
    with socket.create_connection(("127.0.0.1", port), 5):
        pass  # taken by the forwarder
    found = await host.listener(launch.id, port)
    assert (found.state, found.everywhere) == ("none", False)
    await listening(host, launch, port)
    await host.close()


@needs_networks
async def test_a_leased_port_that_a_stranger_has_is_never_taken_for_its_own(box):
    box.boot()
    host = box.host()
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        started = await host.start(serving(box, "x", stranger.getsockname()[1]))
        assert started.exit is not None
        assert "its own network cannot be joined" in started.exit.error
    await host.close()


@needs_networks
async def test_it_reaches_the_machines_edges_and_nothing_else_of_its_loopback(box):
    box.boot()
    host = box.host()
    with socket.create_server(("127.0.0.1", 0)) as edge, socket.create_server(("127.0.0.1", 0)) as other:
        open_port, closed_port = edge.getsockname()[1], other.getsockname()[1]
        launch = serving(box, "x", free_port(), outward=(open_port,))
        await host.start(launch)
        code = (
            "import socket\\n"
            f"for port in ({open_port}, {closed_port}):\\n"
            "    try:\\n        socket.create_connection(('127.0.0.1', port), 5); print('reached')\\n"
            "    except OSError as exc:\\n        print(type(exc).__name__)\\n"
        ).replace("\\n", "\n")
        inside = msgspec.structs.replace(launch, command=Command(argv=(sys.executable, "-S", "-c", code)))
        ended, output = await host.run(inside, 30.0)
        assert (ended.code, output.split()) == (0, ["reached", "ConnectionRefusedError"])
    await host.close()


@needs_networks
async def test_what_runs_beside_it_runs_in_its_network_and_nowhere_else(box):
    box.boot()
    host = box.host()
    port = free_port()
    launch = serving(box, "inside", port)
    started = await host.start(launch)
    await listening(host, launch, port)
    look = msgspec.structs.replace(launch, command=Command(shell="readlink /proc/self/ns/net"))
    ended, output = await host.run(look, 30.0)
    assert (ended.code, output.strip()) == (0, os.readlink(f"/proc/{started.pid}/ns/net"))
    await host.signal(launch.id, "SIGKILL")
    while (await host.list())[0].exit is None:
        await asyncio.sleep(0.05)
    with pytest.raises(Exception, match="needs its network"):
        await host.run(look, 30.0)
    await host.close()


@needs_networks
async def test_a_forwarder_that_is_killed_comes_back(box):
    box.boot()
    host = box.host()
    port = free_port()
    launch = serving(box, "here", port)
    started = await host.start(launch)
    await listening(host, launch, port)
    first = forwarder_of(box, started.pid)
    box.kill(first, wait=False)
    forwarder_of(box, started.pid, other_than=first)
    await host.list()
    await listening(host, launch, port)
    assert await answer(port) == "here"
    assert (await host.list())[0].pid == started.pid
    await host.close()


@needs_networks
@pytest.mark.parametrize("killed", ["replica", "shim", "keeper and shim"])
async def test_nothing_of_it_is_left_after_a_kill(box, killed):
    keeper = box.boot()
    host = box.host()
    port = free_port()
    launch = serving(box, "x", port)
    started = await host.start(launch)
    await listening(host, launch, port)
    forwarder, shim = forwarder_of(box, started.pid), box.shim_of(started.pid)
    start = proc.start_of(forwarder)
    if killed == "keeper and shim":
        box.kill(keeper)
    box.kill(started.pid if killed == "replica" else shim)
    await host.list()  # revives the keeper
    box.wait(lambda: not proc.is_running(forwarder, start), "its forwarder is gone")
    box.wait(lambda: not proc.is_running(started.pid, proc.start_of(started.pid) or -1), "it is gone itself")
    await host.close()


@needs_networks
async def test_a_network_outlives_the_keeper_and_is_adopted(box):
    keeper = box.boot()
    host = box.host()
    port = free_port()
    launch = serving(box, "still here", port)
    await host.start(launch)
    await listening(host, launch, port)
    box.kill(keeper)
    assert await answer(port) == "still here"
    await host.list()
    await listening(host, launch, port)
    assert await host.signal(launch.id, "SIGTERM")
    await host.close()


@needs_networks
async def test_a_replica_answers_what_it_has_begun_although_it_was_told_to_end(box):
    box.boot()
    host = box.host()
    port = free_port()
    code = (
        "import signal, socket, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: None)\n"
        "server = socket.create_server(('0.0.0.0', 8080))\n"
        "line, _ = server.accept()\nprint('taken', flush=True)\ntime.sleep(1)\nline.sendall(b'whole answer')\n"
    )
    launch = msgspec.structs.replace(serving(box, "", port), command=Command(argv=(sys.executable, "-S", "-c", code)))
    await host.start(launch)
    await listening(host, launch, port)
    asked = asyncio.create_task(answer(port))
    while "taken" not in await host.last_output(launch.id):
        await asyncio.sleep(0.05)
    await host.signal(launch.id, "SIGTERM")
    assert await asked == "whole answer"
    await host.close()


async def test_without_a_forwarder_it_says_what_to_install(box, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    box.boot()
    host = box.host()
    started = await host.start(serving(box, "x", free_port()))
    assert started.exit is not None
    assert "needs pasta" in started.exit.error or "no network namespace" in started.exit.error
    await host.close()


@needs_networks
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to put another resolv.conf in its place, in a namespace")
def test_names_are_found_although_the_resolver_is_on_the_machines_loopback(tmp_path):
    """In a network and a mount namespace of this test's own, which plays the machine."""
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.99\noptions edns0\n")
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, str(HERE / "stub_resolver.py"), str(tmp_path / "resolv.conf")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == ["203.0.113.7", "options"], done.stdout + done.stderr
