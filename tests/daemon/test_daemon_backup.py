"""What the daemon does and says of backups: who asked, whether there is a good one, and nothing half that stays locked."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest
from world import World

from atoll.daemon.backup_desk import OLD_S, TOO_OLD_S
from atoll.model.errors import UserError
from atoll.model.state import Author
from atoll.model.wire import BackupView
from atoll.model.wire_backup import BackupKept, BackupKeyRequest, BackupKeyView, BackupRequest
from atoll.model.wire_doctor import DoctorView

ANN = Author(actor="ann")


class UnderWay:
    def __init__(self, parts: tuple[bytes, ...]) -> None:
        self.parts, self.closed = parts, 0

    def chunks(self) -> Iterator[bytes]:
        for part in self.parts:
            if part == b"changed":
                raise UserError("the backup was broken off", id="backup-damaged")
            yield part

    def close(self) -> None:
        self.closed += 1


class Archivist:
    """One whose backups are three words."""

    def __init__(self) -> None:
        self.note = BackupView()
        self.parts = (b"one", b"two", b"three")
        self.begun: list[UnderWay] = []
        self.own_key = "k1"

    def begin(self, *, signals: bool, now_wall: float) -> UnderWay:
        self.begun.append(UnderWay(self.parts))
        return self.begun[-1]

    def key(self, passphrase: str) -> BackupKeyView:
        return BackupKeyView(text="sealed", key_id=self.own_key)

    def write(self, note: BackupView) -> None:
        self.note = note

    def key_id(self) -> str:
        return self.own_key


def play(scenario: Callable[[World, Archivist], Awaitable[None]], *, dev: bool = False) -> None:
    world, archivist = World(), Archivist()
    world.dev, world.archivist = dev, archivist
    world.run(lambda: scenario(world, archivist))


async def told(world: World) -> list[tuple[str, str]]:
    return [(event.kind, event.author.actor) async for event in world.environment.events()]


async def check(world: World) -> DoctorView | None:
    return next((view for view in await world.environment.doctor() if view.check == "backup"), None)


def test_it_is_sent_and_who_asked_and_that_it_is_kept_are_in_the_ledger() -> None:
    async def scenario(world: World, archivist: Archivist) -> None:
        parts = [part async for part in await world.environment.backup(BackupRequest(author=ANN))]
        assert parts == [b"one", b"two", b"three"]
        assert archivist.begun[0].closed == 1
        assert (await world.environment.status()).backup.made_wall is None  # nobody said that it has it
        kept = BackupKept(id="b", size_bytes=11, made_wall=7.0, author=ANN)
        assert (await world.environment.backup_kept(kept)).by == "ann"
        assert (await world.environment.status()).backup == BackupView(id="b", made_wall=7.0, size_bytes=11, by="ann")
        assert await told(world) == [("backup.begun", "ann"), ("backup.made", "ann")]

    play(scenario)


def test_one_that_is_broken_off_is_in_the_ledger_and_lets_the_next_one_begin() -> None:
    async def scenario(world: World, archivist: Archivist) -> None:
        archivist.parts = (b"one", b"changed")
        with pytest.raises(UserError, match="broken off"):
            async for _ in await world.environment.backup(BackupRequest(author=ANN)):
                pass
        assert archivist.begun[0].closed == 1
        assert [kind for kind, _ in await told(world)] == ["backup.begun", "backup.failed"]

    play(scenario)


def test_a_client_that_goes_lets_the_next_one_begin() -> None:
    async def scenario(world: World, archivist: Archivist) -> None:
        sending = await world.environment.backup(BackupRequest())
        assert await anext(sending) == b"one"
        await sending.aclose()  # type: ignore[attr-defined]
        assert archivist.begun[0].closed == 1

    play(scenario)


def test_doctor_misses_a_backup_where_it_matters_and_says_when_it_is_old() -> None:
    async def scenario(world: World, archivist: Archivist) -> None:
        view = await check(world)
        assert view is not None
        assert (view.ok, view.text, "atoll backup" in view.fix) == (False, "there is none", True)
        for age_s, ok in ((60.0, True), (OLD_S + 60, None), (TOO_OLD_S + 60, False)):
            made = world.clock.now().wall - age_s
            await world.environment.backup_kept(BackupKept(id="b", size_bytes=2**20, made_wall=made, author=ANN))
            view = await check(world)
            assert view is not None
            assert view.ok is ok

    play(scenario)


def test_the_age_of_a_backup_that_a_wrong_clock_dated_is_not_known() -> None:
    async def scenario(world: World, archivist: Archivist) -> None:
        for ahead_s, ok in ((600.0, True), (3 * 86_400.0, None)):
            made = world.clock.now().wall + ahead_s
            await world.environment.backup_kept(BackupKept(id="b", size_bytes=2**20, made_wall=made, author=ANN))
            view = await check(world)
            assert view is not None
            assert (view.ok, "dated 3 d ahead" in view.text) == (ok, ok is None)

    play(scenario)


def test_doctor_says_that_no_secret_can_be_restored_without_the_key() -> None:
    async def scenario(world: World, archivist: Archivist) -> None:
        made = world.clock.now().wall
        await world.environment.backup_kept(BackupKept(id="b", size_bytes=1, made_wall=made, author=ANN))
        await world.vault.set("db", "x")
        assert (await check(world)).ok is False  # type: ignore[union-attr]
        await world.environment.backup_key(BackupKeyRequest(passphrase="five words by chance", author=ANN))
        assert (await check(world)).ok is True  # type: ignore[union-attr]
        assert ("key.given", "ann") in await told(world)
        archivist.own_key = "k2"  # the vault begins anew: what was given out opens nothing of it
        assert (await check(world)).ok is False  # type: ignore[union-attr]

    play(scenario)


def test_a_key_that_cannot_be_read_is_told_once_and_takes_no_other_check_with_it() -> None:
    async def scenario(world: World, archivist: Archivist) -> None:
        await world.vault.set("db", "x")
        await world.environment.backup_key(BackupKeyRequest(passphrase="five words by chance", author=ANN))
        made = world.clock.now().wall
        await world.environment.backup_kept(BackupKept(id="b", size_bytes=1, made_wall=made, author=ANN))

        def unreadable() -> str:
            raise UserError("The vault's key is not private", id="vault-key")

        for broken in (unreadable, lambda: ""):
            archivist.key_id = broken  # type: ignore[method-assign]
            assert (await check(world)).ok is True  # type: ignore[union-attr]

    play(scenario)


def test_ones_own_machine_for_development_needs_none() -> None:
    async def scenario(world: World, archivist: Archivist) -> None:
        await asyncio.sleep(0)
        assert await check(world) is None

    play(scenario, dev=True)
