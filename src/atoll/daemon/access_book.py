"""Who may do what here, as people see it; and the tokens of the read-only API. Part of `Environment`.

A token is 256 random bits: its SHA-256 is kept, and it is told once. It reads until its end, whatever the groups of its holder are.
"""

import asyncio
import hashlib
import hmac
import logging
import os
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from atoll.daemon.doorkeeper import Doorkeeper
from atoll.daemon.pulse import Pulse
from atoll.decide.access import ending
from atoll.model.access import ROLES, Holding, Peer
from atoll.model.errors import Conflict, NotFound, UserError
from atoll.model.rows import Change
from atoll.model.state import Author, Event
from atoll.model.suggest import did_you_mean
from atoll.model.wire_access import AccessView, TokenMade, TokenRequest, TokenView
from atoll.model.wire_doctor import DoctorView
from atoll.pipeline.artifacts import disk_trouble
from atoll.ports import Clock
from atoll.realise.records import Records

_log = logging.getLogger("atoll.access")
PREFIX: Final = "atoll_"  # for whoever looks for lost ones in repositories and logs
_BYTES = 32
_FILE = "tokens.json"
_SHORTEST_S, _LONGEST_S = 60.0, 3650 * 86_400.0
_USE_KEPT_EACH_S = 300.0  # when a token was used last is written so often: a dashboard asks each second
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class _Token(msgspec.Struct, frozen=True, kw_only=True):
    """One token at rest."""

    sha256: str
    made_wall: float
    by: str
    ends_wall: float | None = None  # None: never; so are those of before there were ends
    used_wall: float | None = None


class AccessBook:
    """Keeps the tokens in `folder`; without one in memory."""

    def __init__(
        self, doorkeeper: Doorkeeper, address: str, folder: Path | None, records: Records, clock: Clock, pulse: Pulse
    ) -> None:
        self._doorkeeper, self._address, self._folder = doorkeeper, address, folder
        self._records, self._clock, self._pulse = records, clock, pulse
        self._lock = asyncio.Lock()
        self._tokens = _read(folder)
        self._used: dict[str, float] = {}  # by name, since it was written last

    async def run(self) -> None:
        """Write now and then when each token was used last, for ever."""
        while True:
            await self._clock.sleep(_USE_KEPT_EACH_S)
            async with self._lock:
                if not self._used:
                    continue
                try:
                    await self._keep(self._tokens)
                except OSError as exc:  # nobody is kept out by a full disk
                    _log.warning("when tokens were used last cannot be written: %s", exc.strerror or exc)

    async def access(self, peer: Peer) -> AccessView:
        """The role of whoever asks, who holds which, and the tokens there are."""
        told = self._doorkeeper.access
        return AccessView(
            name=peer.name,
            role=self._doorkeeper.role_of(peer) or "reader",  # who lost it since the connection was made
            groups={role: told.groups(role) for role in ROLES},
            address=self._address,
            tokens=self._views(),
        )

    def checks(self) -> Sequence[DoctorView]:
        """What there is to say of the tokens' ends."""
        return tuple(ending(self._views(), self._clock.now().wall))

    def _views(self) -> tuple[TokenView, ...]:
        return tuple(
            TokenView(
                name=name,
                made_wall=token.made_wall,
                by=token.by,
                ends_wall=token.ends_wall,
                used_wall=self._used.get(name, token.used_wall),
            )
            for name, token in sorted(self._tokens.items())
        )

    async def make_token(self, name: str, request: TokenRequest) -> TokenMade:
        """A new one; in the place of one that ended. Raises Conflict when there is one of that name, UserError for a name or
        a time that cannot be.
        """
        if not _NAME.fullmatch(name):
            raise UserError(
                f"'{name}' cannot be a token's name",
                "it may have small letters, digits, dots, hyphens and underscores, at most 63",
                "such as grafana",
                id="bad-request",
            )
        lasts_s = request.expires_s
        if lasts_s is not None and not _SHORTEST_S <= lasts_s <= _LONGEST_S:
            raise UserError(
                f"a token cannot end after {lasts_s:g} s",
                "it is good for a minute at least, and ten years at most",
                "such as 90 days; null is never",
                id="bad-request",
            )
        async with self._lock:
            now = self._clock.now().wall
            if name in self._tokens and not _ended(self._tokens[name], now):
                why = "what was told once is told to nobody again"
                raise Conflict(
                    f"there is a token '{name}'", why, f"`atoll access revoke {name}` first", id="token-taken"
                )
            value = PREFIX + secrets.token_urlsafe(_BYTES)
            ends = None if lasts_s is None else now + lasts_s
            token = _Token(sha256=_digest(value), made_wall=now, by=request.author.actor, ends_wall=ends)
            self._used.pop(name, None)
            await self._change({**self._tokens, name: token})
            until = "for ever" if ends is None else f"until {time.strftime('%Y-%m-%d %H:%M', time.gmtime(ends))} UTC"
            await self._tell("access.token-made", f"a token '{name}' reads the API {until}", request.author)
        return TokenMade(name=name, token=value, ends_wall=ends)

    async def remove_token(self, name: str, author: Author) -> None:
        """From now on it opens nothing; a stream that it opened is cut. Raises NotFound."""
        async with self._lock:
            if name not in self._tokens:
                raise NotFound(f"there is no token '{name}'", "", did_you_mean(name, self._tokens), id="unknown-token")
            await self._change({key: token for key, token in self._tokens.items() if key != name})
            await self._tell("access.token-removed", f"the token '{name}' reads no more", author)

    def holder(self, value: str) -> Holding | None:
        """What a token is worth now; None for one that is none."""
        asked, found = _digest(value), None
        for name, token in self._tokens.items():  # all of them, whichever fits
            if hmac.compare_digest(asked, token.sha256):
                found = name
        if found is None:
            return None
        now = self._clock.now().wall
        if ended := _ended(self._tokens[found], now):
            return Holding(found, ended)
        self._used[found] = now
        return Holding(found, ended)

    async def _change(self, tokens: Mapping[str, _Token]) -> None:
        """What somebody asked for. Raises UserError where it cannot be written: it would be as before after a restart."""
        try:
            await self._keep(tokens)
        except OSError as exc:
            assert self._folder is not None
            raise disk_trouble(exc, self._folder) from exc

    async def _keep(self, tokens: Mapping[str, _Token]) -> None:
        used, self._used = self._used, {}
        replace = msgspec.structs.replace
        tokens = {name: replace(one, used_wall=used.get(name, one.used_wall)) for name, one in tokens.items()}
        if self._folder is not None:
            try:
                await asyncio.to_thread(_write, self._folder, tokens)
            except BaseException:
                self._used = used | self._used
                raise
        self._tokens = tokens

    async def _tell(self, kind: str, message: str, author: Author) -> None:
        event = Event(kind=kind, message=message, author=author, wall=self._clock.now().wall)
        await self._records.commit(Change(events=(event,)))
        self._pulse.beat()


def _ended(token: _Token, now_wall: float) -> bool:
    return token.ends_wall is not None and token.ends_wall <= now_wall


def _digest(value: str) -> str:
    """Plain SHA-256: nobody guesses 256 bits, so nothing is gained by making it slow."""
    return hashlib.sha256(value.encode()).hexdigest()


def _read(folder: Path | None) -> Mapping[str, _Token]:
    if folder is None:
        return {}
    try:
        return msgspec.json.decode((folder / _FILE).read_bytes(), type=dict[str, _Token])
    except FileNotFoundError:
        return {}
    except msgspec.MsgspecError as exc:  # a daemon that does not start would be worse, and nobody gets in by it
        _log.error("%s cannot be read, so no token opens anything; make them anew: %s", folder / _FILE, exc)
        return {}


def _write(folder: Path, tokens: Mapping[str, _Token]) -> None:
    fresh = folder / f"{_FILE}~"
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(tokens)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(folder / _FILE)
