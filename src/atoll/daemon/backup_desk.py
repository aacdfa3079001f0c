"""Backups, as the daemon gives them out, and what it says of the last one. Part of `Environment`.

Where a backup lies is its maker's business: the daemon believes that there is one when the maker says that it has it whole.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence

import msgspec

from atoll.daemon.pulse import Pulse
from atoll.model.errors import AtollError, Permanent
from atoll.model.rows import Change
from atoll.model.state import Author, Event
from atoll.model.wire import BackupView
from atoll.model.wire_backup import BackupKept, BackupKeyRequest, BackupKeyView, BackupRequest
from atoll.model.wire_doctor import DoctorView
from atoll.ports import Archivist, BackupUnderWay, Clock, Vault
from atoll.realise.records import Records

_log = logging.getLogger(__name__)
DAY_S = 86_400.0
OLD_S = 2 * DAY_S  # for who makes one each night, one was missed
AHEAD_S = 3600.0  # a clock that was set back by less hides nothing
TOO_OLD_S = 8 * DAY_S  # for who makes one each week, too


class BackupDesk:
    """One environment's. `archivist` None: nothing is kept on a disk, and there is nothing to back up."""

    def __init__(
        self, archivist: Archivist | None, records: Records, vault: Vault, clock: Clock, pulse: Pulse, *, needed: bool
    ) -> None:
        """`needed`: whether doctor misses a backup; one's own machine for development needs none."""
        self._archivist, self._records, self._vault = archivist, records, vault
        self._clock, self._pulse, self._needed = clock, pulse, needed

    async def backup(self, request: BackupRequest) -> AsyncIterator[bytes]:
        """What may be refused is refused before the first byte."""
        archivist, wall = self._there(), self._clock.now().wall
        making = await asyncio.to_thread(lambda: archivist.begin(signals=request.signals, now_wall=wall))
        try:
            await self._tell("backup.begun", "a backup was asked for", request.author)
        except BaseException:
            await asyncio.to_thread(making.close)
            raise
        return self._sent(making, request.author)

    async def _sent(self, making: BackupUnderWay, author: Author) -> AsyncIterator[bytes]:
        chunks = making.chunks()
        try:
            while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                yield chunk
        except AtollError as exc:
            await self._tell("backup.failed", f"no backup was made: {exc}", author)
            raise
        finally:
            await asyncio.to_thread(making.close)

    async def backup_kept(self, request: BackupKept) -> BackupView:
        """A ledger that says what status says."""
        archivist = self._there()
        note = msgspec.structs.replace(
            archivist.note,
            id=request.id,
            made_wall=request.made_wall,
            size_bytes=request.size_bytes,
            by=request.author.actor,
        )
        await asyncio.to_thread(archivist.write, note)
        await self._tell("backup.made", f"a backup of {request.size_bytes / 2**20:.1f} MiB is kept", request.author)
        return note

    async def backup_key(self, request: BackupKeyRequest) -> BackupKeyView:
        """Who asked for the key is in the ledger, for ever."""
        archivist = self._there()
        view = await asyncio.to_thread(archivist.key, request.passphrase)
        note = msgspec.structs.replace(archivist.note, key_wall=self._clock.now().wall, key_id=view.key_id)
        await asyncio.to_thread(archivist.write, note)
        await self._tell("key.given", "the key of the secrets was given out, sealed with a passphrase", request.author)
        return view

    def view(self) -> BackupView:
        """The last one."""
        return self._archivist.note if self._archivist else BackupView()

    async def checks(self) -> Sequence[DoctorView]:
        """Whether there is one that is good for something."""
        if self._archivist is None or not self._needed:
            return ()
        note, now = self._archivist.note, self._clock.now().wall
        if note.made_wall is None:
            fix = "`atoll backup FILE`, each night, onto another machine"
            return (DoctorView(check="backup", ok=False, text="there is none", fix=fix),)
        age_s = now - note.made_wall
        if age_s < -AHEAD_S:
            text = f"the last one is dated {_ago(-age_s)} ahead: the clock was wrong then, or is now, and its age is not known"
            return (DoctorView(check="backup", ok=None, text=text, fix="`timedatectl`; then `atoll backup FILE`"),)
        age_s = max(0.0, age_s)
        text = f"the last one is {_ago(age_s)} old, {note.size_bytes / 2**20:.1f} MiB, by {note.by or 'somebody'}"
        if await self._key_is_missed(note):
            text += "; the key of the secrets was never given out, and no secret can be restored without it"
            return (DoctorView(check="backup", ok=False, text=text, fix="`atoll backup --key FILE`"),)
        ok = False if age_s > TOO_OLD_S else None if age_s > OLD_S else True
        return (DoctorView(check="backup", ok=ok, text=text, fix="" if ok else "`atoll backup FILE`"),)

    async def _key_is_missed(self, note: BackupView) -> bool:
        """Whether secrets could not be restored for want of the key."""
        assert self._archivist is not None
        try:
            secrets, own = await self._vault.versions(), self._archivist.key_id()
        except AtollError:
            own = ""
        if not own or not secrets:  # the check of secrets tells of what is broken, or gone
            return False
        return note.key_wall is None or note.key_id != own

    def _there(self) -> Archivist:
        if self._archivist is None:
            raise Permanent("this environment keeps nothing on a disk", id="not-possible-here")
        return self._archivist

    async def _tell(self, kind: str, message: str, author: Author) -> None:
        event = Event(kind=kind, message=message, author=author, wall=self._clock.now().wall)
        await self._records.commit(Change(events=(event,)))
        self._pulse.beat()


def _ago(seconds: float) -> str:
    return (
        f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.0f} h"
        if seconds < 2 * DAY_S
        else f"{seconds / DAY_S:.0f} d"
    )
