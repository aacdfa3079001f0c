"""A real try of what the networks of services promise: the proxy and a container reach each other, two services do not.

`atoll doctor` asks. No image of anybody's is needed: the containers are empty, and this machine's Python runs in them
from the machine's own folders, read-only and without any privilege. Nothing is left behind.
"""

import asyncio
import contextlib
import io
import json
import os
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import aiodocker

from atoll.engines.docker.client import Client
from atoll.engines.docker.container import Config
from atoll.engines.docker.names import Names
from atoll.engines.docker.networks import Networks
from atoll.model.errors import Permanent
from atoll.model.hosted import Unable

DIAL_S = 2.0  # a packet that a firewall drops is answered by nobody
_UP_S = 10.0
_PORT = 8080
_SYSTEM = ("/usr", "/lib", "/lib64", "/nix/store", "/gnu/store", "/etc/ld.so.cache")
_LISTEN = f"import socket, time; s = socket.create_server(('0.0.0.0', {_PORT})); print(s, flush=True); time.sleep(60)"
_DIAL = f"""
import json, socket, sys
def dial(where):
    try:
        with socket.create_connection(where, {DIAL_S}):
            return "connected"
    except TimeoutError:
        return "dropped"
    except OSError:
        return "refused"
print(json.dumps([dial(where) for where in json.loads(sys.argv[1])]))
"""

Dialled = Literal["connected", "dropped", "refused"]


class Tried(NamedTuple):
    """What became of each way."""

    to_container: Dialled  # from the machine
    to_machine: Dialled  # from a container, to where its edges would listen
    to_other: Dialled  # from a container to one of another service


async def trial(client: Client, environment: str, pool: str, ports: tuple[int, int]) -> Sequence[Unable]:
    """What does not hold of the networks of an environment, with edges on `ports`; empty is fine.

    Tried in the networks of two of its services where they are there: rules may have gone since they were made. Raises
    Retryable and Permanent when it cannot be tried at all.
    """
    place = _Place(client, environment, pool)
    await place.clear()  # one that was killed
    try:
        tried = await _try(place, ports)
    finally:
        await place.clear()
    return judge(tried, pool, ports, ufw=_has_ufw())


def judge(tried: Tried, pool: str, ports: tuple[int, int], *, ufw: bool) -> Sequence[Unable]:
    """The same, of what became of each way. `ufw` rules this machine's firewall."""
    found = []
    if tried.to_container != "connected":
        what = f"the proxy on this machine does not reach containers: their packets are {tried.to_container}"
        found.append(Unable(what=what, fix=f"let this machine's firewall pass what goes out to {pool}"))
    if tried.to_machine != "connected":
        first, last = ports
        command = (
            f"ufw allow proto tcp from {pool} to any port {first}:{last}"
            if ufw
            else f"iptables -I INPUT -p tcp -s {pool} --dport {first}:{last} -j ACCEPT"
        )
        what = (
            f"containers do not reach the services that they call: this machine's firewall has them {tried.to_machine}"
        )
        found.append(Unable(what=what, fix=f"let them in: `{command}`"))
    if tried.to_other == "connected":
        what = "containers of different services reach each other past the proxy: Docker's rules are not in the kernel"
        fix = (
            "restart dockerd, which puts them back; something removes them (`iptables -F`, another dockerd), or dockerd has "
            '"iptables": false'
        )
        found.append(Unable(what=what, fix=fix))
    return found


async def _try(place: "_Place", ports: tuple[int, int]) -> Tried:
    await place.make_image()
    (network, edges), (other_network, _) = await place.networks()
    other = await place.run(other_network, _LISTEN)
    address = await place.address(other, other_network)
    to_container = await _dial(address)
    async with await _listener(edges, ports) as server:
        edge = server.sockets[0].getsockname()
        said = await place.output(await place.run(network, _DIAL, json.dumps([edge, (address, _PORT)])))
    to_machine, to_other = json.loads(said)
    return Tried(to_container, to_machine, to_other)


class _Place:
    """Two networks with a container in each, and what is made for them."""

    def __init__(self, client: Client, environment: str, pool: str) -> None:
        self._client, self._names = client, Names(f"{environment}-doctor")
        self._services = Networks(client, Names(environment), pool)
        self._own = Networks(client, self._names, pool)
        self._image = f"{self._names.container('empty')}:latest"

    async def networks(self) -> Sequence[tuple[str, str]]:
        """Ids of two networks, and the machine's address in each."""
        names = [(self._services, name) for name in sorted(await self._services.present())]
        names += [(self._own, name) for name in ("one", "other")]
        return [(await its.attach(name), (await its.reach(name)).edges) for its, name in names[:2]]

    async def make_image(self) -> None:
        """One without a file."""
        context = io.BytesIO()
        with tarfile.open(fileobj=context, mode="w") as tar:
            dockerfile = b'FROM scratch\nCMD ["none"]\n'
            entry = tarfile.TarInfo("Dockerfile")
            entry.size = len(dockerfile)
            tar.addfile(entry, io.BytesIO(dockerfile))
        context.seek(0)
        async with self._client.asked("make an empty image") as docker:
            labels = self._names.labels("probe")
            await docker.images.build(fileobj=context, encoding="identity", tag=self._image, labels=labels)

    async def run(self, network: str, code: str, *arguments: str) -> str:
        """Start this machine's Python in a network; its container's id."""
        folders = {path for path in (*_SYSTEM, sys.base_prefix) if Path(path).exists()}
        config: Config = {
            "Image": self._image,
            "Entrypoint": [str(Path(sys.executable).resolve()), "-I", "-S", "-c", code, *arguments],
            "User": f"{os.getuid()}:{os.getgid()}",  # who may read this Python
            "Labels": self._names.labels("probe"),
            "HostConfig": {
                "NetworkMode": network,
                "ReadonlyRootfs": True,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges:true", "label=disable"],
                "Binds": [f"{path}:{path}:ro" for path in sorted(folders)],
            },
        }
        async with self._client.asked("try a container") as docker:
            container = await docker.containers.create(config)
            await container.start()
        return container.id

    async def address(self, id: str, network: str) -> str:
        """Where a container is reached in its network."""
        async with self._client.asked("look at a container") as docker:
            told = await docker.containers.container(id).show()
        ends = told["NetworkSettings"]["Networks"].values()
        return str(next(end["IPAddress"] for end in ends if end["NetworkID"] == network))

    async def output(self, id: str) -> str:
        """What it printed, once it has ended well. Raises Permanent when it did not."""
        async with self._client.asked("try a container") as docker:
            container = docker.containers.container(id)
            ended = await container.wait()
            said = "".join(await container.log(stdout=True, stderr=True))
        if ended["StatusCode"]:
            raise Permanent("this machine's Python does not run in a container", said.strip(), id="not-possible-here")
        return said

    async def clear(self) -> None:
        """Remove all that was made."""
        async with self._client.asked("remove containers") as docker:
            for container in await docker.containers.list(all=1, filters=json.dumps(self._names.filter)):
                with contextlib.suppress(aiodocker.DockerError):  # somebody else was faster
                    await container.delete(force=True, v=True)
            for image in await docker.images.list(filters=self._names.filter):
                with contextlib.suppress(aiodocker.DockerError):
                    await docker.images.delete(image["Id"], force=True)
        await self._own.remove()


async def _listener(host: str, ports: tuple[int, int]) -> asyncio.Server:
    """Somebody who accepts connections where an edge would."""
    for port in range(ports[1], ports[0] - 1, -1):  # leases begin at the other end
        with contextlib.suppress(OSError):
            return await asyncio.start_server(lambda _, writer: writer.close(), host, port)
    raise Permanent(f"no port is free in {ports[0]}-{ports[1]}", id="no-free-port")


async def _dial(host: str) -> Dialled:
    """From this machine, until it is up."""
    became: Dialled = "dropped"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_UP_S):
            while became != "connected":
                try:
                    async with asyncio.timeout(DIAL_S):
                        _, writer = await asyncio.open_connection(host, _PORT)
                    writer.close()
                    became = "connected"
                except TimeoutError:
                    became = "dropped"
                except OSError:
                    became = "refused"  # it does not listen yet, or a firewall says no
                    await asyncio.sleep(0.05)
    return became


def _has_ufw() -> bool:
    with contextlib.suppress(OSError):
        return "ENABLED=yes" in Path("/etc/ufw/ufw.conf").read_text()
    return False
