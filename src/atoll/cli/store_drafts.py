"""The stores that Atoll runs, on their way to the daemon: which ones, what they would run, what stands in the way.

`up`, `deploy` and `dev` start the stores of the services that they start; only `store apply` changes one that runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from atoll.cli.drafts import Drafts, new_key
from atoll.cli.failed import Failed, taken_over

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from atoll.cli.session import Session
    from atoll.model.environment import WorkspaceSpec
    from atoll.model.wire import Draft, PlanView, ServiceView


def used_by(workspace: WorkspaceSpec, services: Iterable[str]) -> list[str]:
    """The stores of these services that Atoll runs, by name."""
    specs = (workspace.services[name] for name in services)
    return sorted({store.name for spec in specs for store in spec.stores if store.server is not None})


def users(workspace: WorkspaceSpec, store: str) -> list[str]:
    """The services that use a store that Atoll runs."""
    return sorted(
        name
        for name, spec in workspace.services.items()
        if any(one.name == store and one.server is not None for one in spec.stores)
    )


def drafts_of(session: Session, workspace: WorkspaceSpec, stores: Collection[str]) -> Drafts:
    """What each would run; one that the environment's machine cannot run is a failure."""
    from atoll.model.errors import AtollError

    ready: dict[str, Draft] = {}
    failures: dict[str, Failed] = {}
    if stores and session.places.machine:
        from atoll.model.wire_artifacts import StoresRequest

        servers = tuple(workspace.servers[name] for name in stores)
        there = session.client.store_drafts(StoresRequest(stores=servers, key=new_key()))
        return Drafts(dict(there.drafts), {name: Failed.told(error) for name, error in there.refused.items()})
    if stores:
        for name, made in session.hooks.stores(session.places, workspace, stores).items():
            if isinstance(made, AtollError):
                failed = taken_over(made)
                assert failed is not None
                failures[name] = failed
            else:
                ready[name] = made
    return Drafts(ready, failures)


def without_stores(workspace: WorkspaceSpec, services: Drafts, stores: Drafts) -> Drafts:
    """Both together, less the services whose stores cannot be had: they would only crash."""
    ready, failures = dict(services.ready), {**services.failures, **stores.failures}
    for name in list(ready):
        if lost := [store for store in used_by(workspace, [name]) if store in stores.failures]:
            del ready[name]
            first = stores.failures[lost[0]]
            failures[name] = Failed(
                f"{name} is not started: its store {lost[0]} cannot be",
                first.what,
                first.fix,
                id=first.id,
                kind=first.kind,
                exit_code=first.exit_code,
            )
    return Drafts({**stores.ready, **ready}, failures)


def started(
    session: Session, workspace: WorkspaceSpec, services: Collection[str], seen: Mapping[str, ServiceView]
) -> dict[str, Failed]:
    """Start the stores of these services that do not run, and wait for them; what keeps which service from being deployed."""
    from atoll.cli.progress import follow
    from atoll.model.wire import UpRequest
    from atoll.pipeline.provenance import author

    stores = _due(session, workspace, services, seen)
    failures = dict(stores.failures)
    if stores.ready:
        begun = session.client.up(
            UpRequest(drafts=tuple(stores.ready.values()), author=author(session.root), key=new_key())
        )
        failures |= {name: Failed.told(error) for name, error in begun.refused.items()}
        for operation in follow(session, begun.operations):
            if not operation.good:
                failures[operation.service] = Failed(
                    f"the store {operation.service} did not start",
                    operation.text,
                    f"see `atoll logs {operation.service}`",
                    id="not-ready-in-time",
                    kind="DeployFailed",
                    exit_code=3,
                )
    return _storeless(workspace, services, failures)


def planned(
    session: Session, workspace: WorkspaceSpec, services: Collection[str], seen: Mapping[str, ServiceView]
) -> tuple[Sequence[PlanView], dict[str, Failed]]:
    """What `started` would start, and what would keep which service from being deployed."""
    from atoll.model.wire import UpRequest

    stores = _due(session, workspace, services, seen)
    plans = session.client.plan(UpRequest(drafts=tuple(stores.ready.values()))) if stores.ready else ()
    return plans, _storeless(workspace, services, stores.failures)


def _due(
    session: Session, workspace: WorkspaceSpec, services: Collection[str], seen: Mapping[str, ServiceView]
) -> Drafts:
    """The stores of these services that do not run."""
    down = [name for name in used_by(workspace, services) if name not in seen or seen[name].state == "down"]
    return drafts_of(session, workspace, down)


def _storeless(
    workspace: WorkspaceSpec, services: Collection[str], failures: Mapping[str, Failed]
) -> dict[str, Failed]:
    """The stores that cannot be had, and the services that need them."""
    none = Drafts(dict.fromkeys(services), {})  # type: ignore[arg-type]
    return without_stores(workspace, none, Drafts({}, dict(failures))).failures
