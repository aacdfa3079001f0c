"""The process of a command: how it ends, and what it begins before it knows what is asked of it."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll import __version__

SERVICE = 'run = "true"\nport = "none"\nhealth = "process"\nbuild = { steps = "cat *.txt > sum" }\n'
PROGRAM = "import sys; from atoll.app import main; sys.exit(main())"


def workspace(folder: Path, *services: str) -> Path:
    folder.mkdir()
    (folder / "atoll.toml").write_text("")
    for name in services:
        (folder / name).mkdir()
        (folder / name / "service.toml").write_text(SERVICE)
        (folder / name / "a.txt").write_text("a")
    return folder


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="atl-") as run:  # short: sockets would lie in it
        mine = {**os.environ, "ATOLL_HOME": str(tmp_path / "home"), "ATOLL_RUN": run}
        yield {name: value for name, value in mine.items() if name not in {"ATOLL_WORKSPACE", "ATOLL_ENV"}}


def ran(env: dict[str, str], at: Path, *argv: str, program: str = PROGRAM) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *argv], cwd=at, env=env, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(("argv", "code"), [(["version"], 0), (["nonsense"], 2)])
def test_what_is_to_be_done_at_the_exit_is_done_before_the_process_ends(
    env: dict[str, str], tmp_path: Path, argv: list[str], code: int
) -> None:
    begin = "import atexit, sys, threading, time; from atoll.app import main\n"
    last = "atexit.register(print, 'last')\n"
    thread = "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()\n"
    for program in (
        begin + last + thread + "sys.exit(main())",
        begin + "code = main()\n" + last + thread + "sys.exit(code)",
    ):
        done = ran(env, tmp_path, *argv, program=program)
        assert done.returncode == code, done.stderr
        assert done.stdout.endswith("last\n")
        assert "thread\n" in done.stdout


@pytest.mark.parametrize("argv", [["--version"], ["-V"]])
def test_the_version_is_told_without_the_command_line(env: dict[str, str], tmp_path: Path, argv: list[str]) -> None:
    last = "import atexit, sys; from atoll.app import main\natexit.register(lambda: print('click' in sys.modules))\n"
    done = ran(env, tmp_path, *argv, program=f"{last}sys.exit(main())")
    assert done.stdout == f"atoll {__version__}\nFalse\n"
    done = ran(env, tmp_path, "--host=", *argv, program=f"{last}sys.exit(main())")  # one that the command line parses
    assert done.stdout == f"atoll {__version__}\nTrue\n"


def test_a_twin_that_waited_for_the_other_has_passed(env: dict[str, str], tmp_path: Path) -> None:
    here = workspace(tmp_path / "here", "a", "b")
    for name in ("a", "b"):
        (here / name / "service.toml").write_text(SERVICE.replace("cat", "sleep 0.5; cat"))
    done = ran(env, here, "ci")
    assert "1 passed, 1 cached" in done.stdout, done
    assert ran(env, here, "affected").stdout == ""


def test_an_edit_of_what_passed_is_told_without_what_reckons_keys(env: dict[str, str], tmp_path: Path) -> None:
    here = workspace(tmp_path / "here", "a", "b")
    assert ran(env, here, "ci").returncode == 0
    time.sleep(2.1)  # what changed within two seconds before a look is read again
    assert ran(env, here, "affected").stdout == ""
    (here / "a/a.txt").write_text("other")
    last = "import atexit, sys; from atoll.app import main\natexit.register(lambda: print('msgspec' in sys.modules))\n"
    assert ran(env, here, "affected", program=f"{last}sys.exit(main())").stdout == "a\nFalse\n"
    (found,) = json.loads(ran(env, here, "affected", "--json").stdout)
    assert [task["why"] for task in found["tasks"]] == [["a.txt changed"]]
    assert ran(env, here, "ci").returncode == 0
    assert ran(env, here, "affected").stdout == ""


def test_a_full_disk_is_told(env: dict[str, str], tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, "version"], cwd=tmp_path, env=env, stdout=full, stderr=subprocess.PIPE,
            timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode != 0
    assert done.stderr


@pytest.mark.parametrize("command", [["affected"], ["affected", "--names"], ["ci", "--plan", "--json"]])
def test_the_workspace_that_is_meant_is_looked_at_whatever_was_begun(
    env: dict[str, str], tmp_path: Path, command: list[str]
) -> None:
    here, other = workspace(tmp_path / "here", "a", "b"), workspace(tmp_path / "other", "x")
    for _ in range(2):  # by nothing, then by what is remembered
        assert _services(ran(env, here / "a", *command)) == {"a", "b"}
        assert _services(ran(env, here, *command, "--workspace", str(other))) == {"x"}
        assert _services(ran({**env, "ATOLL_WORKSPACE": str(other)}, here, *command)) == {"x"}


def _services(done: subprocess.CompletedProcess[str]) -> set[str]:
    assert done.returncode == 0, done.stderr
    return {name for name in ("a", "b", "x") if f'"{name}.build"' in done.stdout or name in done.stdout.split()}


def test_where_there_is_no_workspace_one_error_says_so(env: dict[str, str], tmp_path: Path) -> None:
    for command in ("affected", "ci"):
        done = ran(env, tmp_path, command)
        assert done.returncode == 2
        assert done.stderr.count("error[") == 1
        assert "error[no-workspace]" in done.stderr
        assert ran(env, tmp_path, command, "--help").returncode == 0


def test_in_a_folder_that_is_gone_one_error_says_so(env: dict[str, str], tmp_path: Path) -> None:
    for number, command in enumerate(("affected", "status", "init", "--version")):
        (gone := tmp_path / f"{number}").mkdir()
        done = ran(env, gone, command, program=f"import os; os.rmdir(os.getcwd())\n{PROGRAM}")
        if command == "--version":
            assert done.returncode == 0, done.stderr
            continue
        assert done.returncode == 2
        assert done.stderr.startswith("error[no-workspace]: the folder that this command was started in is gone\n")


def test_an_edit_affects_who_has_it_while_others_look(env: dict[str, str], tmp_path: Path) -> None:
    here = workspace(tmp_path / "here", *(f"s{number:03}" for number in range(400)))  # so many are looked at by two
    assert ran(env, here, "affected", "--names").returncode == 0
    record = (
        "import sys, time\nfrom pathlib import Path\nfrom atoll.app.hooks import AppHooks\n"
        "from atoll.model.records import TaskRecord\nhooks, root = AppHooks(), Path.cwd()\n"
        "places = hooks.places(root, 'local')\n"
        "with hooks.records(places) as records:\n"
        "    for each in hooks.keyed(places, root).values():\n"
        "        records.add(TaskRecord(task=each.id, key=each.key, outcome='passed', seconds=1, wall=time.time()), None)\n"
    )
    assert ran(env, here, program=record).returncode == 0
    assert ran(env, here, "affected", "--names").stdout == ""
    (here / "s123/a.txt").write_text("other")
    assert ran(env, here, "affected", "--names").stdout == "s123\n"
    (here / "s123/a.txt").write_text("a")
    (here / "s321/new.txt").write_text("a")
    assert ran(env, here, "affected", "--names").stdout == "s321\n"
