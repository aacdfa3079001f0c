"""What every engine must do, as pytest tests of a whole environment: the real daemon, driven through its API.

    class TestMyEngine(EngineSuite):
        @pytest.fixture(scope="class")
        @classmethod
        def platform(cls) -> Platform:
            return MyPlatform()

Processes, containers and the fakes pass the same tests. `platform.Platform` is all that the suite knows of an engine. What
an engine lacks is in its `lacks`: the tests then show that it is refused by `atoll check` and at a deploy, and why. `python
-m atoll.testing.engine_suite.page` makes the page of engines out of what the tests showed.
"""

from collections.abc import Iterator

import pytest

from atoll.testing.engine_suite.configuration import Configuration
from atoll.testing.engine_suite.delivery import Delivery
from atoll.testing.engine_suite.lab import Lab
from atoll.testing.engine_suite.operation import Operation
from atoll.testing.engine_suite.platform import Platform
from atoll.testing.engine_suite.running import Running

__all__ = ["EngineSuite", "Lab", "Platform"]


class EngineSuite(Running, Delivery, Configuration, Operation):
    """The tests. Named so that pytest collects subclasses called Test... only. They share one environment."""

    @pytest.fixture(scope="class")
    @classmethod
    def environment(cls, platform: Platform) -> Iterator[Lab]:
        """Started by the first test, ended after the last; nothing may be left of it."""
        with Lab(platform) as lab:
            yield lab

    @pytest.fixture
    def lab(self, environment: Lab) -> Iterator[Lab]:
        """The environment without a service."""
        yield environment
        environment.remove()
