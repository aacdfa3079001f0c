"""Who may do what: a role from the credentials that the kernel vouches for, and the refusal for who lacks one."""

from collections.abc import Mapping

from atoll.model.access import ROLES, Access, Credentials, Role
from atoll.model.errors import Forbidden

Members = Mapping[Role, frozenset[int]]  # role -> the gids that give it

_ROOT = 0
_DEEDS: Mapping[str, str] = {  # where the name of an endpoint is no word that a person would use
    "backup": "make backups",
    "backup_kept": "make backups",
    "backup_key": "have the key of the secrets",
    "clear": "end faults",
    "environment": "see the settings",
    "exec": "run commands",
    "import_records": "import records",
    "inject": "inject faults",
    "keep_contents": "bring artifacts",
    "make_token": "make tokens",
    "remove_secret": "remove secrets",
    "remove_store": "remove stores",
    "remove_token": "revoke tokens",
    "rollback": "roll back",
    "run_job": "run jobs",
    "set_environment": "change the settings",
    "set_secret": "set secrets",
    "steer": "steer rollouts",
    "stop_run": "stop runs of jobs",
    "store_drafts": "run stores",
    "take_artifact": "bring artifacts",
    "up": "deploy",
}


def role_of(credentials: Credentials, owner_uid: int, members: Members) -> Role | None:
    """The highest role that somebody holds; None for a stranger.

    Root and the user that the environment runs as can do everything without asking, so they are admins.
    """
    if credentials.uid in {_ROOT, owner_uid}:
        return "admin"
    held = (role for role in reversed(ROLES) if credentials.gids & members.get(role, frozenset()))
    return next(held, None)


def covers(role: Role | None, needed: Role) -> bool:
    """Whether a role includes what is needed."""
    return role is not None and ROLES.index(role) >= ROLES.index(needed)


def refusal(who: str, role: Role | None, needed: Role, what: str, access: Access) -> Forbidden:
    """What somebody is told who may not do `what`, a name of an endpoint."""
    groups = [group for each in ROLES[ROLES.index(needed) :] for group in access.groups(each)]
    ask = f"whose group is {' or '.join(groups)}" if groups else "which no group gives here"
    return Forbidden(
        f"{who} may not {_DEEDS.get(what, what.replace('_', ' '))} here",
        f"it takes the role {needed}; {who} is {f'a {role}' if role else 'a stranger'}",
        f"ask somebody with the role {needed}, {ask}",
        id="not-allowed",
    )
