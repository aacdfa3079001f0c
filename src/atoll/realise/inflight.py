"""Requests in flight at one service's replicas, counted while somebody waits for their end.

A count says something only about the table that was acknowledged before it: each new table forgets them all. The proxy's
main thread acknowledges; a worker of it that got no processor yet may still choose a replica by the table before.
"""

from collections.abc import Iterable

from atoll.model.state import ReplicaRecord
from atoll.realise.traffic import TrafficActor

_FIRST_S, _MAX_S = 0.02, 0.2  # between two counts
_SETTLED_S = 0.2  # after which every worker of the proxy goes by a table that was acknowledged


class Inflight:
    """Counts per replica; `again_s` is when to count next."""

    def __init__(self, service: str, actor: TrafficActor) -> None:
        self._service, self._actor = service, actor
        self._counts: dict[str, int] = {}
        self._drains_s: dict[str, float] = {}  # replica -> since when a table that says so is acknowledged
        self.again_s = _FIRST_S

    def of(self, replica: str) -> int | None:
        """The last count of this table; None when there is none yet."""
        return self._counts.get(replica)

    def reset(self) -> None:
        """A new table is on its way: what was counted says nothing about it."""
        self._counts.clear()
        self.again_s = _FIRST_S

    async def count(self, rows: Iterable[ReplicaRecord], now_s: float) -> tuple[bool, bool]:
        """Count at those of `rows` that are not yet known to be idle: (somebody is still waiting, one became idle).

        One that drains is ended once it is idle, so it is not counted before all workers know of it. Further tables change
        nothing about that: with many deploys in a row it would wait for the last of them.
        """
        acked = self._actor.acked(self._service)
        rows = list(rows)
        waiting = [row for row in rows if row.ports and self._counts.get(row.id) != 0]
        if not waiting or acked is None or acked != self._actor.wanted(self._service):
            return False, False  # the acknowledgement wakes the cell
        self._drains_s = {row.id: self._drains_s.get(row.id, now_s) for row in rows if row.phase == "draining"}
        asked = [row for row in waiting if now_s >= self._drains_s.get(row.id, -_SETTLED_S) + _SETTLED_S]
        if asked:
            addresses = [address for row in asked for address in row.addresses]
            counted = await self._actor.inflight(addresses)
            if counted is not None and acked == self._actor.wanted(self._service):
                for row in asked:
                    self._counts[row.id] = sum(counted.get(address, 0) for address in row.addresses)
        self.again_s = min(self.again_s * 1.5, _MAX_S)
        return True, any(self._counts.get(row.id) == 0 for row in waiting)
