"""Who may do what at the API: the roles that groups hold now, and the refusal of who lacks one.

`daemon.serve` asks it as soon as somebody connects, `daemon.api` at each request. It trusts nobody but the kernel and the
file of access; while that cannot be used, only root and the environment's own user get in.
"""

import asyncio
import grp
import logging
import os
from collections.abc import Callable

from atoll.decide.access import Members, covers, refusal, role_of
from atoll.model.access import ROLES, Access, Credentials, Peer, Role
from atoll.model.errors import UserError

_log = logging.getLogger("atoll.access")
AGAIN_S = 2.0  # a change of the file or of a group's number is in force within that time


class Doorkeeper:
    """Holds what the file says now. Without `read` nobody but root and the environment's own user has a role."""

    def __init__(self, read: Callable[[], Access] | None = None, owner_uid: int | None = None) -> None:
        self._read = read
        self._owner_uid = os.geteuid() if owner_uid is None else owner_uid
        self._members: Members = {}
        self._told = ""
        self.access = Access()

    async def run(self) -> None:
        """Look at the file again and again, as long as there is one to look at."""
        while self._read is not None:
            await self.look()
            await asyncio.sleep(AGAIN_S)

    async def look(self) -> None:
        """Once, in a thread: a directory server may be behind the groups. What is wrong gives nobody a role, and is told once."""
        if self._read is None:
            return
        try:
            access, members, trouble = await asyncio.to_thread(_resolved, self._read)
        except UserError as exc:
            access, members, trouble = Access(), {}, str(exc)
        self.access, self._members = access, members
        if trouble and trouble != self._told:
            _log.warning("%s", trouble)
        self._told = trouble

    def role(self, credentials: Credentials) -> Role | None:
        """What somebody holds now; None: a stranger."""
        return role_of(credentials, self._owner_uid, self._members)

    def role_of(self, peer: Peer) -> Role | None:
        """The same of whoever was let in."""
        return "reader" if peer.credentials is None else self.role(peer.credentials)

    def is_owner(self, credentials: Credentials) -> bool:
        """Whether it is root or the environment's own user, whom nothing here can keep from anything."""
        return role_of(credentials, self._owner_uid, {}) is not None

    def admit(self, peer: Peer, needed: Role, what: str) -> None:
        """Raises Forbidden unless `peer` may do `what`."""
        role = self.role_of(peer)
        if not covers(role, needed):
            raise refusal(peer.name, role, needed, what, self.access)


def _resolved(read: Callable[[], Access]) -> tuple[Access, Members, str]:
    """What the file says, the groups' numbers, and which of the groups the machine does not have."""
    access = read()
    members: dict[Role, frozenset[int]] = {}
    absent: list[str] = []
    for role in ROLES:
        gids = set()
        for group in access.groups(role):
            try:
                gids.add(grp.getgrnam(group).gr_gid)
            except KeyError:
                absent.append(group)
        members[role] = frozenset(gids)
    trouble = f"this machine has no group {', '.join(absent)}, which access.json names" if absent else ""
    return access, members, trouble
