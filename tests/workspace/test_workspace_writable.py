"""`writable` of service.toml: folders that can be given to a service, and why others cannot."""

from pathlib import Path

import pytest

from atoll.model.errors import InvalidWorkspace
from atoll.workspace.loader import load


def write(root: Path, **services: str) -> None:
    (root / "atoll.toml").touch()
    for name, writable in services.items():
        (root / name).mkdir()
        (root / name / "service.toml").write_text(f'run = "x"\nwritable = {writable}')


def test_absolute_folders_are_taken(tmp_path: Path) -> None:
    write(tmp_path, orders='["/var/lib/orders/", "/srv/shop//orders"]', other='["/var/lib/other"]')
    services = load(tmp_path).services
    assert services["orders"].writable == ("/var/lib/orders", "/srv/shop/orders")


@pytest.mark.parametrize(
    ("folder", "what", "fix"),
    [
        ("storage", "must be absolute: the artifact is read-only", "{data}/storage"),
        ("./tmp", "must be absolute", "{data}/tmp"),
        ("/var/lib/../x", "without '.' and '..'", ""),
        ("/", "which is the system's", "/var/lib/orders"),
        ("/var/lib", "which is the system's", '"/var/lib/orders"'),
        ("/etc/nginx", "which is the system's", "/var/lib/orders"),
    ],
)
def test_what_cannot_be_given_is_refused_with_its_reason(tmp_path: Path, folder: str, what: str, fix: str) -> None:
    write(tmp_path, orders=f'["{folder}"]')
    with pytest.raises(InvalidWorkspace) as caught:
        load(tmp_path)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == ("orders/service.toml", 2)
    assert what in problem.what
    assert fix in problem.fix


def test_a_folder_has_one_service(tmp_path: Path) -> None:
    write(tmp_path, a='["/var/lib/shared"]', b='["/var/lib/shared"]')
    with pytest.raises(InvalidWorkspace, match="which a has"):
        load(tmp_path)
