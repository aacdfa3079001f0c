"""What the API says of who may do what: roles, tokens, secrets."""

from collections.abc import Mapping

import msgspec

from atoll.model.access import Role
from atoll.model.wire import Attributed, Mutation


class SecretRequest(Attributed, frozen=True, kw_only=True):
    """A new version of a secret. Running replicas keep the old one until their next release or restart."""

    value: str


class SecretView(msgspec.Struct, frozen=True, kw_only=True):
    """A secret without its value. `used_by`: service -> the version that its running release has."""

    name: str
    version: int
    used_by: Mapping[str, int] = {}


class TokenRequest(Mutation, frozen=True, kw_only=True):
    """Make a token of the read-only API. It ends after `expires_s` seconds; null: never."""

    expires_s: float | None = (
        90 * 86_400.0
    )  # a quarter: long enough for a dashboard, short enough for a token that was lost


class TokenView(msgspec.Struct, frozen=True, kw_only=True):
    """A token of the read-only API, without its value."""

    name: str
    made_wall: float
    by: str  # who made it
    ends_wall: float | None = None  # null: never
    used_wall: float | None = None  # last, to five minutes; null: never


class TokenMade(msgspec.Struct, frozen=True, kw_only=True):
    """A new token. It is told here and never again."""

    name: str
    token: str
    ends_wall: float | None = None  # null: never


class AccessView(msgspec.Struct, frozen=True, kw_only=True):
    """Who may do what, and who asks."""

    name: str  # of whoever asks
    role: Role  # and theirs
    groups: Mapping[
        Role, tuple[str, ...]
    ] = {}  # role -> the groups of the machine that hold it; none: owner and root alone
    address: str = ""  # of the read-only API, host:port; "" is none
    tokens: tuple[TokenView, ...] = ()
