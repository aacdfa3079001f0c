"""Work trees as git makes them: filters, line ends, submodules, sparse and shallow clones, links, renames; and none at all.

Only the bytes that lie there count, so each way of getting the same bytes gets the same keys.
"""

import shutil
from pathlib import Path

import pytest
from keyring import Keyring

from atoll.model.errors import UserError
from atoll.pipeline.since import Since
from atoll.workspace.loader import load

SUMS = 'build = { steps = "cat *.txt > sum" }\n'


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    """Two services in a repository, committed."""
    made = Keyring(tmp_path / "work", tmp_path / "home")
    made.service("a", SUMS, a_txt="a\n")
    made.service("b", SUMS, a_txt="b\n")
    made.git("init", "-b", "main")
    commit(made)
    return made


def commit(made: Keyring) -> None:
    made.git("add", "-A")
    made.git("commit", "-m", "x", "--allow-empty")


def cloned(made: Keyring, *options: str) -> Keyring:
    """A clone beside it, with nothing remembered of it."""
    at = made.root.parent / "clone"
    made.git("clone", *options, made.root.as_uri(), str(at))
    other = object.__new__(Keyring)
    other.__dict__.update(made.__dict__)
    other.root, other.home = at, made.root.parent / "clone-home"
    other.home.mkdir()
    return other


def test_a_clone_has_the_same_keys_and_so_has_a_shallow_one_and_one_without_git(ring: Keyring) -> None:
    before = ring.agreed()
    assert cloned(ring).agreed() == before
    shutil.rmtree(ring.root.parent / "clone")
    shutil.rmtree(ring.root.parent / "clone-home")
    shallow = cloned(ring, "--depth", "1")
    assert shallow.agreed() == before
    shutil.rmtree(shallow.root / ".git")
    assert shallow.agreed() == before


def test_neither_a_commit_nor_a_branch_nor_staging_changes_a_key(ring: Keyring) -> None:
    ring.write("a/a.txt", "dirty\n")
    ring.write("a/untracked.txt", "x\n")
    before = ring.agreed()
    ring.git("add", "a/untracked.txt")
    assert ring.agreed() == before
    commit(ring)
    assert ring.agreed() == before
    ring.git("checkout", "-b", "other")
    ring.git("gc", "--quiet")
    assert ring.agreed() == before


def test_going_to_another_commit_and_back_leads_back_to_the_keys(ring: Keyring) -> None:
    first = ring.agreed()
    ring.tick()
    ring.write("a/a.txt", "2\n")
    ring.git("mv", "b/a.txt", "b/c.txt")
    commit(ring)
    second = ring.agreed()
    assert first["a.build"] != second["a.build"]
    assert first["b.build"] != second["b.build"]
    for commits in ("HEAD~1", "main"):
        ring.tick()
        ring.git("checkout", commits)
        assert ring.agreed() == (first if commits == "HEAD~1" else second)


def test_a_rename_is_a_change_of_who_has_the_file(ring: Keyring) -> None:
    ring.write("a/moved.txt", "x")
    commit(ring)
    before = ring.agreed()
    ring.git("mv", "a/moved.txt", "b/moved.txt")
    after = ring.agreed()
    assert {id for id in before if before[id] != after[id]} == {"a.build", "b.build"}


def test_what_a_filter_leaves_in_the_work_tree_counts(ring: Keyring) -> None:
    """git-lfs is such a filter: the repository has pointers, the work tree has contents, or pointers where nobody fetched."""
    ring.git("config", "filter.pointer.clean", "sed 's/^content /pointer /'")
    ring.git("config", "filter.pointer.smudge", "sed 's/^pointer /content /'")
    ring.write(".gitattributes", "*.bin filter=pointer\n")
    ring.write("a/big.bin", "content 1\n")
    commit(ring)
    assert ring.git("show", "HEAD:a/big.bin") == "pointer 1\n"
    before = ring.agreed()
    fetched = cloned(ring)
    assert (fetched.root / "a/big.bin").read_text() == "pointer 1\n"
    pointers = fetched.agreed()
    assert pointers["a.build"] != before["a.build"]
    fetched.git("config", "filter.pointer.smudge", "sed 's/^pointer /content /'")
    fetched.git("rm", "--cached", "-q", "a/big.bin")
    fetched.tick()
    fetched.git("reset", "-q", "--hard")
    assert (fetched.root / "a/big.bin").read_text() == "content 1\n"
    assert fetched.agreed() == before


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="needs git-lfs (scripts/apt installs it)")
def test_files_of_git_lfs_count_as_they_lie_there(ring: Keyring) -> None:
    ring.git("lfs", "install", "--local")
    ring.git("lfs", "track", "*.bin")
    ring.write("a/big.bin", "content 1\n")
    commit(ring)
    assert ring.git("show", "HEAD:a/big.bin").startswith("version https://git-lfs")
    before = ring.agreed()
    ring.tick()
    ring.write("a/big.bin", ring.git("show", "HEAD:a/big.bin"))  # as after GIT_LFS_SKIP_SMUDGE=1
    assert ring.agreed()["a.build"] != before["a.build"]
    ring.tick()
    ring.git("lfs", "checkout")
    assert ring.agreed() == before


def test_line_ends_count_as_they_lie_there(ring: Keyring) -> None:
    before = ring.agreed()
    windows = cloned(ring, "--config", "core.autocrlf=true", "--config", "core.eol=crlf")
    assert (windows.root / "a/a.txt").read_bytes() == b"a\r\n"
    assert windows.git("status", "--porcelain") == ""
    assert windows.agreed()["a.build"] != before["a.build"]


def test_files_that_git_was_told_to_overlook_count(ring: Keyring) -> None:
    before = ring.agreed()
    ring.git("update-index", "--skip-worktree", "a/a.txt")
    ring.git("update-index", "--assume-unchanged", "b/a.txt")
    ring.tick()
    ring.write("a/a.txt", "edited\n")
    ring.write("b/a.txt", "edited\n")
    assert ring.git("status", "--porcelain") == ""
    after = ring.agreed()
    assert all(before[id] != after[id] for id in before)


def test_a_sparse_checkout_has_the_services_that_are_there(ring: Keyring) -> None:
    before = ring.agreed()
    ring.git("sparse-checkout", "set", "a")
    assert ring.agreed() == {"a.build": before["a.build"]}
    ring.git("sparse-checkout", "disable")
    assert ring.agreed() == before


def test_a_submodule_is_its_files(ring: Keyring, tmp_path: Path) -> None:
    library = Keyring(tmp_path / "library", tmp_path / "unused")
    library.write("code.txt", "1\n")
    library.git("init", "-b", "main")
    commit(library)
    ring.git("submodule", "add", library.root.as_uri(), "a/lib")
    commit(ring)
    before = ring.agreed()
    library.write("code.txt", "2\n")
    commit(library)
    assert ring.agreed() == before
    ring.tick()
    ring.git("submodule", "update", "--remote")
    after = ring.agreed()
    assert {id for id in before if before[id] != after[id]} == {"a.build"}
    assert {"a.build"} == set(Since(load(ring.root), "HEAD", tmp_path / "artifacts").changes())


def test_a_second_work_tree_has_the_same_keys(ring: Keyring) -> None:
    before = ring.agreed()
    ring.git("worktree", "add", str(ring.root.parent / "clone"))
    other = object.__new__(Keyring)
    other.__dict__.update(ring.__dict__)
    other.root, other.home = ring.root.parent / "clone", ring.root.parent / "clone-home"
    other.home.mkdir()
    assert other.agreed() == before


# --- what differs, for people who think in diffs ----------------------------------------------------------------------


def since(made: Keyring, ref: str) -> dict[str, list[str]]:
    return {id: list(said) for id, said in Since(load(made.root), ref, made.home / "artifacts").changes().items()}


def test_since_tells_whose_inputs_differ_from_a_commit(ring: Keyring) -> None:
    assert since(ring, "HEAD") == {}
    ring.write("a/a.txt", "2\n")
    ring.write("b/new.txt", "")
    ring.write("README.md", "")
    assert since(ring, "HEAD") == {"a.build": ["a.txt changed"], "b.build": ["new.txt changed"]}
    commit(ring)
    assert since(ring, "HEAD") == {}
    assert set(since(ring, "HEAD~1")) == {"a.build", "b.build"}
    ring.git("mv", "b/new.txt", "a/new.txt")
    assert since(ring, "main") == {"a.build": ["new.txt changed"], "b.build": ["new.txt changed"]}


def test_since_follows_needs_and_tells_of_service_toml(ring: Keyring) -> None:
    ring.service(
        "c", 'build = { steps = "true", needs = ["a.build"] }\n[tasks.test]\nrun = "true"\ninputs = ["t/**"]\n', t__x=""
    )
    commit(ring)
    ring.write("a/a.txt", "2\n")
    assert since(ring, "HEAD") == {"a.build": ["a.txt changed"], "c.build": ["a.build changed"]}
    ring.git("checkout", "a")
    ring.write("c/t/x", "1")
    assert since(ring, "HEAD") == {"c.build": ["t/x changed"], "c.test": ["t/x changed"]}
    ring.git("checkout", "c")
    ring.service("b", SUMS + 'owner = "us"\n')
    assert since(ring, "HEAD") == {"b.build": ["service.toml changed"]}


def test_since_where_a_branch_left_another_one(ring: Keyring) -> None:
    ring.git("checkout", "-b", "topic")
    ring.write("a/a.txt", "2\n")
    commit(ring)
    ring.git("checkout", "main")
    ring.write("b/a.txt", "2\n")
    commit(ring)
    ring.git("checkout", "topic")
    assert set(since(ring, "main")) == {"a.build", "b.build"}
    assert set(since(ring, "main...")) == {"a.build"}


def test_since_without_the_commit_says_what_to_do(ring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="git finds no commit 'nonsense'") as unknown:
        since(ring, "nonsense")
    assert unknown.value.fix == "git fetch origin nonsense; or see git branch -a"
    commit(ring)
    shallow = cloned(ring, "--depth", "1")
    with pytest.raises(UserError) as lacking:
        since(shallow, "HEAD~1")
    assert "shallow" in lacking.value.why
    assert "git fetch --unshallow" in lacking.value.fix
    ring.git("checkout", "--orphan", "alone")
    ring.write("a/a.txt", "alone\n")
    commit(ring)
    with pytest.raises(UserError) as apart:
        since(ring, "main...")
    assert apart.value.fix == "compare with itself: --since main"
    for option in ("--all", "-q", ""):
        with pytest.raises(UserError):
            since(ring, option)
    shutil.rmtree(ring.root / ".git")
    with pytest.raises(UserError, match="is in no git repository"):
        since(ring, "HEAD")
    (ring.root / ".git").mkdir()
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UserError, match="git is missing"):
        since(ring, "HEAD")
