"""The result cache on one machine: what comes back is what went in, or nothing does, and it is told why."""

import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cache_bench import KEY, OTHER, Bench, same, truncate
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.pipeline.artifacts import remove_tree, seal
from atoll.pipeline.cache.tree import Entry, Tree, Unusable, decoded

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
