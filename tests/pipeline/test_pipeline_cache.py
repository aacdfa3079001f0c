"""The result cache on one machine: what comes back is what went in, or nothing does, and it is told why."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.model.cache import CacheSpec, CacheView
from atoll.pipeline.artifacts import remove_tree, seal
from atoll.pipeline.cache import upkeep
from atoll.pipeline.cache.cache import Cache, Restored
from atoll.pipeline.cache.tree import Entry, Tree, Unusable, decoded
from atoll.pipeline.inputs import Stopped
from atoll.pipeline.namespace import TRUSTED

KEY, OTHER = "a" * 40, "b" * 40


class Bench:
    """A folder with a cache and sealed trees in it."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / "cache"
        self.told: list[str] = []
        self._count = 0

    def cache(self, namespace: str = TRUSTED) -> Cache:
        return Cache(self.folder, namespace, self.told.append)

    def sealed(self, files: dict[str, bytes], links: dict[str, str] | None = None) -> tuple[Path, str]:
        self._count += 1
        tree = self.root / f"tree-{self._count}"
        tree.mkdir()
        for name, data in files.items():
            path = tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            path.chmod(0o755 if name.endswith(".sh") else 0o644)
            os.utime(path, ns=(10**18 + self._count, 10**18 + self._count))
        for name, target in (links or {}).items():
            (tree / name).symlink_to(target)
        return tree, seal(tree, lambda _: True, threading.Event())[0]

    def put(self, key: str, tree: Path, digest: str, namespace: str = TRUSTED, anywhere: bool = True) -> None:
        cache = self.cache(namespace)
        cache.put(key, tree, b"record of " + key.encode(), digest=digest, anywhere=anywhere, seconds=7.0)
        cache.close()

    def get(
        self, key: str, namespace: str = TRUSTED, to: Path | None = None, anywhere: bool = True
    ) -> tuple[Restored | None, Path]:
        self._count += 1
        to = to or self.root / f"back-{self._count}"
        cache = self.cache(namespace)
        restored = cache.get(key, to, anywhere=anywhere, stop=threading.Event())
        cache.close()
        return restored, to

    def stats(self) -> CacheView:
        return upkeep.stats(self.folder, CacheSpec(), TRUSTED)

    def contents(self) -> list[Path]:
        return sorted((self.folder / "v1/contents").rglob("*.zst"))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    yield Bench(tmp_path)
    for path in tmp_path.iterdir():
        if path.is_dir():
            remove_tree(path)


def same(one: Path, other: Path) -> bool:
    """Whether two trees have the same paths, modes, contents, links and times of files."""

    def of(tree: Path) -> dict[str, object]:
        found: dict[str, object] = {}
        for path in [tree, *tree.rglob("*")]:
            status = path.lstat()
            if path.is_symlink():
                found[os.fspath(path.relative_to(tree))] = path.readlink()
            else:
                content = (path.read_bytes(), status.st_mtime_ns) if path.is_file() else None
                found[os.fspath(path.relative_to(tree))] = (status.st_mode, content)
        return found

    return of(one) == of(other)


# --- what goes in comes out -----------------------------------------------------------------------------------------


def test_a_result_comes_back_sealed_to_the_last_bit(bench: Bench) -> None:
    files = {"app.sh": b"#!/bin/sh\n", "lib/a/x": b"x" * 3_000_000, "lib/a/y": b"", "same": b"x" * 3_000_000}
    tree, digest = bench.sealed(files, {"link": "lib/a/x", "dangling": "/nowhere"})
    bench.put(KEY, tree, digest)
    restored, to = bench.get(KEY)
    assert restored is not None
    assert restored.digest == digest
    assert restored.record == b"record of " + KEY.encode()
    assert (restored.seconds, restored.size_bytes, restored.source) == (7.0, 6_000_010, "the cache")
    assert same(tree, to)
    assert len(bench.contents()) == 3, "equal contents are kept once"
    assert bench.told == []


def test_empty_folders_and_an_empty_tree_come_back(bench: Bench) -> None:
    tree, digest = bench.sealed({})
    bench.put(KEY, tree, digest)
    restored, to = bench.get(KEY)
    assert restored is not None
    assert same(tree, to)
    tree = bench.root / "with-folder"
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/c").mkdir()
    (tree / "a/c/f").write_text("1")
    digest, _ = seal(tree, lambda _: True, threading.Event())
    bench.put(OTHER, tree, digest)
    restored, to = bench.get(OTHER)
    assert same(tree, to)


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.sampled_from("abcdef"), st.binary(max_size=300), max_size=5), st.booleans())
def test_whatever_is_in_a_tree_its_digest_is_that_of_the_seal(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], linked: bool
) -> None:
    bench = Bench(tmp_path_factory.mktemp("bench"))
    nested = {f"{name}/{name}/{name}": data for name, data in files.items()}
    tree, digest = bench.sealed(
        {**nested, **{f"{name}.x": data for name, data in files.items()}}, {"z": "a"} if linked else {}
    )
    bench.put(KEY, tree, digest)
    restored, to = bench.get(KEY)
    assert restored is not None
    assert restored.digest == digest
    assert same(tree, to)


def test_what_was_never_kept_is_a_miss_and_leaves_nothing(bench: Bench) -> None:
    restored, to = bench.get(KEY)
    assert restored is None
    assert not to.exists()
    assert bench.told == []


def test_a_tree_that_changed_since_it_was_sealed_is_not_kept(bench: Bench) -> None:
    tree, digest = bench.sealed({"a": b"1"})
    tree.chmod(0o755)
    (tree / "b").write_bytes(b"2")
    bench.put(KEY, tree, digest)
    assert bench.get(KEY)[0] is None
    assert "changed since it was sealed" in bench.told[0]


def test_a_name_that_is_not_utf_8_is_told_and_not_kept(bench: Bench) -> None:
    tree = bench.root / "odd"
    tree.mkdir()
    with open(os.fsencode(tree) + b"/\xff", "wb"):
        pass
    digest, _ = seal(tree, lambda _: True, threading.Event())
    bench.put(KEY, tree, digest)
    assert bench.get(KEY)[0] is None
    assert "not UTF-8" in bench.told[0]


# --- places ---------------------------------------------------------------------------------------------------------


def test_a_result_that_names_its_own_folder_comes_back_only_there(bench: Bench) -> None:
    for kind in ("start", "seam", "link"):
        tree = bench.root / f"own-{kind}"
        tree.mkdir()
        path = os.fsencode(tree)
        if kind == "link":
            (tree / "l").symlink_to(tree / "bin")
        else:
            (tree / "f").write_bytes(path if kind == "start" else b"-" * ((1 << 20) - 5) + path)
        digest, _ = seal(tree, lambda _: True, threading.Event())
        bench.put(KEY, tree, digest, anywhere=True)
        assert bench.get(KEY)[0] is None, kind
        remove_tree(tree)
        assert bench.get(KEY, to=tree)[0] is not None, kind


def test_a_builder_that_does_not_relocate_gets_only_its_own_folder(bench: Bench) -> None:
    tree, digest = bench.sealed({"a": b"1"})
    bench.put(KEY, tree, digest, anywhere=False)
    assert bench.get(KEY, anywhere=False)[0] is None
    assert bench.get(KEY, anywhere=True)[0] is None
    remove_tree(tree)
    assert bench.get(KEY, to=tree, anywhere=False)[0] is not None


# --- damage ---------------------------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def extend(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


@pytest.mark.parametrize("damage", [truncate, flip, empty, extend, Path.unlink])
@pytest.mark.parametrize("size", [40, 5_000_000])
def test_a_damaged_content_is_told_never_used_and_made_anew(
    bench: Bench, damage: Callable[[Path], None], size: int
) -> None:
    tree, digest = bench.sealed({"lib/x": os.urandom(size), "other": b"fine"})
    bench.put(KEY, tree, digest)
    damage(max(bench.contents(), key=lambda path: path.stat().st_size))
    restored, to = bench.get(KEY)
    assert restored is None
    assert not to.exists()
    assert len(bench.told) == 1
    assert "aaaaaaaaaaaa is damaged (lib/x: a content" in bench.told[0]
    bench.put(KEY, tree, digest)
    restored, to = bench.get(KEY)
    assert restored is not None
    assert same(tree, to)
    assert len(bench.told) == 1


def test_a_swapped_content_is_found_by_its_digest(bench: Bench) -> None:
    """It is sound zstd, of the right length, and of something else."""
    tree, digest = bench.sealed({"a": b"1" * 50})
    bench.put(KEY, tree, digest)
    evil, evil_digest = bench.sealed({"a": b"2" * 50})
    bench.put(OTHER, evil, evil_digest)
    one, other = bench.contents()
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)
    assert bench.get(KEY)[0] is None
    assert bench.get(OTHER)[0] is None


def test_a_damaged_list_of_files_is_found(bench: Bench) -> None:
    tree, digest = bench.sealed({"a": b"1"})
    bench.put(KEY, tree, digest)
    with sqlite3.connect(bench.folder / "v1/index.db") as database:
        database.execute("UPDATE result SET tree = substr(tree, 1, length(tree) - 1)")
    database.close()
    assert bench.get(KEY)[0] is None
    assert "its list of files has changed" in bench.told[0]


def test_an_index_that_is_no_database_begins_anew(bench: Bench) -> None:
    tree, digest = bench.sealed({"a": b"1"})
    bench.put(KEY, tree, digest)
    (bench.folder / "v1/index.db").write_bytes(b"not a database at all" * 400)
    assert bench.get(KEY)[0] is None
    assert "begins anew" in bench.told[0]
    bench.put(KEY, tree, digest)
    assert bench.get(KEY)[0] is not None


@pytest.mark.parametrize(
    "entries",
    [
        (Entry("../up", "folder"),),
        (Entry("/etc/passwd", "link", "x"),),
        (Entry("a//b", "folder"),),
        (Entry("a/./b", "folder"),),
        (Entry("", "folder"),),
        (Entry("a", "link", "/etc"), Entry("a/passwd", "folder")),
        (Entry("a", "link", "/etc"), Entry("a/b/passwd", "folder")),
        (Entry("a", "folder"), Entry("a", "folder")),
        (Entry("a", "file", "../../etc/passwd"),),
        (Entry("a", "file", "0" * 64, -1),),
        (Entry("a\0b", "folder"),),
    ],
)
def test_a_list_of_files_that_would_leave_its_folder_is_no_tree(entries: tuple[Entry, ...]) -> None:
    with pytest.raises(Unusable):
        decoded(Tree(entries).encoded())


# --- trust ----------------------------------------------------------------------------------------------------------

NAMESPACES = ("trusted", "pr-1", "pr-2")


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(("put", "get")), st.sampled_from(NAMESPACES), st.sampled_from((KEY, OTHER))),
        max_size=12,
    )
)
def test_nothing_that_a_pull_request_wrote_is_ever_returned_to_a_trusted_run(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[str, str, str]]
) -> None:
    """Nor to another one's. Who wrote what was returned stands in it; whoever may be read comes first in `readable`."""
    bench = Bench(tmp_path_factory.mktemp("bench"))
    trees = {name: bench.sealed({"by": name.encode(), "shared": b"the same for all"}) for name in NAMESPACES}
    wrote: set[tuple[str, str]] = set()
    for what, who, key in asked:
        if what == "put":
            bench.put(key, *trees[who], namespace=who)
            wrote.add((who, key))
            continue
        restored, to = bench.get(key, namespace=who)
        believed = [name for name in ("trusted", who) if (name, key) in wrote]
        assert (restored is not None) == bool(believed)
        if restored is not None:
            assert (to / "by").read_text() == believed[0]
            remove_tree(to)


# --- processes ------------------------------------------------------------------------------------------------------

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


# --- the disk -------------------------------------------------------------------------------------------------------


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


# --- upkeep ---------------------------------------------------------------------------------------------------------


def used(bench: Bench, key: str, seconds_ago: float) -> None:
    with sqlite3.connect(bench.folder / "v1/index.db") as database:
        database.execute("UPDATE result SET used = ? WHERE key = ?", (time.time() - seconds_ago, key))
    database.close()


def test_what_was_not_used_for_long_goes_first_and_shared_contents_stay(bench: Bench) -> None:
    shared = os.urandom(50_000)
    for number, key in enumerate("abcd"):
        tree, digest = bench.sealed({"own": os.urandom(50_000), "shared": shared})
        bench.put(key * 40, tree, digest)
        used(bench, key * 40, 1000.0 - number)
    bench.get("a" * 40)  # which is a use
    before = bench.stats()
    assert (before.results, before.contents) == (4, 5)
    plan = upkeep.collect(bench.folder, CacheSpec(max_bytes=180_000), plan=True)
    assert bench.stats().results == 4
    swept = upkeep.collect(bench.folder, CacheSpec(max_bytes=180_000))
    assert plan == msgspec.structs.replace(swept, plan=True)
    assert (swept.removed, swept.results) == (2, 2)
    assert swept.stored_bytes <= 180_000
    assert bench.get("a" * 40)[0] is not None
    assert bench.get("b" * 40)[0] is None
    assert bench.get("c" * 40)[0] is None
    assert bench.get("d" * 40)[0] is not None
    assert sum(path.stat().st_size for path in bench.contents()) == swept.stored_bytes


def test_what_is_too_old_goes_whatever_room_there_is(bench: Bench) -> None:
    for key in (KEY, OTHER):
        bench.put(key, *bench.sealed({"a": key.encode()}))
    used(bench, KEY, 3600.0)
    assert upkeep.collect(bench.folder, CacheSpec(max_age_s=1800.0)).removed == 1
    assert bench.get(KEY)[0] is None
    assert bench.get(OTHER)[0] is not None


def test_a_run_tidies_up_after_itself_unless_somebody_reads(bench: Bench) -> None:
    bench.put(KEY, *bench.sealed({"a": os.urandom(9000)}))
    spec = CacheSpec(max_bytes=1)
    with bench.cache().shared():
        upkeep.tidy(bench.folder, spec)
        assert bench.stats().results == 1
    upkeep.tidy(bench.folder, spec)
    assert bench.stats().results == 0


def test_a_check_names_what_is_damaged_and_drops_it(bench: Bench) -> None:
    bench.put(KEY, *bench.sealed({"lib/x": b"1" * 100}))
    bench.put(OTHER, *bench.sealed({"y": b"2" * 100}))
    assert upkeep.verify(bench.folder).damaged == ()
    truncate(bench.contents()[0])
    found = upkeep.verify(bench.folder, plan=True)
    assert (found.results, found.contents, len(found.damaged)) == (1, 1, 2)
    assert msgspec.structs.replace(upkeep.verify(bench.folder), plan=True) == found
    assert upkeep.verify(bench.folder).damaged == ()
    assert bench.stats().results == 1


def test_a_check_mends_an_index_that_is_no_database(bench: Bench) -> None:
    bench.put(KEY, *bench.sealed({"a": b"1"}))
    (bench.folder / "v1/index.db").write_bytes(b"x" * 8192)
    assert "begins anew" in upkeep.verify(bench.folder).damaged[0]
    assert bench.stats().results == 0


def test_hits_and_misses_are_counted_with_the_time_that_was_saved(bench: Bench) -> None:
    bench.get(KEY)
    bench.put(KEY, *bench.sealed({"a": b"1"}))
    bench.get(KEY)
    bench.get(KEY)
    counts = bench.stats()
    assert (counts.hits, counts.remote_hits, counts.misses, counts.saved_s) == (2, 0, 1, 14.0)
