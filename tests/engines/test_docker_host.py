"""The Docker host passes the suite that every host passes, against a real dockerd."""

import msgspec
import pytest

from atoll.engines.docker import DockerHost
from atoll.model.spec import Command
from atoll.model.state import Image
from atoll.ports import Launch
from atoll.testing.host_suite import LISTEN, Behaviour, HostSuite


@pytest.fixture
def host(dockerd, make_host) -> DockerHost:
    return make_host(dockerd)


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
