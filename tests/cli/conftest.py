"""A workspace, a daemon of pretend, and the real command line as a program."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from tests.cli.screen import Screen

from atoll.testing.fake_control import Served

PROGRAM = Path(__file__).with_name("pretend_atoll.py")
Atoll = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop" / "orders").mkdir(parents=True)
    services = '["broken", "catalog", "failing", "orders", "payments", "refused"]'
    (tmp_path / "shop" / "atoll.toml").write_text(f'name = "shop"\nservices = {services}\n')
    return tmp_path / "shop"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """What the program's environment is: this one's, without what would change how it behaves."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ATOLL", "NO_COLOR", "COLUMNS"))}
    source = str(Path(__file__).parents[2] / "src")
    path = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
    return {**kept, "PYTHONPATH": path, "ATOLL_PRETEND_SOCKET": str(tmp_path / "s"), "ATOLL_PRETEND_ALIVE": "1"}


@pytest.fixture
def atoll(shop: Path, environ: dict[str, str]) -> Atoll:
    def call(*args: str, stdin: str = "", cwd: Path = shop, **env: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, str(PROGRAM), *args],
            cwd=cwd, env=environ | env, input=stdin, capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip

    return call


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path / "s") as fake:
        yield fake


@pytest.fixture
def screen(tmp_path: Path, shop: Path, environ: dict[str, str]) -> Callable[..., Screen]:
    """The program in a terminal; `program` for another one than ours."""
    if shutil.which("tmux") is None:
        pytest.skip("needs tmux (scripts/apt installs it)")

    def show(*args: str, columns: int = 80, rows: int = 24, program: Sequence[str] = (), **env: str) -> Screen:
        command = [*program, *args] if program else [sys.executable, str(PROGRAM), *args]
        return Screen(command, tmp_path, shop, environ | env, columns, rows)

    return show


@pytest.fixture
def installed(tmp_path: Path, environ: dict[str, str]) -> dict[str, str]:
    """An environment in which `atoll` is a command."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "atoll").write_text(f'#!/bin/sh\nexec {sys.executable} {PROGRAM} "$@"\n')
    (folder / "atoll").chmod(0o755)
    return environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path), "TERM": "xterm"}
