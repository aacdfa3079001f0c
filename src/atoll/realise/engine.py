"""An Engine made of a Host and the Traffic: a cell per service, the traffic actor, and the host's facts."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

import msgspec

from atoll.decide.traffic import callee_port
from atoll.model.errors import NotFound, Retryable
from atoll.model.hosted import LogLine, Unable
from atoll.model.spec import Call, Command, Port, ServiceSpec
from atoll.model.state import Address, Exit, Image, Observation, ServiceDesired
from atoll.model.traffic import ServiceTraffic
from atoll.ports import Clock, Host, Traffic, Vault
from atoll.realise.cell import Cell, Shared
from atoll.realise.facts import Facts
from atoll.realise.leases import Ports
from atoll.realise.probes import Ask
from atoll.realise.records import Records
from atoll.realise.traffic import TrafficActor

_log = logging.getLogger(__name__)


_USAGE_WITHIN_S = 2.0  # a page without it is better than no page
_ACKNOWLEDGED_WITHIN_S = 5.0  # it takes milliseconds; a person who waits is better told why after this


class HostEngine:
    """Implements `ports.Engine` for every platform that has a Host. `on_change(service)` is called on each change."""

    def __init__(
        self,
        host: Host,
        traffic: Traffic,
        records: Records,
        vault: Vault,
        clock: Clock,
        gateway: Address,
        ports: Ports,
        on_change: Callable[[str], None],
        ask: Ask,
    ) -> None:
        self._host, self._records, self._clock, self._on_change = host, records, clock, on_change
        self._cells: dict[str, Cell] = {}
        self._facts = Facts(host, clock, self._fact)
        self._actor = TrafficActor(traffic, gateway, records.intents, self._fact)
        self._shared = Shared(
            host, ask, self._facts, self._actor, records, ports, vault, clock, self._callee_port, on_change,
            self._is_coming,
        )  # fmt: skip
        self._running = False
        self._tasks: asyncio.TaskGroup

    async def run(self) -> None:
        """Keep all services as they are wanted, for ever."""
        async with asyncio.TaskGroup() as self._tasks:
            self._tasks.create_task(self._actor.run())
            self._tasks.create_task(self._facts.run())
            for cell in self._cells.values():
                self._tasks.create_task(cell.run())
            self._running = True

    # --- ports.Engine ---------------------------------------------------------------------------------------------

    async def refusals(self, spec: ServiceSpec, image: Image | None = None) -> Sequence[Unable]:
        """What its host cannot provide."""
        return await self._host.refusals(spec, image)

    def apply(self, want: ServiceDesired) -> None:
        """Take the newest wish for a service."""
        self._cell(want.service).apply(want)

    def hint(self, service: str) -> None:
        """A row of the service's jobs was written: look at it."""
        self._cell(service).hint()

    def observe(self, service: str) -> Observation:
        """What is known of it now."""
        return self._cell(service).observe()

    def logs(
        self,
        service: str,
        *,
        replica: str | None = None,
        tail: int = 100,
        follow: bool = False,
        since_wall: float = 0.0,
        until_wall: float | None = None,
    ) -> AsyncIterator[LogLine]:
        """See `Host.logs`."""
        return self._host.logs(
            service, replica=replica, tail=tail, follow=follow, since_wall=since_wall, until_wall=until_wall
        )

    async def last_output(self, replica: str) -> str:
        """The end of what it printed; '' when the host does not answer."""
        try:
            return await self._host.last_output(replica) if replica else ""
        except Retryable as exc:
            _log.warning("no output of %s: %s", replica, exc)
            return ""

    async def exec(self, replica: str, argv: Sequence[str], timeout_s: float) -> tuple[Exit, str]:
        """Run a command in a replica's surroundings."""
        for service in self._records.services():
            row = self._records.replicas(service).get(replica)
            if row is None:
                continue
            launch = await self._cell(service).surroundings(row)
            if launch is not None:
                return await self._host.run(
                    msgspec.structs.replace(launch, command=Command(argv=tuple(argv))), timeout_s
                )
        raise NotFound(
            f"there is no replica {replica}",
            "it may just have been replaced",
            "see `atoll status`",
            id="unknown-replica",
        )

    # --- what the daemon also shows ------------------------------------------------------------------------------

    async def signal(self, replica: str, signal: str) -> bool:
        """Send a signal by name to a replica's whole process group, for injected faults. False when it is gone."""
        return await self._host.signal(replica, signal)

    async def acknowledged(
        self, service: str, so: Callable[[ServiceTraffic], bool], within_s: float = _ACKNOWLEDGED_WITHIN_S
    ) -> bool:
        """Wait until the proxy does `so` for the service, by what it acknowledged; False when that takes too long."""
        return await self._actor.until(service, so, within_s)

    def obstacle(self, service: str) -> str:
        """Why the proxy has not acknowledged the newest change of a service, for a person."""
        return self._actor.obstacle(service)

    def last_crashed(self, service: str, release: int) -> str:
        """The replica of that release that crashed last; ''."""
        return self._cell(service).last_crashed(release)

    def notices(self) -> Iterable[str]:
        """What a person should know: a host that is away; of running replicas: no user of their own, listening on all addresses."""
        if self._facts.trouble:
            yield f"{self._facts.trouble}; what runs goes on, and nothing is started or stopped meanwhile"
        for service in self._records.services():
            yield from self._cell(service).notices()

    def everywhere(self) -> frozenset[str]:
        """The replicas that listen on all addresses, so that they can be reached past the proxy."""
        return frozenset[str]().union(*(self._cell(service).everywhere for service in self._records.services()))

    async def usage(self) -> Mapping[str, tuple[int, float]]:
        """See `Host.usage`; empty when the host does not answer."""
        try:
            async with asyncio.timeout(_USAGE_WITHIN_S):
                return await self._host.usage()
        except (Retryable, TimeoutError):
            return {}

    def hint_callers(self, callee: str) -> None:
        """A callee's ports may have changed: its callers' edges must be looked at again."""
        for service, cell in self._cells.items():
            releases = self._records.releases_of(service).values()
            if any(call.callee == callee for release in releases for call in release.spec.calls):
                cell.hint()

    # --- inside ---------------------------------------------------------------------------------------------------

    def _cell(self, service: str) -> Cell:
        if service not in self._cells:
            self._cells[service] = Cell(service, self._shared)
            if self._running:
                self._tasks.create_task(self._cells[service].run())
        return self._cells[service]

    def _is_coming(self, service: str) -> bool:
        return service in self._cells and self._cells[service].coming

    def _fact(self, service: str) -> None:
        if service:
            self._cell(service).hint()
            return
        for cell in self._cells.values():
            cell.hint()
        known = {id for name in self._records.services() for id in self._records.replicas(name)}
        known |= {run.process for run in self._records.runs.values() if not run.ended}
        for stray in self._facts.strays(known):
            # Its row is gone: a daemon was killed between dropping the row and telling the host.
            self._tasks.create_task(self._facts.forget(stray))

    def _callee_port(self, call: Call) -> Port:
        """The callee's port as it runs now, or would run first."""
        intent = self._records.intents.get(call.callee)
        return callee_port(call, self._records.releases_of(call.callee), intent.target if intent else None)
