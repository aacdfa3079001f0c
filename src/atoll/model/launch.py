"""What a host is given to start one replica: `decide.launch` makes it, `ports.Host` takes it. Pure data."""

from collections.abc import Mapping

import msgspec

from atoll.model.spec import Command, Limits


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """All that a host needs to start one replica; templates are resolved. `secrets` never reach argv, a file or a log."""

    id: str
    service: str
    release: int
    command: Command
    folder: str  # absolute working directory
    env: Mapping[str, str]
    secrets: Mapping[str, str] = {}
    ports: Mapping[str, int] = {}
    limits: Limits = Limits()
    writable: tuple[str, ...] = ()
