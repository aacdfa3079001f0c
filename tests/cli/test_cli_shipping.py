"""The command line and an environment on another machine: real builds, a real depot, a daemon of pretend between them."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atoll.model.environment import EnvironmentSpec
from atoll.model.wire import DeployRequest, UpRequest
from atoll.pipeline.artifacts import remove_tree
from atoll.pipeline.collect import Collected
from atoll.pipeline.ship.depot import Depot
from atoll.testing.fake_control import FakeControl, Served

Atoll = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Served]:
    """Its artifacts are in `machine/artifacts`."""
    control = FakeControl()
    control.settings = EnvironmentSpec(name="production")
    control.depot = Depot(tmp_path / "machine" / "artifacts", lambda *_: Collected())
    with Served(tmp_path / "m.sock", control) as served:
        yield served
    for folder in (tmp_path / "machine/artifacts", tmp_path / "home"):
        if folder.is_dir():
            remove_tree(folder)


@pytest.fixture
def atoll(tmp_path: Path, machine: Served) -> Iterator[Atoll]:
    shop = tmp_path / "shop"
    for name in ("orders", "catalog"):
        (shop / name).mkdir(parents=True)
        (shop / name / "service.toml").write_text(f'name = "{name}"\nrun = "sh serve.sh"\n')
        (shop / name / "serve.sh").write_text(f"echo {name}\n")
        (shop / name / "shared.txt").write_text("the same in both")
    host = f'[environments.production]\nhost = "unix://{machine.socket}"\n'
    (shop / "atoll.toml").write_text(f'name = "shop"\nservices = ["*"]\n{host}')
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ATOLL", "NO_COLOR", "COLUMNS"))}
    run = tempfile.TemporaryDirectory(prefix="atl-")  # short: sockets would lie in it
    env = kept | {"ATOLL_HOME": str(tmp_path / "home"), "ATOLL_RUN": run.name, "ATOLL_ENV": "production"}

    def call(*args: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "atoll.app", *args],
            cwd=shop, env=env, capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip

    with run:
        yield call


def deployed(machine: Served) -> list[DeployRequest]:
    return [request for request in machine.control.requests if isinstance(request, DeployRequest)]


def amend(tmp_path: Path, old: str, new: str) -> None:
    """The file of orders."""
    file = tmp_path / "shop" / "orders" / "service.toml"
    file.write_text(file.read_text().replace(old, new))


def test_a_deploy_carries_the_artifact_as_it_lies_on_the_machine(atoll: Atoll, machine: Served, tmp_path: Path) -> None:
    done = atoll("deploy", "orders", "--detach")
    assert done.returncode == 0, done.stderr
    (request,) = deployed(machine)
    folder = Path(request.artifact.path)
    assert folder == tmp_path / "machine" / "artifacts" / request.artifact.key
    assert (folder / "serve.sh").read_text() == "echo orders\n"
    assert "2 contents of 2 files sent" in done.stderr


def test_what_is_there_is_not_sent_again(atoll: Atoll, machine: Served) -> None:
    atoll("deploy", "orders", "--detach")
    again = atoll("deploy", "orders", "--force", "--detach")
    assert again.returncode == 0, again.stderr
    assert "sent" not in again.stderr
    other = atoll("deploy", "catalog", "--detach")
    assert "1 content of 2 files sent" in other.stderr
    assert len({request.artifact.path for request in deployed(machine)}) == 2


def test_a_plan_sends_nothing(atoll: Atoll, tmp_path: Path) -> None:
    done = atoll("deploy", "orders", "--plan")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "machine" / "artifacts").exists()


def test_up_sends_what_it_starts_and_asks_the_machine_for_its_stores(
    atoll: Atoll, machine: Served, tmp_path: Path
) -> None:
    amend(tmp_path, 'serve.sh"\n', 'serve.sh"\n[stores.sessions]\ntype = "redis"\nenv = "REDIS_URL"\n')
    done = atoll("up", "--detach", "--json")
    failures = json.loads(done.stdout)["failures"]
    assert failures["sessions"]["id"] == "store-not-here"
    assert "its store sessions cannot be" in failures["orders"]["what"]
    (request,) = (request for request in machine.control.requests if isinstance(request, UpRequest))
    (draft,) = request.drafts
    assert draft.spec.name == "catalog"
    assert draft.artifact.path.startswith(str(tmp_path / "machine"))


def test_one_that_would_not_run_there_is_told_and_stops_no_other(atoll: Atoll, machine: Served, tmp_path: Path) -> None:
    amend(tmp_path, "sh serve.sh", "/opt/only-here/serve")
    done = atoll("deploy", "orders", "catalog", "--detach")
    assert done.returncode == 4, done.stderr
    assert "error[missing-on-machine]: orders would not run there: it is run by /opt/only-here/serve" in done.stderr
    assert [request.spec.name for request in deployed(machine)] == ["catalog"]


def test_a_file_that_names_the_folder_where_it_was_built_is_told_of(atoll: Atoll, tmp_path: Path) -> None:
    amend(tmp_path, 'serve.sh"\n', 'serve.sh"\n[build]\nsteps = ["pwd > where"]\n')
    done = atoll("deploy", "orders", "--detach")
    assert done.returncode == 0, done.stderr
    assert "orders: where named the folder where it was built" in done.stderr


def test_a_key_that_is_there_is_taken_as_it_is_whoever_built_it(atoll: Atoll, machine: Served, tmp_path: Path) -> None:
    amend(tmp_path, 'serve.sh"\n', 'serve.sh"\n[build]\nsteps = ["date +%N > when"]\n')
    atoll("deploy", "orders", "--detach")
    remove_tree(tmp_path / "home")
    assert atoll("deploy", "orders", "--force", "--detach").returncode == 0
    first, second = deployed(machine)
    assert first.artifact == second.artifact
