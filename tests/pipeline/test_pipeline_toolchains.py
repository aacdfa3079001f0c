"""Which toolchain a build gets, on a machine made of small scripts that only tell a version."""

import os
import shutil
from pathlib import Path

import pytest

from atoll.model.errors import BuildFailed, UserError
from atoll.model.spec import Build, Command, ServiceSpec
from atoll.pipeline.detect import BUILDERS, TOOLCHAINS
from atoll.pipeline.toolchains import Toolchains

GO, RUST, PYTHON, NODE, JAVA = (TOOLCHAINS[name] for name in ("go", "rust", "python", "node", "java"))


class Machine:
    """A home folder with toolchains in it, and nothing of the real machine."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.env = {"HOME": str(home), "PATH": f"{home}/bin:/nowhere"}
        self.seen = Toolchains(self.env)

    def program(self, path: str, says: str = "", **files: str) -> str:
        file = self.home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/sh\necho '{says}'\n" if says else "#!/bin/sh\nexit 1\n")
        file.chmod(0o755)
        for name, text in files.items():
            (file.parent.parent / name).write_text(text)
        return str(file)

    def versions(self, toolchain) -> list[str]:
        mine = [each for each in self.seen.all(toolchain) if each.program.startswith(str(self.home))]
        return [each.version for each in mine]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    home = tmp_path.resolve() / "home"
    home.mkdir()
    return Machine(home)


def spec(tool: str | None) -> ServiceSpec:
    return ServiceSpec(name="orders", run=Command(argv=("x",)), build=Build(tool=tool))


def test_go_is_found_on_the_path_and_in_sdk_folders_newest_first(machine: Machine) -> None:
    machine.program("bin/go", "go version go1.21.3 linux/amd64")
    machine.program("sdk/go1.9.2/bin/go", VERSION="go1.9.2\ntime 2018\n")
    machine.program("sdk/go1.24.1/bin/go", VERSION="go1.24.1\n")
    assert machine.versions(GO) == ["1.24.1", "1.21.3", "1.9.2"]


def test_switchers_say_nothing_themselves_and_what_they_stand_for_is_found(machine: Machine) -> None:
    machine.env["PATH"] = f"{machine.home}/.pyenv/shims:{machine.home}/.cargo/bin"
    machine.program(".pyenv/shims/python3", "Python 3.11.7")
    machine.program(".pyenv/versions/3.11.7/bin/python3")
    machine.program(".pyenv/versions/3.9.18/bin/python3")
    machine.program(".cargo/bin/rustup")
    (machine.home / ".cargo/bin/rustc").symlink_to("rustup")
    machine.program(".rustup/toolchains/1.80.0-x86_64-unknown-linux-gnu/bin/rustc")
    machine.program(".rustup/toolchains/nightly-x86_64-unknown-linux-gnu/bin/rustc", "rustc 1.99.0-nightly (abc 2026)")
    machine.program(".nvm/versions/node/v20.1.1/bin/node")
    machine.program(".sdkman/candidates/java/17.0.9-tem/bin/javac", release='JAVA_VERSION="17.0.9"\n')
    (machine.home / ".sdkman/candidates/java/current").symlink_to("17.0.9-tem")
    assert machine.versions(PYTHON) == ["3.11.7", "3.9.18"]
    assert machine.versions(RUST) == ["1.80.0", "1.99.0"]
    assert machine.versions(NODE) == ["20.1.1"]
    assert machine.versions(JAVA) == ["17.0.9"]


def test_a_version_is_matched_number_by_number_and_the_newest_wins(machine: Machine) -> None:
    for version in ("1.24.1", "1.24.9", "1.240.0", "1.3.0"):
        machine.program(f"sdk/go{version}/bin/go", VERSION=f"go{version}\n")
    assert machine.seen.pick(GO, "1.24").version == "1.24.9"
    assert machine.seen.pick(GO, "1.24.1").version == "1.24.1"
    assert machine.seen.pick(GO, "1.3").version == "1.3.0"


def test_a_missing_version_says_what_was_looked_for_and_found_and_how_to_get_it(machine: Machine) -> None:
    machine.program("sdk/go1.23.1/bin/go", VERSION="go1.23.1\n")
    with pytest.raises(UserError) as caught:
        machine.seen.pick(GO, "1.99")
    assert caught.value.what == "go 1.99 is missing"
    assert f"1.23.1 in {machine.home}/sdk/go1.23.1" in caught.value.why
    assert "~/sdk/go*" in caught.value.why
    assert "go.dev/dl" in caught.value.fix
    assert "1.99" in caught.value.fix


def test_an_unknown_language_is_answered_with_the_nearest(machine: Machine) -> None:
    with pytest.raises(UserError) as caught:
        machine.seen.choose(spec("jav@17"), BUILDERS["command"], TOOLCHAINS)
    assert caught.value.fix == "did you mean 'java'?"


def test_a_chosen_toolchain_leads_the_path_of_the_build_and_of_the_run_where_it_is_needed(machine: Machine) -> None:
    machine.program(".sdkman/candidates/java/17.0.9-tem/bin/javac", release='JAVA_VERSION="17.0.9"\n')
    home = f"{machine.home}/.sdkman/candidates/java/17.0.9-tem"
    chosen = machine.seen.choose(spec("java@17.0.9"), BUILDERS["command"], TOOLCHAINS)
    env = chosen.environment({"LEVEL": "1"}, "/usr/bin")
    assert env == {"LEVEL": "1", "JAVA_HOME": home, "PATH": f"{home}/bin:/usr/bin"}
    assert chosen.at_run == {"PATH+": f"{home}/bin"}
    machine.program("sdk/go1.999.1/bin/go", VERSION="go1.999.1\n")
    assert machine.seen.choose(spec("go@1.999"), BUILDERS["go"], TOOLCHAINS).at_run == {}


def test_without_a_wish_the_path_decides_and_what_lies_elsewhere_helps_only_when_it_has_none(machine: Machine) -> None:
    machine.program("sdk/go1.999.1/bin/go", VERSION="go1.999.1\n")
    chosen = machine.seen.choose(spec(None), BUILDERS["go"], TOOLCHAINS)
    assert chosen.found is not None
    assert chosen.found.version == "1.999.1"
    machine.program("bin/go", "go version go1.20.1 linux/amd64")
    chosen = machine.seen.choose(spec(None), BUILDERS["go"], TOOLCHAINS)
    assert chosen.found is None
    assert chosen.env == {"GOTOOLCHAIN": "local"}


def test_a_broken_installation_is_none(machine: Machine) -> None:
    machine.program("bin/rustc")
    assert machine.versions(RUST) == []


def test_a_missing_toolchain_fails_its_service_alone(workshop) -> None:
    workshop.write("a/x")
    workshop.write("b/x")
    results = workshop.build(workshop.spec("a", tool="go@1.0"), workshop.spec("b"))
    assert isinstance(results["a"], BuildFailed)
    assert results["a"].what.startswith("go 1.0 is missing: found ")
    assert not isinstance(results["b"], BuildFailed)


@pytest.mark.skipif(shutil.which("cat") is None, reason="cat is not on the PATH")
def test_the_toolchain_counts_in_the_key_and_leads_the_path_of_steps(workshop, tmp_path: Path, monkeypatch) -> None:
    machine = Machine(tmp_path.resolve())
    monkeypatch.setenv("HOME", str(tmp_path))
    workshop.write("a/x")
    keys = set()
    for version in ("1.888.1", "1.999.1"):
        machine.program(f"sdk/go{version}/bin/go", f"go version go{version}", VERSION=f"go{version}\n")
        artifact = workshop.one(workshop.spec("a", "go version > said", tool=f"go@{version}"))
        assert Path(artifact.path, "said").read_text().strip() == f"go version go{version}"
        keys.add(artifact.key)
    assert len(keys) == 2
    assert os.environ["HOME"] == str(tmp_path)
