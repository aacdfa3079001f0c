"""Which dockerd a command means, and what it says when that is away."""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atoll.app import containers
from atoll.app.config import Config
from atoll.app.containers import away, checks, clear, require, settled, socket_of, stay
from atoll.engines.docker.names import environment_id
from atoll.model.environment import DockerSpec, EnvironmentSpec
from atoll.model.errors import UserError
from atoll.pipeline.docker import Docker
from dockerd import Dockerd


@pytest.mark.parametrize(
    ("spec", "variable", "meant"),
    [
        ("", "", "/var/run/docker.sock"),
        ("", "unix:///run/other.sock", "/run/other.sock"),
        ("/run/own.sock", "unix:///run/other.sock", "/run/own.sock"),
        ("/run/own.sock", "tcp://10.0.0.1:2375", "/run/own.sock"),
    ],
)
def test_the_environments_socket_comes_before_dockers_variable_before_the_usual_one(
    spec: str, variable: str, meant: str, tmp_path: Path
) -> None:
    assert socket_of(DockerSpec(socket=spec), {"HOME": str(tmp_path), "DOCKER_HOST": variable}) == meant


@pytest.fixture
def contexts(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """The variables of a user whose `docker` uses a context; the files are those that `docker context` writes."""

    def made(host: str, *, by: str = "config", name: str = "there") -> dict[str, str]:
        environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        if shutil.which("docker") is None:
            pytest.skip("no docker on this machine (scripts/apt installs it)")
        subprocess.run(["docker", "context", "create", name, "--docker", f"host={host}"], env=environ, check=True)
        if by == "config":
            subprocess.run(["docker", "context", "use", name], env=environ, check=True)
        return environ | ({"DOCKER_CONTEXT": name} if by == "variable" else {})

    return made


@pytest.mark.parametrize("by", ["config", "variable"])
def test_the_context_that_docker_uses_is_meant_where_nothing_else_is_said(contexts: Any, by: str) -> None:
    environ = contexts("unix:///run/there.sock", by=by)
    assert socket_of(DockerSpec(), environ) == "/run/there.sock"
    assert socket_of(DockerSpec(), environ | {"DOCKER_HOST": "unix:///run/other.sock"}) == "/run/other.sock"
    assert socket_of(DockerSpec(socket="/run/own.sock"), environ) == "/run/own.sock"
    assert socket_of(DockerSpec(), environ | {"DOCKER_CONTEXT": "default"}) == "/var/run/docker.sock"


def test_a_context_elsewhere_is_refused_by_its_name(contexts: Any) -> None:
    with pytest.raises(UserError, match="must run on this machine") as refused:
        socket_of(DockerSpec(), contexts("tcp://10.0.0.1:2376", name="far"))
    assert "context far is tcp://10.0.0.1:2376" in refused.value.why


def test_a_context_that_is_not_there_or_torn_is_refused(contexts: Any, tmp_path: Path) -> None:
    environ = contexts("unix:///run/there.sock")
    with pytest.raises(UserError, match="context gone cannot be used") as refused:
        socket_of(DockerSpec(), environ | {"DOCKER_CONTEXT": "gone"})
    assert "docker context ls" in refused.value.fix
    [meta] = tmp_path.glob(".docker/contexts/meta/*/meta.json")
    meta.write_text("{}")
    with pytest.raises(UserError, match="context there cannot be used"):
        socket_of(DockerSpec(), environ)


def test_a_torn_configuration_of_docker_names_no_context(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"currentContext": 1}'):
        (tmp_path / "config.json").write_text(text)
        assert socket_of(DockerSpec(), {"DOCKER_CONFIG": str(tmp_path)}) == "/var/run/docker.sock"


def test_builds_and_containers_mean_the_dockerd_of_the_context(
    contexts: Any, dockerd: Dockerd, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in contexts(dockerd.host).items():
        monkeypatch.setenv(name, text)
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    environment = settled(EnvironmentSpec(engine="docker"))
    require(environment)
    assert str(dockerd.socket) in next(iter(checks(environment, None))).text
    [kept, *_] = dockerd.docker("image", "ls", "--quiet", "--no-trunc").split()
    assert Docker(environment.docker).present(kept)


@pytest.mark.parametrize("variable", ["tcp://10.0.0.1:2375", "ssh://somewhere"])
def test_a_dockerd_elsewhere_is_refused_with_the_reason(variable: str) -> None:
    with pytest.raises(UserError, match="must run on this machine") as refused:
        socket_of(DockerSpec(), {"DOCKER_HOST": variable})
    assert variable in refused.value.why


def test_an_environment_that_runs_does_not_go_to_another_dockerd_by_a_change_of_context() -> None:
    here, there = (EnvironmentSpec(engine="docker", docker=DockerSpec(socket=f"/run/{name}.sock")) for name in "ab")
    stay(here, here)
    stay(EnvironmentSpec(), there)
    with pytest.raises(UserError, match=r"runs on the dockerd at /run/a\.sock") as refused:
        stay(here, there)
    assert "/run/b.sock" in refused.value.why


def test_an_environment_of_processes_asks_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.1:2375")
    assert settled(EnvironmentSpec()) == EnvironmentSpec()


def test_an_end_that_may_leave_containers_is_no_success(tmp_path: Path) -> None:
    environment = EnvironmentSpec(engine="docker", docker=DockerSpec(socket=f"{tmp_path}/none.sock"))
    config = Config(workspace="w", root="/", state=str(tmp_path), run=str(tmp_path), environment=environment)
    said: list[str] = []
    with pytest.raises(UserError, match="may be left") as told:
        clear(config, said.append)
    assert f"{tmp_path}/none.sock" in told.value.why
    assert "atoll down" in told.value.fix
    assert f"label=dev.atoll.environment={environment_id(tmp_path)}" in told.value.fix
    assert not said


def test_a_dockerd_that_hangs_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "_ASK_S", 0.2)
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(tmp_path / "sock"))
        hung.listen()
        environment = EnvironmentSpec(engine="docker", docker=DockerSpec(socket=f"{tmp_path}/sock"))
        assert "within 0.2 s" in away(environment)
    assert not away(EnvironmentSpec())
