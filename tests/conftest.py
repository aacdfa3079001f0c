"""What every test directory shares: which tests may be run a second time (see scripts/test and CONTRIBUTING.md)."""

from pathlib import Path

import pytest


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
