"""The Docker host passes the suite that every host passes, against a real dockerd."""

import subprocess

import msgspec
import pytest

from atoll.engines.docker.host import _has_program
from atoll.model.spec import Command
from atoll.model.state import Image
from atoll.ports import Launch
from atoll.testing.host_suite import LISTEN, Behaviour, HostSuite


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


def test_a_container_whose_first_process_is_gone_has_not_begun() -> None:
    """It ended between two looks, as one does that cannot be executed: the next look tells why."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert not _has_program(gone.pid)
