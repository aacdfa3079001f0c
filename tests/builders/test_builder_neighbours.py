"""`atoll check` warns of services that are built without members of their workspace that they need."""

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from atoll.pipeline.neighbours import without_members
from atoll.workspace.loader import load

MONOREPOS = Path(__file__).with_name("monorepos")
NAMES = sorted(path.name for path in MONOREPOS.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_a_member_that_needs_others_is_told_its_context(tmp_path: Path, name: str) -> None:
    shutil.copytree(MONOREPOS / name, tmp_path, dirs_exist_ok=True)
    (tmp_path / "atoll.toml").write_text('services = ["services/*"]\n')
    for service in ("orders", "payments"):
        (tmp_path / "services" / service / "service.toml").write_text('run = "x"\n')
    workspace = load(tmp_path, "local")
    found = {problem.file: problem for problem in without_members(workspace)}
    assert sorted(found) == ["services/orders/service.toml", "services/payments/service.toml"]
    problem = found["services/orders/service.toml"]
    assert "money" in problem.what
    assert problem.fix.startswith('set `context = "../.."` in [build], and `workdir = "services/orders"`')
    assert (problem.level, problem.id, problem.field) == ("warning", "context-too-small", "build.context")
    mended = {
        each: msgspec.structs.replace(spec, build=msgspec.structs.replace(spec.build, context="../.."))
        for each, spec in workspace.services.items()
    }
    assert not list(without_members(msgspec.structs.replace(workspace, services=mended)))


def test_the_check_command_says_so(tmp_path: Path) -> None:
    shutil.copytree(MONOREPOS / "cargo", tmp_path, dirs_exist_ok=True)
    (tmp_path / "atoll.toml").write_text('services = ["services/*"]\n')
    (tmp_path / "services/orders/service.toml").write_text('run = "./orders"\n')
    argv = [sys.executable, "-m", "atoll.app", "check"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "services/orders/service.toml: warning: " in done.stdout
    assert "libs/money (services/orders/Cargo.toml names money)" in done.stdout


def test_a_service_that_needs_nobody_is_not_told_anything(tmp_path: Path) -> None:
    for path, text in {
        "atoll.toml": "",
        "package.json": '{"devDependencies": {"husky": "9"}}',
        "go.mod": "module shop\n\ngo 1.21\n",
        "main.go": "package main\n\nfunc main() {}\n",
        "web/service.toml": 'run = "x"\n',
        "web/package.json": "{}",
        "jobs/service.toml": 'run = "x"\n',
        "jobs/run.sh": "",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    assert not list(without_members(load(tmp_path, "local")))
