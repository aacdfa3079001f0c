"""What `atoll install` and `atoll uninstall` are asked and answer. Pure data."""

import msgspec

from atoll.model.access import Access


class Installing(msgspec.Struct, frozen=True, kw_only=True):
    """One environment of one workspace, for this machine to serve."""

    workspace: str
    environment: str
    root: str = "/"  # a folder that will be a machine's root: files are written there, and nothing is run
    start: bool = True
    access: Access | None = None  # who holds which role; None leaves it as it is


class InstallView(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, or with `plan` would be."""

    unit: str  # the service manager's name for it
    plan: bool = False
    running: bool = False  # whether it is up now
    socket: str  # of its API
    state: str  # the folder of what it keeps
    written: tuple[str, ...] = ()  # files that are new or changed, or are removed by `uninstall`
    commands: tuple[str, ...] = ()  # that were run
    notes: tuple[str, ...] = ()  # what a person should do or know
