"""Services in other repositories: where they are found, how they are named, and what is said when they are not there."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from atoll.model.errors import InvalidWorkspace, Problem
from atoll.workspace.loader import load


def write(top: Path, texts: Mapping[str, str]) -> Path:
    """Files below `top`, one workspace in `shop`."""
    for name, text in {"shop/atoll.toml": "", "shop/web/service.toml": 'run = "x"', **texts}.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    return top / "shop"


def folders(root: Path) -> dict[str, tuple[str, str]]:
    """Folder and root of each service."""
    return {name: (spec.folder, spec.root) for name, spec in load(root).services.items()}


def wrong(root: Path) -> list[Problem]:
    with pytest.raises(InvalidWorkspace) as caught:
        load(root)
    return [problem for problem in caught.value.problems if problem.level == "error"]


def test_services_of_other_repositories_are_found_by_the_usual_folders(tmp_path: Path) -> None:
    root = write(tmp_path, {
        "shop/atoll.toml": 'roots = ["../billing", "../mail/"]',
        "billing/services/invoices/service.toml": 'run = "x"',
        "mail/service.toml": 'run = "x"',
    })  # fmt: skip
    assert folders(root) == {
        "web": ("web", "."),
        "invoices": ("../billing/services/invoices", "../billing"),
        "mail": ("../mail", "../mail"),
    }


def test_a_root_may_say_where_its_services_lie(tmp_path: Path) -> None:
    root = write(tmp_path, {
        "shop/atoll.toml": 'roots = [{ path = "../billing", services = "apps/*" }]',
        "billing/apps/invoices/service.toml": 'run = "x"',
        "billing/old/service.toml": 'run = "x"',
    })  # fmt: skip
    assert set(folders(root)) == {"web", "invoices"}


def test_a_root_may_be_absolute_or_below_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    top = f'roots = ["{tmp_path}/billing", "~/src/mail"]'
    root = write(tmp_path, {
        "shop/atoll.toml": top,
        "billing/service.toml": 'run = "x"',
        "home/src/mail/service.toml": 'run = "x"',
    })  # fmt: skip
    assert folders(root)["billing"] == (f"{tmp_path}/billing",) * 2
    assert folders(root)["mail"] == (f"{tmp_path}/home/src/mail",) * 2


def test_a_root_within_the_workspace_has_what_lies_in_it(tmp_path: Path) -> None:
    root = write(tmp_path, {"shop/atoll.toml": 'roots = ["billing"]', "shop/billing/service.toml": 'run = "x"'})
    assert folders(root)["billing"] == ("billing", "billing")


def test_mistakes_name_a_file_that_a_person_finds(tmp_path: Path) -> None:
    root = write(tmp_path, {
        "shop/atoll.toml": 'roots = ["../billing"]',
        "billing/invoices/service.toml": 'run = "x"\nprot = "grpc"\n[calls]\nwbe = "URL"',
    })  # fmt: skip
    assert [(p.file, p.line, p.fix) for p in wrong(root)] == [
        ("../billing/invoices/service.toml", 2, "did you mean 'port'?"),
        ("../billing/invoices/service.toml", 4, "did you mean 'web'?"),
    ]
    assert (root / "../billing/invoices/service.toml").is_file()


def test_two_services_of_one_name_are_told_with_both_files(tmp_path: Path) -> None:
    root = write(tmp_path, {"shop/atoll.toml": 'roots = ["../billing"]', "billing/web/service.toml": 'run = "x"'})
    [problem] = wrong(root)
    assert {problem.file, problem.what.rpartition(" ")[2]} == {"web/service.toml", "../billing/web/service.toml"}
    assert problem.fix == "each service has a name of its own"


def test_a_build_stays_within_its_root(tmp_path: Path) -> None:
    root = write(tmp_path, {
        "shop/atoll.toml": 'roots = ["../billing"]',
        "billing/in/service.toml": 'run = "x"\nbuild = { steps = "x", context = ".." }',
        "billing/out/service.toml": 'run = "x"\nbuild = { steps = "x", context = "../.." }',
    })  # fmt: skip
    [problem] = wrong(root)
    assert problem.file == "../billing/out/service.toml"
    assert problem.what == 'build.context "../.." leads out of its root ../billing'


def test_a_root_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    root = write(tmp_path, {"shop/atoll.toml": '\nroots = ["../billing"]'})
    (tmp_path / "shop/web/service.toml").write_text('run = "x"\ncalls.invoices = "URL"')
    [problem] = wrong(root)
    assert (problem.file, problem.line) == ("atoll.toml", 2)
    assert problem.what == 'roots: "../billing" is not there'
    assert str(tmp_path / "billing") in problem.fix.replace("shop/../", "")
    assert "optional = true" in problem.fix


def test_who_does_without_an_optional_root_has_the_other_services(tmp_path: Path) -> None:
    root = write(tmp_path, {"shop/atoll.toml": 'roots = [{ path = "../billing", optional = true }]'})
    (tmp_path / "shop/web/service.toml").write_text('run = "x"\ncalls.invoices = "URL"')
    found = load(root)
    [call] = found.services["web"].calls
    assert (call.optional, dict(call.env)) == (True, {"URL": "{url}"})
    assert [(p.file, p.what) for p in found.warnings] == [
        ("atoll.toml", 'roots: "../billing" is not there; its services are left out, and calls to them get 503'),
        ("web/service.toml", "calls.invoices names no service that is here; it may be in the root that is not there, and gets 503 until then"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("top", "level", "what"),
    [
        ('roots = ["."]', "error", 'roots: "." is the workspace itself'),
        ('roots = ["web/service.toml"]', "error", 'roots: "web/service.toml" is not a folder'),
        ('roots = ["../empty"]', "warning", 'roots: no folder with a service.toml in "../empty" at ".", "*", "services/*"'),
        ('services = ["../x"]', "error", 'services[0] must be a folder or a glob below the workspace, without \'..\' (`roots` are for other repositories), not "../x"'),
    ],
)  # fmt: skip
def test_roots_that_mean_nothing_are_told(tmp_path: Path, top: str, level: str, what: str) -> None:
    root = write(tmp_path, {"shop/atoll.toml": top, "empty/readme": ""})
    try:
        found = load(root).warnings
    except InvalidWorkspace as exc:
        found = exc.problems
    assert (level, what) in [(problem.level, problem.what) for problem in found]
