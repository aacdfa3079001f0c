"""What the host says of its replicas and jobs, kept fresh: pushed exits at once, a full list now and then as the truth."""

import asyncio
import logging
from collections.abc import Callable, Container

import msgspec

from atoll.model.errors import Permanent, Retryable
from atoll.model.hosted import Hosted
from atoll.model.state import Exit
from atoll.ports import Clock, Host, Launch

_LIST_EVERY_S = 10.0  # exits are pushed; the list heals what a push missed
_log = logging.getLogger(__name__)


class Facts:
    """The host's replicas by id. `known` is False until the host was asked once: then absence means nothing."""

    def __init__(self, host: Host, clock: Clock, on_change: Callable[[str], None]) -> None:
        """`on_change(service)` is called after each change; `service` "" means that all should look."""
        self._host, self._clock, self._on_change = host, clock, on_change
        self._hosted: dict[str, Hosted] = {}
        self._busy: set[str] = set()  # being started or forgotten: the list may not know better
        self._early: dict[str, Hosted] = {}  # ended, while the answer to its own start was still on the way
        self.known = False
        self.trouble = ""  # why the host did not answer when it was asked last, in a sentence

    def of(self, replica: str) -> Hosted | None:
        """What the host said last of one replica."""
        return self._hosted.get(replica)

    def busy(self, replica: str) -> bool:
        """Whether a start is under way, so that absence means nothing."""
        return replica in self._busy

    def strays(self, known: Container[str]) -> list[str]:
        """Replicas that the host has and nobody knows."""
        return [id for id in self._hosted if id not in known and id not in self._busy]

    def expect(self, replica: str) -> None:
        """It is about to be started: until `start` or `failed`, that the host does not know it means nothing."""
        self._busy.add(replica)

    async def start(self, launch: Launch) -> None:
        """Start it, however long the host is away; what cannot be started is an exit with its error."""
        self._busy.add(launch.id)
        try:
            while True:
                try:
                    hosted = await self._host.start(launch)
                    break
                except Retryable as exc:
                    _log.warning("cannot start %s yet: %s", launch.id, exc)
                    await self._clock.sleep(exc.after_s)
                except Permanent as exc:
                    now = self._clock.now()
                    exit_ = Exit(error=str(exc), at_s=now.boot_s, wall=now.wall)
                    hosted = Hosted(id=launch.id, pid=None, service=launch.service, release=launch.release, exit=exit_)
                    break
            self._take(hosted)
            if (early := self._early.get(launch.id)) is not None:
                self._take(early)
        finally:
            self._busy.discard(launch.id)
            self._early.pop(launch.id, None)
        self._on_change(launch.service)

    def failed(self, replica: str, service: str, release: int, exit_: Exit) -> None:
        """It could not even be tried: its secret or template does not resolve."""
        self._busy.discard(replica)
        self._hosted[replica] = Hosted(id=replica, pid=None, service=service, release=release, exit=exit_)
        self._on_change(service)

    async def forget(self, replica: str) -> None:
        """Tell the host that nobody needs this one any more; tried again with the next list if it is away."""
        self._hosted.pop(replica, None)
        self._busy.add(replica)
        try:
            await self._host.forget(replica)
        except Retryable as exc:
            _log.warning("cannot forget %s yet: %s", replica, exc)
        finally:
            self._busy.discard(replica)
            self._early.pop(replica, None)

    async def refresh(self) -> None:
        """Ask for the whole list. Raises what the host raises."""
        asked_about = set(self._hosted) - self._busy
        listed = {hosted.id: hosted for hosted in await self._host.list()}
        for replica in asked_about - set(listed) - self._busy:
            self._hosted.pop(replica, None)  # gone, and nobody knows how
        for replica, hosted in listed.items():
            before = self._hosted.get(replica)
            ended = before is not None and before.exit is not None  # pushed while the list was on its way
            if replica not in self._busy and not ended:
                self._hosted[replica] = hosted
        self.known = True
        self._on_change("")

    async def run(self) -> None:
        """Follow the host for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            while True:
                try:
                    await self.refresh()
                    self.trouble = ""
                except Retryable as exc:
                    _log.warning("the host does not answer: %s", exc)
                    self.trouble = exc.what
                    await self._clock.sleep(exc.after_s)
                    continue
                await self._clock.sleep(_LIST_EVERY_S)

    def _take(self, hosted: Hosted) -> None:
        """Newer news of one replica; a notice outlives its process."""
        before = self._hosted.get(hosted.id)
        self._hosted[hosted.id] = (
            msgspec.structs.replace(hosted, notice=hosted.notice or before.notice) if before else hosted
        )

    async def _follow(self) -> None:
        while True:
            try:
                async for ended in self._host.exits():
                    if ended.id in self._busy:
                        self._early[ended.id] = ended
                    elif ended.id in self._hosted:
                        self._take(ended)
                        self._on_change(ended.service)
            except Retryable as exc:
                await self._clock.sleep(min(exc.after_s, 0.5))
            await self._clock.sleep(0.05)
