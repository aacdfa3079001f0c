"""What every test directory shares: which tests may be run a second time (see scripts/test and CONTRIBUTING.md), the end of a
test that hangs, and a Docker.
"""

import faulthandler
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

from dockerd import Dockerd, Unavailable, found, own, prepare, shared
from leases import subnets as free_subnets

# Nothing is asserted about timing: a machine that is busy with other things would fail what is right.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

RERUN_AT_MOST = 10  # more than a busy machine makes fail
POWERLESS = "ATOLL_TEST_POWERLESS"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rerunnable",
        metavar="FILE",
        help=f"write the failed tests' ids to FILE, unless they are more than {RERUN_AT_MOST} or others did not run",
    )
    parser.addoption(
        "--hung-after",
        metavar="SECONDS",
        type=float,
        default=60.0,
        help="end a process whose test has not ended so long after its time-out (default: 60)",
    )


class Watchdog:
    """Ends the process of a test that hangs, and shows where: the stack of every thread, on the run's own stderr.

    The time-out of a test raises in its main thread, once. What then waits in a `with` or a fixture's end is bounded by
    nothing, and a single test would keep a run from its report. xdist counts a process that ends so as that test's failure
    and starts another one.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.usual_s = float(config.getini("timeout"))
        self.grace_s: float = config.getoption("--hung-after")
        self.main = not hasattr(config, "workerinput")  # workers are ended by the main process
        self.stderr = os.dup(sys.stderr.fileno())  # the one that pytest has when it captures nothing

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        mark = item.get_closest_marker("timeout")
        limit_s = float(mark.args[0]) if mark else self.usual_s
        faulthandler.dump_traceback_later(limit_s + self.grace_s, exit=True, file=self.stderr)
        try:
            return (yield)
        finally:
            faulthandler.cancel_dump_traceback_later()

    def pytest_unconfigure(self) -> None:
        """A thread that a test left must not keep the process either."""
        if self.main:
            faulthandler.dump_traceback_later(self.grace_s, exit=True, file=self.stderr)


class Failures:
    """Collects failures where they all arrive: in the main process, with or without xdist.

    It also tells each at once: a run that is ended before its report says what had failed by then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reported: set[str] = set()
        self.failed: set[str] = set()
        self.broken = False
        self.stderr = os.fdopen(os.dup(sys.stderr.fileno()), "w")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.reported.add(report.nodeid)
        if report.failed:
            self.failed.add(report.nodeid)
            crash = getattr(
                report.longrepr, "reprcrash", None
            )  # None: a process that died, a fixture that is not there
            reason = crash.message if crash else str(report.longrepr)
            print(f"\nfailed: {report.nodeid} ({report.when}): {reason.strip()[:1000]}", file=self.stderr, flush=True)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.broken |= report.failed

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        whole = not self.broken and len(self.reported) == session.testscollected
        if whole and len(self.failed) <= RERUN_AT_MOST:
            self.path.write_text("".join(f"{node}\n" for node in sorted(self.failed)))


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Watchdog(config))
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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "dockerd" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Make base images' common part here, the first time on a machine: it would be longer than any test may take."""
    if not session.config.option.collectonly and any(
        "dockerd" in getattr(item, "fixturenames", ()) for item in session.items
    ):
        prepare()


@pytest.fixture(scope="session")
def dockerd() -> Iterator[Dockerd]:
    """A private Docker that all workers share; `dockerd.host` is its address, `dockerd.base("runtime")` an image that it has.

    What a test makes there carries names or labels of its own: other tests use the same daemon at the same time.
    """
    try:
        with shared() as daemon:
            yield daemon
    except Unavailable as problem:
        # A machine of CI with Docker must show what holds on Docker: skipped there, it would be green for ever.
        if os.environ.get("CI") and found("dockerd"):
            pytest.fail(f"no Docker for tests, although dockerd is on this machine: {problem}", pytrace=False)
        pytest.skip(f"no Docker for tests: {problem}")


@pytest.fixture
def own_dockerd(dockerd: Dockerd) -> Iterator[Dockerd]:
    """A Docker for one test that stops or breaks it. It has the base image `runtime`, and keeps containers over its restarts."""
    image = dockerd.base("runtime")
    with own() as daemon:
        daemon.take(image, dockerd)
        yield daemon


@pytest.fixture
def subnets() -> Iterator[str]:
    """Addresses for the networks of one environment: `[environments.X.docker] subnets`, on any daemon of this machine."""
    with free_subnets() as one:
        yield one
