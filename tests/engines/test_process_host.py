"""The process host passes the suite that every host passes."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from atoll.engines.process import ProcessHost
from atoll.keeper.client import KeeperClient, start_keeper
from atoll.testing.host_suite import HostSuite


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users may pass, which pytest's own is not."""
    path = Path(tempfile.mkdtemp(prefix="atoll-host-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
async def host(folder: Path) -> AsyncIterator[ProcessHost]:
    start_keeper(folder / "state", folder / "run", 60.0)
    host = ProcessHost(folder / "state", folder / "run")
    yield host
    await host.close()
    KeeperClient(folder / "run").shutdown(10.0)


class TestProcessHost(HostSuite):
    """All of it."""
