"""The process host passes the suite that every host passes."""

import pytest

from atoll.engines.process import ProcessHost
from atoll.testing.host_suite import HostSuite


class TestProcessHost(HostSuite):
    """All of it."""

    @pytest.fixture
    def host(self, process_host: ProcessHost) -> ProcessHost:
        return process_host
