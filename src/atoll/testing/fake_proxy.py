"""A proxy in memory: it acknowledges, refuses or is away, as a test says, and remembers every table.

    traffic = FakeTraffic(clock, alive=host.alive)
    traffic.refuse("orders", "duplicate listener")
    ...
    assert not any(applied.dead for applied in traffic.history)   # nothing dead ever got traffic

It is `ports.Traffic`. Like the real proxy it lives outside of a daemon and goes on with its last table.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from atoll.model.signals import Counts, EdgeKey, ReplicaCounts, ReplicaKey
from atoll.model.state import Address
from atoll.model.traffic import Ack, Disconnected, Endpoint, Outcome, Reading, Refused, Sample, ServiceTraffic, Table
from atoll.ports import Clock


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """One call of `apply`, once its outcome was known. `table` is what stood after it; None before the first ack."""

    at_s: float  # CLOCK_BOOTTIME of the outcome
    asked: Table
    changed: frozenset[str]
    outcome: Outcome
    table: Table | None
    dead: tuple[str, ...] = ()  # replicas that were to get traffic though they did not run when it was asked


class FakeTraffic:
    """`ports.Traffic` in memory, on the time of `clock`. Connected from the start, as generation 1."""

    def __init__(self, clock: Clock, *, ack_s: float = 0.01, alive: Callable[[str], bool] | None = None) -> None:
        """`ack_s`: how long an acknowledgement takes. `alive` says whether a replica runs (`FakeHost.alive`)."""
        self.ack_s = ack_s
        self.history: list[Applied] = []
        self.table: Table | None = None  # what the proxy does now
        self._clock, self._alive = clock, alive
        self._refused: dict[str, str] = {}
        self._inflight: dict[Address, int] = {}
        self._edges: dict[EdgeKey, Sample] = {}  # that were ever used
        self._replicas: dict[ReplicaKey, ReplicaCounts] = {}
        self._read_s: float | None = None
        self._generation = 1
        self._connected = asyncio.Event()
        self._connected.set()
        self._problem = ""

    # --- what a test says and sees

    def refuse(self, service: str, text: str = "refused by the test") -> None:
        """Refuse every change of this service's entry until `accept`; its old entry stands."""
        self._refused[service] = text

    def accept(self, service: str) -> None:
        """Refuse it no longer."""
        self._refused.pop(service, None)

    def disconnect(self, problem: str = "the proxy is not connected") -> None:
        """It is away: nothing is acknowledged, nothing counted. What it did last it goes on doing."""
        self._connected.clear()
        self._problem = problem

    def connect(self, *, restarted: bool = True) -> None:
        """It is back, in a new generation; `restarted` means that it forgot its table."""
        if restarted:
            self.table = None
        self._generation += 1
        self._problem = ""
        self._connected.set()

    def set_inflight(self, address: Address, requests: int) -> None:
        """How many requests are in flight at an endpoint, until said otherwise."""
        self._inflight[address] = requests

    def count(self, edge: EdgeKey, counts: Counts, *, inflight: int = 0) -> None:
        """Have these counted: the next call of `read` returns them. From then on it knows the edge."""
        old = self._edges.get(edge, Sample())
        self._edges[edge] = Sample(counts=old.counts + counts, inflight=inflight)

    def count_replica(self, replica: ReplicaKey, counts: ReplicaCounts) -> None:
        """The same for one replica."""
        self._replicas[replica] = self._replicas.get(replica, ReplicaCounts()) + counts

    def new_reader(self) -> None:
        """Another daemon reads from now on: its first reading only remembers."""
        self._read_s = None

    def entry(self, service: str) -> ServiceTraffic | None:
        """What the proxy does for a service now."""
        return self.table.services.get(service) if self.table else None

    def serving(self, service: str) -> dict[int, list[str]]:
        """Release -> replicas that get new requests now, weights not considered."""
        found: dict[int, list[str]] = {}
        for release, endpoint in _endpoints(self.entry(service)):
            if endpoint.state == "serving":
                found.setdefault(release, []).append(endpoint.replica)
        return found

    # --- ports.Traffic

    async def apply(self, table: Table, changed: frozenset[str], deadline_s: float) -> Outcome:
        """Ack after `ack_s`; Refused when the test refuses a changed service; Disconnected at `deadline_s` (seconds)."""
        dead = self._dead(table)
        try:
            async with asyncio.timeout(deadline_s):
                await self._connected.wait()
                await asyncio.sleep(self.ack_s)
                await self._connected.wait()
        except TimeoutError:
            return self._record(table, changed, Disconnected(self._problem or "no answer before the deadline"), dead)
        refused = tuple(sorted(service for service in changed if service in self._refused))
        if not refused:
            self.table = table
            return self._record(table, changed, Ack(), dead)
        services = dict(table.services)
        for service in refused:
            services.pop(service, None)
            if old := self.entry(service):
                services[service] = old
        self.table = msgspec.structs.replace(table, services=services)
        text = "; ".join(f"{service}: {self._refused[service]}" for service in refused)
        return self._record(table, changed, Refused(refused, text), dead)

    async def inflight(self, addresses: Sequence[Address]) -> Mapping[Address, int] | None:
        """What `set_inflight` said, 0 otherwise; None while disconnected."""
        if not self._connected.is_set():
            return None
        return {address: self._inflight.get(address, 0) for address in addresses}

    async def read(self) -> Reading | None:
        """What was counted since the last call; None while disconnected, and the first time, as the real one's."""
        if not self._connected.is_set():
            return None
        before_s, self._read_s = self._read_s, self._clock.now().boot_s
        seconds = 0.0 if before_s is None else self._read_s - before_s
        reading = Reading(seconds=seconds, edges=self._edges, replicas=self._replicas)
        self._edges = {edge: Sample(inflight=sample.inflight) for edge, sample in self._edges.items()}
        self._replicas = {}
        return None if before_s is None else reading

    def generation(self) -> int:
        """1, and one more with each `connect`."""
        return self._generation

    def problem(self) -> str:
        """What `disconnect` said, while disconnected."""
        return self._problem

    # --- how it happens

    def _dead(self, table: Table) -> tuple[str, ...]:
        if self._alive is None:
            return ()
        return tuple(
            endpoint.replica
            for entry in table.services.values()
            for _, endpoint in _endpoints(entry)
            if endpoint.state == "serving" and not self._alive(endpoint.replica)
        )

    def _record(self, asked: Table, changed: frozenset[str], outcome: Outcome, dead: tuple[str, ...]) -> Outcome:
        at_s = self._clock.now().boot_s
        self.history.append(
            Applied(at_s=at_s, asked=asked, changed=changed, outcome=outcome, table=self.table, dead=dead)
        )
        return outcome


def _endpoints(entry: ServiceTraffic | None) -> list[tuple[int, Endpoint]]:
    upstreams = entry.upstreams if entry else ()
    return [(upstream.release, endpoint) for upstream in upstreams for endpoint in upstream.endpoints]
