"""What replicas print, of several services at once, and commands run beside them. Part of `Environment`."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from atoll.daemon.loops import Loops
from atoll.daemon.pulse import Pulse
from atoll.decide.facts import is_ready
from atoll.model.errors import NotFound, Refused
from atoll.model.hosted import LogLine
from atoll.model.rows import Change
from atoll.model.seen import Seen
from atoll.model.state import Event
from atoll.model.suggest import did_you_mean
from atoll.model.wire import ExecRequest, ExecView
from atoll.ports import Clock
from atoll.realise.engine import HostEngine
from atoll.realise.records import Records

_UNREAD_LINES = 1000  # of followed services, until their reader takes them
_OVERLAP_S = 5.0  # longer than it takes to read what is there
_BURST_LINES = 100_000  # of one service within that time


class Output:
    """Logs and `exec`."""

    def __init__(self, loops: Loops, records: Records, engine: HostEngine, clock: Clock, pulse: Pulse) -> None:
        self._loops, self._records, self._engine = loops, records, engine
        self._clock, self._pulse = clock, pulse

    async def logs(
        self,
        services: Sequence[str],
        *,
        replica: str | None = None,
        tail: int = 100,
        follow: bool = False,
        since_wall: float = 0.0,
        until_wall: float | None = None,
    ) -> AsyncIterator[LogLine]:
        """Lines of several services, by time for what is there, as they come for what follows."""
        for service in services:
            self._loops.known(service)
        names = list(services) or list(self._records.services())
        seen = Seen(max(since_wall, self._clock.now().wall))
        lines: list[LogLine] = []
        for name in names:
            past = self._engine.logs(name, replica=replica, tail=tail, since_wall=since_wall, until_wall=until_wall)
            lines += [line async for line in past]
        for line in sorted(lines, key=lambda line: line.wall):
            seen.is_new(line)
            yield line
        if not follow:
            return
        # What was printed while we read is in nobody's hands: read again from a little earlier.
        after, lines = seen.newest_wall - _OVERLAP_S, []
        seen.begin_again()
        queue: asyncio.Queue[LogLine] = asyncio.Queue(maxsize=_UNREAD_LINES)
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(self._follow(name, replica, after, queue))
            while True:
                line = await queue.get()
                if line.wall >= since_wall and seen.is_new(line):
                    yield line

    async def _follow(self, service: str, replica: str | None, after: float, queue: "asyncio.Queue[LogLine]") -> None:
        lines = self._engine.logs(service, replica=replica, tail=_BURST_LINES, follow=True, since_wall=after)
        async for line in lines:
            await queue.put(line)

    async def exec(self, service: str, request: ExecRequest) -> ExecView:
        """Run a command in a replica's surroundings."""
        self._loops.known(service)
        running = [r for r in self._engine.observe(service).replicas if r.alive]
        chosen = [r for r in running if request.replica in {"", r.id}]
        if request.replica and not chosen:
            raise NotFound(
                f"{service} has no running replica '{request.replica}'",
                "",
                did_you_mean(request.replica, [r.id for r in running]),
                id="unknown-replica",
            )
        if not chosen:
            raise Refused(
                f"nothing of {service} is running",
                "a command needs a replica's surroundings",
                f"see `atoll why {service}`",
                id="service-down",
            )
        current = self._loops.of(service).intent().target  # not the warm one: its environment is yesterday's
        target = max(chosen, key=lambda r: (is_ready(r), r.record.release == current, -r.record.created_wall))
        await self._tell(service, target.id, request)
        exit_, output = await self._engine.exec(target.id, request.argv, request.timeout_s)
        return ExecView(exit=exit_, output=output, replica=target.id)

    async def _tell(self, service: str, replica: str, request: ExecRequest) -> None:
        """That somebody was in there, before they are. Of what they ran its name alone: arguments may be secrets."""
        rest = len(request.argv) - 1
        message = f"{request.argv[0]} is run in {replica}" + (f", with {rest} arguments" if rest else "")
        event = Event(
            kind="exec.begun", service=service, message=message, author=request.author, wall=self._clock.now().wall
        )
        await self._records.commit(Change(events=(event,)))
        self._pulse.beat(service)
