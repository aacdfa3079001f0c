"""Which toolchain a build gets, on a machine made of small scripts that only tell a version."""

import os
import shutil
from pathlib import Path

import pytest

from atoll.model.errors import BuildFailed, UserError
from atoll.model.spec import Build, Command, ServiceSpec
from atoll.pipeline.detect import TOOLCHAINS
from atoll.pipeline.environment import build_environment
from atoll.pipeline.toolchains import Chosen, Toolchains, asked_language
from atoll.pipeline.wishes import Wish, wishes

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

    def choose(self, spec: ServiceSpec, language: str = "go") -> Chosen:
        toolchain = asked_language(spec, TOOLCHAINS) or TOOLCHAINS[language]
        return self.seen.choose(spec, toolchain, self.home / "workspace")

    def picked(self, toolchain, version: str) -> str:
        return self.choose(spec(f"{toolchain.name}@{version}")).found.version

    def says(self, path: str, text: str) -> None:
        file = self.home / "workspace" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def versions(self, toolchain) -> list[str]:
        mine = [each for each in self.seen.all(toolchain) if each.program.startswith(str(self.home))]
        return [each.version for each in mine]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    home = tmp_path.resolve() / "home"
    home.mkdir()
    return Machine(home)


def spec(tool: str | None, **build: object) -> ServiceSpec:
    return ServiceSpec(name="orders", folder="a/orders", run=Command(argv=("x",)), build=Build(tool=tool, **build))


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
    assert machine.picked(GO, "1.24") == "1.24.9"
    assert machine.picked(GO, "1.24.1") == "1.24.1"
    assert machine.picked(GO, "1.3") == "1.3.0"


def test_a_missing_version_says_what_was_looked_for_and_found_and_how_to_get_it(machine: Machine) -> None:
    machine.program("sdk/go1.23.1/bin/go", VERSION="go1.23.1\n")
    with pytest.raises(UserError) as caught:
        machine.picked(GO, "1.99")
    assert caught.value.what == "go 1.99 is missing"
    assert f"1.23.1 in {machine.home}/sdk/go1.23.1" in caught.value.why
    assert "~/sdk/go*" in caught.value.why
    assert "go.dev/dl" in caught.value.fix
    assert "1.99" in caught.value.fix


def test_an_unknown_language_is_answered_with_the_nearest(machine: Machine) -> None:
    with pytest.raises(UserError) as caught:
        machine.choose(spec("jav@17"))
    assert caught.value.fix == "did you mean 'java'?"


def test_a_chosen_toolchain_leads_the_path_of_the_build_and_of_the_run_where_it_is_needed(machine: Machine) -> None:
    machine.program(".sdkman/candidates/java/17.0.9-tem/bin/javac", release='JAVA_VERSION="17.0.9"\n')
    home = f"{machine.home}/.sdkman/candidates/java/17.0.9-tem"
    chosen = machine.choose(spec("java@17.0.9"))
    env = chosen.environment({"LEVEL": "1"}, "/usr/bin")
    assert env == {"LEVEL": "1", "JAVA_HOME": home, "PATH": f"{home}/bin:/usr/bin"}
    assert chosen.at_run == {"PATH+": f"{home}/bin"}
    machine.program("sdk/go1.999.1/bin/go", VERSION="go1.999.1\n")
    assert machine.choose(spec("go@1.999")).at_run == {}


def test_without_a_wish_the_path_decides_and_what_lies_elsewhere_helps_only_when_it_has_none(machine: Machine) -> None:
    machine.program("sdk/go1.999.1/bin/go", VERSION="go1.999.1\n")
    chosen = machine.choose(spec(None))
    assert chosen.found is not None
    assert chosen.found.version == "1.999.1"
    machine.program("bin/go", "go version go1.20.1 linux/amd64")
    chosen = machine.choose(spec(None))
    assert chosen.found is None
    assert chosen.env == {"GOTOOLCHAIN": "local"}


@pytest.mark.parametrize(
    ("language", "file", "text", "wish"),
    [
        ("node", ".nvmrc", "v20.1\n", ("20.1", False, False)),
        ("node", ".nvmrc", "22 # the newest\n", ("22", False, False)),
        ("node", ".nvmrc", "lts/iron\n", None),
        ("node", ".node-version", "22.3.0", ("22.3.0", False, False)),
        ("node", ".tool-versions", "python 3.12.1\nnodejs 20.1.1 18.0.0\n", ("20.1.1", False, False)),
        ("node", "mise.toml", '[tools]\nnode = "22"\n', ("22", False, False)),
        ("python", ".python-version", "# ours\n3.12\n3.11\n", ("3.12", False, False)),
        ("python", ".python-version", "pypy3.10\n", None),
        ("java", ".java-version", "openjdk64-17.0.9\n", ("17.0.9", False, False)),
        ("java", ".java-version", "1.8\n", ("1.8", False, False)),
        ("java", ".sdkmanrc", "java=21.0.2-tem\n", ("21.0.2", False, False)),
        ("java", ".tool-versions", "java temurin-jre-21.0.2+13.0.LTS\n", ("21.0.2", False, False)),
        ("go", "go.mod", "module x\n\ngo 1.22\n\ntoolchain go1.24.1\n", ("1.24.1", True, False)),
        ("go", "go.mod", "module x\n\ngo 1.22.0\n", ("1.22.0", True, True)),
        ("rust", ".tool-versions", "rust 1.80.1\n", ("1.80.1", False, False)),
    ],
)
def test_files_of_other_tools_say_which_version_is_meant(
    machine: Machine, language: str, file: str, text: str, wish: tuple[str, bool, bool] | None
) -> None:
    machine.says(f"a/orders/{file}", text)
    said = list(wishes(spec(None), TOOLCHAINS[language], machine.home / "workspace"))
    assert said[:1] == ([Wish(version=wish[0], by=file, least=wish[1], must=wish[2])] if wish else [])


def test_the_nearest_file_counts_and_tool_more_than_all(machine: Machine) -> None:
    root = machine.home / "workspace"
    machine.says(".nvmrc", "18\n")
    machine.says("a/.tool-versions", "nodejs 20.1\n")
    said = [(each.version, each.by) for each in wishes(spec(None), NODE, root)]
    assert said == [("20.1", "a/.tool-versions"), ("18", ".nvmrc")]
    machine.says("a/orders/.node-version", "22")
    assert next(iter(wishes(spec(None), NODE, root))).version == "22"
    assert [each.version for each in wishes(spec("node@24"), NODE, root)] == ["24"]


def test_what_a_file_asks_for_is_taken_where_it_is_and_else_the_path_decides(machine: Machine) -> None:
    machine.program("bin/node", "v22.1.0")
    machine.program(".nvm/versions/node/v20.1.1/bin/node", "v20.1.1")
    machine.says("a/orders/.nvmrc", "22\n")
    assert machine.choose(spec(None), "node") == Chosen()
    machine.says("a/orders/.nvmrc", "20\n")
    assert machine.choose(spec(None), "node").found.version == "20.1.1"
    machine.says("a/orders/.nvmrc", "18\n")
    assert machine.choose(spec(None), "node") == Chosen()
    with pytest.raises(UserError, match="node 18 is missing") as caught:
        machine.choose(spec(None, provide=True), "node")
    assert "./.nvmrc" not in caught.value.why
    assert ".nvmrc asks for it" in caught.value.why


def test_a_module_that_needs_a_newer_go_gets_it_or_is_told_before_anything_is_compiled(machine: Machine) -> None:
    machine.program("bin/go", "go version go1.22.3 linux/amd64")
    machine.program("sdk/go1.900.1/bin/go", VERSION="go1.900.1\n")
    machine.says("a/orders/go.mod", "module x\n\ngo 1.22\n")
    assert machine.choose(spec(None)).found is None
    machine.says("a/orders/go.mod", "module x\n\ngo 1.22\n\ntoolchain go1.24.0\n")
    assert machine.choose(spec(None)).found.version == "1.900.1"
    machine.says("a/orders/go.mod", "module x\n\ngo 1.22\n\ntoolchain go1.999.1\n")
    assert machine.choose(spec(None)).found is None  # only a suggestion
    machine.says("a/orders/go.mod", "module x\n\ngo 1.999\n")
    with pytest.raises(UserError, match=r"go 1\.999 or newer is missing"):
        machine.choose(spec(None))


def test_a_switcher_on_the_path_is_not_asked_for_what_a_file_says(machine: Machine) -> None:
    machine.env["PATH"] = f"{machine.home}/.pyenv/shims"
    machine.program(".pyenv/shims/python3", "Python 3.11.7")
    machine.program(".pyenv/versions/3.11.7/bin/python3")
    machine.says("a/orders/.python-version", "3.11\n")
    assert machine.choose(spec(None), "python").found.home == f"{machine.home}/.pyenv/versions/3.11.7"


@pytest.mark.parametrize(
    ("language", "variable", "below", "program"),
    [
        ("node", "FNM_DIR", "node-versions/v20.1.1/installation", "node"),
        ("node", "VOLTA_HOME", "tools/image/node/20.1.1", "node"),
        ("node", "N_PREFIX", "n/versions/node/20.1.1", "node"),
        ("go", "GOENV_ROOT", "versions/1.24.1", "go"),
        ("go", "ASDF_DATA_DIR", "installs/golang/1.24.1/go", "go"),
        ("java", "SDKMAN_DIR", "candidates/java/21.0.2-tem", "javac"),
        ("java", "MISE_DATA_DIR", "installs/java/temurin-21.0.2", "javac"),
        ("python", "UV_PYTHON_INSTALL_DIR", "cpython-3.13.1-linux-x86_64-gnu", "python3"),
        ("python", "PYENV_ROOT", "versions/3.13.1", "python3"),
        ("rust", "RUSTUP_HOME", "toolchains/1.80.0-x86_64-unknown-linux-gnu", "rustc"),
    ],
)
def test_switchers_that_were_moved_are_found_by_their_variable(
    machine: Machine, language: str, variable: str, below: str, program: str
) -> None:
    files = {"go": {"VERSION": "go1.24.1\n"}, "java": {"release": 'JAVA_VERSION="21.0.2"\n'}}.get(language, {})
    machine.program(f"moved/{below}/bin/{program}", "20.1.1", **files)
    assert machine.versions(TOOLCHAINS[language]) == []
    outer = {**machine.env, variable: f"{machine.home}/moved"}
    machine.seen = Toolchains(build_environment(outer, {}, "/tmp"))
    assert len(machine.versions(TOOLCHAINS[language])) == 1


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
