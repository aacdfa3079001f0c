"""Before an environment is stopped: the gateway closes, and what is in flight there is answered, while everything still runs.

The daemon closes it, so that one that starts again opens it by itself. A stop that is cut off may leave daemon and services running:
the next start opens it, too.
"""

import asyncio
import signal
from collections.abc import Callable

from atoll import __version__
from atoll.app.config import read
from atoll.cli.machine import listeners
from atoll.keeper.client import KeeperClient, KeeperError, Message, is_keeper_up, proc
from atoll.proxy import admin_of, emptied
from atoll.workspace.places import Places

CLOSES_GATEWAY, OPENS_GATEWAY = signal.SIGUSR1, signal.SIGUSR2  # to the daemon
DRAINS_WITHIN_S = 60.0
_CLOSES_WITHIN_S = 5.0  # an Envoy does it within milliseconds


def empty(places: Places, keeper: KeeperClient, say: Callable[[str], None]) -> None:
    """Close the gateway and wait, `DRAINS_WITHIN_S` at most. Without a keeper there is nothing to wait for.

    Raises KeeperError when it cannot be closed, UserError when the daemon's configuration cannot be read.
    """
    if (config := read(places.state)) is None or not is_keeper_up(places.run):
        return
    fixtures = keeper.status()["fixtures"]
    if (proxy := fixtures.get("proxy") or {}).get("pid") is None or not _tell_daemon(fixtures, CLOSES_GATEWAY):
        raise KeeperError(
            "the gateway cannot be closed", "the proxy or the daemon is away, or the daemon is of another Atoll"
        )
    ports = [place.port for place in listeners(config.environment.gateway)]
    try:
        left = asyncio.run(
            emptied(admin_of(proxy["argv"]), ports, _CLOSES_WITHIN_S, DRAINS_WITHIN_S, lambda count: _told(say, count))
        )
    except BaseException:  # somebody thought better of it
        reopen(keeper)
        raise
    if left:
        say(f"{left} requests or connections at the gateway did not end within {DRAINS_WITHIN_S:g} s")


def reopen(keeper: KeeperClient) -> None:
    """Have the daemon that runs open a gateway that a stop closed; an open one stays so. Raises KeeperError."""
    _tell_daemon(keeper.status()["fixtures"], OPENS_GATEWAY)


def _tell_daemon(fixtures: Message, signum: int) -> bool:
    """Whether there is a daemon of this Atoll: the signal might end another one."""
    daemon = fixtures.get("daemon") or {}
    if daemon.get("pid") is None or daemon["stamp"] != __version__:
        return False
    return proc.send(daemon["pid"], proc.start_of(daemon["pid"]), signum)


def _told(say: Callable[[str], None], count: int) -> None:
    say(f"the gateway is closed; waiting for {count} in flight" if count else "the gateway is closed")
