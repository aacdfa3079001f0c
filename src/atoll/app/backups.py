"""Backups and restores, put together: where the environments of this machine lie, and what depends on that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from atoll.app.config import Config, read, write
from atoll.backup.archivist import StateArchivist
from atoll.backup.making import Source
from atoll.backup.manifest import Manifest
from atoll.backup.reading import Archive
from atoll.backup.restoring import Target, Wish, restored
from atoll.model.errors import Conflict, Refused, UserError
from atoll.model.wire import BackupView

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from atoll.model.wire_backup import RestoreView
    from atoll.workspace.places import Places


def source_of(config: Config) -> Source:
    """What a daemon's environment is backed up from."""
    from pathlib import Path

    return Source(config.workspace, config.environment.name, config.root, Path(config.state))


def archivist(at: Places) -> StateArchivist:
    """Of an environment of this machine, by what its daemon was told last. Raises UserError when it never ran."""
    config = read(at.state)
    if config is None:
        raise UserError(
            "there is nothing to back up",
            f"no environment keeps its state in {at.state}",
            f"start it ({f'`systemctl start {at.unit}`' if at.is_served else '`atoll up`'}), or name another one with --env",
            id="environment-not-running",
        )
    return StateArchivist(source_of(config))


def restore(
    at: Places, file: Path, key: bytes | None, wish: Wish, *, other: bool, alive: Callable[[], bool]
) -> RestoreView:
    """See `restoring.restored`. Raises Refused for a backup of another environment, unless it is meant (`other`)."""
    if alive():
        raise Conflict(
            "the environment runs",
            f"a keeper answers at {at.keeper_socket}",
            f"end its unit first: `systemctl stop {at.unit}`" if at.is_served else "end it with `atoll down` first",
            id="environment-not-empty",
        )
    with Archive(file) as archive:
        manifest = archive.manifest
    if manifest.environment != at.environment and not other:
        raise Refused(
            f"the backup is of the environment {manifest.title}, not of '{at.environment}'",
            "what is scheduled, and whom it tells, comes with it: two would do it",
            f"name it with --env {manifest.environment}, or add --other if you mean it",
            id="not-confirmed",
        )

    def settle(staging: Path) -> None:
        """The daemon's own places are those of this machine; what else it is told comes from the files at the next `up`."""
        if (config := read(staging)) is not None:
            environment = msgspec.structs.replace(config.environment, name=at.environment)
            if key is None and wish.without_secrets:  # nobody vouches for it: root runs no program that it names
                environment = msgspec.structs.replace(environment, envoy=None)
            here = msgspec.structs.replace(
                config,
                state=str(at.state),
                run=str(at.run),
                root=str(at.root),
                socket=str(at.daemon_socket) if at.is_served else "",
                served=at.is_served,
                environment=environment,
            )
            write(staging, here)

    view = restored(file, key, Target(at.state, at.artifacts), wish, settle)
    _noted(at, file, manifest, keyed=key is not None)
    return view


def _noted(at: Places, file: Path, manifest: Manifest, *, keyed: bool) -> None:
    """A machine that never made one knows of the one that it was made of, and that somebody has its key."""
    keeper = StateArchivist(Source(manifest.workspace, at.environment, str(at.root), at.state))
    if keeper.note.made_wall is None:
        note = BackupView(id=manifest.id, made_wall=manifest.made_wall, size_bytes=file.stat().st_size)
        if keyed:
            note = msgspec.structs.replace(note, key_wall=manifest.made_wall, key_id=manifest.key_id)
        keeper.write(note)
