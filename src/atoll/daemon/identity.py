"""Which environment a daemon keeps, and what it asks of its machine. `app.daemon` fills both in."""

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from atoll.daemon.store_reach import Dial, dial
from atoll.model.environment import EnvironmentSpec, Freeze, Notify
from atoll.model.machine import MachineFacts
from atoll.model.state import Address


class Identity(NamedTuple):
    """Which environment this is."""

    workspace: str
    environment: str
    root: str
    gateway: Address
    ports: tuple[int, int]
    tls: bool = False  # whether the gateway speaks it
    faults: bool = True  # whether people may inject some
    dev: bool = True  # whether a deploy may be quick
    freezes: tuple[Freeze, ...] = ()
    require: tuple[str, ...] = ()  # tasks that must be green of what is deployed
    notify: tuple[Notify, ...] = ()
    api: str = ""  # where the API is read over TCP, host:port; "" is nowhere
    state: str = ""  # absolute; where what outlives the daemon lies beside the store; "" keeps it in memory

    @property
    def url(self) -> str:
        """The gateway's address, `http://127.0.0.1:8080`."""
        return f"{'https' if self.tls else 'http'}://{self.gateway}"


class Settings(NamedTuple):
    """What the daemon was started with, and how it gets others; the functions block."""

    environment: EnvironmentSpec
    check: Callable[[EnvironmentSpec], None]  # raises UserError for what this machine cannot give
    keep: Callable[[EnvironmentSpec], None]  # for the next start, once checked
    restart: Callable[[], None]  # have the keeper start the daemon anew


class Machine(NamedTuple):
    """What the daemon asks of the machine and of its keeper; functions, so that tests bend them."""

    free_bytes: Callable[[], int | None]
    parts: Callable[[], Awaitable[Mapping[str, int | None]]]  # keeper, proxy -> pid
    dial: Dial = dial  # whether something accepts connections
    facts: Callable[[int | None], MachineFacts] = lambda _: (
        MachineFacts()
    )  # its room and limits, Envoy's pid given; blocks
    exposed: Callable[[Mapping[int, str]], Mapping[str, tuple[str, ...]]] = lambda _: {}  # by pids of services; blocks
