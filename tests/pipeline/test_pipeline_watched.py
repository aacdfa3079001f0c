"""Which folders are watched, and whom a changed file concerns."""

from pathlib import Path

import pytest

from atoll.model.environment import EnvironmentSpec, WorkspaceSpec
from atoll.model.spec import Build, RenderedFile, ServiceSpec
from atoll.pipeline.watched import Watched


@pytest.fixture
def workspace(tmp_path: Path) -> WorkspaceSpec:
    """Three services: `orders` in a folder of its own, `web` with patterns, `api` whose context is all of `go`."""
    for path in (
        "orders/app/views/page.html", "orders/node_modules/x/index.js", "orders/logs/today.log", "orders/.gitignore",
        "web/src/main.ts", "web/README.md", "go/api/main.go", "go/lib/lib.go", "docs/index.md", ".git/HEAD",
        "hidden/out/x", "hidden/here/x",
    ):  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x")
    (tmp_path / "orders/.gitignore").write_text("logs/\n*.pyc\n")
    (tmp_path / ".gitignore").write_text("hidden/\n")
    services = (
        ServiceSpec(name="orders", folder="orders", files={"nginx.conf": RenderedFile(text="", template="conf.tmpl")}),
        ServiceSpec(name="web", folder="web", build=Build(inputs=("src/**", "!src/*.test.ts"))),
        ServiceSpec(name="api", folder="go/api", build=Build(context="..", inputs=("**/*.go",))),
        ServiceSpec(name="hidden", folder="hidden"),
    )
    by_name = {spec.name: spec for spec in services}
    return WorkspaceSpec(name="ws", root=str(tmp_path), environment=EnvironmentSpec(), services=by_name)


def watched(workspace: WorkspaceSpec, *names: str) -> Watched:
    return Watched(workspace, names or workspace.services, Path(workspace.root, "built"))


@pytest.mark.parametrize(
    ("changed", "concerned"),
    [
        ("orders/app.py", {"orders": ("app.py",)}),
        ("orders/app/views/page.html", {"orders": ("app/views/page.html",)}),
        ("orders/gone.py", {"orders": ("gone.py",)}),
        ("orders/app/", {"orders": ("app/",)}),
        ("orders/logs/today.log", {}),
        ("orders/logs/", {}),
        ("orders/x.pyc", {}),
        ("orders/node_modules/x/index.js", {}),
        ("orders/__pycache__/", {}),
        ("orders/.app.py.swp", {}),
        ("orders/app.py~", {}),
        ("orders/4913", {}),
        ("orders/.#app.py", {}),
        ("orders/.gitignore", {"orders": (".gitignore",)}),
        ("orders/service.toml", {}),
        ("web/src/main.ts", {"web": ("src/main.ts",)}),
        ("web/src/main.test.ts", {}),
        ("web/README.md", {}),
        ("web/src/", {"web": ("src/",)}),
        ("go/lib/lib.go", {"api": ("lib/lib.go",)}),
        ("go/lib/README.md", {}),
        ("docs/index.md", {}),
        ("hidden/here/x", {"hidden": ("here/x",)}),
        ("ordersx/app.py", {}),
    ],
)
def test_a_file_concerns_whoever_builds_with_it(
    workspace: WorkspaceSpec, changed: str, concerned: dict[str, tuple[str, ...]]
) -> None:
    assert watched(workspace).concerned([f"{workspace.root}/{changed}"]) == concerned


def test_a_gitignore_counts_as_it_is_now(workspace: WorkspaceSpec) -> None:
    one = watched(workspace)
    path = f"{workspace.root}/orders/new.log"
    assert one.concerned([path])
    Path(workspace.root, "orders/.gitignore").write_text("*.log\n")
    assert not one.concerned([path])


def test_folders_that_git_ignores_or_tools_fill_are_not_watched(workspace: WorkspaceSpec) -> None:
    root = Path(workspace.root)
    folders = {Path(folder).relative_to(root).as_posix() for folder in watched(workspace).folders(everywhere=True)}
    assert folders == {
        *(".", "orders", "orders/app", "orders/app/views", "web", "web/src", "go", "go/api", "go/lib", "docs"),
        *("hidden", "hidden/out", "hidden/here"),  # it is a service all the same
    }


def test_named_services_are_all_that_is_watched(workspace: WorkspaceSpec) -> None:
    root = Path(workspace.root)
    folders = {Path(one).relative_to(root).as_posix() for one in watched(workspace, "web").folders(everywhere=False)}
    assert folders == {".", "web", "web/src"}
    assert watched(workspace, "web").concerned([f"{root}/orders/app.py"]) == {}


@pytest.mark.parametrize(
    "path", ["atoll.toml", "orders/service.toml", "new/service.toml", "orders/conf.tmpl", "ca.pem"]
)
def test_what_says_what_services_are_is_known(workspace: WorkspaceSpec, path: str) -> None:
    assert watched(workspace).declares(f"{workspace.root}/{path}")
    assert not watched(workspace).declares(f"{workspace.root}/orders/app.py")
