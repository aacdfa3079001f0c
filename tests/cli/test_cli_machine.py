"""What `atoll doctor` finds of the machine and of what the workspace says: real connections to loopback."""

import socket
from pathlib import Path

from atoll.cli.machine import checks_of
from atoll.model.environment import EnvironmentSpec, ReadApi, WorkspaceSpec
from atoll.workspace.loader import load


def test_each_store_whose_address_is_no_secret_is_tried(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as there, socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # and nobody listens
        here, away = there.getsockname()[1], deaf.getsockname()[1]
        (tmp_path / "atoll.toml").touch()
        (tmp_path / "service.toml").write_text(f"""
name = "orders"
run = "x"
stores.good.url = "redis://:hunter2@127.0.0.1:{here}/0"
stores.bad.url = "postgres://127.0.0.1:{away}/x"
stores.hidden.url = {{ secret = "x" }}
stores.file.url = "sqlite:x.db"
""")
        found = {view.check: view for view in checks_of(load(tmp_path), running=True) if view.check.startswith("store")}
    assert {name: view.ok for name, view in found.items()} == {"store good": True, "store bad": False}
    assert found["store bad"].text == f"127.0.0.1:{away} cannot be reached: Connection refused"
    assert found["store bad"].fix
    assert "hunter2" not in str(found)


def test_an_api_that_others_reach_is_a_note(tmp_path: Path) -> None:
    """Its tokens could be read on their way."""

    def notes(api: ReadApi | None) -> list[str]:
        spec = WorkspaceSpec(name="shop", root=str(tmp_path), environment=EnvironmentSpec(api=api))
        return [view.text for view in checks_of(spec, running=True) if view.check == "api"]

    assert notes(None) == notes(ReadApi()) == notes(ReadApi(host="::1")) == []
    assert notes(ReadApi(host="10.0.0.5"))[0].startswith("the API on 10.0.0.5:9180 is reached from other machines")
