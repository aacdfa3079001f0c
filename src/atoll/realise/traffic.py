"""The one writer of traffic. Cells submit their service's entry; the actor sends one service's change at a time.

A refusal is thus attributable and delays nobody else. What was acknowledged is remembered per service, so that a cell
knows what the proxy really does, not what it was told.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from atoll.model.state import Address
from atoll.model.traffic import Ack, Disconnected, Refused, ServiceTraffic, Table
from atoll.ports import Traffic

_ACK_DEADLINE_S = 5.0  # an acknowledgement takes milliseconds; past this something is wrong
_RETRY_S = 1.0
_REFUSED_RETRY_S = 3.0  # a port that a stranger held may be free by then


class TrafficActor:
    """Owns the table. `on_change(service)` is called when an entry was acknowledged or refused."""

    def __init__(
        self, proxy: Traffic, gateway: Address, expected: Iterable[str], on_change: Callable[[str], None]
    ) -> None:
        """`expected` names the services that must have submitted before the first send: a table with holes would cut
        off replicas that another daemon's Envoy still serves.
        """
        self._proxy, self._gateway, self._on_change = proxy, gateway, on_change
        self._expected = set(expected)
        self._wanted: dict[str, ServiceTraffic] = {}
        self._acked: dict[str, ServiceTraffic] = {}
        self._refused: dict[str, tuple[ServiceTraffic, str]] = {}
        self._changed: dict[str, None] = {}  # an ordered set: first come, first sent
        self._wake = asyncio.Event()
        self._heard = asyncio.Event()  # set, and another put in its place, at every answer of the proxy
        self._synced = False

    def submit(self, entry: ServiceTraffic) -> None:
        """What the proxy shall do for one service from now on. Equal entries cost nothing."""
        self._expected.discard(entry.service)
        if self._wanted.get(entry.service) != entry:
            self._wanted[entry.service] = entry
            self._changed[entry.service] = None
        self._wake.set()

    def wanted(self, service: str) -> ServiceTraffic | None:
        """The last submitted entry."""
        return self._wanted.get(service)

    def acked(self, service: str) -> ServiceTraffic | None:
        """The last acknowledged entry; None when this daemon has not yet heard of one."""
        return self._acked.get(service)

    def problem(self, service: str) -> str:
        """Envoy's refusal of the newest entry, or ''."""
        refused = self._refused.get(service)
        return refused[1] if refused and refused[0] == self._wanted.get(service) else ""

    async def until(self, service: str, so: Callable[[ServiceTraffic], bool], within_s: float) -> bool:
        """Wait until `so` is true of the service's acknowledged entry; False when the proxy refused an entry of which it is,
        or `within_s` seconds are over.
        """
        try:
            async with asyncio.timeout(within_s):
                while (acked := self.acked(service)) is None or not so(acked):
                    wanted = self.wanted(service)
                    if wanted is not None and so(wanted) and self.problem(service):
                        return False
                    await self._heard.wait()
        except TimeoutError:
            return False
        return True

    def obstacle(self, service: str) -> str:
        """Why the proxy has not acknowledged what was submitted last, for a person."""
        return self.problem(service) or self._proxy.problem() or "it has not acknowledged the change"

    async def inflight(self, addresses: Sequence[Address]) -> dict[Address, int] | None:
        """Requests in flight per address; None when the proxy does not say."""
        counted = await self._proxy.inflight(addresses)
        return None if counted is None else dict(counted)

    async def run(self) -> None:
        """Send what was submitted, for ever."""
        while True:
            due = self._changed or not self._synced  # an empty first table opens the gateway: it answers 404 at least
            if self._expected or not due:
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._send()

    async def _send(self) -> None:
        # The first send is the whole table; after that one service each, so that a refusal has one name.
        names = frozenset(self._changed) if not self._synced else frozenset([next(iter(self._changed))])
        entries = {name: self._wanted[name] for name in names}
        for name in names:
            del self._changed[name]
        outcome = await self._proxy.apply(self._table(entries), names, _ACK_DEADLINE_S)
        refused: frozenset[str] = frozenset()
        match outcome:
            case Ack():
                self._synced = True
            case Refused():
                self._synced = True
                refused = frozenset(outcome.services) & names or names
                for name in refused:
                    self._refused[name] = (entries[name], outcome.text)
                    asyncio.get_running_loop().call_later(_REFUSED_RETRY_S, self._again, name)
            case Disconnected():
                for name in names:
                    self._changed.setdefault(name, None)
                await asyncio.sleep(_RETRY_S if outcome.text else 0.05)
                return
        for name in names - refused:
            self._acked[name] = entries[name]
            self._refused.pop(name, None)
        self._heard.set()
        self._heard = asyncio.Event()
        for name in names:
            self._on_change(name)

    def _again(self, name: str) -> None:
        if self.problem(name):
            self._changed.setdefault(name, None)
            self._wake.set()

    def _table(self, entries: dict[str, ServiceTraffic]) -> Table:
        """What stands, with `entries` in place: others' unsent wishes wait for their own turn."""
        return Table(gateway=self._gateway, services=self._acked | entries)
