"""A workspace in a temporary folder, and services to build in it."""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
from cache_bench import Bench
from keyring import Keyring
from ship_route import Route

from atoll.model.environment import DockerSpec
from atoll.model.errors import BuildFailed
from atoll.model.spec import Build, Command, ImageSpec, ServiceSpec
from atoll.model.state import Artifact
from atoll.pipeline.artifacts import remove_tree
from atoll.pipeline.build import build_all
from atoll.pipeline.images import tag_of
from atoll.pipeline.progress import Progress
from atoll.pipeline.work import Site
from dockerd import Dockerd


class Workshop:
    """A workspace with services; `build` builds them and returns their results by name."""

    def __init__(self, root: Path) -> None:
        self.root, self.artifacts = root, root / ".atoll" / "artifacts"
        self.progress: list[Progress] = []
        self.told: list[str] = []
        self.namespace = "trusted"

    @property
    def site(self) -> Site:
        data = self.root / ".atoll"
        return Site(
            root=self.root, artifacts=self.artifacts, toolchains=data / "toolchains", records=data / "records.db"
        )

    def write(self, path: str, text: str = "", mode: int | None = None) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        if mode is not None:
            file.chmod(mode)
        return file

    def spec(self, name: str, *steps: str, **build: object) -> ServiceSpec:
        (self.root / name).mkdir(exist_ok=True)
        shell = tuple(Command(shell=step) for step in steps)
        return ServiceSpec(name=name, folder=name, run=Command(argv=("x",)), build=Build(steps=shell, **build))

    async def build_async(
        self, specs: Sequence[ServiceSpec], jobs: int | None = None
    ) -> Mapping[str, Artifact | BuildFailed]:
        return await build_all(
            specs,
            self.site,
            namespace=self.namespace,
            jobs=jobs,
            on_progress=self.progress.append,
            told=self.told.append,
        )

    def build(self, *specs: ServiceSpec, jobs: int | None = None) -> Mapping[str, Artifact | BuildFailed]:
        return asyncio.run(self.build_async(specs, jobs))

    def one(self, spec: ServiceSpec) -> Artifact:
        result = self.build(spec)[spec.name]
        if isinstance(result, BuildFailed):
            raise result
        return result

    def failure(self, spec: ServiceSpec) -> BuildFailed:
        result = self.build(spec)[spec.name]
        assert isinstance(result, BuildFailed), result
        return result

    def half_made(self) -> list[str]:
        """What lies in the artifacts folder without being an artifact."""
        if not (self.artifacts / ".records").exists():
            return []
        complete = {path.name for path in (self.artifacts / ".records").iterdir()}
        shown = [path.name for path in self.artifacts.iterdir() if not path.name.startswith(".")]
        return [name for name in shown if name not in complete] + [
            path.name for path in (self.artifacts / ".staging").iterdir()
        ]


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    """An empty workspace. Its read-only artifacts are removed after: pytest could not, without root."""
    root = tmp_path / "workspace"
    root.mkdir()
    yield Workshop(root)
    if not os.path.ismount(root / ".atoll" / "artifacts"):
        remove_tree(root)


@pytest.fixture
def processes_with() -> Callable[[str], list[int]]:
    """A function: the processes whose command line contains a text."""

    def find(text: str) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                    state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                except OSError:
                    continue
                if text in line and state != "Z":
                    found.append(int(entry.name))
        return found

    return find


class Yard(Workshop):
    """A workspace whose services are images."""

    def __init__(self, root: Path, daemon: Dockerd) -> None:
        super().__init__(root)
        self.daemon, self.registry = daemon, ""
        self.daemon_of_all = daemon  # while a test looks elsewhere

    @property
    def site(self) -> Site:
        spec = DockerSpec(socket=str(self.daemon.socket), registry=self.registry)
        return msgspec.structs.replace(super().site, docker=spec)

    def image(self, name: str, dockerfile: str = "", **image: object) -> ServiceSpec:
        spec = msgspec.structs.replace(self.spec(name), image=ImageSpec(**image))
        if dockerfile:
            self.write(f"{name}/Dockerfile", dockerfile)
        return spec

    def clear(self) -> None:
        """Take the names of its images away."""
        labels = ("--filter", "label=dev.atoll.key", "--format", "{{.Repository}}:{{.Tag}}")
        ours = tag_of("x", "y", self.artifacts).rpartition("-")[2]
        names = self.daemon_of_all.docker("image", "ls", *labels, "--filter", "reference=atoll/*").split()
        if mine := [name for name in names if name.endswith(f"-{ours}")]:
            self.daemon_of_all.docker("image", "rm", "--force", *mine)

    def run(self, artifact: Artifact, *command: str) -> str:
        assert artifact.image is not None
        return self.daemon.docker("run", "--rm", "--read-only", "--entrypoint=", artifact.image.id, *command).strip()


@pytest.fixture
def yard(workshop: Workshop, dockerd: Dockerd) -> Iterator[Yard]:
    """An empty one. Its images go with it: others use the same dockerd for days."""
    made = Yard(workshop.root, dockerd)
    yield made
    made.clear()


@pytest.fixture
def runtime(dockerd: Dockerd) -> str:
    """An image with a shell and Python."""
    return dockerd.base("runtime")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    yield Bench(tmp_path)
    for path in tmp_path.iterdir():
        if path.is_dir():
            remove_tree(path)


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path / "work", tmp_path / "home")


@pytest.fixture
def route(tmp_path: Path):  # type: ignore[no-untyped-def]
    made = Route(tmp_path)
    yield made
    for folder in (tmp_path / "here", made.theirs):
        if folder.is_dir():
            for each in folder.iterdir():
                remove_tree(each)
