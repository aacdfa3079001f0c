"""What is remembered of a look at the files: used while it holds, never trusted beyond that, and read by nobody else."""

import os
import shutil
from pathlib import Path

import pytest
from keyring import SUMS, Keyring, many

from atoll.pipeline.snapshot import Snapshot


def test_no_file_is_parsed_and_no_builder_asked_when_nothing_changed(ring: Keyring) -> None:
    ring.service("a", SUMS, a_txt="a")
    before = ring.keys()
    assert ring.loads == 1
    kept = (ring.home / "snapshot").stat()
    shutil.rmtree(ring.home / "artifacts")  # a builder would need it
    assert ring.keys() == before
    assert ring.loads == 1
    assert not (ring.home / "artifacts").exists()
    assert (ring.home / "snapshot").stat().st_mtime_ns == kept.st_mtime_ns


def test_an_edit_parses_no_toml(ring: Keyring) -> None:
    ring.service("a", SUMS, a_txt="a")
    ring.service("b", SUMS, a_txt="a")
    before = ring.keys()
    ring.tick()
    ring.write("a/new", "")
    (ring.root / "a/new").replace(ring.root / "a/a.txt")  # as editors do
    ring.write("README.md", "beside the services")
    after = ring.keys()
    assert before["a.build"] != after["a.build"]
    assert before["b.build"] == after["b.build"]
    assert ring.loads == 1
    assert after == ring.cold()


def test_a_file_touched_just_now_is_read_again(ring: Keyring) -> None:
    ring.service("a", SUMS, a_txt="a")
    ring.ahead_ns = 0  # what was written just now may change again and look the same
    file = ring.root / "a/a.txt"
    before = ring.keys()
    status = file.stat()
    file.write_text("b")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert ring.keys() != before
    file.write_text("a")
    assert ring.keys() == before


def test_a_clock_that_was_set_back_hides_nothing(ring: Keyring) -> None:
    ring.service("a", SUMS, a_txt="a")
    before = ring.keys()
    ring.ahead_ns = -86_400 * 10**9
    assert ring.keys() == before
    ring.tick()
    ring.write("a/a.txt", "b")
    assert ring.keys() != before
    ring.tick()
    ring.write("a/a.txt", "a")
    assert ring.keys() == before


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign", "unreadable text"])
def test_a_damaged_snapshot_is_ignored(ring: Keyring, damage: str) -> None:
    ring.service("a", SUMS, a_txt="a")
    before = ring.keys()
    file = ring.home / "snapshot"
    data = file.read_bytes()
    other = Keyring(ring.root.parent / "other", ring.root.parent / "other-home")
    other.service("a", SUMS, a_txt="another")
    other.keys()
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    texts = {"cut": data[:middle], "flipped": flipped, "empty": b"", "unreadable text": b"\x80\x81" * 99}
    file.write_bytes(texts.get(damage) or (b"" if damage == "empty" else (other.home / "snapshot").read_bytes()))
    assert ring.keys() == before
    assert ring.loads == 2


def test_an_edit_is_kept_beside_the_snapshot(ring: Keyring) -> None:
    file = many(ring)
    first, size = file.stat(), file.stat().st_size
    for text in ("b", "c"):
        ring.tick()
        ring.write("s1/a.txt", text)
        ring.write("s2/new.txt", text)
        ring.keys()
    edits = ring.home / "snapshot.edits"
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    assert edits.stat().st_size < size / 8
    assert edits.stat().st_mode & 0o777 == 0o600
    (ring.root / "s2/new.txt").unlink()
    assert ring.keys() == ring.cold()
    kept = edits.stat().st_mtime_ns
    shutil.rmtree(ring.home / "artifacts")  # nothing is to be reckoned now
    assert ring.keys() == ring.keys()
    assert not (ring.home / "artifacts").exists()
    assert edits.stat().st_mtime_ns == kept
    assert ring.loads == 2  # and one of them cold


def test_many_edits_are_a_new_snapshot(ring: Keyring) -> None:
    file = many(ring)
    first = file.stat().st_ino, file.stat().st_mtime_ns
    ring.tick()
    ring.write("s0/a.txt", "b")
    ring.keys()
    assert (ring.home / "snapshot.edits").exists()
    ring.tick()
    for number in range(40):
        ring.write(f"s{number}/a.txt", "c")
    assert ring.keys() == ring.cold()
    assert (file.stat().st_ino, file.stat().st_mtime_ns) != first
    assert not (ring.home / "snapshot.edits").exists()


@pytest.mark.parametrize("damage", ["cut", "flipped", "of another snapshot", "gone"])
def test_edits_that_are_not_of_the_snapshot_are_ignored(ring: Keyring, damage: str) -> None:
    file, edits = many(ring), ring.home / "snapshot.edits"
    ring.tick()
    ring.write("s1/a.txt", "b")
    now = ring.keys()
    data = edits.read_bytes()
    if damage == "of another snapshot":
        whole = file.read_bytes()
        file.unlink()
        file.write_bytes(whole)
    elif damage == "gone":
        edits.unlink()
    else:
        edits.write_bytes(data[:-1] if damage == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    assert ring.keys() == now
    assert ring.loads == 1


def test_a_snapshot_that_cannot_be_written_costs_time_only(ring: Keyring) -> None:
    ring.service("a", SUMS, a_txt="a")
    (ring.home / "snapshot").mkdir()
    assert ring.keys() == ring.cold()
    assert not list(ring.home.glob("snapshot.*"))


def test_nobody_else_may_read_what_is_remembered(tmp_path: Path) -> None:
    """Definitions have the plain environment values of services in them."""
    file = tmp_path / "snapshot"
    Snapshot(file, ("/ws",)).keep({"definitions": {}, "surroundings": ("/ws",)}, file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert Snapshot(file, ("/ws",)).known["definitions"] == {}
    assert Snapshot(file, ("/elsewhere",)).known == {}
