"""What the parts of an environment of pretend share: its services, its ledger, what was asked of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from functools import partial
from typing import TypeVar

from atoll.model.errors import NotFound
from atoll.model.state import Author, Event
from atoll.model.suggest import did_you_mean
from atoll.model.wire import ReplicaView, ServiceState, ServiceView

WALL = 1_700_000_000.0  # when whatever has a time happened
JOBS = ("nightly", "reindex")  # of every service

_View = TypeVar("_View")


class World:
    """`step_s` is how long a phase of a rollout or a run of a job takes; `streams` is how many iterators are open."""

    def __init__(self, running: Sequence[str], step_s: float) -> None:
        self.services = {name: service_view(name, 1) for name in running}
        self.step_s = step_s
        self.requests: list[object] = []  # every change that was asked for and not merely repeated
        self.ledger: list[Event] = []
        self.streams = 0
        self._news = asyncio.Condition()
        self._under_way: set[asyncio.Task[None]] = set()

    def find(self, service: str) -> ServiceView:
        """Raises NotFound."""
        if service not in self.services:
            raise NotFound(
                f"there is no service '{service}'",
                "none has run here",
                did_you_mean(service, self.services),
                id="unknown-replica",
            )
        return self.services[service]

    def find_job(self, service: str, job: str) -> None:
        """Raises NotFound."""
        self.find(service)
        if job not in JOBS:
            raise NotFound(
                f"{service} has no job '{job}'", "it has nightly, reindex", did_you_mean(job, JOBS), id="unknown-job"
            )

    def note(self, kind: str, service: str, message: str) -> None:
        """One more event, of which nobody is told yet."""
        seq, author = len(self.ledger) + 1, Author(actor="ada")
        self.ledger.append(Event(kind=kind, service=service, message=message, author=author, wall=WALL, seq=seq))

    async def record(self, kind: str, service: str, message: str) -> None:
        """One more event, and wake who follows."""
        self.note(kind, service, message)
        async with self._news:
            self._news.notify_all()

    def begin(self, played: Coroutine[None, None, None], name: str) -> None:
        """Play something beside whatever else happens."""
        task = asyncio.create_task(played, name=name)
        self._under_way.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._under_way.discard)

    async def events(self, *, after: int = 0, service: str | None = None, follow: bool = False) -> AsyncIterator[Event]:
        """The ledger after `seq`, as `Control` promises it."""
        self.streams += 1
        try:
            while True:
                for event in self.ledger[after:]:
                    after = event.seq
                    if service in {None, event.service}:
                        yield event
                if not follow:
                    return
                await self._until(partial(self._grew, after))
        finally:
            self.streams -= 1

    async def watch(self, look: Callable[[], _View], over: Callable[[_View], bool]) -> AsyncIterator[_View]:
        """What `look` returns, then again whenever that is another object, until one is `over`."""
        self.streams += 1
        try:
            while True:
                view = look()
                yield view
                if over(view):
                    return
                await self._until(partial(_is_another, look, view))
        finally:
            self.streams -= 1

    def _grew(self, after: int) -> bool:
        return len(self.ledger) > after

    async def _until(self, happened: Callable[[], bool]) -> None:
        async with self._news:
            await self._news.wait_for(happened)


def _is_another(look: Callable[[], object], seen: object) -> bool:
    return look() is not seen


def service_view(name: str, n: int, state: ServiceState = "up") -> ServiceView:
    """A service of which release `n` runs in one replica."""
    url = f"http://127.0.0.1:8080/{name}"
    replica = ReplicaView(id=f"{name}-r{n}-0-aaaa", release=f"r{n}", phase="serving", ready=True, pid=100 + n)
    return ServiceView(
        name=name,
        state=state,
        release=f"r{n}",
        generation=n,
        ready=1,
        wanted=1,
        rps=0.0,
        urls=(url,),
        replicas=(replica,),
    )
