"""A machine's network for one test: real dockerd, real Envoy, real containers, and nobody else's addresses or firewall."""

import asyncio
import subprocess
import sys
from pathlib import Path

from tests.proxy.lab import Lab

from atoll.engines.docker.networks import Networks
from atoll.model.state import Address
from dockerd import Dockerd

PROGRAM = Path(__file__).parent / "island_service.py"


class Container:
    """One that does nothing by itself, confined as replicas are."""

    def __init__(self, dockerd: Dockerd, id: str, host: str) -> None:
        self._dockerd, self.id, self.host = dockerd, id, host
        self._pid = dockerd.docker("inspect", "--format", "{{.State.Pid}}", id)

    def at(self, port: int) -> Address:
        return Address(self.host, port)

    async def python(self, code: str, *args: object) -> str:
        """Run a program in it; what it prints, its error's last line when it fails."""
        argv = ["docker", "--host", self._dockerd.host, "exec", self.id, "python3", "-c", code, *map(str, args)]
        return await _output(argv)

    async def inside(self, code: str, *args: object) -> str:
        """Run a program with this project's packages in its network only."""
        return await _output(["nsenter", "--target", self._pid, "--net", sys.executable, "-c", code, *map(str, args)])


async def _output(argv: list[str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(60):
            text = (await process.communicate())[0].decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return text.splitlines()[-1] if process.returncode else text


class Island:
    """Networks of services, containers in them, and a proxy."""

    def __init__(self, dockerd: Dockerd, image: str, networks: Networks, lab: Lab) -> None:
        self.dockerd, self._image, self.networks, self.lab = dockerd, image, networks, lab
        self._count = 10

    async def container(self, service: str) -> Container:
        """One more of a service, in its network, that serves what island_service.py does: on 8080, 8081 and 8082."""
        network, reach = await self.networks.attach(service), await self.networks.reach(service)
        self._count += 1
        host = f"{reach.edges.rpartition('.')[0]}.{self._count}"
        id = self.dockerd.docker(
            "run", "--detach", "--init", "--network", network, "--ip", host, "--cap-drop", "ALL", "--read-only",
            "--security-opt", "no-new-privileges", "--mount", f"type=bind,source={PROGRAM},target=/program.py,readonly",
            self._image, "python3", "/program.py",
        )  # fmt: skip
        made = Container(self.dockerd, id, host)
        async with asyncio.timeout(30):
            while "404" not in await made.python(FETCH, f"http://{host}:8080/status/404"):
                await asyncio.sleep(0.05)
        return made


FETCH = """
import sys, urllib.error, urllib.request
try:
    reply = urllib.request.urlopen(sys.argv[1], timeout=float((sys.argv[2:] or [20])[0]))
    print(reply.status, reply.read().decode())
except urllib.error.HTTPError as error:
    print(error.code)
"""
