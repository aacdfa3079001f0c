"""A workspace in a temporary folder in which real compilers build real services."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from atoll.model.errors import BuildFailed
from atoll.model.spec import Build, Command, ServiceSpec
from atoll.model.state import Artifact
from atoll.pipeline.artifacts import remove_tree
from atoll.pipeline.build import build_all
from atoll.pipeline.work import Site

# What package managers say when a registry does not answer; anything else is a failure of ours.
AWAY = (
    *("dial tcp", "i/o timeout", "TLS handshake", "proxyconnect", "502 Bad Gateway", "503 Service", "504 Gateway"),
    *("Could not resolve host", "spurious network error", "download of", "failed to download", "failed to fetch"),
    *("Could not transfer", "Connection reset", "Connection refused", "Read timed out", "Unknown host", "timed out"),
    *("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "error sending request", "dns error"),
    *("client error (Connect)", "Failed to fetch", "Temporary failure in name resolution", "network"),
)


class Yard:
    """A workspace; `build` makes one service of files and returns its artifact."""

    def __init__(self, root: Path) -> None:
        self.root, self.artifacts = root, root / ".atoll" / "artifacts"

    def write(self, service: str, files: Mapping[str, str]) -> None:
        for path, text in files.items():
            file = self.root / service / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    def result(self, name: str, *, folder: str = "", workdir: str = ".", **build: object) -> Artifact | BuildFailed:
        run = Command(argv=("x",))
        spec = ServiceSpec(name=name, folder=folder or name, run=run, workdir=workdir, build=Build(**build))
        data = self.root / ".atoll"
        site = Site(
            root=self.root, artifacts=self.artifacts, toolchains=data / "toolchains", records=data / "records.db"
        )
        return asyncio.run(build_all([spec], site))[name]

    def build(self, name: str, *, fetches: bool = True, **build: object) -> Artifact:
        """The artifact. A registry that does not answer is asked once more; then the test is skipped."""
        for attempt in (1, 2):
            result = self.result(name, **build)
            if isinstance(result, Artifact):
                return result
            if not (fetches and any(word in result.output for word in AWAY)):
                break
            if attempt == 2:
                pytest.skip(f"a package cannot be had: {result.output.splitlines()[-1]}")
        raise AssertionError(f"{result.what}\n{result.output}\n{result.fix}")

    def out(self, artifact: Artifact, *argv: str, at: Path | None = None) -> str:
        """What a command of the artifact prints, in the environment that its replicas get."""
        env = {"PATH": os.environ["PATH"]}
        for name, text in artifact.command_env.items():
            env[name.removesuffix("+")] = f"{text}:{env['PATH']}" if name == "PATH+" else text
        done = subprocess.run(
            argv, cwd=at or artifact.path, env=env, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def logs(self) -> dict[str, int]:
        """The output of builds that ran, by file and time."""
        return {log.name: log.stat().st_mtime_ns for log in (self.artifacts / ".logs").iterdir()}

    def kept(self, artifact: Artifact) -> list[str]:
        """The files of an artifact."""
        return sorted(str(path.relative_to(artifact.path)) for path in Path(artifact.path).rglob("*") if path.is_file())


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    """An empty workspace; its read-only artifacts are removed after."""
    root = tmp_path / "workspace"
    root.mkdir()
    yield Yard(root)
    remove_tree(root)


@pytest.fixture
def needs() -> object:
    """A function that skips the test, visibly, where a program is missing or does not work."""

    def check(*argv: str) -> None:
        if shutil.which(argv[0]) is None:
            pytest.skip(f"{argv[0]} is not on this machine")
        done = subprocess.run(argv, cwd="/", capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            pytest.skip(f"{' '.join(argv)} does not work here: {done.stderr.strip()[-200:]}")

    return check


@pytest.fixture
def manager(tmp_path: Path, needs, monkeypatch: pytest.MonkeyPatch):
    """A function that brings a package manager onto the PATH: the machine's own, or one from the npm registry."""

    def bring(name: str, version: str) -> None:
        needs("npm", "--version")
        folder = tmp_path / "managers"
        for _ in range(2):
            done = subprocess.run(
                ["npm", "install", "--prefix", folder, "--no-audit", "--no-fund", f"{name}@{version}"],
                capture_output=True, text=True, timeout=150, check=False,
            )  # fmt: skip
            if done.returncode == 0:
                monkeypatch.setenv("PATH", f"{folder}/node_modules/.bin:{os.environ['PATH']}")
                return
        pytest.skip(f"{name} cannot be had: {done.stderr.strip()[-200:]}")

    return bring
