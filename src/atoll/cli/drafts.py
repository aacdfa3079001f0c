"""From the workspace's files to drafts that the daemon can admit: load, choose, build. `up` and `deploy` use it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from atoll.cli.failed import Failed, taken_over
from atoll.cli.progress import builds_shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from atoll.cli.session import Session
    from atoll.model.environment import WorkspaceSpec
    from atoll.model.wire import Draft


class Drafts(NamedTuple):
    """What was built, and what could not be."""

    ready: dict[str, Draft]
    failures: dict[str, Failed]


def chosen(workspace: WorkspaceSpec, named: Sequence[str]) -> list[str]:
    """The named services, or all. Raises Failed for one that the workspace does not have."""
    from atoll.model.suggest import did_you_mean

    for name in named:
        if name not in workspace.services:
            fix = did_you_mean(name, workspace.services) or "write its service.toml"
            why = f"workspace '{workspace.name}' has none"
            if name in workspace.servers:
                why, fix = "it is a store", f"`atoll store apply {name}` runs it as its files say"
            if name in workspace.libraries:
                why, fix = "it is a library: it has no `run`", f"`atoll ci {name}` runs its tasks"
            raise Failed(
                f"there is no service '{name}'",
                why,
                fix,
                kind="NotFound",
                id="unknown-service",
            )
    return list(dict.fromkeys(named)) or sorted(workspace.services)


def build(session: Session, workspace: WorkspaceSpec, services: Sequence[str], *, send: bool = True) -> Drafts:
    """Build what changed of these services, and send to another machine's environment what it lacks, unless not `send`.

    One that fails does not stop the others.
    """
    from atoll.model.errors import BuildFailed
    from atoll.model.state import Artifact
    from atoll.model.wire import Draft
    from atoll.pipeline.provenance import Provenance

    provenance = Provenance(session.root)
    ready, failures, built = dict[str, Draft](), dict[str, Failed](), dict[str, Artifact]()
    with builds_shown(session) as tell:
        results = session.hooks.build(session.places, workspace, services, tell, say=session.warn)
    for name, result in results.items():
        if isinstance(result, BuildFailed):
            failed = taken_over(result)
            assert failed is not None
            failures[name] = failed
        else:
            built[name] = result
    if built and session.places.machine:
        from atoll.cli.shipping import shipped

        built, lost = shipped(session, workspace, built, send=send)
        failures |= lost
    for name, artifact in built.items():
        spec = workspace.services[name]
        ready[name] = Draft(spec=spec, artifact=artifact, author=provenance.of(spec))
    return Drafts(ready, failures)


def evident(session: Session, workspace: WorkspaceSpec, drafts: Drafts, *, overridden: bool = False) -> Drafts:
    """The same drafts with what a gate asks for: the keys of all tasks of the service, and this machine's records of them.

    One whose keys cannot be told, or are those of other files than were built, is none, unless the gate is `overridden`.
    Costs nothing where nothing is required.
    """
    from msgspec.structs import replace

    from atoll.pipeline.ci import Asked

    ready, failures = dict(drafts.ready), dict(drafts.failures)
    if not ready or not workspace.environment.require:
        return drafts
    planned = session.hooks.ci_plan(session.places, Asked(named=tuple(ready), all=True), session.warn).tasks
    with session.hooks.records(session.places) as records:
        known = records.passed([task.key for task in planned if task.key])
    for name, draft in drafts.ready.items():
        mine = {task.task.partition(".")[2]: task for task in planned if task.task.partition(".")[0] == name}
        required = {task: mine[task] for task in workspace.environment.require if task in mine}
        untold = next((task for task in required.values() if not task.key), None)
        if untold and not overridden:
            del ready[name]
            failures[name] = Failed(
                f"{name} is not deployed: what {untold.task} would run with cannot be told",
                untold.why,
                f"see `atoll ci {untold.task} --plan`",
                id="gate-shut",
            )
            continue
        deployed = draft.spec.deployed
        if not overridden and (built := mine.get(deployed)) and built.key != draft.artifact.key:
            del ready[name]  # its tests may be green for what the files say now, and what was built be something else
            failures[name] = Failed(
                f"{name} is not deployed: its files changed while it was built",
                f"what was built has the key {draft.artifact.key[:8]}, its files have {built.key[:8] or 'none'} now",
                f"`atoll ci {name}`, then deploy again",
                id="gate-shut",
            )
            continue
        keys = {task: each.key for task, each in mine.items() if each.key} | {deployed: draft.artifact.key}
        found = tuple(known[key] for key in sorted({task.key for task in required.values()} & known.keys()))
        ready[name] = replace(draft, tasks=keys, records=found)
    return Drafts(ready, failures)


def new_key() -> str:
    """An idempotency key for one request."""
    return os.urandom(16).hex()


def first_failure(failures: Iterable[Failed]) -> int:
    """The exit code of several failures: the first one's; 0 without any."""
    return next((failed.exit_code for failed in failures), 0)
