"""What is restored is what was there, or nothing is: killed at any step, on a full disk, over something that lives."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.backup.made import ACME_KEY, KEY, OLD_SECRET, OTHER_KEY, SECRET, Made, environment, release

import atoll
from atoll.backup.restoring import MARK, STAGING, Target, Wish, refuse_unfinished, restored
from atoll.model.errors import AtollError, Conflict, NotFound, UserError
from atoll.model.rows import Change, Saved
from atoll.model.state import Event
from atoll.model.wire_backup import RestoreView
from atoll.pipeline.artifacts import Artifacts, remove_tree
from atoll.store.leadership import LeaderLock
from atoll.store.sqlite import LOCK, SqliteStore
from atoll.store.vault import SqliteVault

WITHIN_S = 60.0


@pytest.fixture
def empty(tmp_path: Path) -> Made:
    """Where another machine would keep the same environment."""
    other = Made(tmp_path / "two")
    other.state.mkdir(parents=True)
    return other


def restore(backup: Path, key: bytes | None, to: Made, **wish: bool) -> RestoreView:
    target = Target(to.state, to.artifacts)
    return restored(backup, key, target, Wish(actor="ann", **wish), lambda _: None)


def rows(state: Path) -> Saved:
    async def load() -> Saved:
        store = SqliteStore(state)
        await store.lead()
        try:
            return await store.load()
        finally:
            await store.close()

    return asyncio.run(load())


def ledger(state: Path) -> list[Event]:
    async def load() -> list[Event]:
        store = SqliteStore(state)
        await store.lead()
        try:
            return list(await store.events())
        finally:
            await store.close()

    return asyncio.run(load())


def secret(state: Path, name: str = "db", version: int | None = None) -> str:
    return asyncio.run(SqliteVault(state).get(name, version))


def commit(state: Path, change: Change) -> None:
    async def committed() -> None:
        store = SqliteStore(state)
        await store.lead()
        await store.commit(change)
        await store.close()

    asyncio.run(committed())


def changed(made: Made) -> None:
    """Something that the backup does not know."""
    commit(made.state, Change(drops=(("release", "orders/1"),), events=(Event(kind="later"),)))


# --- into an empty place ----------------------------------------------------------------------------------------------


def test_everything_is_back(made: Made, backup: Path, empty: Made) -> None:
    before = rows(made.state)
    view = restore(backup, made.key(), empty)
    assert (view.restored, view.signed, view.secrets, view.aside, view.lacking) == (True, True, 3, "", ())
    after = rows(empty.state)
    assert after.intents == before.intents
    assert [(each.service, each.n, each.secrets) for each in after.releases] == [
        (each.service, each.n, each.secrets) for each in before.releases
    ]
    assert (secret(empty.state, version=1), secret(empty.state)) == (OLD_SECRET, SECRET)
    assert secret(empty.state / "tls", "acme-shop.example.com") == ACME_KEY
    assert (empty.state / "daemon.json").read_bytes() == (made.state / "daemon.json").read_bytes()


def test_the_ledger_goes_on_and_tells_of_it(made: Made, backup: Path, empty: Made) -> None:
    restore(backup, made.key(), empty)
    *before, last = ledger(empty.state)
    assert (len(before), last.seq, last.kind, last.author.actor) == (40, 41, "environment.restored", "ann")


def test_what_is_restored_is_for_its_owner_alone(made: Made, backup: Path, empty: Made) -> None:
    restore(backup, made.key(), empty)
    for path in empty.state.rglob("*"):
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_artifacts_are_sealed_and_known_and_fit_their_new_folder(made: Made, backup: Path, empty: Made) -> None:
    restore(backup, made.key(), empty)
    place = Artifacts(empty.artifacts.resolve())
    first, second = place.find(KEY), place.find(OTHER_KEY)
    assert first is not None
    assert second is not None
    folder = Path(first.artifact.path)
    assert folder == empty.artifacts / KEY
    assert (folder / "sub/link").read_text() == "the same in both\n" * 500
    assert stat.S_IMODE((folder / "run.sh").stat().st_mode) == 0o555
    assert stat.S_IMODE(folder.stat().st_mode) == 0o555
    venv = empty.artifacts / OTHER_KEY / ".venv"
    assert subprocess.run([venv / "bin/tool"], capture_output=True, check=True, timeout=WITHIN_S).stdout == b"tool\n"
    releases = {each.n: each.artifact for each in rows(empty.state).releases}
    assert releases == {1: first.artifact, 2: second.artifact}
    assert releases[2].command_env["PATH"] == f"{venv}/bin:/usr/bin"


def test_in_its_own_folder_an_artifact_is_what_it_was_to_the_bit(made: Made, backup: Path) -> None:
    before = Artifacts(made.artifacts.resolve()).find(OTHER_KEY)
    key = made.key()
    for name in ("state", "artifacts"):
        remove_tree(made.root / name)
    made.state.mkdir()
    restore(backup, key, made)
    assert Artifacts(made.artifacts.resolve()).find(OTHER_KEY) == before


def test_an_artifact_that_does_not_run_here_is_told_and_the_rest_is_back(
    made: Made, tmp_path: Path, empty: Made
) -> None:
    riscv = b"\x7fELF\x02\x01\x01" + b"\0" * 9 + b"\x02\0\xf3\0" + b"\0" * 44
    foreign = made.artifact("c3" * 20, {"bin/run": riscv}, platform="linux-riscv64-gnu")
    commit(made.state, Change(puts=(release(3, foreign),)))
    view = restore(made.backup(tmp_path / "b"), made.key(), empty)
    assert (view.restored, len(view.lacking), "c3c3c3" in view.lacking[0]) == (True, 1, True)
    place = Artifacts(empty.artifacts.resolve())
    assert (place.find("c3" * 20), place.find(KEY) is not None) == (None, True)
    assert secret(empty.state) == SECRET


# --- keys -------------------------------------------------------------------------------------------------------------


def test_without_the_key_nothing_is_restored_unless_that_is_meant(made: Made, backup: Path, empty: Made) -> None:
    with pytest.raises(UserError, match="sealed") as told:
        restore(backup, None, empty)
    assert told.value.id == "backup-key"
    assert not (empty.state / "state.db").exists()
    view = restore(backup, None, empty, without_secrets=True)
    assert (view.restored, view.signed, view.forgotten) == (True, False, ("db", "acme-shop.example.com"))
    with pytest.raises(NotFound):
        secret(empty.state)
    assert SECRET.encode() not in (empty.state / "vault.db").read_bytes()
    assert asyncio.run(SqliteVault(empty.state).set("db", "new")) == 3  # no release that names version 2 gets this one


def test_another_key_restores_nothing(backup: Path, empty: Made) -> None:
    with pytest.raises(UserError) as told:
        restore(backup, b"z" * 32, empty)
    assert told.value.id == "backup-key"
    assert {each.name for each in empty.state.iterdir()} == {LOCK}


def test_where_the_key_is_still_there_no_key_file_is_needed(made: Made, backup: Path) -> None:
    changed(made)
    view = restore(backup, None, made, replace=True)
    assert (view.signed, view.secrets) == (True, 3)


# --- over something ---------------------------------------------------------------------------------------------------


def test_a_living_environment_is_never_touched(made: Made, backup: Path) -> None:
    lock = LeaderLock(made.state / LOCK)
    try:
        with pytest.raises(Conflict, match="runs"):
            restore(backup, made.key(), made, replace=True)
    finally:
        lock.release()


def test_one_that_is_there_is_replaced_only_when_that_is_meant_and_then_moved_aside(made: Made, backup: Path) -> None:
    changed(made)
    (made.state / "data").mkdir()
    (made.state / "data/keep").write_text("of a service")
    with pytest.raises(UserError, match="already") as told:
        restore(backup, made.key(), made)
    assert told.value.id == "environment-not-empty"
    assert [each.n for each in rows(made.state).releases] == [2]
    view = restore(backup, made.key(), made, replace=True)
    assert [each.n for each in rows(made.state).releases] == [1, 2]
    assert [each.n for each in rows(Path(view.aside)).releases] == [2]
    assert secret(Path(view.aside)) == SECRET
    assert (made.state / "data/keep").read_text() == "of a service"


# --- in the middle ----------------------------------------------------------------------------------------------------

RESTORER = """
import os, signal, sys
from pathlib import Path
from atoll.backup import restoring

left = int(sys.argv[4])
def counted(method):
    def call(*args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(*args, **kwargs)
    return call
for name in ("rename", "replace"):  # each makes something seen that was not
    setattr(Path, name, counted(getattr(Path, name)))
state, artifacts = Path(sys.argv[2]), Path(sys.argv[3])
restoring.restored(Path(sys.argv[1]), bytes.fromhex(sys.stdin.read()), restoring.Target(state, artifacts),
                   restoring.Wish(replace=True), lambda _: None)
"""


def killed_after(steps: int, backup: Path, key: bytes, to: Made) -> bool:
    """Restore in a process that is killed before a step; False when it was done by then."""
    source = str(Path(atoll.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", RESTORER, backup, to.state, to.artifacts, str(steps)],
        input=key.hex(), env={**os.environ, "PYTHONPATH": source}, text=True, check=False, timeout=WITHIN_S,
    )  # fmt: skip
    assert done.returncode in {0, -signal.SIGKILL}
    return done.returncode != 0


@pytest.mark.slow
def test_killed_before_any_step_it_is_the_old_one_or_says_so_and_the_next_finishes(tmp_path: Path) -> None:
    made = environment(tmp_path / "one")
    backup, key = made.backup(tmp_path / "b"), made.key()
    changed(made)
    steps, unfinished, untouched = 0, 0, 0
    while True:
        to = Made(tmp_path / f"copy{steps}")
        subprocess.run(["cp", "-a", made.root, to.root], check=True)
        if not killed_after(steps, backup, key, to):
            break
        if (to.state / MARK).exists():
            with pytest.raises(UserError, match="broken off"):
                refuse_unfinished(to.state)
            unfinished += 1
        else:
            refuse_unfinished(to.state)
            numbers = [each.n for each in rows(to.state).releases]
            assert numbers in ([2], [1, 2])
            untouched += numbers == [2]
        assert secret_of_either(to) == SECRET
        restore(backup, None if (to.state / "vault.key").exists() else key, to, replace=True)
        assert [each.n for each in rows(to.state).releases] == [1, 2]
        assert secret(to.state) == SECRET
        assert not (to.state / MARK).exists()
        assert not list(to.state.glob(f"{STAGING}*"))
        aside = [folder for folder in to.state.glob("replaced-*") if (folder / "state.db").exists()]
        assert [each.n for each in rows(aside[0]).releases] == [2]  # what was there is never lost
        remove_tree(to.root)
        steps += 1
    assert untouched >= 3
    assert unfinished > 3


def secret_of_either(made: Made) -> str:
    """The vault and its key are together, in their place or aside."""
    for folder in (made.state, *made.state.glob("replaced-*")):
        if (folder / "vault.db").exists() and (folder / "vault.key").exists():
            return secret(folder)
    # Between two moves: each is somewhere.
    found = {each.name: each for each in made.state.rglob("vault.*") if STAGING not in str(each)}
    assert {"vault.db", "vault.key"} <= set(found)
    return SECRET


def test_a_full_disk_leaves_nothing_of_a_restore(made: Made, backup: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60k", "none", small], check=False).returncode:
        pytest.skip("needs a file system of its own, which only root can mount")
    try:
        to = Made(small)
        to.state.mkdir()
        with pytest.raises(AtollError) as told:
            restore(backup, made.key(), to)
        assert told.value.id in {"disk-full", "database-busy"}
        assert {each.name for each in to.state.iterdir()} <= {LOCK}
        assert not [each for each in to.artifacts.iterdir() if not each.name.startswith(".")]
    finally:
        subprocess.run(["umount", small], check=True)


def test_what_services_handed_over_lies_in_a_folder_of_its_own(made: Made, tmp_path: Path, empty: Made) -> None:
    folder = made.state / "data/orders/backup"
    folder.mkdir(parents=True)
    (folder / "orders.dump").write_bytes(b"PGDMP")
    (empty.state / "data/orders").mkdir(parents=True)
    (empty.state / "data/orders/backup").symlink_to(tmp_path)  # a service's folder is the service's
    view = restore(made.backup(tmp_path / "b"), made.key(), empty)
    assert Path(view.dumps_in).parent == empty.state
    assert (Path(view.dumps_in) / "orders/orders.dump").read_bytes() == b"PGDMP"
    assert not (tmp_path / "orders.dump").exists()


def test_who_may_do_what_is_believed_of_a_signed_backup_only_and_never_over_what_the_machine_says(
    made: Made, tmp_path: Path, empty: Made
) -> None:
    (made.state / "access.json").write_text('{"admins": ["wheel"]}')
    backup = made.backup(tmp_path / "b")
    restore(backup, None, empty, without_secrets=True)
    assert not (empty.state / "access.json").exists()
    restore(backup, made.key(), empty, replace=True)
    assert (empty.state / "access.json").read_text() == '{"admins": ["wheel"]}'
    (empty.state / "access.json").write_text('{"admins": ["ops"]}')
    restore(backup, made.key(), empty, replace=True)
    assert (empty.state / "access.json").read_text() == '{"admins": ["ops"]}'
