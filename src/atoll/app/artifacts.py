"""Removes artifacts that no release of any environment needs, by the limits of `[cache]`: what `atoll cache gc` does, and
builds at their end, once a day; of those that were built elsewhere the daemon that took them.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING

from atoll.model.errors import Retryable, UserError
from atoll.pipeline.collect import Collected, collect, is_due
from atoll.store.needed import artifact_keys

if TYPE_CHECKING:
    from pathlib import Path

    from atoll.model.cache import CacheSpec
    from atoll.model.environment import EnvironmentSpec
    from atoll.pipeline.ship.depot import Depot
    from atoll.workspace.places import Places


def collect_artifacts(at: Places, spec: CacheSpec, *, plan: bool = False) -> Collected:
    """See `collect.collect`. Raises UserError, also where it cannot be told what an environment needs."""
    return _collected(at.artifacts, at.state.parent, spec, plan=plan)


def _collected(artifacts: Path, environments: Path, spec: CacheSpec, *, plan: bool = False) -> Collected:
    needed: set[str] = set()
    for state in sorted(environments.iterdir()) if environments.is_dir() else ():
        try:
            needed |= artifact_keys(state)
        except sqlite3.Error as exc:
            raise UserError(
                f"nothing is removed: what the environment '{state.name}' needs cannot be read",
                str(exc),
                f"`atoll doctor --env {state.name}` tells what is wrong with its database",
                id="database-damaged",
            ) from exc
    return collect(artifacts, needed, spec.max_age_s, spec.max_bytes, plan=plan)


def tidy_artifacts(at: Places, spec: CacheSpec) -> None:
    """The same at the end of a build, once a day. What stands in its way is told by `atoll cache gc`, and stops nobody."""
    if is_due(at.artifacts):
        with suppress(UserError, Retryable, OSError):
            collect_artifacts(at, spec)


def depot(state: Path, environment: EnvironmentSpec) -> Depot:
    """Where an environment with that folder of state keeps artifacts that were built elsewhere."""
    from atoll.app.containers import settled
    from atoll.model.cache import CacheSpec
    from atoll.pipeline.ship.depot import Depot, When
    from atoll.workspace.places import artifacts_of

    artifacts = artifacts_of(state)

    def swept(max_age_s: float, max_bytes: int, when: When) -> Collected:
        if when == "due" and not is_due(artifacts):
            return Collected()
        spec = CacheSpec(max_age_s=max_age_s, max_bytes=max_bytes)
        return _collected(artifacts, state.parent, spec, plan=when == "plan")

    return Depot(artifacts, swept, settled(environment).docker if environment.engine == "docker" else None)
