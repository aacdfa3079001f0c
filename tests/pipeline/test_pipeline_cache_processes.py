"""One cache under several processes, under those that are killed, and on a disk that is full."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cache_bench import KEY, OTHER, Bench, same

from atoll.model.cache import CacheSpec
from atoll.pipeline.artifacts import remove_tree
from atoll.pipeline.cache import upkeep
from atoll.pipeline.inputs import Stopped

WRITER = """
import sys, threading
from pathlib import Path
from atoll.pipeline.cache.cache import Cache
folder, tree, digest, count, first = sys.argv[1:]
cache = Cache(Path(folder), "trusted", print)
for number in range(int(count)):
    cache.put(f"{int(first) + number:040x}", Path(tree), b"r", digest=digest, anywhere=True, seconds=1.0)
cache.close()
print("done")
"""


def writer(bench: Bench, tree: Path, digest: str, count: int, first: int = 0) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-c", WRITER, bench.folder, tree, digest, str(count), str(first)]
    return subprocess.Popen(list(map(str, argv)), stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_several_processes_write_one_cache_at_once(bench: Bench) -> None:
    tree, digest = bench.sealed({f"f{number}": os.urandom(3000) for number in range(60)})
    writers = [writer(bench, tree, digest, 15, first) for first in (0, 10, 20)]
    try:
        assert [each.communicate(timeout=60)[0] for each in writers] == ["done\n"] * 3
    finally:
        for each in writers:
            each.kill()
            each.wait(30)
    for number in range(35):
        restored, to = bench.get(f"{number:040x}")
        assert restored is not None
        remove_tree(to)
    assert upkeep.verify(bench.folder).damaged == ()


@pytest.mark.slow
def test_killed_at_any_instant_of_writing_nothing_half_written_is_ever_used(bench: Bench) -> None:
    tree, digest = bench.sealed({f"d{number % 7}/f{number}": os.urandom(20_000) for number in range(300)})
    for wait_s in (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6):
        process = writer(bench, tree, digest, 1)
        time.sleep(wait_s)
        process.kill()
        process.communicate(timeout=30)
        restored, to = bench.get("0" * 40)
        if restored is not None:
            assert same(tree, to)
            remove_tree(to)
        assert bench.told == []
        assert upkeep.verify(bench.folder).damaged == ()
        upkeep.collect(bench.folder, CacheSpec(max_age_s=0.0))
        assert list((bench.folder / "v1/tmp").iterdir()) == [], "what the dead one was writing is gone"
        assert bench.contents() == []


READER = """
import sys, threading
from pathlib import Path
from atoll.pipeline.cache.cache import Cache
cache = Cache(Path(sys.argv[1]), "trusted", print)
print("restoring", flush=True)
cache.get("a" * 40, Path(sys.argv[2]), anywhere=True, stop=threading.Event())
cache.close()
"""


@pytest.mark.slow
def test_killed_while_it_reads_the_cache_is_as_it_was(bench: Bench) -> None:
    tree, digest = bench.sealed({f"f{number}": os.urandom(20_000) for number in range(1500)})
    bench.put(KEY, tree, digest)
    to = bench.root / "interrupted"
    argv = [sys.executable, "-c", READER, str(bench.folder), str(to)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while not to.exists():
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    assert bench.get(KEY)[0] is not None
    assert bench.told == []


def test_who_gives_up_is_heard(bench: Bench) -> None:
    tree, digest = bench.sealed({f"f{number}": b"1" for number in range(100)})
    bench.put(KEY, tree, digest)
    stop = threading.Event()
    stop.set()
    cache = bench.cache()
    with pytest.raises(Stopped):
        cache.get(KEY, bench.root / "to", anywhere=True, stop=stop)
    assert not (bench.root / "to").exists()
    cache.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")
def test_a_full_disk_is_told_once_and_the_run_goes_on_without_the_cache(bench: Bench) -> None:
    bench.folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", bench.folder], check=False)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        tree, digest = bench.sealed({"big": os.urandom(3_000_000)})
        small, small_digest = bench.sealed({"small": b"1"})
        cache = bench.cache()
        cache.put(KEY, tree, b"", digest=digest, anywhere=True, seconds=1.0)
        cache.put(OTHER, small, b"", digest=small_digest, anywhere=True, seconds=1.0)
        cache.close()
        assert bench.told == [f"the cache is not used in this run: the disk that holds {bench.folder / 'v1'} is full"]
        bench.put(OTHER, small, small_digest)
        assert bench.get(OTHER)[0] is not None, "what was half-written is gone, and there is room again"
    finally:
        subprocess.run(["umount", bench.folder], check=True)


def test_a_folder_that_cannot_be_made_is_told_once(bench: Bench) -> None:
    bench.folder.write_text("a file stands in its place")
    tree, digest = bench.sealed({"a": b"1"})
    bench.put(KEY, tree, digest)
    assert len(bench.told) == 1
    assert bench.told[0].startswith("the cache is not used in this run: ")


def test_a_mistake_of_ours_in_the_background_is_told_and_holds_nobody_up(bench: Bench) -> None:
    tree, digest = bench.sealed({"a": b"1"})
    cache = bench.cache()
    cache.contents = None  # type: ignore[assignment]
    for key in (KEY, OTHER):
        cache.put(key, tree, b"", digest=digest, anywhere=True, seconds=1.0)
    cache.close()
    assert len(bench.told) == 1
    assert bench.told[0].startswith("the cache is not used in this run: AttributeError")
