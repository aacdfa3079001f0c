"""The loop of one service: observe, advance its rollout, compose what shall run, apply, record.

`Environment` makes one per service. Decisions are `decide`'s; this file carries rollouts from phase to phase and writes
each step down before the engine hears of it.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

import msgspec

from atoll.daemon.analyst import EVERY_S, Analyst, judged
from atoll.daemon.checks import ask
from atoll.daemon.collector import Collector
from atoll.daemon.timetable import Timetable
from atoll.decide.before import run_of
from atoll.decide.changes import changes
from atoll.decide.compose import compose
from atoll.decide.facts import is_ready
from atoll.decide.faults import in_force, next_end_s
from atoll.decide.rollout import advance, seconds
from atoll.decide.strategies.load import Load
from atoll.model.analysis import Check, Verdict
from atoll.model.errors import Conflict, Retryable
from atoll.model.rows import Change
from atoll.model.state import (
    ENDED,
    LIVE,
    Author,
    Event,
    Fault,
    Intent,
    JobRun,
    Observation,
    Receipt,
    Release,
    Rollout,
    ServiceDesired,
)
from atoll.ports import Clock, Engine
from atoll.realise.cell import SOON_S
from atoll.realise.records import Records

_log = logging.getLogger(__name__)
_KEPT_RELEASES = 5
_KEPT_ROLLOUTS = 10
_LATELY_S = 10.0
_LOAD_S = 300.0  # what "now" means when a strategy is chosen: long enough for a quiet service to have had a request
_SAVE_EVIDENCE_S = 15.0  # what a daemon that dies forgets at most of an analysis


class Serving(msgspec.Struct, frozen=True):
    """What another service has in traffic, and which wish of its own people that is."""

    generation: int
    replicas: frozenset[str]


class Measure(msgspec.Struct, frozen=True):
    """What was counted when a rollout began, to be subtracted at its end."""

    requests: int
    failed: int
    others: Mapping[str, "Serving"]


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
        self._timetable = Timetable(service, records, clock, self._jobs_written)
        self._hint = asyncio.Event()
        self._measures: dict[str, Measure] = {}
        self._analyst = Analyst(service, collector.signals, records.settled)
        self._saved_s = 0.0
        self._tasks: asyncio.TaskGroup

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
        self._engine.apply(self.composed(self._engine.observe(self.service)))

    def composed(self, seen: Observation) -> ServiceDesired:
        """What shall run, by the rows and by whether anything of the candidate is ready."""
        rollout = self.rollout()
        mine = [one for one in seen.replicas if rollout is not None and one.record.release == rollout.candidate]
        ready = any(is_ready(one) for one in mine)
        want = compose(self.intent(), rollout, self._records.releases_of(self.service), ready=ready)
        return msgspec.structs.replace(want, faults=in_force(self.intent().faults, self._clock.now()))

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as self._tasks:
            while True:
                self._hint.clear()
                try:
                    wakes = [await self._step(), await self._look_at_the_clock()]
                    wake_s = min((each for each in wakes if each is not None), default=None)
                except (Retryable, Conflict) as exc:
                    _log.warning("%s: %s", self.service, exc)
                    wake_s = 1.0
                try:
                    async with asyncio.timeout(wake_s):
                        await self._hint.wait()
                except TimeoutError:
                    pass

    def load(self) -> Load | None:
        """What the service gets now; None while nobody knows. A crowd that has just left is no crowd."""
        now_s = self._clock.now().boot_s
        seen, lately = (
            self._collector.signals.window(self.service, None, now_s - span_s, now_s) for span_s in (_LOAD_S, _LATELY_S)
        )
        if seen.rps is None:
            return None
        return Load(min(seen.rps, seen.rps if lately.rps is None else lately.rps), seen.failure_share or 0.0)

    def evident(self, rollout: Rollout) -> Rollout:
        """A rollout that is about to be written, with the evidence gathered for it."""
        return self._analyst.kept(rollout)

    def verdict(self, rollout: Rollout) -> Verdict | None:
        """What is known of the rollout's candidate now."""
        candidate = self._records.releases_of(self.service).get(rollout.candidate)
        known = None if candidate is None else self._analyst.look(rollout, candidate, self._clock.now())
        return known or rollout.verdict

    async def _look_at_the_clock(self) -> float | None:
        """Begin what is due; returns in how many seconds to look again."""
        async with self.lock:
            return await self._timetable.step()

    def _jobs_written(self) -> None:
        self._engine.hint(self.service)
        self._on_change()

    def begin(self, rollout: Rollout) -> None:
        """Start counting for a rollout that is being committed."""
        requests, failed = self._collector.totals(self.service)
        self._measures[rollout.id] = Measure(requests, failed, self._others())

    def counted(self, rollout: Rollout) -> tuple[int, int]:
        """Requests and failures since it began, or since this daemon did."""
        if rollout.id not in self._measures:
            self.begin(rollout)
        start = self._measures[rollout.id]
        requests, failed = self._collector.totals(self.service)
        return requests - start.requests, failed - start.failed

    def _touched(self, rollout: Rollout) -> tuple[str, ...]:
        """Other services whose replicas changed since then, though nobody asked for it."""
        now = self._others()
        return tuple(
            name
            for name, before in self._measures[rollout.id].others.items()
            if (after := now.get(name, before)).generation == before.generation
            and not before.replicas <= after.replicas
        )

    def _others(self) -> dict[str, Serving]:
        """Every other service. One whose generation moves was changed by its own people, not by this rollout."""
        found = {}
        for name in self._records.services():
            intent = self._records.intents.get(name) or Intent(service=name)
            rows = self._records.replicas(name).values()
            if name != self.service:
                # One that is still starting, over and over perhaps, loses nothing to anybody.
                mine = frozenset(row.id for row in rows if row.release == intent.target and row.phase == "serving")
                found[name] = Serving(intent.generation, mine)
        return found

    # --- the step -------------------------------------------------------------------------------------------------

    async def _step(self) -> float | None:
        """Lift faults that have ended, advance as far as it goes; returns in how many seconds to look again by itself."""
        await self._lift()
        wait_s = await self._advance()
        now = self._clock.now()
        end_s = next_end_s(self.intent().faults, now)
        waits = [one for one in (wait_s, None if end_s is None else max(SOON_S, end_s - now.boot_s)) if one is not None]
        return min(waits, default=None)

    async def _lift(self) -> None:
        """Undo what has ended, then forget it: done again by the next daemon where this one dies in between."""
        async with self.lock:
            intent, now = self.intent(), self._clock.now()
            left = in_force(intent.faults, now)
            over = [fault for fault in intent.faults if fault not in left]
            if over:
                await self.end(over)

    async def end(self, over: Sequence[Fault], author: Author = Author()) -> None:  # noqa: B008  a frozen value
        """Lift these faults. The caller holds the lock."""
        intent, wall = self.intent(), self._clock.now().wall
        for fault in over:
            for replica in fault.replicas:
                await self._engine.signal(replica, "SIGCONT")
        left = tuple(fault for fault in intent.faults if fault not in over)
        events = tuple(
            Event(
                kind="fault.ended", service=self.service, message=f"{fault.kind} is over", author=author, wall=wall,
                data={"fault": fault.id},
            )
            for fault in over
        )  # fmt: skip
        change = Change(puts=(msgspec.structs.replace(intent, faults=left),), events=events)
        await self._records.commit(change)
        self.apply()
        self._on_change()

    async def _advance(self) -> float | None:
        while True:
            rollout, now = self.rollout(), self._clock.now()
            releases = self._records.releases_of(self.service)
            seen = self._engine.observe(self.service)
            want = self.composed(seen)
            self._engine.apply(want)
            if rollout is None or rollout.phase in ENDED:
                return None
            stable = None if rollout.stable is None else releases.get(rollout.stable)
            wanted = next((rev.replicas for rev in want.revisions if rev.release == rollout.candidate), 0)
            candidate = releases[rollout.candidate]
            verdict = self._analyst.look(rollout, candidate, now)
            for check in self._analyst.due(rollout, candidate, now):
                self._tasks.create_task(self._ask(rollout, check, seen))
            run = self._records.runs.get(rollout.before)
            step = advance(rollout, seen, want, candidate, stable, wanted, now, run, verdict)
            if step.rollout == rollout:
                await self._save_evidence(rollout, now.boot_s)
                wait_s = None if step.wake_at_s is None else max(SOON_S, step.wake_at_s - now.boot_s)
                return min(EVERY_S, wait_s or EVERY_S) if judged(rollout) else wait_s
            async with self.lock:
                if self.rollout() != rollout:
                    continue  # a person superseded it while we looked
                await self._record(rollout, step.rollout, step.events)
            self._on_change()

    async def _ask(self, rollout: Rollout, check: Check, seen: Observation) -> None:
        good, text = await ask(check, self._engine, seen, rollout.candidate)
        self._analyst.answered(rollout.id, check.name, good, text)
        self.hint()

    async def _save_evidence(self, rollout: Rollout, now_s: float) -> None:
        """Now and then between two steps: evidence is dear, and a daemon may die."""
        if not judged(rollout) or now_s < self._saved_s + _SAVE_EVIDENCE_S:
            return
        async with self.lock:
            if self.rollout() == rollout:
                self._saved_s = now_s
                await self._records.commit(Change(puts=(self._analyst.kept(rollout),)))

    async def _record(self, before: Rollout, after: Rollout, events: tuple[Event, ...]) -> None:
        """One transaction: the phase, and what its entry means for the intent, the receipt and old rows."""
        after = self._analyst.kept(after)
        if after.phase == "undoing" and before.phase != "undoing":
            after = msgspec.structs.replace(after, output=await self._last_output(before))
        puts: list[Rollout | Intent | Receipt | JobRun] = [after]
        if after.phase == "preparing" and before.phase != "preparing":
            run, begun = run_of(after, self._records.releases_of(self.service)[after.candidate], self._clock.now())
            puts.append(run)
            events = (*events, begun)
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
        self._engine.hint(self.service)

    async def _last_output(self, rollout: Rollout) -> str:
        """What tells most of why a rollout goes wrong: what ran before it, its last crash, what it started last."""
        if rollout.phase == "preparing" and (run := self._records.runs.get(rollout.before)) is not None:
            return run.output or await self._engine.last_output(run.process)
        crashed = self._last_crashed(self.service, rollout.candidate)
        replica = crashed or next(
            (id for id, row in self._records.replicas(self.service).items() if row.release == rollout.candidate), ""
        )
        return await self._engine.last_output(replica)

    async def _receipt(self, rollout: Rollout) -> Receipt:
        await self._collector.collect()
        requests, failed = self.counted(rollout)
        releases = self._records.releases_of(self.service)
        old = releases.get(self._compared(rollout) or 0)
        good = rollout.phase in LIVE
        return Receipt(
            rollout=rollout.id,
            service=self.service,
            kind=rollout.kind,
            release=rollout.candidate,
            previous=rollout.stable,
            outcome="live" if good else "undone",
            reason=rollout.reason,
            reason_id=rollout.reason_id,
            output=rollout.output,
            changed=changes(old, releases[rollout.candidate]),
            seconds=seconds(rollout),
            requests=requests,
            failed=failed,
            touched=self._touched(rollout),
            undo=_undo(rollout) if good else "",
            wall=self._records.later(self.service, self._clock.now().wall),
            author=rollout.author,
        )

    def _compared(self, rollout: Rollout) -> int | None:
        """The release that a receipt is about the difference to: the stable one, or for a service that was down the last one."""
        mine = [row for row in self._records.receipts.values() if row.service == self.service and row.outcome == "live"]
        last = max(mine, key=lambda row: row.wall, default=None)
        return rollout.stable if rollout.stable is not None or last is None else last.release

    def _old(self, rollout: Rollout) -> list[tuple[str, str]]:
        """Rows past their keeping: releases that nothing uses, rollouts long ended."""
        releases: Mapping[int, Release] = self._records.releases_of(self.service)
        used = {rollout.candidate, rollout.stable} | {
            row.release for row in self._records.replicas(self.service).values()
        }
        used |= {run.release for run in self._records.runs_of(self.service) if not run.ended}
        keep = set(sorted(releases)[-_KEPT_RELEASES:]) | used
        mine = sorted(
            (row for row in self._records.rollouts.values() if row.service == self.service and row.phase in ENDED),
            key=lambda row: row.started_wall,
        )
        return [("release", f"{self.service}/{n}") for n in releases if n not in keep] + [
            ("rollout", row.id) for row in mine[:-_KEPT_ROLLOUTS]
        ]


def _undo(rollout: Rollout) -> str:
    """The command that takes a rollout back; "" where there is nothing to go back to."""
    if rollout.stable is None or rollout.kind == "restart":
        return ""
    to = f" --to r{rollout.stable}" if rollout.kind == "rollback" else ""
    return f"atoll rollback {rollout.service}{to}"
