"""The Docker host passes the suite that every host passes, against a real dockerd."""

import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from atoll.engines.docker import DockerHost
from atoll.model.spec import Command, DockerSpec
from atoll.model.state import Image
from atoll.ports import Launch
from atoll.testing.host_suite import LISTEN, Behaviour, HostSuite
from dockerd import Dockerd


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="atoll-dock-"))
    (path / "run").mkdir()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def image(dockerd: Dockerd) -> Image:
    return Image(id=dockerd.base("runtime"))


@pytest.fixture
async def host(dockerd: Dockerd, folder: Path, subnets: str) -> AsyncIterator[DockerHost]:
    spec = DockerSpec(socket=str(dockerd.socket), networks=subnets)
    host = DockerHost(uuid.uuid4().hex[:8], folder / "state", folder / "run", spec)
    yield host
    await host.remove()
    await host.close()


class TestDockerHost(HostSuite):
    """All of it."""

    @pytest.fixture(autouse=True)
    def _in(self, image: Image) -> None:
        self.image = image

    def launch(self, behaviour: Behaviour, *, service: str = "cabin", release: int = 1, job: str = "") -> Launch:
        made = super().launch(behaviour, service=service, release=release, job=job)
        if behaviour == "listens":  # by the image's Python
            made = msgspec.structs.replace(made, command=Command(argv=("python3", "-S", "-c", LISTEN)))
        return msgspec.structs.replace(made, image=self.image)

    def command(self, line: str) -> Launch:
        return msgspec.structs.replace(super().command(line), image=self.image)
