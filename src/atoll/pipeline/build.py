"""Makes what is deployed of services (their builds, or their images) for `up` and `deploy`, in parallel and each on its own: one service's failure is its own."""

from collections.abc import Callable, Mapping, Sequence

from atoll.model.environment import WorkspaceSpec
from atoll.model.errors import BuildFailed
from atoll.model.spec import ServiceSpec
from atoll.model.state import Artifact
from atoll.model.task import task_id
from atoll.pipeline.kept import Kept
from atoll.pipeline.order import deployed_of, works_of
from atoll.pipeline.progress import Progress
from atoll.pipeline.work import Crew, Site, failure_of


async def build_all(
    specs: Sequence[ServiceSpec],
    site: Site,
    *,
    workspace: WorkspaceSpec | None = None,
    namespace: str = "trusted",
    jobs: int | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    told: Callable[[str], None] = lambda _: None,
    kept: Kept | None = None,
) -> Mapping[str, Artifact | BuildFailed]:
    """Make what is deployed of every service where it is not there yet, and what that needs; return each artifact or why there is none.

    Cancelled, it ends every build's process tree and removes what they made before it raises.

    Args:
        specs: the services, for one environment.
        site: where.
        workspace: what else builds may need; None where they need nothing of others.
        namespace: whose results these are.
        jobs: builds at one time, >= 1; None is one a CPU.
        on_progress: called on the event loop, often; must not block.
        told: takes sentences that a person must know although nothing failed.
        kept: results of other runs and machines; None does without.

    Raises:
        UserError: the artifacts folder cannot be used at all.
    """
    builds = {each.id: each for each in map(deployed_of, specs)}
    works = {**(works_of(workspace) if workspace else {}), **builds}
    for spec in specs:
        on_progress(Progress(service=spec.name, task=spec.deployed, phase="hashing"))
    with Crew(works, site, namespace=namespace, on_progress=on_progress, told=told, kept=kept) as crew:
        await crew.look(builds)
        await crew.run(builds, jobs=jobs, results=True)
        results: dict[str, Artifact | BuildFailed] = {}
        for spec in specs:
            id = task_id(spec.name, spec.deployed)
            made = crew.made[id]
            results[spec.name] = made.artifact or failure_of(works[id], made)
            if made.cached:
                on_progress(Progress(service=spec.name, task=spec.deployed, phase="cached"))
        return results
