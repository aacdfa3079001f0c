"""A network per service: who reaches whom.

Docker keeps its networks apart, so that a replica is dialled by those of its own service and by the machine, and by
nobody else. The proxy listens for a service's edges at the machine's address in that service's network.

Owns the networks that carry the environment's label, and touches no other. `DockerHost` is its caller. What a service was
given stays: Docker keeps it, and while Docker does not answer the kernel does, in the network's bridge.
"""

import asyncio
import socket
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2s
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from atoll.engines.docker.client import Client, DockerRefused
from atoll.engines.docker.names import SERVICE, Names
from atoll.model.errors import Permanent, Retryable
from atoll.model.launch import Reach

PREFIX = 24  # its lower half is for 125 replicas, its upper one for what people start there by hand
_MTU = "com.docker.network.driver.mtu"
_OTHER_POOLS = ("10.77.0.0/16", "10.137.0.0/16", "172.30.0.0/15", "192.168.128.0/17")  # to name one that is free
_AGAIN_S = 10.0  # somebody has to change something first


class Taken(NamedTuple):
    """Addresses that are somebody else's, and whose: `routed to tun0`."""

    network: IPv4Network
    by: str


class _Found(NamedTuple):
    id: str
    subnet: IPv4Network


class Networks:
    """The networks of one environment, made when they are first needed, taken out of `pool`, a CIDR."""

    def __init__(self, client: Client, names: Names, pool: str) -> None:
        self._client, self._names, self._pool = client, names, IPv4Network(pool)
        self._known: dict[str, IPv4Network] = {}
        self._told = False  # whether Docker has said what was there before
        self._making = asyncio.Lock()  # two at a time would choose the same addresses

    async def reach(self, service: str) -> Reach:
        """How the service's replicas and the proxy reach each other. Raises Retryable, also when no addresses are left."""
        if service not in self._known:
            async with self._making:
                try:
                    await self._learn(service)
                except Permanent as exc:  # until a person has changed something
                    raise Retryable(str(exc), _AGAIN_S, id=exc.id) from exc
        return _reach(self._known[service])

    async def attach(self, service: str) -> str:
        """The id of the service's network, for a container that is to start in it.

        One that somebody removed is made again, with the addresses that it had; when those are another's by now, `reach`
        tells the new ones. Raises Retryable and Permanent.
        """
        async with self._making:
            found = (await self._there(service)).get(service) or await self._make(service)
            self._known[service] = found.subnet
        return found.id

    async def present(self) -> Mapping[str, Reach]:
        """Those that are there now, by service. Raises Retryable and Permanent."""
        return {service: _reach(found.subnet) for service, found in (await self._there()).items()}

    async def remove(self, services: Collection[str] | None = None) -> Sequence[str]:
        """Remove the networks of these services, or all. Returns a sentence on each that stays since somebody uses it."""
        left = []
        async with self._making:
            for service, found in (await self._there()).items():
                if services is None or service in services:
                    if used := await self._delete(found.id):
                        left.append(f"network {self._names.network(service)} stays: {used}")
                    self._known.pop(service, None)
        return left

    def bridge(self, service: str) -> str:
        """The machine's interface to the network; the kernel takes 15 characters."""
        return f"atoll-{self._digest(service).hex()}"

    def _digest(self, service: str) -> bytes:
        return blake2s(self._names.network(service).encode(), digest_size=4).digest()

    # --- what is there --------------------------------------------------------------------------------------------

    async def _learn(self, service: str) -> None:
        """Make `service` known, from what is there if possible."""
        if not self._told:
            try:
                self._known |= {name: found.subnet for name, found in (await self._there()).items()}
                self._told = True
            except Retryable:
                if (subnet := _subnet_of(self.bridge(service))) is None:
                    raise
                self._known[service] = subnet
        if service not in self._known:
            self._known[service] = (await self._make(service)).subnet

    async def _there(self, service: str = "") -> dict[str, _Found]:
        labels = [f"{name}={value}" for name, value in self._names.labels("network", service).items()]
        async with self._client.asked("list networks") as docker:
            found = await docker.networks.list(filters={"label": labels})
        return {each["Labels"][SERVICE]: _Found(each["Id"], subnet) for each in found for subnet in _subnets(each)[:1]}

    # --- making and removing --------------------------------------------------------------------------------------

    async def _make(self, service: str) -> _Found:
        async with self._client.asked("list networks") as docker:
            present = await docker.networks.list()
        taken = [*_of_docker(present), *routes(without=self.bridge(service))]
        for subnet in self._candidates(service):
            if any(subnet.overlaps(other.network) for other in taken):
                continue
            if id := await self._create(service, subnet, _options(present)):
                return _Found(id, subnet)
        raise Retryable(_full(self._pool, taken), after_s=_AGAIN_S, id="no-free-network")

    def _candidates(self, service: str) -> Iterator[IPv4Network]:
        """Those it had, then all of the pool in an order of its own, so that it finds its former ones where nobody knows."""
        if service in self._known:
            yield self._known[service]
        count, size = 2 ** (PREFIX - self._pool.prefixlen), 2 ** (32 - PREFIX)
        first = int.from_bytes(self._digest(service), "big")
        for step in range(count):
            yield IPv4Network((int(self._pool.network_address) + (first + step) % count * size, PREFIX))

    async def _create(self, service: str, subnet: IPv4Network, options: Mapping[str, str]) -> str:
        """Docker's id of it; "" when these addresses have just become another's."""
        name = self._names.network(service)
        _, by_hand = subnet.subnets()
        config = {
            "Name": name,
            "CheckDuplicate": True,
            "Driver": "bridge",
            "IPAM": {"Config": [{"Subnet": str(subnet), "Gateway": str(subnet[1]), "IPRange": str(by_hand)}]},
            "Options": {"com.docker.network.bridge.name": self.bridge(service), **options},
            "Labels": self._names.labels("network", service),
        }
        try:
            async with self._client.asked(f"make network {name}") as docker:
                return str((await docker.networks.create(config)).id)
        except DockerRefused as exc:
            if "overlap" in exc.said:
                return ""
            if exc.status != 409:
                raise
            what = f"there is a network {name} that is not Atoll's; `docker network rm {name}` removes it"
            raise Retryable(what, _AGAIN_S, id="docker-refused") from exc

    async def _delete(self, id: str) -> str:
        """Docker's word for why it stays; "" when it is gone."""
        try:
            async with self._client.asked("remove a network") as docker:
                await (await docker.networks.get(id)).delete()
        except DockerRefused as exc:
            if exc.status != 404:
                return exc.said
        return ""


def _reach(subnet: IPv4Network) -> Reach:
    return Reach(edges=str(subnet[1]), network=str(subnet))


# --- addresses of others ------------------------------------------------------------------------------------------


def routes(without: str = "", table: Path = Path("/proc/net/route")) -> Iterator[Taken]:
    """Where the machine sends packets to by a route of its own (networks, VPNs), but through interface `without`."""
    for line in table.read_text().splitlines()[1:]:
        interface, destination, *_, mask, _mtu, _window, _rtt = line.split()
        network = IPv4Network((_address(destination), _address(mask).bit_count()))
        if network.prefixlen and interface != without:
            yield Taken(network, f"routed to {interface}")


def _full(pool: IPv4Network, taken: Iterable[Taken]) -> str:
    """Why nothing is left of the pool, and what would help."""
    others = list(taken)
    whole = next((other for other in others if pool.subnet_of(other.network)), None)
    why = f"{whole.network} is {whole.by}" if whole else f"all {2 ** (PREFIX - pool.prefixlen)} are in use"
    free = (name for name in _OTHER_POOLS if not any(IPv4Network(name).overlaps(other.network) for other in others))
    such = f', such as networks = "{name}"' if (name := next(free, "")) else ""
    return (
        f"no network of 256 addresses is left in {pool}: {why}; choose others in [environments.NAME.docker] of "
        f"atoll.toml{such}"
    )


def _of_docker(present: Iterable[Mapping[str, Any]]) -> Iterator[Taken]:
    for each in present:
        for subnet in _subnets(each):
            yield Taken(subnet, f"of Docker's network {each['Name']}")


def _subnets(network: Mapping[str, Any]) -> list[IPv4Network]:
    told = [config.get("Subnet", "") for config in network["IPAM"]["Config"] or ()]
    return [IPv4Network(subnet) for subnet in told if subnet and ":" not in subnet]


def _options(present: Iterable[Mapping[str, Any]]) -> Mapping[str, str]:
    """The packets' size that the operator gave Docker: it reaches the default network only, by Docker's own doing."""
    default = (each["Options"] for each in present if each["Name"] == "bridge")
    return {name: value for name, value in next(default, {}).items() if name == _MTU}


def _subnet_of(interface: str) -> IPv4Network | None:
    """The IPv4 network at an interface, as the kernel has it."""
    for address in psutil.net_if_addrs().get(interface, ()):
        if address.family == socket.AF_INET and address.netmask:
            return IPv4Network((address.address, address.netmask), strict=False)
    return None


def _address(word: str) -> int:
    """An address in /proc/net/route: the bytes of the network, written as a number of the machine."""
    return int.from_bytes(int(word, 16).to_bytes(4, sys.byteorder), "big")
