"""Requests in flight at one service's replicas, counted while somebody waits for their end.

A count says something only about the table that was acknowledged before it: each new table forgets them all.
"""

from collections.abc import Iterable

from atoll.model.state import ReplicaRecord
from atoll.realise.traffic import TrafficActor

_FIRST_S, _MAX_S = 0.02, 0.2  # between two counts


class Inflight:
    """Counts per replica; `again_s` is when to count next."""

    def __init__(self, service: str, actor: TrafficActor) -> None:
        self._service, self._actor = service, actor
        self._counts: dict[str, int] = {}
        self.again_s = _FIRST_S

    def of(self, replica: str) -> int | None:
        """The last count of this table; None when there is none yet."""
        return self._counts.get(replica)

    def reset(self) -> None:
        """A new table is on its way: what was counted says nothing about it."""
        self._counts.clear()
        self.again_s = _FIRST_S

    async def count(self, rows: Iterable[ReplicaRecord]) -> tuple[bool, bool]:
        """Count at those of `rows` that are not yet known to be idle: (somebody is still waiting, one became idle)."""
        acked = self._actor.acked(self._service)
        waiting = [row for row in rows if row.ports and self._counts.get(row.id) != 0]
        if not waiting or acked is None or acked != self._actor.wanted(self._service):
            return False, False  # the acknowledgement wakes the cell
        addresses = [address for row in waiting for address in row.addresses]
        counted = await self._actor.inflight(addresses)
        if counted is not None and acked == self._actor.wanted(self._service):
            for row in waiting:
                self._counts[row.id] = sum(counted.get(address, 0) for address in row.addresses)
        self.again_s = min(self.again_s * 1.5, _MAX_S)
        return True, any(self._counts.get(row.id) == 0 for row in waiting)
