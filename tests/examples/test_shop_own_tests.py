"""Each service of the example brings its own tests, in its own language: here they run, as their teams would run them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SHOP = Path(__file__).resolve().parents[2] / "examples" / "shop"


def passes(command: list[str], folder: Path, **env: str) -> None:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **env}, capture_output=True, text=True, timeout=170, check=False
    )
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


def needs(*argv: str) -> None:
    """Skip where a toolchain is missing, or is there and does not work (a switcher without a version)."""
    if shutil.which(argv[0]) is None:
        pytest.skip(f"{argv[0]} is not on this machine")
    done = subprocess.run(argv, cwd="/", capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        pytest.skip(f"{' '.join(argv)} does not work here: {done.stderr.strip()[-200:]}")


@pytest.mark.slow
def test_the_go_service_passes_its_own_tests() -> None:
    needs("go", "version")
    passes(["go", "test", "./..."], SHOP / "payments", GOTOOLCHAIN="local", GOFLAGS="-mod=readonly")


@pytest.mark.slow
def test_the_java_service_passes_its_own_tests(tmp_path: Path) -> None:
    needs("javac", "-version")
    done = subprocess.run(["javac", "-version"], capture_output=True, text=True, timeout=60, check=True)
    if int(re.sub(r"\D*(\d+).*", r"\1", (done.stdout + done.stderr).strip(), flags=re.DOTALL)) < 17:
        pytest.skip("the service is written for Java 17")
    sources = [str(path) for path in sorted((SHOP / "shipping").rglob("*.java"))]
    passes(["javac", "-d", str(tmp_path), *sources], SHOP / "shipping")
    passes(["java", "-cp", str(tmp_path), "ShippingTest"], SHOP / "shipping")


@pytest.mark.slow
def test_the_rust_service_passes_its_own_tests(tmp_path: Path) -> None:
    needs("cargo", "--version")
    needs("cc", "--version")
    passes(
        ["cargo", "test", "--locked", "--offline"], SHOP / "recommendations",
        CARGO_TARGET_DIR=str(tmp_path), RUSTUP_AUTO_INSTALL="0",
    )  # fmt: skip


def test_web_understands_the_contract_that_catalog_serves() -> None:
    def contract(service: str) -> list[str]:
        lines = (SHOP / service / "catalog.proto").read_text().splitlines()
        return [line for line in lines if not line.startswith("//")]

    assert contract("web") == contract("catalog")
