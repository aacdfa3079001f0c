"""Tells webhooks of events: signed, tried again, never in anybody's way. A task for each that the environment's file names.

Messages follow Standard Webhooks (standardwebhooks.com): `webhook-id`, `webhook-timestamp` and `webhook-signature`, so that
receivers can check them with a library of theirs. At least once, by the same `webhook-id`: how far each has been told is kept in a
file. In which order, and when again, is `decide.telling`'s.
"""

import asyncio
import base64
import hashlib
import hmac
import logging
import os
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from atoll.daemon.outward import fetch, reason
from atoll.daemon.pulse import Pulse
from atoll.decide.telling import Line, choose, given_up, refused, rest_s, taken, trouble
from atoll.model.environment import Notify
from atoll.model.errors import AtollError
from atoll.model.rows import Change
from atoll.model.spec import SecretRef
from atoll.model.state import Event
from atoll.ports import Clock, Store, Vault
from atoll.realise.records import Records

_log = logging.getLogger(__name__)
ANSWER_S = 10.0
LOST = "notify.lost"
_LOOK_S = 5.0  # at the latest, should a beat be missed
_FILE = "notified.json"
_NO_ANSWER_TO_THIS = frozenset({408, 425, 429})  # of 4xx: they speak of the moment, not of the message


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
        records: Records,
        store: Store,
        vault: Vault,
        clock: Clock,
        pulse: Pulse,
        folder: Path | None,
    ) -> None:
        self._targets, self._where, self._records = targets, where, records
        self._store, self._vault, self._clock, self._pulse = store, vault, clock, pulse
        self._file = None if folder is None else folder / _FILE
        self._lines = _read(self._file)

    async def run(self) -> None:
        """Tell everybody, for ever."""
        async with asyncio.TaskGroup() as group:
            for target in self._targets:
                group.create_task(self._tell_all(target))

    def notices(self) -> tuple[str, ...]:
        """Who is not told of what, in sentences."""
        now = self._clock.now().wall
        found = ((target, self._lines.get(_key(target))) for target in self._targets)
        return tuple(f"{_name(target)} {text}" for target, line in found if line for text in trouble(line, now))

    async def _tell_all(self, target: Notify) -> None:
        key = _key(target)
        newest = await self._store.events(limit=1, newest=True)
        last = newest[-1].seq if newest else 0
        known = self._lines.get(key)
        # A new one is told of what happens from now on; so is one that was told more than this ledger has.
        self._keep(key, known if known is not None and known.told <= last else Line(told=last))
        while True:
            count = self._pulse.count()
            line = self._lines[key]
            page = await self._store.events(after=line.told)
            waiting = [event for event in page if any(fnmatchcase(event.kind, pattern) for pattern in target.events)]
            line, lost = given_up(line, waiting, self._clock.now().wall)
            waiting = [event for event in waiting if event.seq > line.told]
            if page and not waiting:
                line = replace(line, told=page[-1].seq)
            self._keep(key, line)
            if lost:
                await self._lament(target, lost)
            seq = choose(line, waiting, self._clock.now().wall)
            if seq is not None:
                self._keep(key, await self._tell(target, line, waiting, seq))
            elif waiting or not page:
                await self._pulse.after(count, min(_LOOK_S, rest_s(line, waiting, self._clock.now().wall)))

    async def _tell(self, target: Notify, line: Line, waiting: Sequence[Event], seq: int) -> Line:
        """Once."""
        event = next((each for each in waiting if each.seq == seq), None)
        if event is None:  # one that was put aside
            found = await self._store.events(after=seq - 1, limit=1)
            if not found or found[0].seq != seq:
                return taken(line, waiting, seq, self._clock.now().wall)  # the ledger has it no more
            event = found[0]
        problem, there = await self._try(target, event)
        now = self._clock.now().wall
        if not problem:
            return taken(line, waiting, seq, now)
        _log.info("%s does not take event %d: %s", _name(target), event.seq, problem)
        return refused(line, waiting, seq, problem, now, there=there)

    async def _lament(self, target: Notify, lost: Sequence[int]) -> None:
        """In the ledger, but for messages about this very thing: those would never end."""
        count = f"events {', '.join(map(str, lost[-10:]))}" if len(lost) > 1 else f"event {lost[0]}"
        text = f"{_name(target)} was never told of {count}"
        _log.warning("%s", text)
        about = [await self._store.events(after=seq - 1, limit=1) for seq in lost]
        if all(events and events[0].kind == LOST for events in about):
            return
        data = {"receiver": _name(target), "events": list(lost)}
        event = Event(kind=LOST, message=text, data=data, wall=self._clock.now().wall)
        await self._records.commit(Change(events=(event,)))
        self._pulse.beat()

    async def _try(self, target: Notify, event: Event) -> tuple[str, bool]:
        """What was wrong, "" for nothing; and whether the receiver is there and does not want this one."""
        try:
            url, key = await self._secrets(target)
            message = compose(url, key, event, self._where, int(time.time()))
            reply = await fetch(message.url, ANSWER_S, body=message.body, headers=message.headers)
        except AtollError as exc:
            return exc.headline, False
        except (ValueError, OSError) as exc:
            return reason(exc), False  # its text may hold an address that is a secret
        if reply.good:
            return "", True
        return f"status {reply.status}", 400 <= reply.status < 500 and reply.status not in _NO_ANSWER_TO_THIS

    async def _secrets(self, target: Notify) -> tuple[str, str]:
        versions = await self._vault.versions()
        url = target.url
        address = (
            await self._vault.get(url.name, versions.get(url.name, 0)) if isinstance(url, SecretRef) else url.value
        )
        key = await self._vault.get(target.secret, versions.get(target.secret, 0)) if target.secret else ""
        return address, key

    def _keep(self, key: str, line: Line) -> None:
        if self._lines.get(key) == line:
            return
        self._lines[key] = line
        if self._file is None:
            return
        fresh = self._file.with_name(f"{_FILE}~")
        try:
            fresh.write_bytes(msgspec.json.encode(self._lines))
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
    # With its time: an environment that is made anew counts events from 1 again.
    id = f"{where.get('workspace', '')}-{where.get('environment', '')}-{event.seq}-{event.wall:.0f}"
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


def _read(file: Path | None) -> dict[str, Line]:
    try:
        kept = {} if file is None else msgspec.json.decode(file.read_bytes(), type=dict[str, int | Line])
    except (OSError, msgspec.MsgspecError):
        return {}  # not there yet, or cut off by a full disk: from now on
    return {key: Line(told=line) if isinstance(line, int) else line for key, line in kept.items()}  # a number: of 0.1.0
