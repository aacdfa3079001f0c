"""A network per service on a real dockerd: the same for ever, and nobody else's addresses."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from atoll.engines.docker.client import Client
from atoll.engines.docker.names import Names
from atoll.engines.docker.networks import Networks, routes
from atoll.model.errors import Retryable
from dockerd import Dockerd

Make = Callable[..., Networks]


@pytest.fixture
def environment() -> str:
    return f"t{uuid.uuid4().hex[:8]}"


@pytest.fixture
async def make(dockerd: Dockerd, environment: str, subnets: str) -> AsyncIterator[Make]:
    """Networks of this test's environment, or of another one; as a daemon that has just started knows them."""
    clients = []
    names = {Names(environment)}

    def made(pool: str = subnets, of: str = environment, socket: str = str(dockerd.socket)) -> Networks:
        clients.append(Client(socket))
        names.add(Names(of))
        return Networks(clients[-1], Names(of), pool)

    yield made
    for one in names:
        await Networks(clients[0], one, subnets).remove()
    for client in clients:
        await client.close()


@pytest.fixture
def foreign(dockerd: Dockerd, environment: str) -> Iterator[Callable[..., str]]:
    """Makes networks that are not Atoll's."""
    made = []

    def network(*options: str, name: str = "") -> str:
        made.append(name or f"foreign-{environment}-{len(made)}")
        dockerd.docker("network", "create", *options, made[-1])
        return made[-1]

    yield network
    for name in made:
        dockerd.docker("network", "rm", name)


async def test_a_service_keeps_its_network_and_has_it_alone(make: Make) -> None:
    first = make()
    orders, catalog = await asyncio.gather(first.reach("orders"), first.reach("catalog"))
    assert await make().reach("orders") == orders
    assert not IPv4Network(orders.network).overlaps(IPv4Network(catalog.network))
    assert IPv4Address(orders.edges) in IPv4Network(orders.network)
    assert orders.listen == "0.0.0.0"


async def test_environments_with_the_same_range_do_not_meet(make: Make, environment: str) -> None:
    one, other = make(), make(of=f"{environment}-b")
    reaches = await asyncio.gather(*(networks.reach(f"s{n}") for networks in (one, other) for n in range(4)))
    assert len({reach.network for reach in reaches}) == 8


async def test_one_that_was_removed_is_made_again_with_its_addresses(make: Make, dockerd: Dockerd) -> None:
    networks = make()
    before, id = await networks.reach("orders"), await networks.attach("orders")
    assert await networks.attach("orders") == id
    dockerd.docker("network", "rm", id)
    assert await networks.attach("orders") != id
    assert await networks.reach("orders") == before
    dockerd.docker("network", "rm", await networks.attach("orders"))
    assert await make().reach("orders") == before  # by a daemon that never knew it


async def test_one_whose_addresses_were_taken_meanwhile_gets_others(
    make: Make, dockerd: Dockerd, foreign: Callable[..., str]
) -> None:
    networks = make()
    before = await networks.reach("orders")
    dockerd.docker("network", "rm", await networks.attach("orders"))
    foreign("--subnet", before.network)
    await networks.attach("orders")
    assert (await networks.reach("orders")).network != before.network


async def test_addresses_of_others_are_left_alone(make: Make, subnets: str, foreign: Callable[..., str]) -> None:
    half, rest = IPv4Network(subnets).subnets()
    foreign("--subnet", str(half))
    networks = make()
    for n in range(4):
        assert IPv4Network((await networks.reach(f"s{n}")).network).subnet_of(rest)


async def test_a_range_that_is_full_says_who_has_it_and_which_field_to_set(
    make: Make, subnets: str, foreign: Callable[..., str]
) -> None:
    pool, *_ = IPv4Network(subnets).subnets(new_prefix=23)
    networks = make(pool=str(pool))
    await networks.reach("one")
    await networks.reach("two")
    with pytest.raises(
        Retryable, match=r"all 2 are in use; .*environments.*atoll.toml, such as networks = \"10\."
    ) as all_used:
        await networks.reach("three")
    assert all_used.value.id == "no-free-network"
    await networks.remove()
    name = foreign("--subnet", str(pool))
    with pytest.raises(Retryable, match=f"{pool} is of Docker's network {name}"):
        await make(pool=str(pool)).reach("one")


async def test_while_dockerd_is_away_the_kernel_knows(make: Make, tmp_path: Path) -> None:
    there = await make().reach("orders")
    away = make(socket=str(tmp_path / "none"))
    assert await away.reach("orders") == there
    with pytest.raises(Retryable) as unknown:
        await away.reach("never-made")
    assert unknown.value.id == "docker-unreachable"


async def test_only_its_own_are_removed_and_those_in_use_stay(
    make: Make, environment: str, dockerd: Dockerd, foreign: Callable[..., str]
) -> None:
    networks, other = make(), make(of=f"{environment}-b")
    for each in (networks, other):
        await each.reach("orders")
        await each.reach("catalog")
    name = foreign()
    image = dockerd.base("runtime")
    used = await networks.attach("orders")
    container = dockerd.docker("run", "--detach", "--network", used, image, "sleep", "60")
    try:
        assert await networks.remove(["catalog"]) == []
        (left,) = await networks.remove()
        assert f"network atoll-{environment}-orders stays" in left
        assert "active endpoints" in left
    finally:
        dockerd.docker("rm", "--force", container)
    assert await networks.remove() == []
    present = dockerd.docker("network", "ls", "--format", "{{.Name}}").splitlines()
    assert {name, f"atoll-{environment}-b-orders", f"atoll-{environment}-b-catalog"} <= set(present)
    assert not {f"atoll-{environment}-orders", f"atoll-{environment}-catalog"} & set(present)


async def test_a_foreign_network_of_its_name_is_named_and_left(
    make: Make, environment: str, foreign: Callable[..., str]
) -> None:
    name = foreign(name=f"atoll-{environment}-orders")
    networks = make()
    with pytest.raises(Retryable, match=f"docker network rm {name}"):
        await networks.reach("orders")
    assert await networks.remove() == []


ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0102000A\t0003\t0\t0\t100\t00000000\t0\t0\t0
tun0\t0000C90A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
atoll-1\t0007C90A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
wg0\t0502C90A\t00000000\t0001\t0\t0\t0\tFFFFFFFF\t0\t0\t0
"""


@pytest.mark.skipif("sys.byteorder != 'little'", reason="the kernel writes in the machine's order")
def test_routes_of_vpns_are_read_and_the_default_one_is_none(tmp_path: Path) -> None:
    table = tmp_path / "route"
    table.write_text(ROUTES)
    told = [(str(route.network), route.by) for route in routes(without="atoll-1", table=table)]
    assert told == [("10.201.0.0/16", "routed to tun0"), ("10.201.2.5/32", "routed to wg0")]
