"""What goes from a cache, what is checked and counted in it."""

import os
import sqlite3
import time

import msgspec
from cache_bench import KEY, OTHER, Bench, truncate

from atoll.model.cache import CacheSpec
from atoll.pipeline.cache import upkeep


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
