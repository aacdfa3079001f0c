"""The log of a replica: lines with their time, bounded on disk, never in the way of whoever prints."""

import asyncio
import os
import subprocess
import time
from pathlib import Path

import pytest

from atoll.keeper.linelog import FILE_BYTES, MAX_LINE_BYTES, LineLog

PATIENCE_S = 60.0


def texts(path):
    return [line.split(b" ", 2)[2] for line in path.read_bytes().splitlines()]


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 256 KiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], timeout=60, check=False)
    if mounted.returncode != 0:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], timeout=60, check=True)


def test_lines_carry_time_and_stream(tmp_path):
    log = LineLog(str(tmp_path / "a.log"))
    before = time.time()
    log.write("o", b"one\ntwo\n")
    log.write("e", b"three\n")
    log.finish()
    lines = [line.split(b" ", 2) for line in (tmp_path / "a.log").read_bytes().splitlines()]
    assert [(stream, text) for _, stream, text in lines] == [(b"o", b"one"), (b"o", b"two"), (b"e", b"three")]
    assert all(before - 0.001 <= float(wall) <= time.time() for wall, _, _ in lines)


def test_a_line_in_pieces_is_one_line_and_the_last_needs_no_end(tmp_path):
    log = LineLog(str(tmp_path / "a.log"))
    for piece in (b"he", b"ll", b"o\nwor", b"ld"):
        log.write("o", piece)
    log.finish()
    assert texts(tmp_path / "a.log") == [b"hello", b"world"]


def test_empty_lines_are_kept(tmp_path):
    log = LineLog(str(tmp_path / "a.log"))
    log.write("o", b"\n\nx\n\n")
    log.finish()
    assert texts(tmp_path / "a.log") == [b"", b"", b"x", b""]


@pytest.mark.parametrize("length", [MAX_LINE_BYTES, MAX_LINE_BYTES + 1, 5 * MAX_LINE_BYTES + 7])
def test_a_long_line_is_split_and_nothing_of_it_lost(tmp_path, length):
    log = LineLog(str(tmp_path / "a.log"))
    data = bytes(65 + n % 26 for n in range(length)) + b"\nnext\n"
    for at in range(0, len(data), 50_000):
        log.write("o", data[at : at + 50_000])
    log.finish()
    *parts, last = texts(tmp_path / "a.log")
    assert b"".join(parts) == data[:length]
    assert max(map(len, parts)) <= MAX_LINE_BYTES
    assert last == b"next"


def test_two_files_bound_it(tmp_path):
    log = LineLog(str(tmp_path / "a.log"), file_bytes=10_000)
    for number in range(5000):
        log.write("o", b"line %d\n" % number)
    log.finish()
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) <= 10_000
    kept = texts(tmp_path / "a.log.1") + texts(tmp_path / "a.log")
    first = int(kept[0].split()[1])
    assert kept == [b"line %d" % number for number in range(first, 5000)]


def test_a_full_disk_costs_lines_and_says_how_many(tiny_disk):
    path = tiny_disk / "a.log"
    ballast = tiny_disk / "ballast"
    log = LineLog(str(path))
    log.write("o", b"before\n")
    ballast.write_bytes(b"x" * (256 * 1024 - 2 * 4096))
    for number in range(3000):
        log.write("o", b"line %d of those that may not fit\n" % number)
    assert log.dropped > 0
    ballast.unlink()
    log.write("o", b"after\n")
    log.finish()
    kept = texts(path)
    assert kept[0] == b"before"
    assert kept[-1] == b"after"
    assert any(b"lines are missing here: the disk was full" in line for line in kept)


async def test_a_replica_goes_on_and_its_exit_is_kept_when_the_disk_is_full(box, tiny_disk):
    box.state = tiny_disk / "state"
    box.boot()
    host = box.host()
    printing = box.launch("while :; do echo some words that fill the disk in no time at all; done")
    quiet = box.launch(
        "while ! [ -e {mark}.stop ]; do sleep 0.05; done; exit 7".replace("{mark}", str(box.folder / "x"))
    )
    await host.start(printing)
    await host.start(quiet)

    def free():
        return os.statvfs(tiny_disk).f_bavail

    box.wait(lambda: free() == 0, "the disk is full")
    ticks = (await host.usage())[printing.id][1]
    await asyncio.sleep(1.0)
    assert (await host.usage())[printing.id][1] >= ticks
    (box.folder / "x.stop").write_text("")
    deadline = time.monotonic() + PATIENCE_S
    while not (ended := {each.id: each.exit for each in await host.list()}[quiet.id]):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert ended.code == 7
    third = await host.start(box.launch())  # its journal goes to the other folder
    assert third.exit is None
    box.kill(box.boot())
    found = {each.id: each for each in await host.list()}
    assert found[quiet.id].exit.code == 7
    assert found[printing.id].exit is None
    assert found[third.id].exit is None
    await host.forget(printing.id)
    await host.close()
    box.end()


async def test_a_hundred_megabytes_are_bounded_and_the_end_is_there(box):
    box.boot()
    host = box.host()
    launch = box.launch("head -c 100000000 /dev/zero | tr '\\0' 'x' | fold -w 99; echo; echo the end")
    await host.start(launch)
    deadline = time.monotonic() + 2 * PATIENCE_S
    while not {each.id: each.exit for each in await host.list()}[launch.id]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    assert (await host.last_output(launch.id, 1)) == "the end"
    files = list((box.state / "logs" / launch.service).glob(f"{launch.id}*"))
    assert sum(path.stat().st_size for path in files) <= 2 * FILE_BYTES
    lines = [line async for line in host.logs(launch.service, tail=50)]
    assert len(lines) == 50
    await host.close()


def test_a_reader_follows_across_rotations(tmp_path):
    from atoll.engines.logs import Tail

    path = Path(tmp_path / "a.log")
    log = LineLog(str(path), file_bytes=5_000)
    tail = Tail(path, "reef", from_end=True)
    found = []
    for number in range(2000):
        log.write("o", b"line %d\n" % number)
        if number % 40 == 0:
            found += tail.lines()
    log.finish()
    found += tail.lines()
    tail.close()
    assert [line.text for line in found] == [f"line {number}" for number in range(2000)]
