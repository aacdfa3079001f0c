"""Who reaches whom between containers: real dockerd, real Envoy, in a network where no other Docker rewrites the rules."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
from tests.engines.island import FETCH, Container, Island
from tests.proxy.lab import Lab, edge, eventually, service, upstream

from atoll.engines.docker.client import Client
from atoll.engines.docker.names import Names
from atoll.engines.docker.networks import Networks
from atoll.model.launch import Reach
from atoll.model.state import Address
from atoll.model.traffic import Ack, Edge
from dockerd import Dockerd, own
from netns import apart

pytestmark = pytest.mark.e2e

HTTP, TCP = 8080, 8081

LINE = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as line:
    line.sendall(sys.argv[3].encode().decode("unicode_escape").encode())
    print(line.recv(1000).decode())
    if sys.argv[4:]:
        line.sendall(sys.argv[4].encode())
        print(line.recv(1000).decode())
"""
UPGRADE = r"GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
DIAL = """
import socket, sys
line = socket.socket()
line.settimeout(3)
if sys.argv[3:]:
    line.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND: any source address, without a privilege
    line.bind((sys.argv[3], 0))
line.connect((sys.argv[1], int(sys.argv[2])))
line.sendall(b"GET / HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n")
print("answer:", line.recv(10))
"""
RAW = "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW); print('got it')"
SAY = """
import sys, grpc
with grpc.insecure_channel(sys.argv[1]) as channel:
    print(channel.unary_unary("/demo.Echo/Say")(b"over grpc", timeout=20).decode())
"""
GRPC = """
import sys, grpc
from concurrent.futures import ThreadPoolExecutor
say = grpc.unary_unary_rpc_method_handler(lambda request, context: request.upper())
server = grpc.server(ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("demo.Echo", {"Say": say}),))
server.add_insecure_port("0.0.0.0:8082")
server.start()
server.wait_for_termination()
"""


@pytest.fixture(scope="module")
def alone(dockerd: Dockerd) -> Iterator[Dockerd]:
    image = dockerd.base("runtime")
    with apart(), own() as daemon:
        daemon.take(image, dockerd)
        yield daemon


@pytest.fixture
async def island(alone: Dockerd) -> AsyncIterator[Island]:
    image = alone.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}")
    client = Client(str(alone.socket))
    with tempfile.TemporaryDirectory(prefix="lab") as folder:
        lab = Lab(Path(folder))
        await lab.proxy.start()
        await lab.start_envoy()
        try:
            yield Island(alone, image, Networks(client, Names("island"), "10.201.0.0/16"), lab)
        finally:
            await lab.close()
            await client.close()
            alone.sweep()


def called(callee: str, reach: Reach, number: int, **more: object) -> Edge:
    """An edge as a caller has it whose network is `reach`."""
    return msgspec.structs.replace(edge(callee, Address(reach.edges, number), **more), sources=reach.network)


async def shop(island: Island) -> tuple[Container, Container, Reach]:
    """Orders calls catalog over port 20001; the containers of both, and the reach of orders."""
    reach = await island.networks.reach("orders")
    orders, catalog = await island.container("orders"), await island.container("catalog")
    await island.lab.apply(
        service("orders", edges=(called("catalog", reach, 20001),)), service("catalog", upstream(1, catalog.at(HTTP)))
    )
    return orders, catalog, reach


async def test_a_declared_call_works_whatever_it_speaks(island: Island) -> None:
    reach = await island.networks.reach("orders")
    orders, catalog = await island.container("orders"), await island.container("catalog")
    speaker = asyncio.create_task(catalog.inside(GRPC))
    edges = (
        called("catalog", reach, 20001),
        called("catalog", reach, 20002, port="lines", protocol="tcp"),
        called("catalog", reach, 20003, port="rpc", protocol="grpc"),
    )
    upstreams = (
        upstream(1, catalog.at(HTTP)),
        upstream(1, catalog.at(TCP), port="lines", protocol="tcp"),
        upstream(1, catalog.at(8082), port="rpc", protocol="grpc"),
    )
    assert await island.lab.apply(service("orders", edges=edges), service("catalog", *upstreams)) == Ack()
    assert await orders.python(FETCH, f"http://{reach.edges}:20001/") == f"200 {catalog.id[:12]}"
    upgraded = await orders.python(LINE, reach.edges, 20001, UPGRADE, "over websocket")
    assert "101 Switching" in upgraded
    assert upgraded.endswith("OVER WEBSOCKET")
    assert await orders.python(LINE, reach.edges, 20002, "over tcp") == "OVER TCP"
    await eventually(lambda: _says(orders, f"{reach.edges}:20003"))
    speaker.cancel()
    await asyncio.wait([speaker])


async def _in_flight(lab: Lab, where: Address) -> bool:
    return await lab.proxy.inflight([where]) == {where: 1}


async def _says(caller: Container, where: str) -> bool:
    return await caller.inside(SAY, where) == "OVER GRPC"


async def test_what_was_not_declared_is_not_reached(island: Island) -> None:
    orders, catalog, reach = await shop(island)
    stranger = await island.container("stranger")
    assert "answer: b'HTTP/1.1 2" in await orders.python(DIAL, reach.edges, 20001)
    # The edge of another service: closed without an answer.
    assert await stranger.python(DIAL, reach.edges, 20001) in {
        "answer: b''", "ConnectionResetError: [Errno 104] Connection reset by peer"
    }  # fmt: skip
    # Replicas of other services, also of one that is called: Docker drops it.
    for caller in (stranger, orders):
        assert "TimeoutError" in await caller.python(DIAL, catalog.host, HTTP)
    # The gateway is the machine's own, and the daemon listens on a file that no container has.
    assert "refused" in await stranger.python(DIAL, reach.edges, island.lab.gateway.port)
    assert "refused" in await orders.python(DIAL, reach.edges, island.lab.gateway.port)


async def test_a_source_cannot_be_made_up(island: Island) -> None:
    orders, _, reach = await shop(island)
    stranger = await island.container("stranger")
    assert "PermissionError" in await stranger.python(RAW)
    # It may bind to any address, but the kernel routes nothing from one that is not its own.
    assert "Network is unreachable" in await stranger.python(DIAL, reach.edges, 20001, orders.host)


async def test_edges_may_come_before_their_network_and_outlive_it(island: Island) -> None:
    reach = await island.networks.reach("orders")
    catalog = await island.container("catalog")
    assert await island.networks.remove(["orders"]) == []
    entries = (
        service("orders", edges=(called("catalog", reach, 20001),)), service("catalog", upstream(1, catalog.at(HTTP))),
    )  # fmt: skip
    assert await island.lab.apply(*entries) == Ack()
    orders = await island.container("orders")
    assert await island.networks.reach("orders") == reach
    assert (await orders.python(FETCH, f"http://{reach.edges}:20001/")).startswith("200 ")
    island.dockerd.docker("rm", "--force", orders.id)
    island.dockerd.docker("network", "prune", "--force")
    orders = await island.container("orders")
    assert (await orders.python(FETCH, f"http://{reach.edges}:20001/")).startswith("200 ")


async def test_a_restart_of_dockerd_and_changes_of_others_cost_no_request(island: Island) -> None:
    orders, catalog, reach = await shop(island)
    slow = asyncio.create_task(orders.inside(FETCH, f"http://{reach.edges}:20001/sleep/8"))
    await eventually(lambda: _in_flight(island.lab, catalog.at(HTTP)))
    await asyncio.to_thread(island.dockerd.stop)
    other = await island.networks.reach("orders")
    assert other == reach
    assert (await orders.inside(FETCH, f"http://{reach.edges}:20001/")).startswith("200 ")
    await asyncio.to_thread(island.dockerd.start)
    stranger = await island.container("stranger")
    theirs = await island.networks.reach("stranger")
    assert await island.lab.apply(
        service("stranger", edges=(called("catalog", theirs, 20009),)),
        service("catalog", upstream(1, catalog.at(HTTP)), upstream(2, stranger.at(HTTP)), weights={1: 0, 2: 100}),
    ) == Ack()  # fmt: skip
    assert await orders.python(FETCH, f"http://{reach.edges}:20001/") == f"200 {stranger.id[:12]}"
    assert await slow == f"200 {catalog.id[:12]}"
    assert "TimeoutError" in await stranger.python(DIAL, catalog.host, HTTP)  # dockerd has put its rules back
