"""Watches one replica: asks it in the rhythm that `decide.health` gives, and hints its cell when the judgement changes."""

import asyncio
import logging
from typing import Protocol

from atoll.decide.health import Judge
from atoll.model.errors import AtollError
from atoll.model.spec import Command, Probe, ServiceSpec
from atoll.model.state import Address, ReplicaRecord
from atoll.ports import Clock, Host, Launch
from atoll.realise.probes import Answer, Ask

_log = logging.getLogger(__name__)
_OWN_AGAIN_S = 30.0  # how often a ready replica's listener is looked at again


class Watcher(Protocol):
    """What a prober needs of its cell."""

    def hint(self) -> None: ...
    async def surroundings(self, row: ReplicaRecord, command: Command | None = None) -> Launch | None: ...


class Prober:
    """Readiness and liveness of one replica, from its start to its drain."""

    def __init__(
        self, row: ReplicaRecord, spec: ServiceSpec, host: Host, ask: Ask, clock: Clock, cell: Watcher
    ) -> None:
        self._row, self._spec, self._host, self._clock, self._cell = row, spec, host, clock, cell
        self._put_question = ask
        self._judge = Judge.begin(spec.health, row, clock.now())
        self._task: asyncio.Task[None] | None = None
        self._owned_until_s = 0.0
        self.everywhere = False  # it listens on all addresses and so by-passes the proxy

    @property
    def ready(self) -> bool:
        """Whether it may get traffic."""
        return self._judge.ready

    @property
    def ready_since_s(self) -> float | None:
        """Since when without a break."""
        return self._judge.ready_since_s

    @property
    def failing_live(self) -> bool:
        """Whether it must be replaced."""
        return self._judge.failing_live

    @property
    def reason(self) -> str:
        """Why it is not ready."""
        return self._judge.reason

    @property
    def reason_id(self) -> str:
        """The page that explains it."""
        return self._judge.reason_id

    def close(self) -> None:
        """Stop asking."""
        if self._task is not None:
            self._task.cancel()

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begin asking, as a task of `group`."""
        self._task = group.create_task(self._run())

    async def _run(self) -> None:
        while True:
            before = (self.ready, self.failing_live, self.reason)
            await self._ask()
            if before != (self.ready, self.failing_live, self.reason):
                self._cell.hint()
            now_s = self._clock.now().boot_s
            await self._clock.sleep(max(0.0, self._judge.next_probe_s(now_s) - now_s))

    async def _ask(self) -> None:
        ready = await self._probe(self._spec.health.ready, ready=True)
        now_s = self._clock.now().boot_s
        self._judge = self._judge.readiness(ready.ok, ready.text, now_s, ready.id)
        if self._spec.health.live.kind != "process" and self._judge.was_ready:
            live = await self._probe(self._spec.health.live, ready=False)
            self._judge = self._judge.liveness(live.ok, live.text, self._clock.now().boot_s)

    async def _probe(self, probe: Probe, *, ready: bool) -> Answer:
        try:
            if ready and self._row.ports:
                listening = await self._listens()
                if not listening.ok:
                    return listening
            launch = await self._cell.surroundings(self._row, probe.command) if probe.kind == "command" else None
            return await self._put_question(probe, self._address(probe), self._host, launch)
        except AtollError as exc:
            return Answer(ok=False, text=str(exc), id=exc.id)

    def _address(self, probe: Probe) -> Address | None:
        port = self._spec.port(probe.port)
        return None if port is None else Address(self._row.host, self._row.ports[port.name])

    def _number(self, name: str, leased: int) -> int:
        """The port as the replica knows it."""
        port = self._spec.port(name)
        return leased if port is None or port.number is None else port.number

    async def _listens(self) -> Answer:
        """Every port is open and held by the replica's own process tree: a stranger's 200 must not pass."""
        now_s = self._clock.now().boot_s
        # Behind a forwarder, which takes connections for whom it may, only this look tells.
        if self._judge.ready and now_s < self._owned_until_s and not self._spec.own_network:
            return Answer(ok=True)
        everywhere = False
        for name, port in self._row.ports.items():
            listener = await self._host.listener(self._row.id, port)
            port = self._number(name, port)
            if listener.state == "stranger":
                text = f"port {port} ('{name}') is not its own: {listener.text}"
                return Answer(ok=False, text=text, id="port-stranger")
            if listener.state == "none":
                text = f"nothing listens on {self._row.host}:{port} ('{name}') yet"
                text += f": {listener.text}" if listener.text else ""
                return Answer(ok=False, text=text, id="port-not-used")
            everywhere = everywhere or listener.everywhere
        self.everywhere = everywhere
        self._owned_until_s = now_s + _OWN_AGAIN_S
        return Answer(ok=True)
