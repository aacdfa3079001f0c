"""An environment of pretend behind the real API: answers like `daemon.environment`, runs nothing.

For tests of the API, of the command line and of other clients. `Served` puts it on a unix socket in a thread of its own.
A deploy whose note is `fail` is undone, one whose note is `refuse` is refused; secret values are never given out. Every
service has the jobs `reindex` and `nightly`; a run with the argument `fail` fails, one with `hang` runs until it is stopped.
"""

from atoll.model.spec import Command, ServiceSpec
from atoll.testing.fake_control.control import FakeControl
from atoll.testing.fake_control.served import Served
from atoll.testing.fake_control.world import service_view

__all__ = ["FakeControl", "Served", "service_view", "spec_of"]


def spec_of(name: str) -> ServiceSpec:
    """A small specification."""
    return ServiceSpec(name=name, run=Command(shell="./run"))
