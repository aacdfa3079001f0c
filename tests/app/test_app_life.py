"""Starting and stopping an environment where its folder is read-only or full."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atoll.app.checks import local_checks
from atoll.app.hooks import EnvironmentPlaces
from atoll.app.life import alone
from atoll.model.errors import UserError
from atoll.workspace.places import Places

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a small file system takes root")
Remount = Callable[[str], None]


def quiet(_: str) -> None:
    """Nobody listens."""


@pytest.fixture
def remount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remount]:
    """Changes the options of the small file system that ATOLL_HOME is."""
    home = tmp_path / "home"
    home.mkdir()

    def mount(options: str) -> None:
        argv = ["mount", "-t", "tmpfs", "-o", options, "atoll-test", str(home)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode != 0:
            pytest.skip(f"cannot mount here: {done.stderr.strip()}")

    monkeypatch.setenv("ATOLL_HOME", str(home))
    mount("size=4m")
    with tempfile.TemporaryDirectory(prefix="atl-") as run:  # short: it is for sockets
        monkeypatch.setenv("ATOLL_RUN", run)
        yield lambda options: mount(f"remount,{options}")
    subprocess.run(["umount", str(home)], check=True, timeout=30)


@pytest.fixture
def places(tmp_path: Path, remount: Remount) -> EnvironmentPlaces:
    made = EnvironmentPlaces(Places(tmp_path, "local"))
    made.at.create()
    return made


def test_a_read_only_folder_is_said_with_the_file_and_the_fix(places: EnvironmentPlaces, remount: Remount) -> None:
    remount("ro")
    with pytest.raises(UserError) as told, alone(places, quiet):
        pytest.fail("nothing may begin")
    assert told.value.id == "folder-unusable"
    assert "life.lock: Read-only file system" in told.value.why
    assert "mounted read-only" in told.value.fix


def test_what_ran_before_its_disk_became_read_only_can_be_stopped(places: EnvironmentPlaces, remount: Remount) -> None:
    with alone(places, quiet):
        pass
    remount("ro")
    with alone(places, quiet):  # `down`
        pass
    with pytest.raises(UserError) as told, alone(places, quiet):  # `up`
        (places.at.state / "envoy.json.new").write_text("{}")
    assert "envoy.json.new: Read-only file system" in told.value.why


def test_a_full_disk_is_no_bug_and_a_nearly_full_one_is_not_called_full(places: EnvironmentPlaces) -> None:
    (near,) = (row for row in local_checks(places.at, None) if row.check == "data")
    assert "MiB free" in near.text
    assert ": when it is full nothing is deployed" in near.text
    with pytest.raises(UserError) as told, alone(places, quiet):
        (places.at.state / "envoy.json.new").write_bytes(bytes(5_000_000))
    assert told.value.id == "disk-full"
    (full,) = (row for row in local_checks(places.at, None) if row.check == "data")
    assert "0 MiB free" in full.text
    assert ": nothing is deployed" in full.text
