"""Jobs as their people see and run them: list, history, run now, watch, stop. Part of `Environment`.

A run is written down and then left to its service's cell; nothing here waits for one.
"""

from collections.abc import AsyncIterator, Sequence

from msgspec.structs import replace

from atoll.daemon import views
from atoll.daemon.loops import Loops
from atoll.daemon.pulse import Pulse
from atoll.decide.before import BEFORE
from atoll.decide.jobs import by_hand, event, hand_id, live_release
from atoll.model.errors import NotFound, Refused
from atoll.model.rows import Change
from atoll.model.spec import Job
from atoll.model.state import Event, JobRun, Release
from atoll.model.suggest import did_you_mean
from atoll.model.wire_jobs import JobRunView, JobView, RunRequest, StopRunRequest
from atoll.ports import Clock
from atoll.realise.engine import HostEngine
from atoll.realise.records import Records


class JobDesk:
    """One environment's."""

    def __init__(self, loops: Loops, records: Records, engine: HostEngine, clock: Clock, pulse: Pulse) -> None:
        self._loops, self._records, self._engine = loops, records, engine
        self._clock, self._pulse = clock, pulse

    async def jobs(self, service: str | None = None, job: str | None = None) -> Sequence[JobView]:
        """Those of the release that has the traffic; of the newest one while the service is down."""
        if job is not None:
            return [self._with_runs(service or "", job)]
        if service is not None:
            self._loops.known(service)
        now, found = self._clock.now(), list[JobView]()
        for name in self._records.services() if service is None else [service]:
            release, live = self._release(name)
            if release is None:
                continue
            runs = self._records.runs_of(name)
            for each in release.spec.jobs:
                mine = [run for run in runs if run.job == each.name]
                found.append(views.job_view(each, release, live, mine, now))
        return found

    def _with_runs(self, service: str, name: str) -> JobView:
        """One job with its history, also when the release that has the traffic no longer has it."""
        self._loops.known(service)
        now, (release, live) = self._clock.now(), self._release(service)
        mine = [run for run in self._records.runs_of(service) if run.job == name]
        runs = tuple(views.run_view(run, now) for run in reversed(mine))
        job = next((each for each in release.spec.jobs if each.name == name), None) if release else None
        if job is None and not mine and name != BEFORE:
            job = self._job(service, name, release)
        if job is None or release is None:
            command = mine[-1].command.text if mine else ""
            return JobView(service=service, job=name, command=command, last=runs[0] if runs else None, runs=runs)
        return replace(views.job_view(job, release, live, mine, now), runs=runs)

    async def run_job(self, service: str, request: RunRequest) -> JobRunView:
        """Write the run; a repeated request with the same key gets the first one's answer."""
        loop = self._loops.known(service)
        async with loop.lock:
            known = self._records.runs.get(hand_id(service, request.job, request.key)) if request.key else None
            if known is not None:
                return views.run_view(known, self._clock.now())
            _, _, run, begun = self.asked(service, request)
            await self._records.commit(Change(puts=(run,), events=(begun,)))
        self._engine.hint(service)
        self._pulse.beat(service)
        return views.run_view(run, self._clock.now())

    def asked(self, service: str, request: RunRequest) -> tuple[Release, Job, JobRun, Event]:
        """What a request would begin. Raises NotFound, Refused, Conflict."""
        loop = self._loops.known(service)
        release, _ = self._release(service)
        job = self._job(service, request.job, release)
        n = live_release(loop.intent(), loop.rollout())
        release = self._records.releases_of(service).get(n or 0)
        if release is None:
            if loop.intent().target is not None:
                raise Refused(
                    f"{service} is not live yet", "its first deploy is under way", "wait for it", id="already-deploying"
                )
            raise Refused(
                f"{service} is down", "its jobs do not run then", f"start it: `atoll up {service}`", id="service-down"
            )
        now, runs = self._clock.now(), self._records.runs_of(service)
        mine = [run for run in runs if run.job == job.name]
        key = request.key or f"{now.boot_id}:{now.boot_s}:{len(runs)}"
        return release, job, *by_hand(job, release, request.args, mine, key, now, request.author)

    async def job_run(self, run_id: str) -> JobRunView:
        """One run."""
        return views.run_view(self._found(run_id), self._clock.now())

    async def watch_run(self, run_id: str) -> AsyncIterator[JobRunView]:
        """The run after each change, until it has ended."""
        service, shown = self._found(run_id).service, None
        count = self._pulse.count(service)
        while True:
            run = self._found(run_id)
            if run != shown:
                yield views.run_view(run, self._clock.now())
                shown = run
            if run.ended:
                return
            count = await self._pulse.after(count, 1.0, service)

    async def stop_run(self, run_id: str, request: StopRunRequest) -> JobRunView:
        """Write that it shall end; its cell stops it."""
        service = self._found(run_id).service
        async with self._records.runs_lock(service):
            run, now = self._found(run_id), self._clock.now()
            if not run.ended and not run.stop:
                who = request.author.actor
                run = replace(run, stop=f"stopped by {who}" if who else "stopped by hand")
                told = replace(
                    event("job.stop", run, f"{run.job} of {service} shall end: {run.stop}", now), author=request.author
                )
                await self._records.commit(Change(puts=(run,), events=(told,)))
        self._engine.hint(service)
        self._pulse.beat(service)
        return views.run_view(run, self._clock.now())

    def _release(self, service: str) -> tuple[Release | None, bool]:
        """The release whose jobs are meant, and whether it is live."""
        loop, releases = self._loops.of(service), self._records.releases_of(service)
        n = live_release(loop.intent(), loop.rollout())
        return releases.get(n if n is not None else max(releases, default=0)), n is not None

    def _job(self, service: str, name: str, release: Release | None) -> Job:
        jobs = {job.name: job for job in release.spec.jobs} if release else {}
        if name in jobs:
            return jobs[name]
        why = (
            f"it has {', '.join(sorted(jobs))}" if jobs else "its service.toml has no [jobs], or was not deployed since"
        )
        raise NotFound(
            f"{service} has no job '{name}'",
            why,
            did_you_mean(name, jobs) or f"`atoll deploy {service}`",
            id="unknown-job",
        )

    def _found(self, run_id: str) -> JobRun:
        if run_id not in self._records.runs:
            raise NotFound(
                f"there is no run '{run_id}'", "it may be older than what is kept", "see `atoll jobs`", id="unknown-run"
            )
        return self._records.runs[run_id]
