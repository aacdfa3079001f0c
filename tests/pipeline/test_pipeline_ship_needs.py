"""What an artifact finds outside itself, and must find where it arrives."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from contextlib import nullcontext
from pathlib import Path

import msgspec
import pytest
from ship_route import KEYS, Route, artifact, seen

from atoll.model.command import Command
from atoll.model.errors import Refused
from atoll.model.wire_artifacts import Need
from atoll.pipeline.artifacts import remove_tree
from atoll.pipeline.ship.footing import footing
from atoll.pipeline.ship.survey import survey
from atoll.pipeline.tools import this_platform


def test_a_virtual_environment_runs_where_it_arrived(route: Route) -> None:
    folder = route.root / "here" / KEYS[0]
    folder.mkdir(parents=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / ".venv")], check=True)
    script = folder / ".venv/bin/hello"
    script.write_text(f"#!{folder}/.venv/bin/python\nimport sys\nprint(sys.prefix)\n")
    script.chmod(0o755)
    made = msgspec.structs.replace(route.sealed(KEYS[0]), command_env={"PATH+": f"{folder}/.venv/bin"})
    there = route.send(made)
    remove_tree(folder)
    done = subprocess.run([f"{there.path}/.venv/bin/hello"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{there.path}/.venv"
    assert there.command_env == {"PATH+": f"{there.path}/.venv/bin"}
    assert there.digest == seen(there.path).digest != made.digest
    assert not [path for path in Path(there.path, ".venv/bin").iterdir() if str(folder).encode() in path.read_bytes()]


def test_an_interpreter_that_lies_elsewhere_there_is_found_by_its_version(route: Route) -> None:
    version = ".".join(map(str, sys.version_info[:2]))
    if (other := shutil.which(f"python{version}", path="/usr/local/bin:/usr/bin:/bin")) is None:
        pytest.skip(f"no python{version} in the folders of the system")
    folder = route.root / "here" / KEYS[0]
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/python").symlink_to("/home/ada/.pyenv/versions/x/bin/python")
    (folder / ".venv/pyvenv.cfg").write_text(f"home = /home/ada/.pyenv/versions/x/bin\nversion_info = {version}.1\n")
    there = route.send(route.sealed(KEYS[0]))
    done = subprocess.run(
        [f"{there.path}/.venv/bin/python", "-c", "import sys; print(sys.prefix, sys.version_info[:2])"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith(f"{there.path}/.venv ")
    assert Path(there.path, ".venv/bin/python").readlink() == Path(other)
    assert f"home = {Path(other).parent}" in Path(there.path, ".venv/pyvenv.cfg").read_text()


def test_a_version_of_python_that_is_not_there_is_refused(route: Route) -> None:
    folder = route.root / "here" / KEYS[0]
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/python").symlink_to("/opt/python3.98/bin/python")
    (folder / ".venv/pyvenv.cfg").write_text("home = /opt/python3.98/bin\nversion = 3.98.0\n")
    with pytest.raises(Refused) as raised:
        route.send(route.sealed(KEYS[0]))
    assert raised.value.id == "missing-on-machine"
    assert "3.98" in raised.value.what
    assert route.bodies == []


NATIVE = Need(kind="native", what="./payments", by="./payments")


def test_nothing_that_was_sent_is_run_to_be_asked_for_its_version(tmp_path: Path) -> None:
    (tmp_path / "artifacts/bin").mkdir(parents=True)
    open_to_all = tmp_path / "everybodys"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    for folder in (tmp_path / "artifacts/bin", open_to_all):
        program = folder / "python3"
        program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\necho Python 3.98.1\n")
        program.chmod(0o755)
        needs = [
            Need(kind="python", what=str(program), by=".venv/bin/python", version="3.98"),
            Need(kind="program", what=str(program), by="run", version="3.98"),
        ]
        with pytest.raises(Refused):
            footing("orders", artifact(), needs, tmp_path / "artifacts")
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make programs that are the machine's own")
def test_of_the_machines_own_programs_interpreters_alone_are_run_and_by_no_link_of_others() -> None:
    with tempfile.TemporaryDirectory(prefix="atoll-own-", dir="/opt") as own:
        here = Path(own)
        here.chmod(0o755)
        for name in ("wipe", "python3.98"):
            (here / name).write_text(f'#!/bin/sh\necho "$0" >> {here}/ran\necho Python 3.98.1\n')
            (here / name).chmod(0o755)
        (here / "theirs").mkdir()
        link = here / "theirs" / "python3"
        link.symlink_to(here / "python3.98")
        os.chown(link.parent, 1000, 1000)
        asked = [
            Need(kind="program", what=str(here / "wipe"), by="run", version="3.98"),
            Need(kind="python", what=str(link), by=".venv/bin/python", version="3.98"),
        ]
        footing("orders", artifact(), asked, here / "artifacts")
        assert (here / "ran").read_text().split() == [f"{here}/python3.98"]


@pytest.mark.parametrize(
    ("built_on", "needs", "machine", "id"),
    [
        ("linux-aarch64-glibc2.36", [NATIVE], "linux-x86_64-glibc2.36", "other-platform"),
        ("darwin-arm64-23.1", [NATIVE], "linux-x86_64-glibc2.36", "other-platform"),
        ("linux-x86_64-musl", [NATIVE], "linux-x86_64-glibc2.36", "other-platform"),
        ("linux-x86_64-glibc2.36", [NATIVE], "linux-x86_64-glibc2.31", None),
        ("linux-x86_64-glibc2.36", [NATIVE, Need(kind="glibc", what="2.34", by="x.so")], "linux-x86_64-glibc2.31", "other-platform"),
        ("linux-x86_64-glibc2.36", [NATIVE, Need(kind="glibc", what="2.4", by="x.so")], "linux-x86_64-glibc2.31", None),
        ("darwin-arm64-23.1", [], "linux-x86_64-glibc2.36", None),
        ("linux-x86_64-glibc2.36", [Need(kind="program", what="no-such-program", by="run")], "linux-x86_64-glibc2.36", "missing-on-machine"),
        ("linux-x86_64-glibc2.36", [Need(kind="program", what="sh", by="run")], "linux-x86_64-glibc2.36", None),
        ("linux-x86_64-glibc2.36", [Need(kind="folder", what="/no/such/jdk", by="JAVA_HOME")], "linux-x86_64-glibc2.36", "missing-on-machine"),
        ("linux-x86_64-glibc2.36", [Need(kind="folder", what="/usr", by="JAVA_HOME")], "linux-x86_64-glibc2.36", None),
    ],
)  # fmt: skip
def test_a_machine_must_have_what_an_artifact_needs(
    built_on: str, needs: list[Need], machine: str, id: str | None, tmp_path: Path
) -> None:
    with nullcontext() if id is None else pytest.raises(Refused) as raised:
        footing("orders", artifact(built_on), needs, tmp_path, machine)
    assert (raised.value.id if raised else None) == id


def test_a_survey_finds_native_code_its_glibc_and_what_leads_outside(route: Route) -> None:
    if this_platform().partition("-")[0] != "linux" or "glibc" not in this_platform():
        pytest.skip("programs of glibc are looked at")
    made = route.made(
        KEYS[0], {"bin/true": Path("/bin/true").resolve().read_bytes(), "note": b"x"}, {"out": "/etc/hosts"}
    )
    made = msgspec.structs.replace(
        made, command_env={"JAVA_HOME": "/usr/lib/jvm/x", "PATH+": f"{made.path}/bin:/opt/y"}
    )
    needs = survey(made, Command(argv=("sh", "x")), threading.Event()).needs
    found = {(need.kind, need.what) for need in needs if need.kind != "glibc"}
    assert found == {
        ("native", "bin/true"), ("link", "/etc/hosts"), ("folder", "/usr/lib/jvm/x"), ("folder", "/opt/y"), ("program", "sh"),
    }  # fmt: skip
    (glibc,) = (need for need in needs if need.kind == "glibc")
    assert glibc.what.startswith("2.")
    here = [need for need in needs if need.kind in {"native", "glibc"}]
    footing("orders", made, here, route.theirs)  # it does run here


@pytest.mark.parametrize(
    ("line", "program"),
    [
        ("sh serve.sh {port}", "sh"),
        ("exec sh -c 'x y'", "sh"),
        ("/bin/sh x > log", None),
        ("cd x && sh y", None),
        ("LANG=C sh y", None),
        ("cd x", None),
        ("{tool} x", None),
        ("sh a || sh b", None),
    ],
)
def test_the_program_of_a_line_is_a_need_where_the_line_is_one_command(
    route: Route, line: str, program: str | None
) -> None:
    made = route.made(KEYS[0], {"x": b""})
    needs = survey(made, Command(shell=line), threading.Event()).needs
    assert [need.what for need in needs] == ([program] if program else [])


def test_a_program_of_the_artifact_itself_is_no_need(route: Route) -> None:
    made = route.made(KEYS[0], {"bin/serve": b"#!/bin/sh\n"})
    made = msgspec.structs.replace(made, command_env={"PATH+": f"{made.path}/bin"})
    for command in (Command(argv=("serve",)), Command(argv=("./bin/serve",)), Command(shell="serve | tee x")):
        assert survey(made, command, threading.Event()).needs == ()
