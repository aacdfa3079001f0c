"""`atoll ci` on the shop: its services' own tests, in their languages, from nothing and from the cache."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from atoll.pipeline.artifacts import remove_tree

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
SHOP = Path(__file__).resolve().parents[2] / "examples" / "shop"


@pytest.fixture
def shop(tmp_path: Path):
    """A copy of the shop; a function that runs `atoll ci` there."""
    skipped = shutil.ignore_patterns("node_modules", "__pycache__", "target", ".atoll")
    root = shutil.copytree(SHOP, tmp_path / "shop", ignore=skipped)
    run = tempfile.TemporaryDirectory(prefix="atl-")  # short: sockets would lie in it
    env = {**os.environ, "ATOLL_HOME": str(tmp_path / "home"), "ATOLL_RUN": run.name}

    def ci(*argv: str) -> Any:
        command = [sys.executable, "-m", "atoll.app", "ci", "--json", "--quiet", *argv]
        done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=170, check=False)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    with run:
        yield root, ci
    remove_tree(tmp_path / "home")


def by_service(result: Any) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for task in result["tasks"]:
        said = "cached" if task["cached"] else task["outcome"]
        found.setdefault(task["task"].partition(".")[0], set()).add(said)
    return found


def test_one_edit_affects_exactly_one_service(shop) -> None:
    root, ci = shop
    services = ["mailer", "orders", *(["payments"] if shutil.which("go") else [])]
    first = ci(*services)
    assert first["ok"], [task for task in first["tasks"] if task["reason"]]
    assert by_service(first) == {key: {"passed"} for key in services}
    assert by_service(ci(*services)) == {key: {"cached"} for key in services}
    source = root / "mailer" / "mailer.py"
    source.write_text(f"{source.read_text()}\n# edited\n")
    edited = ci(*services)
    assert by_service(edited) == {key: {"cached"} for key in services} | {"mailer": {"passed"}}
    assert {task["why"] for task in edited["tasks"] if not task["cached"]} == {"mailer.py changed"}


def test_a_test_that_breaks_is_told_with_its_own_words(shop) -> None:
    root, ci = shop
    source = root / "mailer" / "test_mailer.py"
    source.write_text(f"{source.read_text()}\nraise AssertionError('the ferry is late')\n")
    result = ci("mailer")
    assert not result["ok"]
    (failed,) = (task for task in result["tasks"] if task["outcome"] == "failed")
    assert failed["task"] == "mailer.test"
    assert "the ferry is late" in failed["output"]
