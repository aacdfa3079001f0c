"""`atoll ci`: which tasks are affected, what would run and why, and the run itself, as values.

The command line shows what these return. Needs no daemon.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import msgspec

from atoll.decide.tasks import chosen, ranks
from atoll.model.environment import WorkspaceSpec
from atoll.model.errors import UserError
from atoll.model.records import CiPlan, CiResult, PlannedTask, TaskResult, ci_result
from atoll.pipeline.artifacts import Artifacts
from atoll.pipeline.audit import Audit
from atoll.pipeline.collect import collect
from atoll.pipeline.kept import Kept
from atoll.pipeline.keys import Keyed
from atoll.pipeline.making import Made
from atoll.pipeline.namespace import namespace
from atoll.pipeline.order import trouble_of, works_of
from atoll.pipeline.progress import Progress
from atoll.pipeline.work import Crew, Site


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a person asks of `atoll ci`."""

    named: tuple[str, ...] = ()  # services and ids of tasks; none are those of affected services
    kinds: tuple[str, ...] = ()  # names of tasks, such as `test`; none are all
    all: bool = False  # also of services that are not affected
    jobs: int | None = None  # at one time, >= 1; None is one a CPU
    fail_fast: bool = False
    audit: bool = False  # run everything that is asked for, results kept aside, and tell what was read and not declared
    namespace: str = ""  # of the results, as `pipeline.namespace` takes it; "" is told from the CI system's variables


async def plan(
    load: Callable[[], WorkspaceSpec],
    site: Site,
    asked: Asked,
    told: Callable[[str], None],
    kept: Kept | None = None,
    keys: Mapping[str, Keyed | UserError] | None = None,
) -> CiPlan:
    """What would run and why, in the order of its beginning; what is cached last. Raises UserError like `perform`."""
    with Crew(works_of(load()), site, namespace=own(asked), told=told, kept=kept, keys=keys) as crew:
        wanted, unaffected = await _select(crew, asked)
        todo = crew.todo(wanted)
        took = crew.durations()
        rank = ranks({id: [need for need in crew.needs[id] if need in todo] for id in todo}, took)
        first = sorted(todo, key=lambda id: (-rank[id], id))
        tasks = [
            PlannedTask(
                task=id,
                runs=id in todo,
                why=_why(crew, id) if id in todo else "",
                key="" if isinstance(found := crew.known[id], UserError) else found.key,
                needs=crew.needs[id],
                expected_s=took.get(id, 0.0) if id in todo else crew.made[id].seconds,
            )
            for id in (*first, *(id for id in wanted if id not in todo))
        ]
        return CiPlan(tasks=tuple(tasks), unaffected=unaffected)


async def perform(
    load: Callable[[], WorkspaceSpec],
    site: Site,
    asked: Asked,
    on_progress: Callable[[Progress], None],
    told: Callable[[str], None],
    kept: Kept | None = None,
    keys: Mapping[str, Keyed | UserError] | None = None,
) -> CiResult:
    """Run what is affected and not green.

    Cancelled, it ends every process tree and removes what they made before it raises; what passed before is kept.

    Args:
        load: reads the services and their tasks.
        site: where.
        asked: which of them, and how.
        on_progress: called on the event loop, often; must not block.
        told: takes sentences that a person must know although nothing failed.
        kept: results of other runs and machines; None does without.
        keys: those of the files as they are now, where somebody knows them.

    Raises:
        NotFound: for a name that is none.
        UserError: the artifacts folder cannot be used at all, or nothing can be audited here.
    """
    began, whose, workspace = time.monotonic(), own(asked), load()
    with ExitStack() as aside:
        audit = None
        if asked.audit:  # nothing of it replaces a result that somebody uses, nor stands for a run without strace
            site = aside.enter_context(_aside(site))
            audit, kept = Audit(workspace, site.artifacts), None
        works = works_of(workspace)
        crew = aside.enter_context(
            Crew(works, site, keys=keys, namespace=whose, on_progress=on_progress, told=told, kept=kept, audit=audit)
        )
        wanted, unaffected = await _select(crew, asked)
        await crew.run(wanted, jobs=asked.jobs, fail_fast=asked.fail_fast)
        shown = [id for id in crew.made if id in wanted or not crew.made[id].cached]
        tasks = tuple(_result(id, crew.made[id], kept=audit is None) for id in sorted(shown))
        return ci_result(
            tasks,
            seconds=time.monotonic() - began,
            saved_s=sum(made.seconds for made in crew.made.values() if made.cached),
            unaffected=unaffected,
            namespace=whose,
            author=crew.author,
        )


@contextmanager
def _aside(site: Site) -> Iterator[Site]:
    """A site whose results and records are forgotten; those of a killed process are swept up by the next run."""
    place = Artifacts(site.artifacts.resolve())
    place.prepare()
    place.sweep()
    stage = place.stage()
    try:
        here = stage.root / "aside"
        docker = msgspec.structs.replace(site.docker, registry="")
        try:
            yield msgspec.structs.replace(
                site, artifacts=here / "artifacts", records=here / "records.db", docker=docker
            )
        finally:
            if here.is_dir():  # images are forgotten with their results
                collect(here / "artifacts", frozenset(), max_age_s=0.0, max_bytes=0, fresh_s=0.0)
    finally:
        place.drop(stage)


def own(asked: Asked) -> str:
    """The namespace of a run. Raises UserError for one by hand that cannot be one."""
    return namespace(os.environ, asked.namespace)


async def _select(crew: Crew, asked: Asked) -> tuple[list[str], int]:
    """The tasks to look after, and how many services are left out since nothing of theirs is affected."""
    meant = chosen(crew.works, asked.named, asked.kinds)
    await crew.look(meant)
    if asked.all or asked.named:
        return meant, 0
    services = {id.partition(".")[0] for id in meant}
    affected = {id.partition(".")[0] for id in meant if id not in crew.made}
    return [id for id in meant if id.partition(".")[0] in affected], len(services - affected)


def _why(crew: Crew, id: str) -> str:
    found = crew.known[id]
    if isinstance(found, UserError):
        return f"what it would run cannot be told yet: {trouble_of(found)}"
    return crew.why(crew.works[id], found.manifest)


def _result(id: str, made: Made, *, kept: bool) -> TaskResult:
    """`kept`: what it wrote is still there."""
    failure = made.failure
    return TaskResult(
        task=id,
        outcome=made.outcome,
        cached=made.cached,
        why=made.why,
        key=made.key,
        seconds=made.seconds,
        attempts=made.attempts,
        digest=made.artifact.digest if made.artifact else "",
        reason=failure.what if failure else "",
        fix=failure.fix if failure and kept else "",
        id=failure.id if failure else "",
        output=made.output,
        log=made.log if kept else "",
        undeclared=made.undeclared,
    )
