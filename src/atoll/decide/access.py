"""Who may do what: a role from the credentials that the kernel vouches for, the refusal for who lacks one, and when tokens end."""

from collections.abc import Iterator, Mapping, Sequence

from atoll.decide.certificates import left
from atoll.model.access import ROLES, Access, Credentials, Role
from atoll.model.errors import Forbidden
from atoll.model.wire_access import TokenView
from atoll.model.wire_doctor import DoctorView

Members = Mapping[Role, frozenset[int]]  # role -> the gids that give it

_ROOT = 0
_DEEDS: Mapping[str, str] = {  # where the name of an endpoint is no word that a person would use
    "backup": "make backups",
    "backup_kept": "make backups",
    "backup_key": "have the key of the secrets",
    "clear": "end faults",
    "environment": "see the settings",
    "check_environment": "change the settings",
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
_TOLD_S = 14 * 86_400.0  # before a token ends: somebody must come by who puts a new one where it is used


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


def ending(tokens: Sequence[TokenView], now_wall: float) -> Iterator[DoctorView]:
    """What `atoll doctor` says of tokens: those that end within two weeks (or the last quarter of a shorter time), those that
    did, and, in one note, those that never will.
    """
    for token in tokens:
        if token.ends_wall is None or now_wall < token.ends_wall - min(
            _TOLD_S, (token.ends_wall - token.made_wall) / 4
        ):
            continue
        rest = left(token.ends_wall, now_wall)
        over = token.ends_wall <= now_wall
        text = f"{rest}, and opens nothing any more" if over else f"{rest} left; then it opens nothing any more"
        fix = f"`atoll access revoke {token.name}`, or a new one: `atoll access token {token.name}`"
        if not over:
            fix = f"a second one, `atoll access token {token.name}-2`, where it is used; then `atoll access revoke {token.name}`"
        yield DoctorView(check=f"token {token.name}", ok=None, text=text, fix=fix)
    if endless := [token.name for token in tokens if token.ends_wall is None]:
        text = f"{', '.join(endless)}: no end; whoever finds one where it was left reads the API for good"
        fix = f"one that ends in its place: `atoll access revoke {endless[0]}`, `atoll access token {endless[0]}`"
        yield DoctorView(check="tokens", ok=None, text=text, fix=fix)
