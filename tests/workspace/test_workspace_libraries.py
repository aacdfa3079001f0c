"""A service.toml with tasks and nothing that runs is a library's."""

from pathlib import Path

import pytest

from atoll.model.errors import InvalidWorkspace
from atoll.workspace.loader import load
from atoll.workspace.names import names

LOG = 'name = "log"\n[tasks]\ntest = "true"\n'
ORDERS = 'name = "orders"\nrun = "x"\n[tasks.test]\nrun = "true"\nneeds = ["log.test"]\n'


def workspace(root: Path, **files: str) -> Path:
    (root / "atoll.toml").write_text('services = ["*"]\n')
    for folder, text in files.items():
        (root / folder).mkdir()
        (root / folder / "service.toml").write_text(text)
    return root


def test_a_library_has_tasks_and_is_no_service(tmp_path: Path) -> None:
    found = load(workspace(tmp_path, log=LOG, orders=ORDERS))
    assert list(found.services) == ["orders"]
    assert list(found.libraries) == ["log"]
    assert [task.name for task in found.tasks["log"]] == ["test"]
    assert list(found.worked_on) == ["orders", "log"]
    assert names(tmp_path).services == ("orders",)
    assert names(tmp_path).tasks == ("log.test", "orders.test")


def test_a_library_has_a_build_only_where_it_says_how(tmp_path: Path) -> None:
    needy = ORDERS.replace("log.test", "log.build")
    with pytest.raises(InvalidWorkspace) as caught:
        load(workspace(tmp_path, log=LOG, orders=needy))
    assert [problem.id for problem in caught.value.problems] == ["unknown-task"]
    (tmp_path / "log" / "service.toml").write_text('name = "log"\nbuild = "make"\n[tasks]\ntest = "true"\n')
    assert list(load(tmp_path).libraries) == ["log"]


def test_what_has_a_route_must_run(tmp_path: Path) -> None:
    with pytest.raises(InvalidWorkspace) as caught:
        load(workspace(tmp_path, log='name = "log"\nroute = "/log"\n[tasks]\ntest = "true"\n'))
    assert [(problem.field, problem.id) for problem in caught.value.problems] == [("run", "missing-field")]


def test_no_library_is_called_like_a_service(tmp_path: Path) -> None:
    with pytest.raises(InvalidWorkspace) as caught:
        load(workspace(tmp_path, log=LOG, orders=ORDERS.replace('"orders"', '"log"').replace("log.test", "test")))
    assert "name-taken" in {problem.id for problem in caught.value.problems}
