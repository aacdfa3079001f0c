"""Runs of the engine suite against what docs/engines.json says that they showed; `ATOLL_ENGINE_RESULTS=1` writes it anew."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from atoll.testing.engine_suite import results
from atoll.testing.engine_suite.capabilities import shown_by, takes_long

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "engines.json"
ANEW = "ATOLL_ENGINE_RESULTS"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and shown_by(getattr(item, "function", None)):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(300))
            if takes_long(item.function):
                item.add_marker(pytest.mark.slow)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Numbers that a test told of its engine."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for engine, told in report.user_properties if "tests/conformance" in report.nodeid else ():
            if report.when == "call":
                terminalreporter.write_line(f"{engine}: {told}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    capability = shown_by(getattr(item, "function", None))
    if not capability or report.when != "call" or not report.passed:
        return report
    lab = item.funcargs["lab"]
    engine, test = lab.platform.name, item.function.__name__
    if capability in lab.platform.lacks_here:
        return report
    shown = results.outcome(lab.lacking, capability)
    if os.environ.get(ANEW):
        results.record(RESULTS, engine, test, shown)
    elif (told := results.read(RESULTS).get(engine, {}).get(test)) != shown:
        report.outcome = "failed"
        report.longrepr = (
            f"docs/engines.json says of {engine}: {told or 'nothing'}; this run showed: {shown}\n"
            f"write it anew with {ANEW}=1, then `python -m atoll.testing.engine_suite.page docs`"
        )
    return report
