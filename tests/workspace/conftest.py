"""Workspaces on disk for the tests of the loader."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from written import Write

from atoll.model.spec import ServiceSpec
from atoll.workspace.loader import load


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes files below a new workspace's root."""

    def files(texts: Mapping[str, str]) -> Path:
        root = tmp_path / "ws"
        for name, text in {"atoll.toml": "", **texts}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return root

    return files


@pytest.fixture
def one(write: Write) -> Callable[..., ServiceSpec]:
    """The service that comes of one service.toml (`run` is added), beside a catalog with http and grpc ports."""

    def service(text: str, environment: str = "local", top: str = "") -> ServiceSpec:
        run = "" if "run =" in text else 'run = "./run"\n'
        catalog = 'run = "x"\nports = { http = "http", grpc = "grpc", raw = "tcp" }\n'
        root = write({"atoll.toml": top, "one/service.toml": run + text, "catalog/service.toml": catalog})
        return load(root, environment).services["one"]

    return service
