"""Removes artifacts that no release of any environment needs, by the limits of `[cache]`: what `atoll cache gc` does, and
builds at their end, once a day.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from atoll.model.errors import Retryable, UserError
from atoll.pipeline.collect import Collected, collect, is_due
from atoll.store.needed import artifact_keys

if TYPE_CHECKING:
    from atoll.model.cache import CacheSpec
    from atoll.workspace.places import Places


def collect_artifacts(at: Places, spec: CacheSpec, *, plan: bool = False) -> Collected:
    """See `collect.collect`. Raises UserError, also where it cannot be told what an environment needs."""
    needed: set[str] = set()
    for state in sorted(at.state.parent.iterdir()) if at.state.parent.is_dir() else ():
        try:
            needed |= artifact_keys(state)
        except sqlite3.Error as exc:
            raise UserError(
                f"nothing is removed: what the environment '{state.name}' needs cannot be read",
                str(exc),
                f"`atoll doctor --env {state.name}` tells what is wrong with its database",
                id="database-damaged",
            ) from exc
    return collect(at.artifacts, needed, spec.max_age_s, spec.max_bytes, plan=plan)


def tidy_artifacts(at: Places, spec: CacheSpec) -> None:
    """The same at the end of a build, once a day. What stands in its way is told by `atoll cache gc`, and stops nobody."""
    if is_due(at.artifacts):
        try:
            collect_artifacts(at, spec)
        except (UserError, Retryable, OSError):
            return
