"""Each service of the example brings its own tests, in its own language: here they run, as their teams would run them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SHOP = Path(__file__).resolve().parents[2] / "examples" / "shop"


def passes(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("service", ["catalog", "mailer", "orders"])
def test_a_python_service_passes_its_own_tests(service: str) -> None:
    passes([sys.executable, "-m", "unittest", "--verbose"], SHOP / service)


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="node and npm are not on this machine")
def test_the_node_service_passes_its_own_tests(tmp_path: Path) -> None:
    web = shutil.copytree(SHOP / "web", tmp_path / "web", ignore=shutil.ignore_patterns("node_modules"))
    passes(["npm", "ci", "--no-audit", "--no-fund"], web)
    passes(["npm", "test"], web)


def test_web_understands_the_contract_that_catalog_serves() -> None:
    def contract(service: str) -> list[str]:
        lines = (SHOP / service / "catalog.proto").read_text().splitlines()
        return [line for line in lines if not line.startswith("//")]

    assert contract("web") == contract("catalog")
