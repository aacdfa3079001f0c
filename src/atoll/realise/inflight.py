"""Requests in flight at one service's replicas, counted while somebody waits for their end.

A count says something only about the table that was acknowledged before it: each new table forgets them all. The proxy's
main thread acknowledges; a worker of it that got no processor yet may still choose a replica by the table before.
"""

from collections.abc import Iterable

from atoll.model.state import ReplicaRecord
from atoll.realise.traffic import TrafficActor

_FIRST_S, _MAX_S = 0.02, 0.2  # between two counts
_SETTLED_S = 0.2  # after which every worker of the proxy goes by the table that was acknowledged


class Inflight:
    """Counts per replica; `again_s` is when to count next."""

    def __init__(self, service: str, actor: TrafficActor) -> None:
        self._service, self._actor = service, actor
        self._counts: dict[str, int] = {}
        self._settled_s: float | None = None
        self.again_s = _FIRST_S

    def of(self, replica: str) -> int | None:
        """The last count of this table; None when there is none yet."""
        return self._counts.get(replica)

    def reset(self) -> None:
        """A new table is on its way: what was counted says nothing about it."""
        self._counts.clear()
        self._settled_s = None
        self.again_s = _FIRST_S

    async def count(self, rows: Iterable[ReplicaRecord], now_s: float) -> tuple[bool, bool]:
        """Count at those of `rows` that are not yet known to be idle: (somebody is still waiting, one became idle).

        One that drains is ended once it is idle, so it is not counted before the table has settled.
        """
        acked = self._actor.acked(self._service)
        waiting = [row for row in rows if row.ports and self._counts.get(row.id) != 0]
        if not waiting or acked is None or acked != self._actor.wanted(self._service):
            return False, False  # the acknowledgement wakes the cell
        if self._settled_s is None:
            self._settled_s = now_s + _SETTLED_S
        asked = [row for row in waiting if row.phase != "draining" or now_s >= self._settled_s]
        if asked:
            addresses = [address for row in asked for address in row.addresses]
            counted = await self._actor.inflight(addresses)
            if counted is not None and acked == self._actor.wanted(self._service):
                for row in asked:
                    self._counts[row.id] = sum(counted.get(address, 0) for address in row.addresses)
        self.again_s = min(self.again_s * 1.5, _MAX_S)
        return True, any(self._counts.get(row.id) == 0 for row in waiting)
