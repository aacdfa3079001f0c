"""How long a gateway that was closed still has requests. `app` asks it before it stops what answers them."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from atoll.proxy.admin import Admin
from atoll.proxy.handover import PARENT_CONNECTIONS
from atoll.proxy.listening import not_listening
from atoll.proxy.scrape import GATEWAY_STATS

_LOOK_S = 0.1


async def emptied(
    admin: Path, ports: Sequence[int], closes_s: float, within_s: float, tell: Callable[[int], None]
) -> int:
    """Wait until nobody listens on these ports, `closes_s` seconds at most, and nothing is in flight there, `within_s` at most.

    Returns what was in flight at the end; `tell` hears how much it was when the gateway had closed. Connections that an older
    Envoy still has count, too: what is in flight there only it knows. Without an Envoy nothing is; one that does not answer in
    time may have some, and is asked again.
    """
    line, clock = Admin(admin), asyncio.get_running_loop()
    began, told, left = clock.time(), False, 0
    while True:
        closed = not_listening(ports) == set(ports)  # before the count, which then has all that ever came in
        count = await _left(line)
        if count is None and not await line.is_there():
            return 0
        left = left if count is None else count
        if closed and count is not None and not told:
            told = True
            tell(count)
        if (closed and count == 0) or clock.time() - began > (within_s if closed else closes_s):
            return left
        await asyncio.sleep(_LOOK_S)


async def _left(line: Admin) -> int | None:
    body = await line.get("/stats", filter=f"^({GATEWAY_STATS}|{PARENT_CONNECTIONS})$")
    if body is None:
        return None
    return sum(int(row.rpartition(": ")[2]) for row in body.decode().splitlines())
