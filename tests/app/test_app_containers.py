"""Which dockerd a command means, and what it says when that is away."""

from pathlib import Path

import pytest

from atoll.app.config import Config
from atoll.app.containers import clear, settled, socket_of
from atoll.model.environment import DockerSpec, EnvironmentSpec
from atoll.model.errors import UserError


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
    spec: str, variable: str, meant: str
) -> None:
    assert socket_of(DockerSpec(socket=spec), {"DOCKER_HOST": variable}) == meant


@pytest.mark.parametrize("variable", ["tcp://10.0.0.1:2375", "ssh://somewhere"])
def test_a_dockerd_elsewhere_is_refused_with_the_reason(variable: str) -> None:
    with pytest.raises(UserError, match="must run on this machine") as refused:
        socket_of(DockerSpec(), {"DOCKER_HOST": variable})
    assert variable in refused.value.why


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
    assert not said
