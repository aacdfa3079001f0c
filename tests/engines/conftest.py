"""Hosts of containers for the tests beside this file."""

import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from atoll.engines.docker import DockerHost
from atoll.model.spec import DockerSpec
from atoll.model.state import Image
from dockerd import Dockerd

MakeHost = Callable[..., DockerHost]


@pytest.fixture
def environment() -> str:
    """The id of an environment that no other test has."""
    return f"t{uuid.uuid4().hex[:8]}"


@pytest.fixture
def image(dockerd: Dockerd) -> Image:
    """One with a shell and Python."""
    return Image(id=dockerd.base("runtime"))


@pytest.fixture
async def make_host(environment: str, subnets: str) -> AsyncIterator[MakeHost]:
    """Hosts of this test's environment on a dockerd, as daemons one after the other have them; cleared at the end."""
    folder = Path(tempfile.mkdtemp(prefix="atoll-dock-"))
    (folder / "run").mkdir()
    made: list[DockerHost] = []

    def host(dockerd: Dockerd) -> DockerHost:
        spec = DockerSpec(socket=str(dockerd.socket), networks=subnets)
        made.append(DockerHost(environment, folder / "state", folder / "run", spec))
        return made[-1]

    yield host
    for each in made:
        await each.clear()
        await each.close()
    shutil.rmtree(folder)


@pytest.fixture
def volumes(dockerd: Dockerd, environment: str) -> Iterator[None]:
    """Removes the volumes of this test's environment, which outlive it by design."""
    yield
    if found := dockerd.docker("volume", "ls", "--quiet", "--filter", f"label=dev.atoll.environment={environment}"):
        dockerd.docker("volume", "rm", *found.split())
