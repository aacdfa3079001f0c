"""What an engine can be asked for, by name, and which tests show it. The page of engines is made of this and of results."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple, TypeVar

CAPABILITIES: Final[Mapping[str, str]] = {
    "start": "starts a service, or says why it cannot",
    "ready": "sends no request before a replica is ready",
    "stability": "a replica must stay ready for its stability window",
    "stop": "stops by the service's signal, and by force after its grace",
    "drain": "requests in flight finish",
    "deploy": "a deploy under load fails no request",
    "canary": "a canary gets its share of the requests",
    "rollback": "rolls back under load",
    "crash-loop": "restarts what crashes, slower each time",
    "memory": "`limits.memory`, and tells what went over it",
    "cpus": "`limits.cpus`",
    "pids": "`limits.pids`",
    "open-files": "`limits.open_files`",
    "logs": "logs with their streams, followed, and kept after the end",
    "exec": "runs commands in a service's surroundings",
    "adoption": "goes on when the daemon is killed",
    "environment": "variables",
    "secrets": "secrets, which are nowhere but in the program",
    "addresses": "addresses by template: its own, and its callees'",
    "named-ports": "several named ports",
    "fixed-port": "`ports.NAME.number`: a port that the program insists on",
    "files": "rendered files",
    "data": "a data folder that outlives releases",
    "grpc": "gRPC: probe and requests",
    "websocket": "WebSocket",
    "undeclared": "an undeclared call fails",
    "worker": "workers, without a port",
    "jobs": "jobs: by hand, by schedule, before a release",
    "down": "leaves nothing behind, and what is not its own alone",
}

_Test = TypeVar("_Test", bound=Callable[..., object])
_MARK: Final = "shows_capability"
_LONG: Final = "takes_long"


class Shown(NamedTuple):
    """A test of the suite, and what it shows."""

    test: str
    capability: str

    @property
    def sentence(self) -> str:
        """What it shows, as its name says it."""
        return self.test.removeprefix("test_").replace("_", " ")


def shows(capability: str, *, long: bool = False) -> Callable[[_Test], _Test]:
    """A test of this capability; `long` takes a minute or so."""
    if capability not in CAPABILITIES:
        raise ValueError(f"no capability is called {capability!r}")

    def mark(test: _Test) -> _Test:
        setattr(test, _MARK, capability)
        setattr(test, _LONG, long)
        return test

    return mark


def shown_by(test: object) -> str:
    """The capability that a test function shows; "" for one that shows none."""
    return str(getattr(test, _MARK, ""))


def takes_long(test: object) -> bool:
    """Whether a test function said so."""
    return bool(getattr(test, _LONG, False))


def every_test(suite: type) -> Iterator[Shown]:
    """Every test of a suite, in the order of the capabilities, then of the file."""
    names = [name for base in reversed(suite.__mro__) for name in vars(base) if name.startswith("test_")]
    found = [Shown(name, shown_by(getattr(suite, name))) for name in dict.fromkeys(names)]
    yield from sorted(found, key=lambda shown: list(CAPABILITIES).index(shown.capability))
