"""Locks, tools, collection and authorship, each by itself."""

import asyncio
import os
import secrets
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from atoll.model.building import Tool
from atoll.model.errors import UserError
from atoll.pipeline.artifacts import Artifacts
from atoll.pipeline.collect import collect
from atoll.pipeline.inputs import Input
from atoll.pipeline.lock import lock, try_lock
from atoll.pipeline.provenance import author
from atoll.pipeline.tools import Tools, this_platform

# --- locks --------------------------------------------------------------------------------------------------------


def test_a_lock_is_held_once_and_free_after(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with try_lock(path) as held:
        assert held is not None
        assert try_lock(path) is None
    again = try_lock(path)
    assert again is not None
    again.release()
    again.release()


def test_those_who_only_look_do_not_exclude_each_other(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with try_lock(path, shared=True) as one, try_lock(path, shared=True) as two:
        assert one is not None
        assert two is not None
        assert try_lock(path) is None
    with try_lock(path):
        assert try_lock(path, shared=True) is None


def test_a_lock_whose_file_was_removed_excludes_nobody_of_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    old = try_lock(path)
    path.unlink()
    with try_lock(path) as new:
        assert new is not None
        assert try_lock(path) is None
    old.release()


async def test_waiting_for_a_lock_has_an_end(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = try_lock(path)
    with pytest.raises(TimeoutError):
        await lock(path, 0.1)
    asyncio.get_running_loop().call_later(0.1, held.release)
    (await lock(path, 30)).release()


# --- tools --------------------------------------------------------------------------------------------------------


def script(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_version_is_asked_once_in_a_run_and_remembered_for_the_next(tmp_path: Path) -> None:
    count = tmp_path / "count"
    script(tmp_path / "bin", "go", f"echo x >> {count}; echo go 1.24")
    env = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    tool = Tool(name="go", fix="install Go", version=("go", "version"))

    def ask(*, fresh: bool, tools: Tools | None = None, pins: tuple[Input, ...] = ()) -> dict[str, str]:
        return (tools or Tools(tmp_path / "memory", env)).identify([tool], tmp_path, pins, {}, fresh=fresh)

    one_run = Tools(tmp_path / "memory", env)
    assert ask(fresh=True, tools=one_run) == {"go": "go 1.24"} == ask(fresh=True, tools=one_run)
    assert ask(fresh=False) == {"go": "go 1.24"}
    assert count.read_text() == "x\n"
    ask(fresh=False, pins=(Input(".tool-versions", "file", "00"),))
    ask(fresh=True)
    assert count.read_text() == "x\n" * 3


def test_builds_side_by_side_in_one_process_take_no_memory_from_each_other(tmp_path: Path) -> None:
    """`atoll dev` builds each edited service in a thread, with tools of its own and the memory of all."""

    def remember(_: int) -> None:
        Tools(tmp_path / "memory", {})._remember()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(remember, range(400)))
    assert [each.name for each in tmp_path.iterdir()] == ["memory"]


def test_another_program_of_the_same_name_is_asked_itself(tmp_path: Path) -> None:
    tool = Tool(name="go", fix="", version=("go", "version"))
    for version in ("1.24", "1.25"):
        script(tmp_path / f"bin{version}", "go", f"echo {version}")
        env = {"PATH": f"{tmp_path}/bin{version}:/usr/bin:/bin"}
        assert Tools(tmp_path / "memory", env).identify([tool], tmp_path, (), {}, fresh=False) == {"go": version}


def test_a_missing_tool_is_an_error_with_the_fix_unless_it_is_optional(tmp_path: Path) -> None:
    tools = Tools(tmp_path / "memory", {"PATH": str(tmp_path)})
    with pytest.raises(UserError) as caught:
        tools.identify([Tool(name="go", fix="install Go")], tmp_path, (), {}, fresh=True)
    assert (caught.value.what, caught.value.fix) == ("go is missing", "install Go")
    assert tools.identify([Tool(name="go", fix="", optional=True)], tmp_path, (), {}, fresh=True) == {}


def test_a_tool_that_does_not_work_is_said_in_its_own_words(tmp_path: Path) -> None:
    script(tmp_path / "bin", "go", "echo no such version >&2; exit 2")
    tools = Tools(tmp_path / "memory", {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"})
    with pytest.raises(UserError, match="exit code 2: no such version"):
        tools.identify([Tool(name="go", fix="", version=("go", "version"))], tmp_path, (), {}, fresh=True)


def test_a_tool_without_a_version_is_known_by_its_file(tmp_path: Path) -> None:
    path = script(tmp_path / "bin", "make", "")
    tools = Tools(tmp_path / "memory", {"PATH": f"{tmp_path}/bin"})
    before = tools.identify([Tool(name="make", fix="")], tmp_path, (), {}, fresh=True)
    path.write_text("#!/bin/sh\n# another one\n")
    assert tools.identify([Tool(name="make", fix="")], tmp_path, (), {}, fresh=True) != before


def test_the_platform_names_system_machine_and_libc() -> None:
    assert len(this_platform().split("-")) >= 3


# --- collection ---------------------------------------------------------------------------------------------------


def aged(workshop, *ages_s: float) -> list[str]:
    """Artifacts of 1,000 bytes each that were last used so long ago."""
    keys = []
    for number, age_s in enumerate(ages_s):
        workshop.write(f"s{number}/data", str(number) * 1000)
        keys.append(workshop.one(workshop.spec(f"s{number}", "true")).key)
        when = time.time() - age_s
        os.utime(workshop.artifacts / ".records" / keys[-1], (when, when))
    return keys


def left(workshop) -> set[str]:
    return {path.name for path in workshop.artifacts.iterdir() if not path.name.startswith(".")}


def test_what_is_old_goes_and_what_is_kept_or_fresh_stays(workshop) -> None:
    old, kept, young = aged(workshop, 9000, 9000, 10)
    done = collect(workshop.artifacts, {kept}, max_age_s=3600, max_bytes=1 << 30)
    assert done.removed == (old,)
    assert (done.freed_bytes, done.left_bytes) == (1000, 2000)
    assert left(workshop) == {kept, young}
    assert workshop.half_made() == []
    assert workshop.build(workshop.spec("s0", "true"))["s0"].key == old, "it can be built again"


def test_above_the_size_the_least_recently_used_go_first_but_never_fresh_ones(workshop) -> None:
    oldest, older, young = aged(workshop, 3000, 2000, 10)
    assert collect(workshop.artifacts, set(), max_age_s=9e9, max_bytes=2500).removed == (oldest,)
    assert collect(workshop.artifacts, set(), max_age_s=9e9, max_bytes=0).removed == (older,)
    assert left(workshop) == {young}


def test_what_is_being_built_or_looked_at_is_not_collected(workshop) -> None:
    (key,) = aged(workshop, 9000)
    with try_lock(Artifacts(workshop.artifacts).lock_path(key)):
        assert collect(workshop.artifacts, set(), max_age_s=0, max_bytes=0).removed == ()
    assert collect(workshop.artifacts, set(), max_age_s=0, max_bytes=0).removed == (key,)


def test_a_reused_artifact_is_fresh_again(workshop) -> None:
    aged(workshop, 9000)
    workshop.one(workshop.spec("s0", "true"))
    assert collect(workshop.artifacts, set(), max_age_s=3600, max_bytes=0).removed == ()


def test_folders_that_are_not_ours_are_left_alone(workshop) -> None:
    workshop.one(workshop.spec("orders"))
    workshop.write(".atoll/artifacts/notes/mine.txt", "")
    collect(workshop.artifacts, set(), max_age_s=0, max_bytes=0)
    assert (workshop.artifacts / "notes/mine.txt").exists()


# --- authorship ---------------------------------------------------------------------------------------------------


def git(folder: Path, *arguments: str) -> str:
    argv = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main", *arguments]
    return subprocess.run(argv, cwd=folder, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


def test_without_git_only_the_actor_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    who = author(tmp_path)
    assert "@" in who.actor
    assert (who.commit, who.commit_wall, who.dirty) == ("", None, False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert author(tmp_path) == who


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_with_git_the_commit_its_time_and_whether_all_is_committed_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    git(tmp_path, "init", "-q")
    assert author(workspace).commit == ""
    (workspace / "a").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one", "--date", "2020-01-01T00:00:00Z")
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as in a hook of another repository
    clean = author(workspace)
    monkeypatch.delenv("GIT_DIR")
    assert clean.commit == git(tmp_path, "rev-parse", "HEAD")
    assert abs(clean.commit_wall - time.time()) < 600
    assert not clean.dirty
    (tmp_path / "outside").write_text("")
    assert not author(workspace).dirty, "what lies outside the workspace does not count"
    (workspace / "new").write_text("")
    assert author(workspace).dirty


def test_a_git_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "bin", "git", "sleep 600 & sleep 600")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    began = time.monotonic()
    assert author(tmp_path).commit == ""
    assert time.monotonic() - began < 60


def test_a_name_whose_lock_another_process_sweeps_just_now_is_left_to_it(tmp_path: Path, monkeypatch) -> None:
    """`sweep` locks whatever lies among the locks, also what was made an instant before its maker locks it."""
    place = Artifacts(tmp_path / "artifacts")
    place.prepare()
    names = iter(("swept", "free"))
    monkeypatch.setattr(secrets, "token_hex", lambda _: next(names))
    with try_lock(place.lock_path("stage-swept")) as held:
        assert held is not None
        stage = place.stage()
    assert stage.root.name == "stage-free"
    place.drop(stage)
