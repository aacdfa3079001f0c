"""A backup holds what was there at one instant, no secret in the open, and nothing that anybody changed."""

import asyncio
import hashlib
import io
import os
import signal
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.backup.made import ACME_KEY, KEY, OLD_SECRET, OTHER_KEY, SECRET, Made, release

import atoll
from atoll.backup import keys
from atoll.backup.making import STAGING
from atoll.backup.manifest import Manifest
from atoll.backup.opening import checked
from atoll.backup.reading import Archive, nowhere
from atoll.model.errors import Conflict, UserError
from atoll.model.rows import Change
from atoll.model.state import Event, Image, Intent
from atoll.pipeline.artifacts import Artifacts, remove_tree
from atoll.pipeline.cache.zstd import compress, decompress
from atoll.pipeline.collect import collect
from atoll.store.sqlite import SqliteStore

WITHIN_S = 60.0


def members(file: Path) -> dict[str, bytes]:
    """What stands in it, by Python's own reader of tar."""
    with tarfile.open(fileobj=io.BytesIO(decompress(file.read_bytes()))) as tar:
        return {each.name: tar.extractfile(each).read() for each in tar}  # type: ignore[union-attr]


def packed(file: Path, content: dict[str, bytes], kind: bytes = tarfile.REGTYPE, behind: bytes = b"") -> Path:
    """A backup of these members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.type = kind if name.startswith("contents/") else tarfile.REGTYPE
            tar.addfile(info, io.BytesIO(data))
    plain = buffer.getvalue().rstrip(b"\0")
    plain += b"\0" * (-len(plain) % 512 + 1024)
    file.write_bytes(compress(plain) + behind)
    return file


def test_any_reader_of_tar_reads_it_and_each_file_of_artifacts_is_in_it_once(backup: Path) -> None:
    found = members(backup)
    assert list(found)[:2] == ["manifest.json", "manifest.mac"]
    assert {"files/state.db", "files/vault.db", "files/tls/vault.db", "files/daemon.json"} <= set(found)
    shared = hashlib.sha256(b"the same in both\n" * 500).hexdigest()
    assert found[f"contents/{shared}"] == b"the same in both\n" * 500
    assert all(hashlib.sha256(data).hexdigest() == name[9:] for name, data in found.items() if name[:9] == "contents/")


def test_no_secret_and_no_key_is_in_it(made: Made, backup: Path) -> None:
    everything = b"".join(members(backup).values())
    for value in (SECRET, OLD_SECRET, ACME_KEY):
        assert value.encode() not in everything
    for path in (made.state / "vault.key", made.state / "tls/vault.key"):
        assert path.read_bytes().strip() not in everything
        assert msgspec.json.decode(b'"' + path.read_bytes().strip() + b'"', type=bytes) not in everything


def test_a_check_opens_every_secret_and_counts_what_is_there(made: Made, backup: Path) -> None:
    view = checked(backup, made.key())
    assert (view.workspace, view.environment, view.signed, view.secrets) == ("shop", "production", True, 3)
    assert (view.releases, view.artifacts, view.events, view.services) == (2, 2, 40, ("orders",))
    assert view.lacking == ()
    unkeyed = checked(backup, None)
    assert (unkeyed.signed, unkeyed.secrets, unkeyed.releases) == (False, 0, 2)


def test_another_key_is_told_from_a_change(backup: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as told:
        checked(backup, b"x" * 32)
    assert told.value.id == "backup-key"


def test_a_flipped_bit_anywhere_is_found_or_changes_nothing(made: Made, backup: Path, tmp_path: Path) -> None:
    whole, key = backup.read_bytes(), made.key()
    other = tmp_path / "other"
    found, places = 0, range(0, len(whole), max(1, len(whole) // 150))
    for at in places:
        other.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        try:
            checked(other, key)
        except UserError:
            found += 1
        else:  # zstd has bits that say nothing, such as how large a window would have been enough
            assert decompress(other.read_bytes()) == decompress(whole)
    assert found > 0.9 * len(places)


def test_one_that_is_cut_off_anywhere_is_found_without_a_key(backup: Path, tmp_path: Path) -> None:
    whole, other = backup.read_bytes(), tmp_path / "other"
    for length in range(0, len(whole), max(1, len(whole) // 150)):
        other.write_bytes(whole[:length])
        with pytest.raises(UserError, match="cannot be used") as told:
            checked(other, None)
        assert told.value.id == "backup-damaged"
    for behind in (b"\0", compress(b"more")):
        other.write_bytes(whole + behind)
        with pytest.raises(UserError, match="cannot be used"):
            checked(other, None)


def test_who_has_not_the_key_cannot_change_it_however_carefully(made: Made, backup: Path, tmp_path: Path) -> None:
    """Digests and sizes all agree; only the signature does not."""
    content = members(backup)
    manifest = msgspec.json.decode(content["manifest.json"], type=Manifest)
    forged = b'{"forged": true}'
    files = tuple(
        msgspec.structs.replace(each, sha256=hashlib.sha256(forged).hexdigest(), size_bytes=len(forged))
        if each.name == "daemon.json"
        else each
        for each in manifest.files
    )
    content["files/daemon.json"] = forged
    content["manifest.json"] = msgspec.json.encode(msgspec.structs.replace(manifest, files=files))
    forgery = packed(tmp_path / "forged", content)
    assert checked(forgery, None).signed is False
    with pytest.raises(UserError, match="cannot be used") as told:
        checked(forgery, made.key())
    assert "signature" in told.value.why
    content["manifest.mac"] = keys.mac(b"y" * 32, content["manifest.json"])
    with pytest.raises(UserError, match="cannot be used"):
        checked(packed(tmp_path / "forged", content), made.key())


def _renamed(name: str) -> Callable[[Manifest], Manifest]:
    def change(manifest: Manifest) -> Manifest:
        first, *rest = manifest.files
        return msgspec.structs.replace(manifest, files=(first, msgspec.structs.replace(rest[0], name=name), *rest[1:]))

    return change


def _keyed(key: str) -> Callable[[Manifest], Manifest]:
    def change(manifest: Manifest) -> Manifest:
        first, *rest = manifest.artifacts
        artifact = msgspec.structs.replace(first.record.artifact, key=key)
        record = msgspec.structs.replace(first.record, artifact=artifact)
        return msgspec.structs.replace(manifest, artifacts=(msgspec.structs.replace(first, record=record), *rest))

    return change


def _called(**names: str | float) -> Callable[[Manifest], Manifest]:
    return lambda manifest: msgspec.structs.replace(manifest, **names)


@pytest.mark.parametrize(
    "change",
    [
        _called(workspace="../../.config/autostart/x"),
        _called(environment="a/b"),
        _called(workspace=".hidden"),
        _called(workspace="two\nlines"),
        _called(id="x/../../y"),
        _called(made_wall=1e300),
    ],
    ids=["above", "below", "hidden", "lines", "id", "time"],
)
def test_what_it_calls_itself_is_no_way_elsewhere(
    backup: Path, tmp_path: Path, change: Callable[[Manifest], Manifest]
) -> None:
    content = members(backup)
    manifest = change(msgspec.json.decode(content["manifest.json"], type=Manifest))
    content["manifest.json"] = msgspec.json.encode(manifest)
    with pytest.raises(UserError, match="cannot be used"):
        Archive(packed(tmp_path / "f", content))


@pytest.mark.parametrize(
    "change",
    [_renamed("../../etc/passwd"), _renamed("/etc/passwd"), _renamed("state.db"), _renamed("vault.key"), _keyed("../x"), _keyed(OTHER_KEY)],
    ids=["above", "absolute", "twice", "a key", "artifact above", "artifact twice"],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused_before_anything_is_written(
    backup: Path, tmp_path: Path, change: Callable[[Manifest], Manifest]
) -> None:
    content = members(backup)
    manifest = change(msgspec.json.decode(content["manifest.json"], type=Manifest))
    content["manifest.json"] = msgspec.json.encode(manifest)
    written: list[str] = []

    def place(name: str) -> io.BytesIO:
        written.append(name)
        return io.BytesIO()

    with pytest.raises(UserError, match="cannot be used"), Archive(packed(tmp_path / "f", content)) as archive:
        archive.walk(place, place, place)
    assert written == []


def test_members_that_are_no_files_or_that_nobody_asked_for_are_refused(backup: Path, tmp_path: Path) -> None:
    content = members(backup)
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.XHDTYPE):
        with (
            pytest.raises(UserError, match="cannot be used"),
            Archive(packed(tmp_path / "f", content, kind)) as archive,
        ):
            archive.walk(nowhere, nowhere, nowhere)
    extra = hashlib.sha256(b"x").hexdigest()
    for more in ({f"contents/{extra}": b"x"}, {"evil": b"x"}):
        for together in ({**content, **more}, {**dict(list(content.items())[:-1]), **more}):
            with pytest.raises(UserError, match="cannot be used"), Archive(packed(tmp_path / "f", together)) as archive:
                archive.walk(nowhere, nowhere, nowhere)


def test_a_newer_format_is_told_as_one(backup: Path, tmp_path: Path) -> None:
    content = members(backup)
    said = msgspec.json.decode(content["manifest.json"])
    content["manifest.json"] = msgspec.json.encode(said | {"format": 2, "files": "elsewhere"})
    with pytest.raises(UserError, match="newer Atoll") as told:
        Archive(packed(tmp_path / "f", content))
    assert told.value.id == "versions-differ"


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


def _any(**fields: object):
    from atoll.model.state import Artifact

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
