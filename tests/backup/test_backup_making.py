"""A backup is made of one instant while others work, takes what services hand over, and says what is not in it."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest
from tests.backup.made import KEY, OTHER_KEY, SECRET, Made, members, release

import atoll
from atoll.backup.making import STAGING
from atoll.backup.opening import checked
from atoll.model.errors import Conflict, UserError
from atoll.model.rows import Change
from atoll.model.state import Artifact, Event, Image, Intent
from atoll.pipeline.artifacts import Artifacts, remove_tree
from atoll.pipeline.collect import collect
from atoll.store.sqlite import SqliteStore

WITHIN_S = 60.0


# --- while others work ------------------------------------------------------------------------------------------------


def test_each_is_of_one_instant_while_commits_go_on(made: Made, tmp_path: Path) -> None:
    """Two rows are always written together and one event with them: no backup sees them apart."""
    stop = threading.Event()

    async def commits() -> int:
        store, n = SqliteStore(made.state), 0
        await store.lead()
        while not stop.is_set():
            n += 1
            twins = tuple(Intent(service=name, generation=n) for name in ("left", "right"))
            await store.commit(Change(puts=twins, events=(Event(kind="twins", data={"n": n}),)))
        await store.close()
        return n

    done: list[int] = []
    writer = threading.Thread(target=lambda: done.append(asyncio.run(commits())))
    writer.start()
    seen: list[int] = []
    deadline = time.monotonic() + WITHIN_S
    try:
        while len(set(seen)) < 4:
            assert time.monotonic() < deadline
            backup = made.backup(tmp_path / "b")
            (tmp_path / "state.db").write_bytes(members(backup)["files/state.db"])
            with sqlite3.connect(tmp_path / "state.db") as database:
                left, right = (
                    next(iter(database.execute("SELECT generation FROM intents WHERE service = ?", (name,))), (0,))[0]
                    for name in ("left", "right")
                )
                (events,) = database.execute("SELECT count(*) FROM ledger WHERE kind = 'twins'").fetchone()
            database.close()
            assert left == right == events
            seen.append(left)
    finally:
        stop.set()
        writer.join(WITHIN_S)
    assert done[0] >= seen[-1]


def test_a_collection_meanwhile_takes_nothing_away_that_is_being_backed_up(made: Made, tmp_path: Path) -> None:
    for key in (KEY, OTHER_KEY):
        os.utime(made.artifacts / ".records" / key, (1.0, 1.0))  # nobody used it for decades
    making = made.archivist.begin(signals=False, now_wall=1.0)
    collect(made.artifacts, frozenset(), 0.0, 0)
    (tmp_path / "b").write_bytes(b"".join(making.chunks()))
    making.close()
    assert checked(tmp_path / "b", made.key()).artifacts == 2


def test_one_at_a_time_is_made(made: Made) -> None:
    making = made.archivist.begin(signals=False, now_wall=1.0)
    with pytest.raises(Conflict, match="under way"):
        made.archivist.begin(signals=False, now_wall=1.0)
    making.close()
    making.close()
    made.archivist.begin(signals=False, now_wall=1.0).close()
    assert not list(made.state.glob(f"{STAGING}*"))


MAKER = """
import sys
from pathlib import Path
from atoll.backup.archivist import StateArchivist
from atoll.backup.making import Source
making = StateArchivist(Source("shop", "production", "/", Path(sys.argv[1]))).begin(signals=False, now_wall=1.0)
print("begun", flush=True)
chunks = making.chunks()
next(chunks)
sys.stdin.read()
"""


def test_one_that_is_killed_leaves_nothing_to_the_next(made: Made, tmp_path: Path) -> None:
    source = str(Path(atoll.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", MAKER, made.state], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": source},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    assert len(list(made.state.glob(f"{STAGING}*"))) == 1
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=WITHIN_S)
    before = {each.name for each in made.state.iterdir() if not each.name.startswith(STAGING)}
    made.backup(tmp_path / "b")
    assert {each.name for each in made.state.iterdir()} == before


# --- what is not in it ------------------------------------------------------------------------------------------------


def test_what_is_not_in_it_is_said(made: Made, tmp_path: Path) -> None:
    (made.state / "data" / "orders").mkdir(parents=True)
    (made.state / "data" / "orders" / "queue.db").write_text("x")
    (made.state / "data" / "empty").mkdir()
    spec = msgspec.structs.replace(release(1, _any()).spec, name="ledger-db", store="postgres")

    async def more() -> None:
        store = SqliteStore(made.state)
        await store.lead()
        image = _any(key="c3" * 20, image=Image(id="shop/web@sha256:1"))
        here = _any(key="d4" * 20, in_place=True, path="/srv/shop/web")
        puts = (
            release(1, _any(key="e5" * 20), service="ledger-db", spec=spec),
            release(3, image),
            release(4, here),
        )
        await store.commit(Change(puts=puts))
        await store.close()

    asyncio.run(more())
    left = checked(made.backup(tmp_path / "b"), None).left
    assert [sentence.partition(":")[0] for sentence in left] == ["orders r3", "orders r4", "ledger-db", "orders"]
    assert "docker save" in left[0]
    assert "/srv/shop/web" in left[1]
    assert "postgres" in left[2]


def _any(**fields: object) -> Artifact:
    given = {"key": "f6" * 20, "digest": "d", "builder": "command", "platform": "linux", "path": "/nowhere/f6"}
    return Artifact(**(given | fields))  # type: ignore[arg-type]


def test_an_artifact_that_is_gone_or_was_changed_is_said_and_the_rest_is_in_it(made: Made, tmp_path: Path) -> None:
    changed = made.artifacts / KEY / "shared.txt"
    changed.chmod(0o644)
    changed.write_text("somebody was here")
    remove_tree(Artifacts(made.artifacts.resolve()).folder(OTHER_KEY))
    view = checked(made.backup(tmp_path / "b"), made.key())
    assert view.artifacts == 0
    assert [("changed" in sentence, "not there" in sentence) for sentence in view.left] == [
        (True, False),
        (False, True),
    ]


def test_one_that_changes_while_it_is_read_breaks_the_backup_off(made: Made) -> None:
    making = made.archivist.begin(signals=False, now_wall=1.0)
    changed = made.artifacts / KEY / "shared.txt"
    changed.chmod(0o644)
    changed.write_text("shorter")
    with pytest.raises(UserError, match="broken off"):
        list(making.chunks())
    making.close()


def test_a_damaged_database_is_told_and_not_backed_up(made: Made) -> None:
    data = bytearray((made.state / "state.db").read_bytes())
    data[4096 * 3 : 4096 * 5] = b"\xa5" * 8192
    (made.state / "state.db").write_bytes(data)
    with pytest.raises(UserError) as told:
        made.archivist.begin(signals=False, now_wall=1.0)
    assert told.value.id == "database-damaged"
    assert not list(made.state.glob(f"{STAGING}*"))


def test_a_lost_key_is_told_and_none_is_made_in_its_place(made: Made) -> None:
    (made.state / "vault.key").unlink()
    with pytest.raises(UserError) as told:
        made.archivist.begin(signals=False, now_wall=1.0)
    assert told.value.id == "vault-key"
    assert not (made.state / "vault.key").exists()


def test_an_environment_that_never_ran_has_nothing_to_back_up(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with pytest.raises(UserError, match="nothing to back up"):
        Made(tmp_path).archivist.begin(signals=False, now_wall=1.0)


# --- what services hand over ------------------------------------------------------------------------------------------


def handed(made: Made, service: str = "orders") -> Path:
    folder = made.state / "data" / service / "backup"
    folder.mkdir(parents=True)
    return folder


def test_what_a_service_hands_over_is_in_it_and_is_said(made: Made, tmp_path: Path) -> None:
    (handed(made) / "orders.dump").write_bytes(b"PGDMP" + b"\0" * 1000)
    (handed(made, "ledger-db") / "base.tar").write_bytes(b"t" * 3_000_000)
    view = checked(made.backup(tmp_path / "b"), made.key())
    assert view.dumps == ("ledger-db/base.tar", "orders/orders.dump")
    assert [sentence for sentence in view.left if "but backup/" in sentence] == list(view.left)
    assert members(tmp_path / "b")["dumps/1"] == b"PGDMP" + b"\0" * 1000


def test_links_and_other_peoples_files_in_that_folder_lead_nowhere(made: Made, tmp_path: Path) -> None:
    secret = tmp_path / "not-for-services"
    secret.write_text(SECRET)
    folder = handed(made)
    (folder / "link").symlink_to(secret)
    (folder / ".hidden").write_text("x")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    (made.state / "data/web").mkdir()
    (made.state / "data/web/backup").symlink_to(tmp_path)
    (made.state / "data/evil").symlink_to(tmp_path)
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup/x").write_text(SECRET)
    view = checked(made.backup(tmp_path / "b"), made.key())
    assert view.dumps == ()
    named = {sentence.split()[1].removeprefix("backup/") for sentence in view.left if "is no file" in sentence}
    assert named == {"link", ".hidden", "folder", "pipe"}
    assert SECRET.encode() not in b"".join(members(tmp_path / "b").values())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of several users")
def test_a_file_of_another_user_is_not_taken_for_the_services_own(made: Made, tmp_path: Path) -> None:
    folder = handed(made)
    (folder / "planted").write_text("x")
    os.chown(folder, 61234, 61234)
    assert checked(made.backup(tmp_path / "b"), None).dumps == ()


def test_one_that_is_replaced_meanwhile_is_the_one_that_was_there_and_one_that_is_written_into_breaks_it_off(
    made: Made, tmp_path: Path
) -> None:
    file = handed(made) / "orders.dump"
    file.write_bytes(b"first" * 1000)
    making = made.archivist.begin(signals=False, now_wall=1.0)
    (file.with_name("new")).write_bytes(b"second")
    file.with_name("new").rename(file)
    (tmp_path / "b").write_bytes(b"".join(making.chunks()))
    making.close()
    assert members(tmp_path / "b")["dumps/0"] == b"first" * 1000
    making = made.archivist.begin(signals=False, now_wall=1.0)
    file.write_bytes(b"SECOND")
    with pytest.raises(UserError, match="broken off"):
        list(making.chunks())
    making.close()
