"""The scheduled jobs of one service: looks what is due and writes the rows of their runs. Part of its loop.

A cell of the engine sees the rows and starts them. Nothing is kept here but when a wrong clock was noticed.
"""

from collections.abc import Callable

from atoll.decide.jobs import CLOCK_BACK_S, counted_from, due, expired, live_release
from atoll.model.rows import Change
from atoll.model.state import Event, Intent, JobRun, Now
from atoll.ports import Clock
from atoll.realise.records import Records

LOOK_S = 30.0  # a clock that jumps is noticed within this


class Timetable:
    """Of `service`. Its loop calls `step` under the service's lock."""

    def __init__(self, service: str, records: Records, clock: Clock, on_written: Callable[[], None]) -> None:
        self._service, self._records, self._clock, self._on_written = service, records, clock, on_written
        self._looked_wall: float | None = None
        self._noticed_wall = 0.0

    async def step(self) -> float | None:
        """Write what is due; returns in how many seconds to look again, None when nothing is scheduled."""
        release = self._records.releases_of(self._service).get(self._live() or 0)
        if release is None or all(job.schedule is None for job in release.spec.jobs):
            return None
        now, runs = self._clock.now(), self._records.runs_of(self._service)
        if self._looked_wall is None or now.wall < self._looked_wall - CLOCK_BACK_S:
            self._noticed_wall = now.wall
        self._looked_wall = now.wall
        found: list[JobRun] = []
        events: list[Event] = []
        wakes = []
        for job in release.spec.jobs:
            if job.schedule is None:
                continue
            mine = [run for run in runs if run.job == job.name]
            outcome = due(job, release, mine, self._counted_from(mine, release.n, now), now)
            found += outcome.runs
            events += outcome.events
            wakes += [] if outcome.wake_wall is None else [outcome.wake_wall - now.wall]
        if found or events:
            gone = expired([*runs, *found], self._records.releases_of(self._service))
            drops = tuple(("run", id) for id in gone)
            await self._records.commit(Change(puts=tuple(found), drops=drops, events=tuple(events)))  # type: ignore[arg-type]
            self._on_written()
        return max(0.001, min([LOOK_S, *wakes]))

    def _live(self) -> int | None:
        intent = self._records.intents.get(self._service) or Intent(service=self._service)
        return live_release(intent, self._records.rollout_of(self._service))

    def _counted_from(self, runs: list[JobRun], release: int, now: Now) -> float:
        """After when occurrences are new: since the release has the traffic, and after the last one that was looked at."""
        return counted_from(runs, self._records.live_since(self._service, release), now.wall, self._noticed_wall)
