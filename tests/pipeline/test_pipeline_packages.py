"""Real uv and npm with small packages from the configured registries. Skipped, visibly, where they cannot be had."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from atoll.model.errors import BuildFailed
from atoll.model.state import Artifact
from atoll.pipeline.artifacts import remove_tree

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# What package managers say when a registry does not answer; anything else is a failure of ours.
OFFLINE = (
    "error sending request",
    "Failed to fetch",
    "dns error",
    "Could not connect",
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ETIMEDOUT",
    "network",
    "client error",
)


def built(workshop, spec) -> Artifact:
    result = workshop.build(spec)[spec.name]
    if isinstance(result, BuildFailed):
        if any(word in result.output for word in OFFLINE):
            pytest.skip(f"a package cannot be had: {result.output.splitlines()[-1]}")
        raise result
    return result


def out(*argv: str, cwd: str) -> str:
    return subprocess.run(argv, cwd=cwd, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


@pytest.mark.parametrize(
    "files",
    [
        {"requirements.txt": "idna==3.10\n"},
        {
            "pyproject.toml": '[project]\nname="orders"\nversion="1"\nrequires-python=">=3.11"\ndependencies=["idna==3.10"]\n'
        },
        {
            "requirements.txt": "idna==3.10\n",
            "pyproject.toml": '[project]\nname="orders"\nversion="1"\ndependencies=["idna"]\n'
            '[build-system]\nrequires=["setuptools"]\nbuild-backend="setuptools.build_meta"\n'
            '[tool.setuptools]\npackages=["orders"]\n',
            "orders/__init__.py": "",
        },
    ],
    ids=["requirements", "pyproject", "package"],
)
def test_a_python_service_gets_a_read_only_venv_at_its_final_place(workshop, files: dict[str, str]) -> None:
    for path, text in {**files, "app.py": "import idna, sys; print(idna.__version__, sys.prefix)"}.items():
        workshop.write(f"orders/{path}", text)
    artifact = built(workshop, workshop.spec("orders"))
    assert artifact.command_env == {"PATH+": f"{artifact.path}/.venv/bin"}
    version, prefix = out(f"{artifact.path}/.venv/bin/python", "app.py", cwd=artifact.path).split()
    assert (version, prefix) == ("3.10", f"{artifact.path}/.venv")
    files_of = [path for path in Path(artifact.path).rglob("*") if not path.is_symlink()]
    assert all(path.stat().st_mode & 0o222 == 0 for path in files_of)
    compiled = Path(artifact.path, "__pycache__").glob("app.*.pyc")
    assert list(compiled), "its own sources are compiled, too"
    again = workshop.build(workshop.spec("orders"))["orders"]
    assert again == artifact


def test_two_builds_of_one_python_service_are_equal_to_the_byte(workshop) -> None:
    workshop.write("orders/requirements.txt", "idna==3.10\n")
    first = built(workshop, workshop.spec("orders"))
    workshop.artifacts.rename(workshop.root / "old")
    second = built(workshop, workshop.spec("orders"))
    assert (second.key, second.digest) == (first.key, first.digest)


def test_a_package_that_does_not_exist_fails_with_uvs_own_words(workshop) -> None:
    workshop.write("orders/requirements.txt", "idna==0.0.0.1\n")
    failed = workshop.failure(workshop.spec("orders"))
    if any(word in failed.output for word in OFFLINE):
        pytest.skip("the index cannot be reached")
    assert "step 2 of 3 (install requirements.txt)" in failed.what
    assert "idna" in failed.output
    assert workshop.half_made() == []


def test_an_interpreter_that_is_not_there_is_said_and_not_downloaded(workshop) -> None:
    workshop.write("orders/pyproject.toml", '[project]\nname="orders"\nversion="1"\nrequires-python=">=3.99"\n')
    failed = workshop.failure(workshop.spec("orders"))
    assert failed.what.startswith("python is missing")
    assert "3.99" in failed.what


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_a_node_service_gets_its_production_dependencies_and_its_build(workshop) -> None:
    workshop.write(
        "web/package.json",
        '{"name": "web", "version": "1.0.0", "scripts": {"build": "node build.js"},'
        ' "dependencies": {"is-odd": "3.0.1"}, "devDependencies": {"is-even": "1.0.0"}}',
    )
    workshop.write("web/build.js", "require('is-even'); require('fs').writeFileSync('built.js', 'console.log(3)')")
    artifact = built(workshop, workshop.spec("web"))
    folder = Path(artifact.path)
    assert out("node", "built.js", cwd=artifact.path) == "3"
    assert (folder / "node_modules/is-odd").is_dir()
    assert not (folder / "node_modules/is-even").exists()
    assert (folder / "node_modules/is-odd/index.js").stat().st_mode & 0o777 == 0o444


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_a_node_service_without_dependencies_takes_no_npm(workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    bin_folder = workshop.root / "bin"
    bin_folder.mkdir()
    (bin_folder / "node").symlink_to(shutil.which("node"))
    monkeypatch.setenv("PATH", str(bin_folder))
    workshop.write("web/server.js", "")
    workshop.write("web/package.json", '{"name": "web"}')
    assert workshop.one(workshop.spec("web")).builder == "node"


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_another_user_can_read_and_run_an_artifact(workshop) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to others
        Path(folder).chmod(0o755)
        shop = type(workshop)(Path(folder))
        shop.write("orders/run", "#!/bin/sh\ncat data\n", 0o700)
        shop.write("orders/data", "hello", 0o600)
        artifact = shop.one(shop.spec("orders"))
        try:
            done = subprocess.run(
                ["./run"],
                cwd=artifact.path,
                user=65534,
                group=65534,
                extra_groups=(),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        except PermissionError as exc:
            pytest.skip(f"cannot become another user here: {exc}")
        finally:
            remove_tree(shop.artifacts)
        assert done.stdout == "hello", done.stderr
