"""The engine suite on the shipped fakes, in real time."""

import pytest

from atoll.testing.engine_suite import EngineSuite, Platform
from atoll.testing.engine_suite.fake import FakePlatform


class TestFakeEngine(EngineSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def platform(cls) -> Platform:
        return FakePlatform()
