"""A backup as a file: read by any tar, with no secret in the open, and nothing in it that anybody changed."""

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.backup.made import ACME_KEY, OLD_SECRET, OTHER_KEY, SECRET, Made, members

from atoll.backup import keys
from atoll.backup.manifest import Manifest
from atoll.backup.opening import checked
from atoll.backup.reading import Archive, nowhere
from atoll.model.errors import UserError
from atoll.pipeline.cache.zstd import compress, decompress


def packed(file: Path, content: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> Path:
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
    file.write_bytes(compress(plain))
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
