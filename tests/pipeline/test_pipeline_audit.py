"""What real processes read, traced by the real strace; and who is told what of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from atoll.pipeline.audit import Grounds, Trace, read_traces, undeclared, wrapper

GROUNDS = Grounds(
    folder="/data/artifacts/abc",
    results=("/data/artifacts/needed",),
    private=("/data/artifacts/.staging/tmp",),
    root="/home/ada/shop",
    artifacts="/data/artifacts",
    context="/home/ada/shop/orders",
    services={"orders": "/home/ada/shop/orders", "catalog": "/home/ada/shop/catalog"},
    home="/home/ada",
)


@pytest.fixture
def traced(tmp_path: Path):
    """Run a shell line under strace in a folder; what it did."""
    strace = shutil.which("strace")
    if strace is None or subprocess.run([strace, "-qq", "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs strace, and leave to trace (scripts/apt installs it)")
    folder, traces = tmp_path / "run", tmp_path / "traces"
    folder.mkdir()
    traces.mkdir()

    def run(line: str, code: int = 0) -> Trace:
        argv = [*wrapper(strace, traces), "/bin/sh", "-c", line]
        env = {"PATH": os.defpath, "LANG": "C.UTF-8"}
        assert subprocess.run(argv, cwd=folder, env=env, check=False, timeout=60).returncode == code
        return read_traces(traces, str(folder))

    return run


def below(paths: frozenset[str], folder: Path) -> set[str]:
    return {path.removeprefix(f"{folder}/") for path in paths if path.startswith(f"{folder}/")}


def test_what_is_read_is_seen_through_links_other_folders_and_odd_names(tmp_path: Path, traced) -> None:
    for name in ("a", "b with space", "ü", 'quo"te', "back\\slash", "new\nline", "<angle>"):
        (tmp_path / name).write_text("x")
    (tmp_path / "link").symlink_to("a")
    trace = traced("cd ..; cat link 'b with space' ü 'quo\"te' 'back\\slash' \"new\nline\" '<angle>' >/dev/null")
    assert below(trace.read, tmp_path) == {"a", "b with space", "ü", 'quo"te', "back\\slash", "new\nline", "<angle>"}


def test_what_the_run_made_itself_is_no_input(tmp_path: Path, traced) -> None:
    (tmp_path / "seed").write_text("x")
    line = "cat ../seed > one; mv one two; cat two > /dev/null; ln two three; cat three; mkdir d; cp two d/; cat d/two"
    assert below(traced(line).read, tmp_path) == {"seed"}


def test_programs_are_read_absent_files_and_listed_folders_are_not(tmp_path: Path, traced) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\nls ..\ncat nothing-there || true\n")
    tool.chmod(0o755)
    trace = traced("../tool >/dev/null 2>&1")
    assert below(trace.read, tmp_path) == {"tool"}
    assert below(trace.ran, tmp_path) == {"tool"}


def test_the_exit_status_is_the_commands_own(traced) -> None:
    traced("exit 7", code=7)


def test_a_program_of_many_processes_and_threads_is_followed(tmp_path: Path, traced) -> None:
    for n in range(20):
        (tmp_path / f"f{n}").write_text("x")
    program = (
        "import subprocess, threading\n"
        "jobs = [threading.Thread(target=subprocess.run, args=(['cat', f'../f{n}'],)) for n in range(20)]\n"
        "[job.start() for job in jobs]; [job.join() for job in jobs]\n"
    )
    (tmp_path / "run" / "many.py").write_text(program)
    trace = traced(f"{sys.executable} -S many.py")
    assert below(trace.read, tmp_path) >= {*(f"f{n}" for n in range(20)), "run/many.py"}


@pytest.mark.parametrize(
    "path",
    [
        "/data/artifacts/abc/orders.py",
        "/data/artifacts/needed/lib.so",
        "/data/artifacts/.staging/tmp/x",
        "/usr/lib/libc.so.6",
        "/etc/hosts",
        "/proc/self/status",
        "/dev/null",
        "/home/ada/.cache/uv/x.whl",
        "/home/ada/go/pkg/mod/x@v1/x.go",
        "/home/ada/.npmrc",
        "/home/ada/.gitconfig",
        "/tmp/hsperfdata_ada/8123",
    ],
)
def test_what_was_declared_and_the_system_is_not_told(path: str) -> None:
    assert undeclared(Trace(frozenset({path}), frozenset(), frozenset()), GROUNDS) == ()


@pytest.mark.parametrize(
    ("path", "shown", "service", "hint"),
    [
        ("/home/ada/shop/orders/data/x.json", "orders/data/x.json", "orders", 'inputs = [..., "data/x.json"]'),
        ("/home/ada/shop/catalog/catalog.proto", "catalog/catalog.proto", "catalog", 'needs = ["catalog.build"]'),
        ("/home/ada/shop/VERSION", "VERSION", "", "context above it"),
        ("/home/ada/.aws/config", "/home/ada/.aws/config", "", "differs from person to person"),
        ("/data/artifacts/other/x", "/data/artifacts/other/x", "", "name that in `needs`"),
        ("/srv/models/big.bin", "/srv/models/big.bin", "", "put it into the service"),
        ("/tmp/left.txt", "/tmp/left.txt", "", "put it into the service"),
    ],
)
def test_anything_else_is_told_with_what_to_declare(path: str, shown: str, service: str, hint: str) -> None:
    (one,) = undeclared(Trace(frozenset({path}), frozenset(), frozenset()), GROUNDS)
    assert (one.path, one.service) == (shown, service)
    assert hint in one.hint


def test_the_installation_of_a_program_is_the_toolchains_but_a_home_folder_is_none() -> None:
    ran = frozenset({"/home/ada/.nvm/v20/bin/node", "/home/ada/bin/mytool"})
    # A tool that lies in the home folder's own `bin` stands for itself.
    read = ran | {"/home/ada/.nvm/v20/lib/node_modules/npm/index.js", "/home/ada/notes.txt"}
    assert [one.path for one in undeclared(Trace(read, frozenset(), ran), GROUNDS)] == ["/home/ada/notes.txt"]


def test_in_the_work_tree_only_the_declared_inputs_may_be_read() -> None:
    here = replace(GROUNDS, folder="/home/ada/shop/orders", inputs={"orders.py"})
    read = {f"/home/ada/shop/orders/{name}" for name in ("orders.py", "secret.env", *(f"lib/{n}.py" for n in range(9)))}
    found = undeclared(Trace(frozenset(read), frozenset(), frozenset()), here)
    assert [(one.path, one.count) for one in found] == [("orders/lib/", 9), ("orders/secret.env", 1)]
    assert found[0].hint == 'inputs = [..., "lib/**"]'
