"""`atoll ci --audit` without its command line: real tasks under the real strace."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest

from atoll.model.records import CiResult
from atoll.pipeline import ci
from atoll.pipeline.ci import Asked
from atoll.workspace.loader import load

ORDERS = """
run = "x"
[build]
needs = ["catalog.build"]
steps = ["cat {needs.catalog.build}/catalog.proto > proto"]
[tasks.test]
run = "cat ROOT/catalog/catalog.proto ROOT/VERSION /srv-missing a > seen || true"
needs = ["build"]
[tasks.honest]
run = "cat a {needs.build}/proto && touch b && cat b"
needs = ["build"]
[tasks.here]
run = "cat a data/x.txt"
in_place = true
inputs = ["a"]
"""


@pytest.fixture
def run(workshop, monkeypatch: pytest.MonkeyPatch):
    """A workspace with two services; a function that does what `atoll ci` does."""
    strace = shutil.which("strace")
    if strace is None or subprocess.run([strace, "-qq", "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs strace, and leave to trace (scripts/apt installs it)")
    monkeypatch.setenv("HOME", str(workshop.root / "home"))
    workshop.write("atoll.toml")
    workshop.write("VERSION", "1")
    workshop.write("catalog/service.toml", 'run = "x"\n')
    workshop.write("catalog/catalog.proto", "message X {}")
    workshop.write("orders/service.toml", ORDERS.replace("ROOT", str(workshop.root)))
    workshop.write("orders/a", "a")
    workshop.write("orders/data/x.txt", "x")

    def call(*named: str, audit: bool = True) -> CiResult:
        asked = Asked(named=named, audit=audit)
        return asyncio.run(ci.perform(lambda: load(workshop.root), workshop.site, asked, lambda _: None, print))

    return call


def test_what_was_read_and_not_declared_is_told_with_whose_it_is(run) -> None:
    tasks = {task.task: task for task in run().tasks}
    assert all(task.outcome == "passed" for task in tasks.values()), tasks
    found = {one.path: one for one in tasks["orders.test"].undeclared}
    assert set(found) == {"VERSION", "catalog/catalog.proto"}
    assert found["catalog/catalog.proto"].service == "catalog"
    assert 'needs = ["catalog.build"]' in found["catalog/catalog.proto"].hint
    assert {name: tasks[f"orders.{name}"].undeclared for name in ("build", "honest")} == {"build": (), "honest": ()}
    assert [one.path for one in tasks["orders.here"].undeclared] == ["orders/data/x.txt"]


def test_an_audit_runs_what_is_cached_and_leaves_no_result_of_its_own(run, workshop) -> None:
    run(audit=False)
    before = sorted(path.name for path in workshop.artifacts.iterdir() if not path.name.startswith("."))
    audited = run()
    assert not any(task.cached for task in audited.tasks)
    assert sorted(path.name for path in workshop.artifacts.iterdir() if not path.name.startswith(".")) == before
    assert workshop.half_made() == []
    assert run(audit=False).unaffected == 2, "it was no run that counts"


def test_without_strace_it_says_so(run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from atoll.model.errors import UserError

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="strace is missing"):
        run()
