"""Monorepos with the real tools: a service builds of its slice alone, its lock enforced, and runs.

Each has two services and two libraries; see `test_builder_scopes` for what a slice holds.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from atoll.model.errors import BuildFailed
from atoll.model.state import Artifact

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

MONOREPOS = Path(__file__).with_name("monorepos")


class Case(NamedTuple):
    """What the tools are, how each service is run in its `workdir`, and what it prints."""

    tools: tuple[tuple[str, ...], ...]
    workdir: str  # of a service, "{}" is its name
    orders: tuple[str, ...]
    payments: tuple[str, ...]
    says: tuple[str, str]


CASES = {
    "cargo": Case(
        tools=(("cargo", "--version"), ("cc", "--version")),
        workdir="services/{}",
        orders=("./orders",),
        payments=("./payments",),
        says=("orders 12 EUR", "payments 12 EUR 1"),
    ),
    "go-module": Case(
        tools=(("go", "version"),),
        workdir=".",
        orders=("./orders",),
        payments=("./payments",),
        says=("orders 12 EUR", "payments 12 EUR sent"),
    ),
    "go-replace": Case(
        tools=(("go", "version"),),
        workdir="services/{}",
        orders=("./orders",),
        payments=("./payments",),
        says=("orders 12 EUR", "payments 12 EUR sent"),
    ),
    "go-work": Case(
        tools=(("go", "version"),),
        workdir="services/{}",
        orders=("./orders",),
        payments=("./payments",),
        says=("orders 12 EUR", "payments 12 EUR sent"),
    ),
    "maven": Case(
        tools=(("javac", "-version"), ("mvn", "--version")),
        workdir="services/{}",
        orders=("java", "shop.Orders"),
        payments=("java", "shop.Payments"),
        says=("orders 12 EUR", "payments 12 EUR sent"),
    ),
    "npm": Case(
        tools=(("node", "--version"), ("npm", "--version")),
        workdir="services/{}",
        orders=("node", "dist/server.js"),
        payments=("node", "server.js"),
        says=("orders 12 EUR 1 second", "payments 12 EUR 1 second function 1s"),
    ),
    "pnpm": Case(
        tools=(("node", "--version"),),
        workdir="services/{}",
        orders=("node", "dist/server.js"),
        payments=("node", "server.js"),
        says=("orders 12 EUR 1 second", "payments 12 EUR 1 second function 1s"),
    ),
    "uv": Case(
        tools=(),
        workdir="services/{}",
        orders=("python3", "app.py"),
        payments=("python3", "app.py"),
        says=("orders 12 EUR", "payments 12 EUR iniconfig"),
    ),
}
MANAGERS = {"pnpm": "10.20.0"}


def build(yard, case: Case, service: str) -> Artifact:
    return yard.build(service, folder=f"services/{service}", context="../..", workdir=case.workdir.format(service))


def out(yard, case: Case, service: str, artifact: Artifact) -> str:
    at = Path(artifact.path, case.workdir.format(service))
    return yard.out(artifact, *getattr(case, service), at=at)


@pytest.fixture(params=sorted(CASES))
def case(request, yard, needs, manager) -> Case:
    """A monorepo in the yard, and the tools for it."""
    chosen = CASES[request.param]
    for tool in chosen.tools:
        needs(*tool)
    if request.param in MANAGERS:
        manager(request.param, MANAGERS[request.param])
    shutil.copytree(MONOREPOS / request.param, yard.root, dirs_exist_ok=True)
    return chosen


def test_each_service_builds_of_its_slice_and_an_edit_moves_those_that_reach_it(yard, case: Case) -> None:
    first = {name: build(yard, case, name) for name in ("orders", "payments")}
    assert tuple(out(yard, case, name, each) for name, each in first.items()) == case.says
    mail = next(path for path in (yard.root).rglob("mail") if path.is_dir() and ".atoll" not in path.parts)
    (mail / "NOTES").write_text("nothing that is built\n")
    ran = yard.logs()
    second = {name: build(yard, case, name) for name in ("orders", "payments")}
    assert second["orders"] == first["orders"]
    assert second["payments"].key != first["payments"].key
    assert len(yard.logs()) == len(ran) + 1


AHEAD = {  # a manifest that asks for more than the lock knows, and what the tool says
    "cargo": (
        "services/orders/Cargo.toml",
        "money.workspace = true\n",
        'money.workspace = true\nitoa = "=1.0.14"\n',
        "itoa",
    ),
    "npm": ("services/orders/package.json", '"isarray": "2.0.5"', '"isarray": "2.0.4"', "isarray"),
    "pnpm": ("services/orders/package.json", '"isarray": "2.0.5"', '"isarray": "2.0.4"', "isarray"),
}


@pytest.mark.parametrize("name", sorted(AHEAD))
def test_a_lock_that_lags_behind_is_refused_in_the_slice_as_in_the_whole(yard, needs, manager, name: str) -> None:
    for tool in CASES[name].tools:
        needs(*tool)
    if name in MANAGERS:
        manager(name, MANAGERS[name])
    shutil.copytree(MONOREPOS / name, yard.root, dirs_exist_ok=True)
    path, old, new, said = AHEAD[name]
    text = (yard.root / path).read_text()
    assert old in text
    (yard.root / path).write_text(text.replace(old, new))
    result = yard.result("orders", folder="services/orders", context="../..", workdir="services/orders")
    assert isinstance(result, BuildFailed)
    assert said in "".join(log.read_text() for log in (yard.artifacts / ".logs").iterdir())


def test_a_slice_of_a_uv_workspace_is_locked_to_the_letter(yard) -> None:
    """`uv sync --locked` checks what Atoll's `--frozen` follows."""
    shutil.copytree(MONOREPOS / "uv", yard.root, dirs_exist_ok=True)
    made = yard.build("orders", folder="services/orders", context="../..", workdir="services/orders")
    cut = yard.root / "cut"
    shutil.copytree(made.path, cut, ignore=shutil.ignore_patterns(".venv"), copy_function=shutil.copyfile)
    argv = (Path(sys.executable).with_name("uv"), "sync", "--locked", "--package", "orders")
    done = subprocess.run(argv, cwd=cut, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
