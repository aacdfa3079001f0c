"""What `atoll doctor` finds of firewalls and of Docker's own rules, by trying: in a network where nobody else is hurt."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator

import pytest

from atoll.engines.docker.client import Client
from atoll.engines.docker.names import Names
from atoll.engines.docker.networks import Networks
from atoll.engines.docker.trial import Tried, judge, trial
from dockerd import Dockerd, own
from netns import apart

POOL, PORTS = "10.201.0.0/16", (20000, 29999)


@pytest.fixture(scope="module")
def alone(dockerd: Dockerd) -> Iterator[Dockerd]:
    assert dockerd.answers()  # it is started outside
    with apart(), own() as daemon:
        yield daemon


@pytest.fixture
async def client(alone: Dockerd) -> AsyncIterator[Client]:
    made = Client(str(alone.socket))
    yield made
    left = [
        alone.docker(*kind.split(), "--quiet") for kind in ("ps --all", "image ls", "network ls --filter type=custom")
    ]
    await made.close()
    assert left == ["", "", ""]


def iptables(*arguments: str) -> None:
    subprocess.run(["iptables", "--wait", *arguments], check=True)


async def test_nothing_is_found_where_all_is_well(client: Client) -> None:
    assert await trial(client, "shop", POOL, PORTS) == []


async def test_a_firewall_that_drops_what_comes_in_is_found_and_its_fix_works(client: Client) -> None:
    iptables("--policy", "INPUT", "DROP")
    iptables("--append", "INPUT", "--match", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "--jump", "ACCEPT")
    (found,) = await trial(client, "shop", POOL, PORTS)
    assert "containers do not reach the services that they call: this machine's firewall has them dropped" in found.what
    command = found.fix.split("`")[1]
    assert command == "iptables -I INPUT -p tcp -s 10.201.0.0/16 --dport 20000:29999 -j ACCEPT"
    await asyncio.to_thread(subprocess.run, command.split(), check=True)
    assert await trial(client, "shop", POOL, PORTS) == []
    iptables("--policy", "INPUT", "ACCEPT")
    iptables("--flush", "INPUT")


async def test_rules_of_docker_that_are_gone_are_found_and_a_restart_puts_them_back(
    client: Client, alone: Dockerd
) -> None:
    services = Networks(client, Names("shop"), POOL)
    await services.reach("orders")
    await services.reach("catalog")
    assert await trial(client, "shop", POOL, PORTS) == []
    iptables("--flush")  # as `nft flush ruleset` does, which comes with a reload of Debian's nftables.service
    iptables("--policy", "FORWARD", "ACCEPT")
    (found,) = await trial(client, "shop", POOL, PORTS)
    assert "containers of different services reach each other" in found.what
    assert "restart dockerd" in found.fix
    await asyncio.to_thread(alone.stop)
    await asyncio.to_thread(alone.start)
    assert await trial(client, "shop", POOL, PORTS) == []
    assert set(await services.present()) == {"orders", "catalog"}
    await services.remove()


async def test_what_keeps_the_proxy_from_containers_is_found(client: Client) -> None:
    iptables("--append", "OUTPUT", "--destination", POOL, "--protocol", "tcp", "--dport", "8080", "--jump", "REJECT")
    (found,) = await trial(client, "shop", POOL, PORTS)
    assert found.what == "the proxy on this machine does not reach containers: their packets are refused"
    assert POOL in found.fix
    iptables("--flush", "OUTPUT")


def test_the_fix_is_in_the_words_of_the_firewall_that_is_there() -> None:
    (found,) = judge(Tried("connected", "dropped", "dropped"), POOL, PORTS, ufw=True)
    assert "`ufw allow proto tcp from 10.201.0.0/16 to any port 20000:29999`" in found.fix
