"""What the tests of containers ask about a replica of their service, `cabin`."""

import json
from typing import Any

from atoll.engines.docker import DockerHost
from atoll.model.hosted import Hosted
from atoll.testing.host_suite import eventually
from dockerd import Dockerd


async def ended(host: DockerHost, replica: str) -> Hosted:
    async def look() -> Hosted | None:
        return next((each for each in await host.list() if each.id == replica and each.exit is not None), None)

    found = await eventually(look, f"{replica} ends")
    assert isinstance(found, Hosted)
    return found


async def says(host: DockerHost, replica: str, text: str) -> None:
    async def look() -> bool:
        return text in (await host.last_output(replica, 100)).splitlines()

    await eventually(look, f"{replica} says {text!r}")


def inspected(dockerd: Dockerd, environment: str, replica: str) -> dict[str, Any]:
    return json.loads(dockerd.docker("inspect", f"atoll-{environment}-{replica}"))[0]
