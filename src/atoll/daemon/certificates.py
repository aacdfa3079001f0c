"""The gateway's certificates: taken from files as they change, asked of an authority before they end, told of when they may not.

Part of a daemon whose environment has `tls`. What was good once is kept in a vault of its own, so that neither a broken
file nor a restart takes it from the gateway. X.509 and ACME are `atoll.certificates`', Envoy is behind `ports.Showcase`.
"""

import asyncio
import datetime as dt
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from atoll.daemon.outward import fetch
from atoll.daemon.pulse import Pulse
from atoll.decide import certificates as decide
from atoll.model.certificate import Certificate, Unusable
from atoll.model.environment import CertificateFiles, Tls
from atoll.model.errors import AtollError, NotFound, Retryable
from atoll.model.rows import Change
from atoll.model.state import Event
from atoll.model.traffic import Disconnected, Refused
from atoll.model.wire import CertificateView
from atoll.model.wire_doctor import DoctorView
from atoll.ports import Authority, Clock, Showcase, Vault
from atoll.realise.records import Records

_log = logging.getLogger(__name__)
LOOK_S = 2.0  # both files are read whole: a few KiB, and no file system's time stamps have to be believed
_SHOW_S = 10.0
_ANSWERED_S = 10.0  # from Envoy's acknowledgement until its workers answer it takes milliseconds


class Attempts(msgspec.Struct):
    """What must outlive a daemon, so that one that dies again and again does not use up an authority's limits."""

    failures: dict[str, int] = {}  # host -> in a row
    next_wall: dict[str, float] = {}  # host -> not before
    told: dict[str, str] = {}  # fingerprint -> "ends" or "ended"


class Parts(NamedTuple):
    """What `app.daemon` puts in."""

    read: Callable[[Path, Path], Certificate]  # Unusable
    made: Callable[[str, str], Certificate]  # of a chain and a key; Unusable
    stand_in: Callable[[str, float], Certificate]  # for a host, at a wall time
    showcase: Showcase
    authority: Authority | None
    vault: Vault
    plain_url: str  # where plain HTTP is reached from this machine, without a path; "" is nowhere
    folder: Path  # private; for `Attempts`


def secret_of(files: CertificateFiles) -> str:
    """The name of a pair's secret; another path is another one."""
    paths = f"{files.cert}\0{files.key}".encode()
    return f"files-{hashlib.sha256(paths).hexdigest()[:16]}"


def names(tls: Tls) -> tuple[str, ...]:
    """All secrets of the gateway, in the order of the file."""
    return (
        *(secret_of(files) for files in tls.certificates),
        *(f"acme-{host}" for host in (tls.acme.hosts if tls.acme else ())),
    )


class Slot(msgspec.Struct):
    """One certificate's place. `mine` is whether it is real, or a stand-in that no client believes."""

    name: str
    title: str  # for people: the file, or the host
    host: str = ""  # of an authority's
    files: CertificateFiles | None = None
    shown: Certificate | None = None
    mine: bool = False
    problem: str = ""
    suspect: str = (
        ""  # what was wrong at the last look; told when it is still so at the next: files are written in steps
    )


class Certificates:
    """One gateway's."""

    def __init__(self, tls: Tls, root: Path, parts: Parts, records: Records, clock: Clock, pulse: Pulse) -> None:
        self._root, self._parts, self._records, self._clock, self._pulse = root, parts, records, clock, pulse
        self._file = parts.folder / "attempts.json"
        self._attempts = _read(self._file)
        self._answers: dict[str, str] = {}
        pairs = [Slot(secret_of(files), files.cert, files=files) for files in tls.certificates]
        self._slots = [*pairs, *(Slot(f"acme-{h}", h, host=h) for h in (tls.acme.hosts if tls.acme else ()))]

    # --- starting --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Have something for every name before the proxy is asked to listen."""
        for slot in self._slots:
            slot.shown = await self._first(slot)
        certificates = {slot.name: slot.shown for slot in self._slots if slot.shown is not None}
        await self._parts.showcase.show(certificates, {}, 0.0)

    async def _first(self, slot: Slot) -> Certificate:
        kept = await self._kept(slot)
        if slot.files is not None:
            try:
                read = await asyncio.to_thread(self._parts.read, *self._paths(slot.files))
            except Unusable as exc:
                slot.suspect = str(exc)
            else:
                slot.mine = True
                if kept is not None:
                    return kept  # this one the proxy took once; what is in the file now it is asked about at the first look
                await self._keep(slot, read)
                return read
        slot.mine = kept is not None
        if kept is not None:
            return kept
        host = slot.host or "atoll.invalid"
        return await asyncio.to_thread(self._parts.stand_in, host, self._clock.now().wall)

    async def _kept(self, slot: Slot) -> Certificate | None:
        try:
            chain, key = msgspec.json.decode(await self._parts.vault.get(slot.name), type=tuple[str, str])
            return self._parts.made(chain, key)
        except NotFound:
            return None
        except (AtollError, Unusable, msgspec.MsgspecError) as exc:
            _log.warning("the kept certificate of %s cannot be used: %s", slot.title, type(exc).__name__)
            return None

    async def _keep(self, slot: Slot, certificate: Certificate) -> None:
        """A failure to keep it costs nothing today: it is shown all the same."""
        try:
            await self._parts.vault.set(slot.name, msgspec.json.encode((certificate.chain, certificate.key)).decode())
        except AtollError as exc:
            _log.warning("the certificate of %s could not be kept: %s", slot.title, exc)

    def _paths(self, files: CertificateFiles) -> tuple[Path, Path]:
        return self._root / Path(files.cert).expanduser(), self._root / Path(files.key).expanduser()

    # --- running ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look and renew, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look())
            if self._parts.authority is not None:
                group.create_task(self._renew(self._parts.authority))

    async def _look(self) -> None:
        while True:
            for slot in self._slots:
                if slot.files is not None:
                    await self._look_at(slot, slot.files)
                await self._tell_end(slot)
            await self._clock.sleep(LOOK_S)

    async def _look_at(self, slot: Slot, files: CertificateFiles) -> None:
        try:
            read = await asyncio.to_thread(self._parts.read, *self._paths(files))
        except Unusable as exc:
            if slot.suspect == str(exc) != slot.problem:
                slot.problem = str(exc)
                stays = (
                    "the last good one stays"
                    if slot.mine
                    else "there was none before: no client will believe the gateway"
                )
                await self._tell("certificate.refused", f"{slot.problem}; {stays}")
            slot.suspect = str(exc)
            return
        slot.suspect = ""
        if slot.mine and slot.shown is not None and (read.chain, read.key) == (slot.shown.chain, slot.shown.key):
            if slot.problem:
                slot.problem = ""
                self._pulse.beat()
            return
        if await self._take(slot, read):
            await self._tell(
                "certificate.replaced", f"{_named(read)}: taken from {slot.title}, good until {_day(read)}"
            )

    async def _take(self, slot: Slot, certificate: Certificate) -> bool:
        """Show it; whether the gateway took it."""
        outcome = await self._parts.showcase.show({slot.name: certificate}, self._answers, _SHOW_S)
        if isinstance(outcome, Refused):
            if slot.shown is not None:  # else an Envoy that starts anew would get what this one refused
                await self._parts.showcase.show({slot.name: slot.shown}, self._answers, _SHOW_S)
            if slot.problem != (why := f"{slot.title}: the proxy refuses it: {outcome.text}"):
                slot.problem = why
                await self._tell("certificate.refused", f"{why}; the last good one stays")
            return False
        if isinstance(outcome, Disconnected) and slot.mine and slot.files is not None:
            return False  # it is asked again at the next look: only what it took may replace what it took before
        slot.shown, slot.mine, slot.problem = certificate, True, ""
        await self._keep(slot, certificate)
        return True

    async def _tell_end(self, slot: Slot) -> None:
        """Once when the end comes near, once when it is there."""
        if slot.shown is None or not slot.mine:
            return
        now = self._clock.now().wall
        stage = "ended" if now >= slot.shown.ends_wall else "ends" if now >= decide.tell_wall(slot.shown) else ""
        if not stage or self._attempts.told.get(slot.shown.fingerprint) == stage:
            return
        present = {each.shown.fingerprint for each in self._slots if each.shown is not None}
        told = {mark: was for mark, was in self._attempts.told.items() if mark in present}
        self._attempts.told = told | {slot.shown.fingerprint: stage}
        self._write()
        await self._tell("certificate.expired" if stage == "ended" else "certificate.expiring", self._ending(slot, now))

    def _ending(self, slot: Slot, now_wall: float) -> str:
        assert slot.shown is not None
        rest = decide.left(slot.shown.ends_wall, now_wall)
        how = f"ends in {rest}" if slot.shown.ends_wall > now_wall else rest
        return f"the certificate of {_named(slot.shown)} ({slot.title}) {how}"

    # --- the authority ---------------------------------------------------------------------------------------------

    async def _renew(self, authority: Authority) -> None:
        """One host after the other, whichever is due."""
        while True:
            for slot in self._slots:
                if slot.host and self._due(slot):
                    await self._ask(authority, slot)
            await self._clock.sleep(LOOK_S)

    def _due(self, slot: Slot) -> bool:
        now = self._clock.now().wall
        wanted = not slot.mine or slot.shown is None or now >= decide.renew_wall(slot.shown)
        wait_s = self._attempts.next_wall.get(slot.host, 0.0) - now
        return wanted and not 0.0 < wait_s <= decide.again_s(99)  # a longer one: the clock was set back meanwhile

    async def _ask(self, authority: Authority, slot: Slot) -> None:
        had, failures = slot.mine, self._attempts.failures.get(slot.host, 0) + 1
        self._attempts.failures[slot.host] = failures
        self._attempts.next_wall[slot.host] = self._clock.now().wall + decide.again_s(failures)
        self._write()  # before: an attempt that the daemon does not survive counts, too

        async def show(path: str, answer: str) -> None:
            self._answers[path] = answer
            await self._parts.showcase.show({}, self._answers, _SHOW_S)
            await self._answered(slot.host, path, answer)

        try:
            given = await authority.certificate(slot.host, show)
            if not await self._take(slot, given):
                return
        except AtollError as exc:
            slot.problem = f"{slot.host}: no certificate was given: {exc}"
            minutes = decide.again_s(failures) / 60
            await self._tell(
                "certificate.failed", f"{slot.problem} (attempt {failures}, the next in {minutes:.0f} min)"
            )
            return
        finally:
            if self._answers:
                self._answers.clear()
                await self._parts.showcase.show({}, {}, _SHOW_S)
        self._attempts.failures.pop(slot.host, None)
        self._attempts.next_wall.pop(slot.host, None)
        self._write()
        kind = "certificate.renewed" if had else "certificate.obtained"
        await self._tell(kind, f"{_named(given)}: given by {given.issuer}, good until {_day(given)}")

    async def _answered(self, host: str, path: str, answer: str) -> None:
        """Wait until this machine itself gets the answer. Raises Retryable with what it got instead."""
        url, got = self._parts.plain_url + path, "nothing"
        for _ in range(int(_ANSWERED_S / 0.1)):
            try:
                reply = await fetch(url, 2.0, headers={"host": host}, most_bytes=len(answer) + 1)
                if reply.body.decode("ascii", "replace") == answer:
                    return
                got = f"status {reply.status}"
            except (OSError, ValueError) as exc:
                got = str(exc) or type(exc).__name__
            await self._clock.sleep(0.1)
        raise Retryable(
            f"the gateway does not answer at its port of plain HTTP ({self._parts.plain_url}: {got})",
            id="certificate-not-given",
        )

    # --- telling ---------------------------------------------------------------------------------------------------

    def views(self) -> tuple[CertificateView, ...]:
        """What the gateway shows now."""
        return tuple(
            CertificateView(
                hosts=shown.hosts if slot.mine else ((slot.host,) if slot.host else ()),
                source=slot.title if slot.files else "acme",
                issuer=shown.issuer if slot.mine else "",
                ends_wall=shown.ends_wall if slot.mine else None,
                fingerprint=shown.fingerprint if slot.mine else "",
                problem=slot.problem or slot.suspect,
            )
            for slot in self._slots
            if (shown := slot.shown) is not None
        )

    def notices(self) -> tuple[str, ...]:
        """What a person should know, in sentences."""
        now = self._clock.now().wall
        found = [slot.problem for slot in self._slots if slot.problem]
        for slot in self._slots:
            if not slot.mine:
                found.append(
                    f"{slot.title}: there is no certificate yet; clients are shown one that they do not believe"
                )
            elif slot.shown is not None and now >= decide.tell_wall(slot.shown):
                found.append(self._ending(slot, now))
        return tuple(found)

    def checks(self) -> tuple[DoctorView, ...]:
        """One for each."""
        now, found = self._clock.now().wall, []
        for slot in self._slots:
            if slot.shown is None:
                continue
            name = f"certificate {slot.host or (slot.shown.hosts[0] if slot.mine and slot.shown.hosts else slot.title)}"
            fix = (
                f"a good pair in {slot.files.cert} and {slot.files.key}: it is taken within seconds"
                if slot.files
                else "see `atoll explain certificate-not-given`"
            )
            if not slot.mine:
                text = slot.problem or slot.suspect or "there is none yet"
                found.append(DoctorView(check=name, ok=False, text=text, fix=fix))
                continue
            rest = decide.left(slot.shown.ends_wall, now)
            text = f"{rest} left, of {slot.shown.issuer}" if slot.shown.ends_wall > now else rest
            ok = False if now >= slot.shown.ends_wall else None if now >= decide.tell_wall(slot.shown) else True
            text += f"; {slot.problem}" if slot.problem else ""
            found.append(DoctorView(check=name, ok=None if ok and slot.problem else ok, text=text, fix=fix))
        return tuple(found)

    async def _tell(self, kind: str, message: str) -> None:
        event = Event(kind=kind, message=message, wall=self._clock.now().wall)
        await self._records.commit(Change(events=(event,)))
        self._pulse.beat()

    def _write(self) -> None:
        draft = self._file.with_suffix(".new")
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.write_bytes(msgspec.json.encode(self._attempts))
            draft.replace(self._file)
        except OSError as exc:
            _log.warning("%s cannot be written: %s", self._file, exc.strerror)


def _read(file: Path) -> Attempts:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Attempts)
    except (OSError, msgspec.MsgspecError):
        return Attempts()


def _named(certificate: Certificate) -> str:
    more = len(certificate.hosts) - 1
    return f"{certificate.hosts[0] if certificate.hosts else 'nobody'}{f' and {more} more' if more > 0 else ''}"


def _day(certificate: Certificate) -> str:
    return dt.datetime.fromtimestamp(certificate.ends_wall, dt.UTC).strftime("%Y-%m-%d")
