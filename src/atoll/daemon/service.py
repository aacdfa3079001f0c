"""The loop of one service: observe, advance its rollout, compose what shall run, apply, record.

`Environment` makes one per service. Decisions are `decide`'s; this file carries rollouts from phase to phase and writes
each step down before the engine hears of it.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

import msgspec

from atoll.daemon.collector import Collector
from atoll.decide.changes import changes
from atoll.decide.compose import compose
from atoll.decide.rollout import advance, seconds
from atoll.model.errors import Conflict, Retryable
from atoll.model.state import ENDED, LIVE, Event, Intent, Receipt, Release, Rollout
from atoll.ports import Change, Clock, Engine
from atoll.realise.cell import SOON_S
from atoll.realise.records import Records

_log = logging.getLogger(__name__)
_KEPT_RELEASES = 5
_KEPT_ROLLOUTS = 10


class Measure(msgspec.Struct, frozen=True):
    """What was counted when a rollout began, to be subtracted at its end."""

    requests: int
    failed: int
    others: Mapping[str, frozenset[str]]  # other service -> its replicas


class ServiceLoop:
    """Carries one service's rollouts; its lock keeps two mutations of it from crossing."""

    def __init__(
        self,
        service: str,
        records: Records,
        engine: Engine,
        collector: Collector,
        clock: Clock,
        last_crashed: Callable[[str, int], str],
        on_change: Callable[[], None],
    ) -> None:
        self.service = service
        self.lock = asyncio.Lock()
        self._records, self._engine, self._collector = records, engine, collector
        self._clock, self._last_crashed, self._on_change = clock, last_crashed, on_change
        self._hint = asyncio.Event()
        self._measures: dict[str, Measure] = {}

    def hint(self) -> None:
        """Something may have changed."""
        self._hint.set()

    def intent(self) -> Intent:
        """What is wanted; generation 0 when nobody ever said."""
        return self._records.intents.get(self.service) or Intent(service=self.service)

    def rollout(self) -> Rollout | None:
        """The newest rollout, ended or not."""
        return self._records.rollout_of(self.service)

    def apply(self) -> None:
        """Tell the engine what the rows say now."""
        releases = self._records.releases_of(self.service)
        self._engine.apply(compose(self.intent(), self.rollout(), releases))

    async def run(self) -> None:
        """For ever."""
        while True:
            self._hint.clear()
            try:
                wake_s = await self._step()
            except (Retryable, Conflict) as exc:
                _log.warning("%s: %s", self.service, exc)
                wake_s = 1.0
            try:
                async with asyncio.timeout(wake_s):
                    await self._hint.wait()
            except TimeoutError:
                pass

    def begin(self, rollout: Rollout) -> None:
        """Start counting for a rollout that is being committed."""
        requests, failed = self._collector.totals(self.service)
        self._measures[rollout.id] = Measure(requests, failed, self._others())

    def measured(self, rollout: Rollout) -> tuple[int, int, tuple[str, ...]]:
        """Requests and failures since it began (or since this daemon did), and other services touched meanwhile."""
        if rollout.id not in self._measures:
            self.begin(rollout)
        start = self._measures[rollout.id]
        requests, failed = self._collector.totals(self.service)
        now = self._others()
        touched = tuple(name for name, ids in start.others.items() if not ids <= now.get(name, frozenset()))
        return requests - start.requests, failed - start.failed, touched

    def _others(self) -> dict[str, frozenset[str]]:
        names = [name for name in self._records.services() if name != self.service]
        return {
            name: frozenset(id for id, row in self._records.replicas(name).items() if row.phase == "serving")
            for name in names  # one that is still starting, over and over perhaps, loses nothing to us
        }

    # --- the step -------------------------------------------------------------------------------------------------

    async def _step(self) -> float | None:
        """Advance as far as it goes; returns in how many seconds to look again by itself."""
        while True:
            rollout, now = self.rollout(), self._clock.now()
            releases = self._records.releases_of(self.service)
            want = compose(self.intent(), rollout, releases)
            self._engine.apply(want)
            if rollout is None or rollout.phase in ENDED:
                return None
            seen = self._engine.observe(self.service)
            stable = None if rollout.stable is None else releases.get(rollout.stable)
            wanted = next((rev.replicas for rev in want.revisions if rev.release == rollout.candidate), 0)
            step = advance(rollout, seen, want, releases[rollout.candidate], stable, wanted, now)
            if step.rollout == rollout:
                return None if step.wake_at_s is None else max(SOON_S, step.wake_at_s - now.boot_s)
            async with self.lock:
                if self.rollout() != rollout:
                    continue  # a person superseded it while we looked
                await self._record(rollout, step.rollout, step.events)
            self._on_change()

    async def _record(self, before: Rollout, after: Rollout, events: tuple[Event, ...]) -> None:
        """One transaction: the phase, and what its entry means for the intent, the receipt and old rows."""
        if after.phase == "undoing" and before.phase != "undoing":
            crashed = self._last_crashed(self.service, after.candidate)
            replica = crashed or next(
                (id for id, row in self._records.replicas(self.service).items() if row.release == after.candidate), ""
            )
            after = msgspec.structs.replace(after, output=await self._engine.last_output(replica))
        puts: list[Rollout | Intent | Receipt] = [after]
        drops: list[tuple[str, str]] = []
        live = after.phase in LIVE and before.phase not in LIVE
        if live:
            intent = self.intent()
            puts.append(msgspec.structs.replace(intent, target=after.candidate, generation=intent.generation + 1))
            drops = self._old(after)
        if after.phase == "undone" and self.intent().target == after.candidate:
            # A first deploy that failed, or one that was live and crashed while its predecessor was warm.
            intent = self.intent()
            puts.append(msgspec.structs.replace(intent, target=after.stable, generation=intent.generation + 1))
        if live or after.phase == "undone":
            puts.append(await self._receipt(after))
        wall = self._clock.now().wall
        stamped = tuple(
            msgspec.structs.replace(
                event, wall=event.wall or wall, author=event.author if event.author.actor else after.author
            )
            for event in events
        )
        await self._records.commit(Change(puts=tuple(puts), drops=tuple(drops), events=stamped))  # type: ignore[arg-type]

    async def _receipt(self, rollout: Rollout) -> Receipt:
        await self._collector.collect()
        requests, failed, touched = self.measured(rollout)
        releases = self._records.releases_of(self.service)
        old = None if rollout.stable is None else releases.get(rollout.stable)
        good = rollout.phase in LIVE
        undo = f"atoll rollback {self.service}" if good and rollout.stable is not None else ""
        return Receipt(
            rollout=rollout.id,
            service=self.service,
            kind=rollout.kind,
            release=rollout.candidate,
            previous=rollout.stable,
            outcome="live" if good else "undone",
            reason=rollout.reason,
            output=rollout.output,
            changed=changes(old, releases[rollout.candidate]),
            seconds=seconds(rollout),
            requests=requests,
            failed=failed,
            touched=touched,
            undo=undo,
            wall=self._clock.now().wall,
            author=rollout.author,
        )

    def _old(self, rollout: Rollout) -> list[tuple[str, str]]:
        """Rows past their keeping: releases that nothing uses, rollouts long ended."""
        releases: Mapping[int, Release] = self._records.releases_of(self.service)
        used = {rollout.candidate, rollout.stable} | {
            row.release for row in self._records.replicas(self.service).values()
        }
        keep = set(sorted(releases)[-_KEPT_RELEASES:]) | used
        mine = sorted(
            (row for row in self._records.rollouts.values() if row.service == self.service and row.phase in ENDED),
            key=lambda row: row.started_wall,
        )
        return [("release", f"{self.service}/{n}") for n in releases if n not in keep] + [
            ("rollout", row.id) for row in mine[:-_KEPT_ROLLOUTS]
        ]
