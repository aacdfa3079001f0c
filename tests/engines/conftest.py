"""Hosts of processes and of containers for the tests beside this file."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from atoll.engines.docker import DockerHost
from atoll.engines.docker.names import environment_id
from atoll.engines.process import ProcessHost
from atoll.keeper.client import KeeperClient, start_keeper
from atoll.model.environment import DockerSpec
from atoll.model.spec import Command
from atoll.model.state import Image
from atoll.ports import Launch
from dockerd import Dockerd

MakeHost = Callable[..., DockerHost]


@pytest.fixture
def home() -> Iterator[Path]:
    """Where the test's environment keeps its state; short, for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="atoll-dock-"))
    (folder / "run").mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def environment(home: Path) -> str:
    """The id of that environment."""
    return environment_id(home / "state")


@pytest.fixture
def image(dockerd: Dockerd) -> Image:
    """One with a shell and Python."""
    return Image(id=dockerd.base("runtime"))


@pytest.fixture
async def make_host(home: Path, subnets: str) -> AsyncIterator[MakeHost]:
    """Hosts of this test's environment on a dockerd, as daemons one after the other have them; cleared at the end."""
    made: list[DockerHost] = []

    def host(dockerd: Dockerd) -> DockerHost:
        spec = DockerSpec(socket=str(dockerd.socket), networks=subnets)
        made.append(DockerHost(home / "state", home / "run", spec))
        return made[-1]

    yield host
    for each in made:
        await each.clear()
        await each.close()


@pytest.fixture
def host(dockerd: Dockerd, make_host: MakeHost) -> DockerHost:
    """One on the dockerd that all tests share."""
    return make_host(dockerd)


@pytest.fixture
def launch(image: Image) -> Callable[..., Launch]:
    """Launches of a shell line in a replica of `cabin`."""

    def made(line: str, id: str = "cabin-r1-1", **fields: Any) -> Launch:
        usual = {"id": id, "service": "cabin", "release": 1, "folder": "/", "image": image}
        return Launch(**{**usual, "env": {"PATH": "/usr/bin:/bin"}, "command": Command(shell=line), **fields})

    return made


@pytest.fixture
def volumes(dockerd: Dockerd, environment: str) -> Iterator[None]:
    """Removes the volumes of this test's environment, which outlive it by design."""
    yield
    if found := dockerd.docker("volume", "ls", "--quiet", "--filter", f"label=dev.atoll.environment={environment}"):
        dockerd.docker("volume", "rm", *found.split())


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users may pass, which pytest's own is not."""
    path = Path(tempfile.mkdtemp(prefix="atoll-host-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
async def process_host(folder: Path) -> AsyncIterator[ProcessHost]:
    start_keeper(folder / "state", folder / "run", 60.0)
    made = ProcessHost(folder / "state", folder / "run")
    yield made
    await made.close()
    KeeperClient(folder / "run").shutdown(10.0)
