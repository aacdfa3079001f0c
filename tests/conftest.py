"""What every test directory shares: which tests may be run a second time (see scripts/test and CONTRIBUTING.md)."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest

# Nothing is asserted about timing: a machine that is busy with other things would fail what is right.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

POWERLESS = "ATOLL_TEST_POWERLESS"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rerunnable",
        metavar="FILE",
        help="write the failed end-to-end tests' ids to FILE, unless some other test failed, too",
    )


class Failures:
    """Collects failures where they all arrive: in the main process, with or without xdist."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.end_to_end: set[str] = set()
        self.other: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            (self.end_to_end if "e2e" in report.keywords else self.other).add(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.other.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        if self.end_to_end and not self.other:
            self.path.write_text("".join(f"{node}\n" for node in sorted(self.end_to_end)))


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--rerunnable")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Failures(Path(path)))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """A test marked `powerless` is about files that one may not write. As root it runs in a process that may not either."""
    if not pyfuncitem.get_closest_marker("powerless") or os.geteuid() or os.environ.get(POWERLESS):
        return None
    away = "-dac_override,-dac_read_search,-fowner"
    with tempfile.TemporaryDirectory() as own:  # pytest's usual folder is cleaned by the one outside
        argv = [sys.executable, "-m", "pytest", "-q", f"--basetemp={own}/tests", pyfuncitem.nodeid]
        done = subprocess.run(
            ["setpriv", f"--bounding-set={away}", f"--inh-caps={away}", *argv],
            env={**os.environ, POWERLESS: "1", "PYTEST_XDIST_WORKER": ""},
            cwd=pyfuncitem.config.rootpath,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout, done.stdout
    return True
