"""What a host is given to start one replica: `decide.launch` makes it, `ports.Host` takes it. Pure data."""

from collections.abc import Mapping

import msgspec

from atoll.model.spec import Command, Limits
from atoll.model.state import LOOPBACK, Image


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """How the replicas of one service and the proxy reach each other. The host gives it, the same each time."""

    edges: str = LOOPBACK  # the machine's address at which the service finds its edges
    network: str = ""  # its own, as a CIDR: each replica has an address in it, nobody else has. "": the loopback of all

    @property
    def listen(self) -> str:
        """Where a replica listens, so that the proxy reaches it."""
        return "0.0.0.0" if self.network else LOOPBACK


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """A network of a replica's own, in which its ports are whatever it insists on. All of loopback."""

    inward: Mapping[int, int]  # leased port of the machine -> the port on which the replica listens
    outward: tuple[int, ...] = ()  # ports of the machine that it reaches under the same number: its edges


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """All that a host needs to start one replica; templates are resolved. `secrets` never reach argv or a log.

    `files` are written below `files_folder`, for the replica's user alone, before it starts, and removed when it ended.
    """

    id: str
    service: str
    release: int
    command: Command
    folder: str  # absolute working directory
    env: Mapping[str, str]
    secrets: Mapping[str, str] = {}
    host: str = LOOPBACK  # its address
    ports: Mapping[str, int] = {}  # at that address
    image: Image | None = None  # what it runs in, for a host of containers
    network: Network | None = None  # None: the machine's
    limits: Limits = Limits()
    grace_s: float = 10.0  # from the signal that stops it to SIGKILL, which comes from whoever sent that signal
    writable: tuple[str, ...] = ()
    files: Mapping[str, str] = {}  # path relative to `files_folder` -> content, which may hold secrets
    files_hold_secrets: bool = False
    in_place: bool = False  # `folder` is somebody's work tree: it runs as that folder's owner
    files_folder: str = ""  # absolute; in one of the places that `Host.files_base` names
