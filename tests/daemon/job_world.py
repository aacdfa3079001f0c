"""Services with jobs, and what became of their runs. For the tests of jobs by hand and by schedule."""

import asyncio

from world import World, spec

from atoll.model.spec import Command, Job, ServiceSpec
from atoll.model.state import Author
from atoll.model.wire_jobs import JobRunView, RunRequest

REINDEX = Job(name="reindex", run=Command(shell="reindex"))


def with_jobs(*jobs: Job, **fields: object) -> ServiceSpec:
    return spec(**{"jobs": jobs, **fields})  # type: ignore[arg-type]


def jobs_only(*jobs: Job) -> ServiceSpec:
    return ServiceSpec(name="orders", run=None, jobs=jobs, replicas=0)


async def run(world: World, job: str = "reindex", *args: str, key: str = "") -> JobRunView:
    request = RunRequest(job=job, args=args, key=key, author=Author(actor="ann"))
    return await world.environment.run_job("orders", request)


async def ended(world: World, run_id: str, within_s: float = 300.0) -> JobRunView:
    async def look() -> JobRunView:
        while not (view := await world.environment.job_run(run_id)).ended:
            await asyncio.sleep(0.05)
        return view

    return await asyncio.wait_for(look(), within_s)


async def runs(world: World, job: str) -> list[JobRunView]:
    [view] = await world.environment.jobs("orders", job)
    return list(reversed(view.runs))


async def kinds(world: World, prefix: str = "job.") -> list[str]:
    return [event.kind async for event in world.environment.events() if event.kind.startswith(prefix)]


def started(world: World, job: str) -> list[str]:
    """The ids of all processes of a job that were ever started."""
    return [launch.id for launch in world.host.launches if launch.id.startswith(f"orders.{job}.")]


EVERY_MINUTE = Job(name="tick", run=Command(argv=("tick",)), schedule="* * * * *", timeout_s=20.0)


MINUTE_S = 60.0
