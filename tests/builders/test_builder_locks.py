"""Locks of other package managers, followed for real: Poetry's by uv, pnpm's and yarn's by themselves."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from atoll.builders.python import PythonBuilder
from atoll.model.errors import UserError
from atoll.model.spec import Command, ServiceSpec

ORDERS = ServiceSpec(name="orders", folder="orders", run=Command(argv=("x",)))
IDNA = "c05567e9c24a6b9faaa835c4821bad0590fbb9d5779e7caa6e1cc4978e7eb24f"
POETRY_LOCK = f"""
[[package]]
name = "idna"
version = "3.6"
files = [
    {{file = "idna-3.6-py3-none-any.whl", hash = "sha256:{IDNA}"}},
]

[metadata]
lock-version = "2.1"
"""
PYPROJECT = '[project]\nname = "orders"\nversion = "1"\ndependencies = ["idna>=3"]\n'


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_uv_installs_what_poetry_locked(yard) -> None:
    yard.write("orders", {"pyproject.toml": PYPROJECT, "poetry.lock": POETRY_LOCK})
    artifact = yard.build("orders")
    assert yard.out(artifact, "python", "-c", "import idna; print(idna.__version__)") == "3.6"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_file_that_poetry_did_not_lock_is_refused(yard) -> None:
    yard.write("orders", {"pyproject.toml": PYPROJECT, "poetry.lock": POETRY_LOCK.replace(IDNA, IDNA[::-1])})
    result = yard.result("orders")
    assert "(install from poetry.lock)" in result.what
    if "Hash mismatch" not in result.output:
        pytest.skip(f"the index cannot be reached: {result.output.splitlines()[-1]}")


@pytest.mark.parametrize(
    ("pyproject", "lock", "why"),
    [
        ("[tool.poetry]\npackage-mode = false\n", POETRY_LOCK, "package-mode is false"),
        (PYPROJECT, POETRY_LOCK.replace('"3.6"', '"3.6"\n[package.source]\ntype = "git"'), "not come from an index"),
        (PYPROJECT, POETRY_LOCK + '\n[[package]]\nname = "idna"\nversion = "3.7"\n', "it holds idna 2 times"),
        (PYPROJECT, "[[package", ""),
        (PYPROJECT, '[[package]]\nversion = "1"\n', ""),
    ],
)
def test_a_lock_that_uv_cannot_follow_is_refused_with_the_fix(
    tmp_path: Path, pyproject: str, lock: str, why: str
) -> None:
    (tmp_path / "pyproject.toml").write_text(pyproject)
    (tmp_path / "poetry.lock").write_text(lock)
    with pytest.raises(UserError, match=r"orders/poetry\.lock cannot be") as caught:
        PythonBuilder().steps(ORDERS, frozenset({"pyproject.toml", "poetry.lock"}), tmp_path)
    assert why in caught.value.why
    assert caught.value.fix


def test_a_long_lock_is_handed_over_in_pieces_that_the_kernel_takes(tmp_path: Path) -> None:
    files = ", ".join(f'{{file = "x", hash = "sha256:{number:064}"}}' for number in range(300))
    lock = "".join(f'[[package]]\nname = "p{number}"\nversion = "1"\nfiles = [{files}]\n' for number in range(30))
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "poetry.lock").write_text(lock)
    steps = PythonBuilder().steps(ORDERS, frozenset({"pyproject.toml", "poetry.lock"}), tmp_path)
    written = [step.command.shell or "" for step in steps if step.label == "read poetry.lock"]
    assert all(len(text) < 128 * 1024 for text in written)
    assert "".join(written).count("p29==1") == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "version", "lock", "write_lock"),
    [
        ("pnpm", "9.15.9", "pnpm-lock.yaml", ("pnpm", "install", "--lockfile-only")),
        ("yarn", "1.22.22", "yarn.lock", ("yarn", "install", "--silent", "--ignore-scripts")),
    ],
)
def test_a_node_service_is_installed_by_the_manager_of_its_lock(
    yard, manager, name: str, version: str, lock: str, write_lock: tuple[str, ...]
) -> None:
    manager(name, version)
    package = {
        "name": "web",
        "version": "1.0.0",
        "scripts": {"build": "node build.js"},
        "dependencies": {"is-number": "7.0.0"},
        "devDependencies": {"is-windows": "1.0.2"},
    }
    yard.write("web", {"package.json": json.dumps(package)})
    done = subprocess.run(write_lock, cwd=yard.root / "web", capture_output=True, text=True, timeout=150, check=False)
    if done.returncode != 0:
        pytest.skip(f"the registry cannot be reached: {(done.stdout + done.stderr).strip()[-200:]}")
    assert (yard.root / "web" / lock).exists()
    shutil.rmtree(yard.root / "web" / "node_modules", ignore_errors=True)
    yard.write("web", {"build.js": "require('is-windows'); require('fs').writeFileSync('b.js', 'console.log(7)')"})
    artifact = yard.build("web")
    assert yard.out(artifact, "node", "-e", "require('./b.js'); console.log(require('is-number')(5))") == "7\ntrue"
    assert not Path(artifact.path, "node_modules", "is-windows").exists()
