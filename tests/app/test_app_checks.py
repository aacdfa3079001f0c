"""What `atoll doctor` says of toolchains, and of a daemon that does not answer."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.app.checks import daemon_trouble, local_checks
from atoll.keeper.client import KeeperClient, start_keeper
from atoll.model.environment import EnvironmentSpec, WorkspaceSpec
from atoll.model.spec import Build, Command, ServiceSpec
from atoll.workspace.places import Places

LANGUAGES = ["go builds", "java builds", "node builds", "python builds", "rust builds"]


def test_there_is_a_row_for_each_language_and_a_missing_one_is_only_a_note() -> None:
    rows = [row for row in local_checks(None, None) if row.check.endswith(" builds")]
    assert [row.check for row in rows] == LANGUAGES
    assert all(row.ok is True or (row.ok is None and row.fix) for row in rows)


def test_a_toolchain_that_a_service_asks_for_and_nobody_has_is_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = tmp_path / "sdk/go1.24.1/bin/go"
    go.parent.mkdir(parents=True)
    go.write_text("#!/bin/sh\n")
    go.chmod(0o755)
    (tmp_path / "sdk/go1.24.1/VERSION").write_text("go1.24.1\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    good = ServiceSpec(name="good", run=Command(argv=("x",)), build=Build(tool="go@1.24"))
    services = {"good": good, "bad": ServiceSpec(name="bad", run=Command(argv=("x",)), build=Build(tool="go@1.1"))}
    for named, ok in ((["good"], True), (["good", "bad"], False)):
        workspace = WorkspaceSpec(
            name="shop",
            root=str(tmp_path),
            environment=EnvironmentSpec(),
            services={name: services[name] for name in named},
        )
        row = next(row for row in local_checks(None, workspace) if row.check == "go builds")
        assert row.ok is ok
        assert "1.24.1" in row.text
    assert row.text.startswith("missing: bad asks for go 1.1 ([build] tool); found ")
    assert "go.dev" in row.fix
    assert row.toolchain is not None
    assert [(wish.service, wish.met) for wish in row.toolchain.asked] == [("good", True), ("bad", False)]


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="atl-"))  # short: it has a socket
    yield made
    shutil.rmtree(made)


def test_of_a_keeper_without_a_daemon_it_is_said_what_starts_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATOLL_HOME", str(folder / "h"))
    monkeypatch.setenv("ATOLL_RUN", str(folder / "r"))
    at = Places(folder, "local")
    at.create()
    (at.state / "fixtures.json").write_text("x{{")  # of what an `up` that was cut off had said nothing is left either
    start_keeper(at.state, at.run)
    try:
        trouble = daemon_trouble(at)
        assert trouble is not None
        assert (trouble.fix, trouble.gives_up) == ("`atoll up` starts it", False)
        assert "fixtures.json cannot be read: " in (at.state / "logs" / "keeper.log").read_text()
    finally:
        KeeperClient(at.run).shutdown(timeout_s=30.0)
    assert daemon_trouble(at) is None
