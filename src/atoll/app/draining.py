"""Before an environment is stopped: the gateway closes, and what is in flight there is answered, while everything still runs.

The daemon closes it, so that one that starts again opens it by itself: a stop that is cut off leaves nothing shut.
"""

import asyncio
import signal
from collections.abc import Callable

from atoll import __version__
from atoll.app.config import read
from atoll.cli.machine import listeners
from atoll.keeper.client import KeeperClient, KeeperError, is_keeper_up, proc
from atoll.proxy import admin_of, emptied
from atoll.workspace.places import Places

CLOSES_GATEWAY = signal.SIGUSR1  # to the daemon
DRAINS_WITHIN_S = 60.0
_CLOSES_WITHIN_S = 5.0  # an Envoy does it within milliseconds


def empty(places: Places, keeper: KeeperClient, say: Callable[[str], None]) -> None:
    """Close the gateway and wait, `DRAINS_WITHIN_S` at most. Without a keeper there is nothing to wait for.

    Raises KeeperError when it cannot be closed, UserError when the daemon's configuration cannot be read.
    """
    if (config := read(places.state)) is None or not is_keeper_up(places.run):
        return
    fixtures = keeper.status()["fixtures"]
    daemon, proxy = (fixtures.get(name) or {} for name in ("daemon", "proxy"))
    if daemon.get("pid") is None or proxy.get("pid") is None:
        raise KeeperError("the gateway cannot be closed", "the daemon or the proxy is away")
    if daemon["stamp"] != __version__:  # the signal might end it
        raise KeeperError("the gateway cannot be closed", f"the daemon is of another Atoll, {daemon['stamp']}")
    proc.send(daemon["pid"], proc.start_of(daemon["pid"]), CLOSES_GATEWAY)
    ports = [place.port for place in listeners(config.environment.gateway)]
    left = asyncio.run(
        emptied(admin_of(proxy["argv"]), ports, _CLOSES_WITHIN_S, DRAINS_WITHIN_S, lambda count: _tell(say, count))
    )
    if left:
        say(f"{left} requests or connections at the gateway did not end within {DRAINS_WITHIN_S:g} s")


def _tell(say: Callable[[str], None], count: int) -> None:
    say(f"the gateway is closed; waiting for {count} in flight" if count else "the gateway is closed")
