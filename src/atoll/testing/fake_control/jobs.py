"""Jobs of pretend: every service has `reindex` and, by schedule, `nightly`. Part of `FakeControl`."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial

import msgspec

from atoll.model.errors import NotFound, Refused
from atoll.model.state import Exit
from atoll.model.wire_jobs import JobRunView, JobView, RunRequest, StopRunRequest
from atoll.testing.fake_control.world import JOBS, WALL, World


class Jobs:
    """A run with the argument `fail` fails, one with `hang` runs until it is stopped."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.runs: dict[str, JobRunView] = {}

    async def jobs(self, service: str | None = None, job: str | None = None) -> Sequence[JobView]:
        if job is not None:
            self._world.find_job(service or "", job)
            view = self._job(service or "", job)
            runs = [run for run in reversed(self.runs.values()) if (run.service, run.job) == (service, job)]
            return [msgspec.structs.replace(view, runs=tuple(runs))]
        names = sorted(self._world.services) if service is None else [self._world.find(service).name]
        return [self._job(name, job) for name in names for job in JOBS]

    async def run_job(self, service: str, request: RunRequest) -> JobRunView:
        self._world.find_job(service, request.job)
        known = next((run for run in self.runs.values() if request.key and run.id.endswith(request.key)), None)
        if known is not None:
            return known
        if self._world.services[service].state == "down":
            raise Refused(
                f"{service} is down", "its jobs do not run then", f"start it: `atoll up {service}`", id="service-down"
            )
        self._world.requests.append(request)
        view = JobRunView(
            id=f"{service}.{request.job}.{request.key or len(self.runs) + 1}",
            service=service,
            job=request.job,
            release=self._world.services[service].release,
            trigger="manual",
            state="running",
            command=" ".join(["./run", request.job, *request.args]),
            created_wall=WALL,
            started_wall=WALL,
        )
        self.runs[view.id] = view
        if "hang" not in request.args:
            self._world.begin(self._finish(view.id, "fail" not in request.args), view.id)
        return view

    async def job_run(self, run_id: str) -> JobRunView:
        return self._run(run_id)

    def _run(self, run_id: str) -> JobRunView:
        if run_id not in self.runs:
            raise NotFound(
                f"there is no run '{run_id}'", "it may be older than what is kept", "see `atoll jobs`", id="unknown-run"
            )
        return self.runs[run_id]

    def watch_run(self, run_id: str) -> AsyncIterator[JobRunView]:
        return self._world.watch(partial(self._run, run_id), lambda view: view.ended)

    async def stop_run(self, run_id: str, request: StopRunRequest) -> JobRunView:
        view = self._run(run_id)
        if not view.ended:
            self._world.requests.append(request)
            view = msgspec.structs.replace(
                view, state="stopped", ended=True, reason="stopped by ada", ended_wall=WALL + 1
            )
            self.runs[run_id] = view
            await self._world.record("job.stopped", view.service, f"{view.job} was stopped")
        return view

    def _job(self, service: str, job: str) -> JobView:
        runs = [run for run in self.runs.values() if (run.service, run.job) == (service, job)]
        scheduled = job == "nightly"
        return JobView(
            service=service,
            job=job,
            command=f"./run {job}",
            release=self._world.services[service].release,
            schedule="0 3 * * *" if scheduled else "",
            time_zone="Europe/Berlin" if scheduled else "",
            next_wall=WALL + 3600 if scheduled else None,
            last=runs[-1] if runs else None,
        )

    async def _finish(self, run_id: str, good: bool) -> None:
        await asyncio.sleep(self._world.step_s)
        self.runs[run_id] = msgspec.structs.replace(
            self.runs[run_id],
            state="succeeded" if good else "failed",
            ended=True,
            exit=Exit(code=0 if good else 4),
            reason="" if good else "exit code 4",
            output="" if good else "no such index\n",
            ended_wall=WALL + 1,
            seconds=1.0,
        )
        await self._world.record("job.succeeded" if good else "job.failed", run_id.partition(".")[0], f"{run_id} ended")
