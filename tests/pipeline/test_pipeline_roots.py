"""Two real git repositories, one workspace: what goes into a build, its key, and from what commit it is."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from atoll.model.errors import BuildFailed
from atoll.model.state import Artifact
from atoll.pipeline.build import build_all
from atoll.pipeline.provenance import Provenance
from atoll.pipeline.work import Site
from atoll.workspace.loader import load

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(folder: Path, *argv: str) -> str:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    who = ("-c", "user.name=ada", "-c", "user.email=ada@example.com")
    done = subprocess.run(["git", *who, *argv], cwd=folder, env=env, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def repository(folder: Path, files: Mapping[str, str]) -> str:
    """A git repository of these files; its commit."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", folder.name)
    return git(folder, "rev-parse", "HEAD")


def two(top: Path, billing: str = "../billing") -> Path:
    repository(top / "shop", {"atoll.toml": f'roots = ["{billing}"]', "web/service.toml": 'run = "x"'})
    place = (top / "shop" / billing).resolve()
    repository(place, {
        ".gitignore": "*.log\n!kept.log\n",
        "lib/shared.txt": "shared",
        "invoices/service.toml": 'run = "x"\nbuild = { steps = "ls -R > listing", context = ".." }',
        "invoices/main.txt": "main",
        "service.toml": 'run = "x"\nbuild = "true"',
        "main.txt": "top",
    })  # fmt: skip
    (place / "invoices" / "debug.log").touch()
    (place / "invoices" / "kept.log").touch()
    return top / "shop"


def build(root: Path, artifacts: Path) -> Mapping[str, Artifact]:
    specs = [spec for name, spec in load(root).services.items() if name != "web"]
    site = Site(root=root, artifacts=artifacts, toolchains=root / "toolchains", records=root / "records.db")
    results = asyncio.run(build_all(specs, site))
    assert not any(isinstance(result, BuildFailed) for result in results.values()), results
    return {name: result for name, result in results.items() if isinstance(result, Artifact)}


def files(artifact: Artifact) -> set[str]:
    place = Path(artifact.path)
    return {str(file.relative_to(place)) for file in place.rglob("*") if file.is_file()}


def test_a_build_takes_the_files_of_its_own_repository(tmp_path: Path) -> None:
    built = build(two(tmp_path), tmp_path / "artifacts")
    assert files(built["invoices"]) == {
        ".gitignore", "lib/shared.txt", "invoices/main.txt", "invoices/kept.log", "main.txt", "listing"
    }  # fmt: skip
    others = {name for name in files(built["billing"]) if name.endswith("service.toml")}
    assert others == set(), "a file that describes another service is no input"


def test_the_key_does_not_depend_on_where_the_repository_lies(tmp_path: Path) -> None:
    near = build(two(tmp_path / "a"), tmp_path / "artifacts-a")
    far = build(two(tmp_path / "b" / "c", "../../elsewhere/billing"), tmp_path / "artifacts-b")
    assert {name: one.key for name, one in near.items()} == {name: one.key for name, one in far.items()}


def test_a_release_is_from_the_commit_of_the_repository_that_holds_the_service(tmp_path: Path) -> None:
    root = two(tmp_path)
    shop, billing = git(root, "rev-parse", "HEAD"), git(tmp_path / "billing", "rev-parse", "HEAD")
    services = load(root).services

    def origin(name: str) -> tuple[str, bool]:
        author = Provenance(root).of(services[name])
        return author.commit, author.dirty

    for log in ("debug.log", "kept.log"):
        (tmp_path / "billing/invoices" / log).unlink()
    assert (origin("web"), origin("invoices")) == ((shop, False), (billing, False))
    (tmp_path / "billing" / "lib" / "new.txt").touch()
    assert (origin("web"), origin("invoices")) == ((shop, False), (billing, True))


def test_a_repository_within_the_workspace_is_the_origin_of_its_services(tmp_path: Path) -> None:
    root = two(tmp_path)
    inner = repository(root / "vendored", {"service.toml": 'run = "x"'})
    assert Provenance(root).of(load(root).services["vendored"]).commit == inner
