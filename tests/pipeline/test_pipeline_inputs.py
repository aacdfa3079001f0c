"""Which files go into a build, how they are hashed, and that a copy is described by what was copied."""

import hashlib
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.model.errors import UserError
from atoll.pipeline import inputs
from atoll.pipeline.globs import matcher
from atoll.pipeline.inputs import check_entries, copy, fingerprint, select

GO = threading.Event()


def put(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def paths(folder: Path, *patterns: str, root: Path | None = None) -> list[str]:
    found = select(folder, patterns or ("**",), root=root or folder)
    check_entries(folder, found)
    return [entry.path for entry in found]


@pytest.mark.parametrize(
    ("patterns", "path", "meant"),
    [
        (["**"], "a/b.c", True),
        (["**/*.go"], "main.go", True),
        (["**/*.go"], "a/b/main.go", True),
        (["**/*.go"], "main.gone", False),
        (["go.*"], "go.mod", True),
        (["go.*"], "sub/go.mod", False),
        (["src"], "src/a/b.py", True),
        (["src/"], "src/a.py", True),
        (["src"], "src2/a.py", False),
        (["src/**"], "src/a/b", True),
        (["a/**/z"], "a/z", True),
        (["a/**/z"], "a/b/c/z", True),
        (["a?c"], "abc", True),
        (["a?c"], "a/c", False),
        (["[ab].txt"], "b.txt", True),
        (["[!ab].txt"], "b.txt", False),
        (["[ab.txt"], "[ab.txt", True),
        (["**", "!docs"], "docs/x.md", False),
        (["**", "!docs", "docs/keep.md"], "docs/keep.md", True),
        (["./src"], "src/a", True),
        (["."], "anything/at/all", True),
        ([], "a", False),
    ],
)
def test_globs_mean_what_people_expect(patterns: list[str], path: str, meant: bool) -> None:
    assert matcher(patterns)(path) is meant


@given(st.lists(st.text(alphabet="ab*?[]!/.^-\\", max_size=8), max_size=4), st.text(alphabet="ab/.", max_size=8))
def test_no_glob_is_an_error(patterns: list[str], path: str) -> None:
    assert matcher(patterns)(path) in (True, False)


def test_what_tools_make_is_never_an_input(tmp_path: Path) -> None:
    made = [".git/config", ".atoll/x", "node_modules/a/i.js", ".venv/bin/p", "sub/__pycache__/x.pyc", "sub/.venv/y"]
    put(tmp_path, dict.fromkeys([*made, "app.py", "sub/lib.py"], "x"))
    assert paths(tmp_path) == ["app.py", "sub/lib.py"]


def test_ignore_files_hold_from_the_workspace_down_and_the_deepest_decides(tmp_path: Path) -> None:
    put(
        tmp_path,
        {
            ".gitignore": "*.log\n/orders/dist/\nsecret.txt\n",
            "orders/.gitignore": "!kept.log\ntmp/\n",
            "orders/a.log": "",
            "orders/kept.log": "",
            "orders/dist/x": "",
            "orders/lib/dist/x": "",
            "orders/tmp/x": "",
            "orders/lib/.gitignore": "*\n!.gitignore\n!in.py\n",
            "orders/lib/in.py": "",
            "orders/lib/out.py": "",
            "orders/secret.txt": "",
        },
    )
    found = paths(tmp_path / "orders", root=tmp_path)
    assert found == [".gitignore", "kept.log", "lib/.gitignore", "lib/in.py"]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@settings(max_examples=25, deadline=None)
@given(
    rules=st.lists(
        st.sampled_from(
            [
                "*.log",
                "!a.log",
                "x/",
                "/x",
                "x/*",
                "!x/a.log",
                "**/y",
                "y/**",
                "a*",
                "!a.txt",
                "#c",
                "x/y/",
                "/x/**/a*",
                "[ab].txt",
                "?.log",
                "\\!a.log",
                "b.txt ",
                "*",
                "!*/",
                "!x/",
                "/*",
                "!/x",
            ]
        ),
        max_size=5,
    ),
    nested=st.lists(st.sampled_from(["*.log", "!a.log", "y/", "!y/", "*", "/y", "!*", "\\*", "[!a].txt"]), max_size=2),
)
def test_what_is_ignored_is_what_git_ignores(
    tmp_path_factory: pytest.TempPathFactory, rules: list[str], nested: list[str]
) -> None:
    root = tmp_path_factory.mktemp("repository")
    names = ["a.log", "a.txt", "b.txt"]
    files = [f"{folder}{name}" for folder in ("", "x/", "x/y/", "y/", "y/x/") for name in names]
    put(root, {**dict.fromkeys(files, "1"), ".gitignore": "\n".join(rules) + "\n", "x/.gitignore": "\n".join(nested)})
    git = ["git", "-c", "init.defaultBranch=main", "-C", str(root)]
    subprocess.run([*git, "init", "-q"], check=True, timeout=30)
    listed = subprocess.run(
        [*git, "ls-files", "-z", "--others", "--exclude-standard"], check=True, timeout=30, capture_output=True
    )
    assert paths(root) == sorted(filter(None, listed.stdout.decode().split("\0")))


def test_a_service_in_an_ignored_folder_is_built_all_the_same(tmp_path: Path) -> None:
    put(
        tmp_path, {".gitignore": "/generated/\n", "generated/orders/app.py": "", "generated/orders/.gitignore": "*.x\n"}
    )
    (tmp_path / "generated/orders/y.x").write_text("")
    assert paths(tmp_path / "generated/orders", root=tmp_path) == [".gitignore", "app.py"]


@pytest.mark.parametrize("target", ["/etc/hostname", "../outside.txt", "sub/../../outside.txt"])
def test_a_link_out_of_the_folder_is_an_error_that_names_it(tmp_path: Path, target: str) -> None:
    folder = tmp_path / "orders"
    put(tmp_path, {"outside.txt": "", "orders/sub/a": ""})
    (folder / "link").symlink_to(target)
    with pytest.raises(UserError, match="link is a symbolic link out of the service's folder"):
        paths(folder)


def test_a_link_that_leaves_through_another_link_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "orders"
    put(tmp_path, {"outside/x": "", "orders/node_modules/a": ""})
    (folder / "node_modules/out").symlink_to("../../outside")
    (folder / "link").symlink_to("node_modules/out/x")
    with pytest.raises(UserError, match="symbolic link out"):
        paths(folder)


def test_links_within_the_folder_are_kept_as_links(tmp_path: Path) -> None:
    folder = tmp_path / "orders"
    put(folder, {"sub/real": "1"})
    (folder / "link").symlink_to("sub/real")
    (folder / "dangling").symlink_to("not-there")
    (folder / "loop").symlink_to("loop")
    (folder / "dir").symlink_to("sub")
    (tmp_path / "copy").mkdir()
    taken = copy(folder, select(folder, ("**",), root=folder), tmp_path / "copy", GO)
    assert {item.path: item.kind for item in taken if item.kind == "link"} == dict.fromkeys(
        ["dangling", "dir", "link", "loop"], "link"
    )
    assert str((tmp_path / "copy/link").readlink()) == "sub/real"


def test_a_name_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.py")).write_text("")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(UserError, match="not UTF-8"):
        paths(tmp_path)


def test_patterns_that_mean_nothing_are_an_error_and_no_files_at_all_are_not(tmp_path: Path) -> None:
    assert paths(tmp_path) == []
    with pytest.raises(UserError, match="no inputs"):
        paths(tmp_path, "src/**")


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        paths(tmp_path / "nowhere")


def test_sockets_and_pipes_are_no_inputs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a").write_text("")
    assert paths(tmp_path) == ["a"]


def test_the_artifacts_folder_is_no_input(tmp_path: Path) -> None:
    put(tmp_path, {"cache/x": "", "a": ""})
    assert [e.path for e in select(tmp_path, ("**",), root=tmp_path, artifacts=tmp_path / "cache")] == ["a"]


def test_a_copy_has_the_contents_modes_and_times_and_is_what_the_fingerprint_says(tmp_path: Path) -> None:
    folder = tmp_path / "orders"
    put(folder, {"a.txt": "hello", "bin/run": "#!"})
    (folder / "bin/run").chmod(0o700)
    os.utime(folder / "a.txt", (1_000_000_000, 1_000_000_000))
    entries = select(folder, ("**",), root=folder)
    to = tmp_path / "copy"
    to.mkdir()
    taken = copy(folder, entries, to, GO)
    assert taken == fingerprint(folder, entries, tmp_path / "memory", GO)
    assert [(item.path, item.kind) for item in taken] == [("a.txt", "file"), ("bin/run", "program")]
    assert taken[0].content == hashlib.sha256(b"hello").hexdigest()
    assert (to / "a.txt").stat().st_mtime == 1_000_000_000
    assert (to / "bin/run").stat().st_mode & 0o777 == 0o755


def test_a_file_edited_during_the_copy_is_described_as_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The edit comes in the middle of reading: the copy starts again and has the new text, and says so."""
    folder, to = tmp_path / "orders", tmp_path / "copy"
    put(folder, {"a.bin": "x" * 3_000_000})
    to.mkdir()
    entries = select(folder, ("**",), root=folder)
    real_read, reads = os.read, []

    def read(fd: int, size: int) -> bytes:
        reads.append(size)
        if len(reads) == 2:
            (folder / "a.bin").write_text("y" * 10)
        return real_read(fd, size)

    monkeypatch.setattr(inputs.os, "read", read)
    taken = copy(folder, entries, to, GO)
    assert (to / "a.bin").read_text() == "y" * 10
    assert taken[0].content == hashlib.sha256(b"y" * 10).hexdigest()


def test_a_file_that_vanished_is_no_input(tmp_path: Path) -> None:
    folder, to = tmp_path / "orders", tmp_path / "copy"
    put(folder, {"a": "1", "b": "2"})
    to.mkdir()
    entries = select(folder, ("**",), root=folder)
    (folder / "a").unlink()
    assert [item.path for item in copy(folder, entries, to, GO)] == ["b"]
    assert [item.path for item in fingerprint(folder, entries, tmp_path / "memory", GO)] == ["b"]


def test_remembered_hashes_are_used_while_a_file_looks_the_same_and_never_after_an_edit(tmp_path: Path) -> None:
    folder, memory = tmp_path / "orders", tmp_path / "memory"
    put(folder, {"a": "one"})

    def now() -> str:
        return fingerprint(folder, select(folder, ("**",), root=folder), memory, GO)[0].content

    first = now()
    assert not memory.exists(), "a file written this moment may change without looking different"
    status = (folder / "a").stat()
    for text in ("two", "six"):  # the same size; only the times tell
        (folder / "a").write_text(text)
        os.utime(folder / "a", ns=(status.st_mtime_ns, status.st_mtime_ns))
        assert now() == hashlib.sha256(text.encode()).hexdigest() != first


def test_a_broken_memory_is_forgotten(tmp_path: Path) -> None:
    folder, memory = tmp_path / "orders", tmp_path / "memory"
    put(folder, {"a": "one"})
    memory.write_bytes(b"\0garbage")
    taken = fingerprint(folder, select(folder, ("**",), root=folder), memory, GO)
    assert taken[0].content == hashlib.sha256(b"one").hexdigest()


def test_work_that_nobody_waits_for_stops(tmp_path: Path) -> None:
    put(tmp_path, {"a": "one"})
    stop = threading.Event()
    stop.set()
    with pytest.raises(inputs.Stopped):
        fingerprint(tmp_path, select(tmp_path, ("**",), root=tmp_path), tmp_path / "memory", stop)
