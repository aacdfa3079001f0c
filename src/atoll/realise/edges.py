"""The outward edges of one service: their leased ports, and whether they listen yet.

Its cell leases before it submits traffic and asks `are_up` before it starts a replica. Nothing here speaks to the proxy.
"""

from collections.abc import Callable, Collection, Mapping

from atoll.decide.traffic import edge_keys
from atoll.model.rows import Change, Lease
from atoll.model.state import Release, ServiceDesired
from atoll.ports import Clock
from atoll.realise.leases import Ports
from atoll.realise.records import Records
from atoll.realise.traffic import TrafficActor

_WITHIN_S = 3.0  # a replica starts when its own edges listen, or after this without them


class Edges:
    """The edges of `service`, of all its releases."""

    def __init__(
        self, service: str, records: Records, ports: Ports, actor: TrafficActor, clock: Clock,
        is_coming: Callable[[str], bool],
    ) -> None:  # fmt: skip
        self._service, self._records, self._ports = service, records, ports
        self._actor, self._clock, self._is_coming = actor, clock, is_coming
        self._since: dict[int, float] = {}

    async def lease(self, want: ServiceDesired, releases: Mapping[int, Release], jobs: Collection[int]) -> None:
        """Ports for the edges of every release that runs or shall run, or has `jobs`; the others are freed."""
        running = {row.release for row in self._records.replicas(self._service).values()} | set(jobs)
        wanted = {revision.release for revision in want.revisions if revision.replicas > 0} | running
        needed = {key for n in wanted if n in releases for key in edge_keys(releases[n])}
        held = {holder: port for holder, port in self.ports().items() if self._is_mine(holder)}
        fresh: dict[int, str] = {}
        for holder in sorted(needed - set(held)):
            fresh[self._ports.take({*self._records.leases, *fresh})] = holder
        freed = tuple(port for holder, port in held.items() if holder not in needed)
        if fresh or freed:
            leases = tuple(Lease(port=port, holder=holder) for port, holder in fresh.items())
            await self._records.commit(Change(leases=leases, freed=freed))

    def ports(self) -> dict[str, int]:
        """The port of every edge of the environment, by its key."""
        return {holder: port for port, holder in self._records.leases.items() if holder.startswith("edge:")}

    def are_up(self, release: int) -> bool:
        """Whether the edges of a release listen already, or have had their chance, and no store of its is on its way.

        A store that has crashed is not waited for: what to do without it is the service's own business.
        """
        if release in self.awaits():
            return False
        acked, wanted = self._actor.acked(self._service), self._actor.wanted(self._service)
        mine = {edge for edge in (wanted.edges if wanted else ()) if edge.caller_release == release}
        if mine <= set(acked.edges if acked else ()):
            return True
        now_s = self._clock.now().boot_s
        return now_s - self._since.setdefault(release, now_s) > _WITHIN_S

    def awaits(self) -> dict[int, str]:
        """The store that is on its way, by the release that uses it."""
        return {
            n: call.callee
            for n, release in self._records.releases_of(self._service).items()
            for call in release.spec.calls
            if call.store and self._is_coming(call.callee)
        }

    def _is_mine(self, holder: str) -> bool:
        """Whether it is an edge of this service, not of one whose name begins alike (`orders` and `orders-r2`)."""
        prefix = f"edge:{self._service}-r"
        return holder.startswith(prefix) and holder.removeprefix(prefix).partition("->")[0].isdigit()
