"""Who may ask an environment for what: roles, who holds them, and who is asking. Pure data.

A role includes those before it. What each is for:

reader
    sees everything but the values of secrets, and asks what a change would do (`--plan`).
deployer
    moves what runs: releases, replicas, jobs. What a delivery from CI needs, and no more.
admin
    is asked for what cannot be taken back or goes past a release: secrets, data, commands in a replica, faults, the
    environment itself.
"""

from typing import Literal, NamedTuple, get_args

import msgspec

Role = Literal["reader", "deployer", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)


class Access(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who holds which role, as names of Unix groups of the machine. A misspelt member must not pass for an empty one."""

    readers: tuple[str, ...] = ()
    deployers: tuple[str, ...] = ()
    admins: tuple[str, ...] = ()

    def groups(self, role: Role) -> tuple[str, ...]:
        """Those that give this role."""
        return {"reader": self.readers, "deployer": self.deployers, "admin": self.admins}[role]


class Credentials(NamedTuple):
    """What the kernel says of the process that connected: its user, and all groups that it was in at that time."""

    uid: int
    gids: frozenset[int]


class Holding(NamedTuple):
    """A token that is known, and whether its time is over."""

    name: str
    ended: bool = False


class Peer(NamedTuple):
    """Who is at the other end of a connection. `name` becomes the actor in the ledger."""

    name: str
    credentials: Credentials | None  # None: of the read-only API, with a token, and so a reader
