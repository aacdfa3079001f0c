"""Tells webhooks of events: signed, tried again, never in anybody's way. A task for each that the environment's file names.

Messages follow Standard Webhooks (standardwebhooks.com): `webhook-id`, `webhook-timestamp` and `webhook-signature`, so that
receivers can check them with a library of theirs. At least once: how far each has been told is kept in a file.
"""

import asyncio
import base64
import hashlib
import hmac
import logging
import os
import time
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import msgspec

from atoll.daemon.outward import fetch
from atoll.daemon.pulse import Pulse
from atoll.model.environment import Notify
from atoll.model.errors import AtollError
from atoll.model.spec import SecretRef
from atoll.model.state import Event
from atoll.ports import Clock, Store, Vault

_log = logging.getLogger(__name__)
ANSWER_S = 10.0
FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 300.0
GIVE_UP_S = 86_400.0  # after an event: a receiver that was away for days is told of the last one, not of everything
_LOOK_S = 5.0  # at the latest, should a beat be missed
_FILE = "notified.json"


class Message(NamedTuple):
    """One POST."""

    url: str
    body: bytes
    headers: Mapping[str, str]


class Notifier:
    """One environment's. `folder` keeps how far each webhook was told; None keeps it in memory only."""

    def __init__(
        self,
        targets: tuple[Notify, ...],
        where: Mapping[str, str],
        store: Store,
        vault: Vault,
        clock: Clock,
        pulse: Pulse,
        folder: Path | None,
    ) -> None:
        self._targets, self._where = targets, where
        self._store, self._vault, self._clock, self._pulse = store, vault, clock, pulse
        self._file = None if folder is None else folder / _FILE
        self._told: dict[str, int] = _read(self._file)

    async def run(self) -> None:
        """Tell everybody, for ever."""
        async with asyncio.TaskGroup() as group:
            for target in self._targets:
                group.create_task(self._tell_all(target))

    async def _tell_all(self, target: Notify) -> None:
        key = _key(target)
        newest = await self._store.events(limit=1, newest=True)
        last = newest[-1].seq if newest else 0
        # A new one is told of what happens from now on; so is one that was told more than this ledger has.
        self._keep(key, min(last, self._told.get(key, last)))
        while True:
            count = self._pulse.count()
            page = await self._store.events(after=self._told[key])
            for event in page:
                if any(fnmatchcase(event.kind, pattern) for pattern in target.events):
                    await self._tell(target, event)
                    self._keep(key, event.seq)
            if page:
                self._keep(key, page[-1].seq)
            else:
                await self._pulse.after(count, _LOOK_S)

    async def _tell(self, target: Notify, event: Event) -> None:
        """Until it was taken, or is a day old."""
        delay_s, problem = FIRST_DELAY_S, "nobody was there to tell of it"
        while self._clock.now().wall - event.wall < GIVE_UP_S:
            problem = await self._try(target, event)
            if not problem:
                return
            _log.info("event %d: %s; again in %g s", event.seq, problem, delay_s)
            await self._clock.sleep(delay_s)
            delay_s = min(LONGEST_DELAY_S, 2 * delay_s)
        _log.warning("%s is not told of event %d, which is a day old: %s", _name(target), event.seq, problem)

    async def _try(self, target: Notify, event: Event) -> str:
        try:
            url, key = await self._secrets(target)
            message = compose(url, key, event, self._where, int(time.time()))
            reply = await fetch(message.url, ANSWER_S, body=message.body, headers=message.headers)
            return "" if reply.good else f"status {reply.status}"
        except (AtollError, ValueError, OSError) as exc:
            return f"{_name(target)}: {type(exc).__name__}"  # the text may hold an address that is a secret

    async def _secrets(self, target: Notify) -> tuple[str, str]:
        versions = await self._vault.versions()
        url = target.url
        address = (
            await self._vault.get(url.name, versions.get(url.name, 0)) if isinstance(url, SecretRef) else url.value
        )
        key = await self._vault.get(target.secret, versions.get(target.secret, 0)) if target.secret else ""
        return address, key

    def _keep(self, key: str, seq: int) -> None:
        if self._told.get(key) == seq:
            return
        self._told[key] = seq
        if self._file is None:
            return
        fresh = self._file.with_name(f"{_FILE}~")
        try:
            fresh.write_bytes(msgspec.json.encode(self._told))
            fresh.replace(self._file)
        except OSError as exc:  # a full disk: somebody may be told twice, which is better than not at all
            _log.warning("%s cannot be written: %s", self._file, os.strerror(exc.errno or 0))


def compose(url: str, key: str, event: Event, where: Mapping[str, str], now: int) -> Message:
    """The message about one event, signed with `key` unless that is "". `now` is seconds since the epoch."""
    body = msgspec.json.encode(
        {
            "type": event.kind,
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(event.wall)),
            "data": {**where, **msgspec.to_builtins(event)},
        }
    )
    id = f"{where.get('workspace', '')}-{where.get('environment', '')}-{event.seq}"
    headers = {
        "content-type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": str(now),
    }
    if key:
        headers["webhook-signature"] = signature(key, id, now, body)
    return Message(url, body, headers)


def signature(key: str, id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`; a key `whsec_...` is base64, any other is taken as it is."""
    secret = base64.b64decode(key.removeprefix("whsec_")) if key.startswith("whsec_") else key.encode()
    mac = hmac.new(secret, f"{id}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(mac.digest()).decode()}"


def _name(target: Notify) -> str:
    """A webhook without what may be secret in its address: the secret's name, or the host."""
    if isinstance(target.url, SecretRef):
        return f"secret {target.url.name}"
    return target.url.value.split("//", 1)[-1].split("/", 1)[0].rpartition("@")[2]


def _key(target: Notify) -> str:
    """What a webhook is remembered by, told apart from others of its host: they have channels of their own."""
    what = "\n".join((str(target.url), target.secret, *target.events))
    return f"{_name(target)} {hashlib.blake2s(what.encode(), digest_size=8).hexdigest()}"


def _read(file: Path | None) -> dict[str, int]:
    try:
        return {} if file is None else msgspec.json.decode(file.read_bytes(), type=dict[str, int])
    except (OSError, msgspec.MsgspecError):
        return {}  # not there yet, or cut off by a full disk: from now on
