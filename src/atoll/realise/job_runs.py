"""The job runs of one service on its host: each row carried to its end, a step after every change. Part of its cell.

Steps are `decide.runs`; each is committed before its effect. Whoever else changes a run's row (somebody who wants it
stopped) holds `Records.runs_lock` of the service meanwhile, as this does.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec

from atoll.decide.jobs import expired
from atoll.decide.launch import Folders, job_launch
from atoll.decide.runs import KILL_AGAIN_S, Process, RunStep, advance, unwanted
from atoll.model.errors import AtollError, NotFound
from atoll.model.rows import Change
from atoll.model.state import Exit, Intent, JobRun, Release
from atoll.ports import Clock, Host, Vault
from atoll.realise.edges import Edges
from atoll.realise.facts import Facts
from atoll.realise.records import Records

_log = logging.getLogger(__name__)
_EDGES_AGAIN_S = 0.1

Background = Callable[[Coroutine[Any, Any, None]], object]


class JobRuns:
    """Keeps the runs of `service` going."""

    def __init__(
        self,
        service: str,
        host: Host,
        facts: Facts,
        records: Records,
        vault: Vault,
        clock: Clock,
        edges: Edges,
        folders: Folders,
    ) -> None:
        self._service, self._host, self._facts, self._records = service, host, facts, records
        self._vault, self._clock, self._edges, self._folders = vault, clock, edges, folders
        self._signalled: set[str] = set()
        self._killed: dict[str, float] = {}

    def releases(self) -> set[int]:
        """The releases in which something runs or is about to."""
        return {run.release for run in self._records.runs_of(self._service) if not run.ended}

    async def step(self, releases: Mapping[int, Release], background: Background) -> float | None:
        """Bring every run as far as it goes now; returns in how many seconds to look again by itself.

        `background` starts a task that the cell watches.
        """
        waits: list[float] = []
        for run in [run for run in self._records.runs_of(self._service) if not run.ended]:
            async with self._records.runs_lock(self._service):
                wait_s = await self._advance(run.id, releases, background)
            if wait_s is not None:
                waits.append(wait_s)
        return min(waits, default=None)

    async def _advance(self, id: str, releases: Mapping[int, Release], background: Background) -> float | None:
        """One step of one run, written down and carried out."""
        run, now = self._records.runs.get(id), self._clock.now()
        if run is None:
            return None  # past its keeping meanwhile
        release = releases.get(run.release)
        intent = self._records.intents.get(self._service) or Intent(service=self._service)
        mine = self._records.runs_of(self._service)
        why_not = unwanted(run, mine, intent, self._records.rollout_of(self._service))
        grace_s = release.spec.stop.grace_s if release else 0.0
        step = advance(run, self._process(run), mine, why_not, grace_s, now)
        if step.effect == "start" and not self._edges.are_up(run.release):
            return _EDGES_AGAIN_S
        if step.run != run:
            step = await self._with_output(step)
            gone = expired([*(one for one in mine if one.id != id), step.run], releases) if step.run.ended else ()
            drops = tuple(("run", one) for one in gone)
            await self._records.commit(Change(puts=(step.run,), drops=drops, events=step.events))  # type: ignore[arg-type]
        if step.run.ended or step.run.process != run.process:
            self._signalled.discard(run.process)
            self._killed.pop(run.process, None)
            background(self._facts.forget(run.process))
            return 0.0
        await self._effect(step, release, background)
        if step.run != run:
            return 0.0
        return None if step.wake_at_s is None else max(0.001, step.wake_at_s - now.boot_s)

    async def _effect(self, step: RunStep, release: Release | None, background: Background) -> None:
        process, now_s = step.run.process, self._clock.now().boot_s
        match step.effect:
            case "start":
                self._facts.expect(process)
                background(self._start(step.run, release))
            case "signal" if process not in self._signalled:
                self._signalled.add(process)
                background(self._signal(process, release.spec.stop.signal if release else "SIGTERM"))
            case "kill" if now_s >= self._killed.get(process, 0.0) + KILL_AGAIN_S:
                self._killed[process] = now_s
                background(self._signal(process, "SIGKILL"))

    def _process(self, run: JobRun) -> Process:
        if not self._facts.known or self._facts.busy(run.process):
            return "unknown"
        hosted = self._facts.of(run.process)
        if hosted is None:
            return "absent"
        return "running" if hosted.exit is None else hosted.exit

    async def _with_output(self, step: RunStep) -> RunStep:
        """What it printed last belongs to the row of one that failed: its log may be gone when somebody asks."""
        if step.run.state != "failed":
            return step
        try:
            output = await self._host.last_output(step.run.process)
        except AtollError as exc:
            _log.warning("no output of %s: %s", step.run.process, exc)
            return step
        return msgspec.structs.replace(step, run=msgspec.structs.replace(step.run, output=output))

    async def _start(self, run: JobRun, release: Release | None) -> None:
        try:
            if release is None:
                raise NotFound(f"r{run.release} is no longer kept", id="unknown-release")
            values = {name: await self._vault.get(name, version) for name, version in release.secrets.items()}
            reach = await self._host.reach(self._service)
            launch = job_launch(release, run, self._edges.ports(), values, folders=self._folders, reach=reach)
        except AtollError as exc:  # a secret that is gone, a vault that does not answer
            now = self._clock.now()
            self._facts.failed(
                run.process, self._service, run.release, Exit(error=str(exc), at_s=now.boot_s, wall=now.wall)
            )
            return
        await self._facts.start(launch)

    async def _signal(self, process: str, signal: str) -> None:
        try:
            async with asyncio.timeout(30.0):
                await self._host.signal(process, signal)
        except (AtollError, TimeoutError) as exc:
            _log.warning("%s: cannot signal %s: %s", self._service, process, exc)  # SIGKILL follows after the grace
