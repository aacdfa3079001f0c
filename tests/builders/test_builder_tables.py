"""What each builder would run, exactly, for the files that a service has."""

import json
from pathlib import Path

import pytest

from atoll.builders.command import CommandBuilder, programs
from atoll.builders.node import NodeBuilder
from atoll.builders.python import ENV, PythonBuilder
from atoll.model.errors import UserError
from atoll.model.spec import Build, Command, ServiceSpec
from atoll.pipeline.detect import choose, plan

PYTHON, NODE, COMMAND = PythonBuilder(), NodeBuilder(), CommandBuilder()
PROJECT = '[project]\nname = "orders"\nversion = "1"\n'
PACKAGE = '[build-system]\nrequires = ["hatchling"]\n'
QUIET = ("--no-audit", "--no-fund", "--no-update-notifier")
COMPILE = ".venv/bin/python -m compileall -qq --invalidation-mode unchecked-hash -x '/\\.venv/' . || true"


def spec(**build: object) -> ServiceSpec:
    return ServiceSpec(name="orders", folder="orders", run=Command(argv=("x",)), build=Build(**build))


def write(folder: Path, files: dict[str, str]) -> frozenset[str]:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return frozenset(files)


def commands(steps: object) -> list[object]:
    return [step.command.shell or step.command.argv for step in steps]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"app.py": ""}, []),
        ({"app.py": "", "pyproject.toml": "[tool.ruff]\n"}, []),
        (
            {"pyproject.toml": PROJECT, "uv.lock": ""},
            [("uv", "sync", "--no-dev", "--no-editable", "--frozen"), COMPILE],
        ),
        ({"pyproject.toml": PROJECT}, [("uv", "sync", "--no-dev", "--no-editable"), COMPILE]),
        (
            {"requirements.txt": ""},
            [
                ("uv", "venv", "--no-project", ".venv"),
                ("uv", "pip", "install", "--python", ".venv", "-r", "requirements.txt"),
                COMPILE,
            ],
        ),
        (
            {"requirements.txt": "", "pyproject.toml": PROJECT + PACKAGE},
            [
                ("uv", "venv", "--no-project", ".venv"),
                ("uv", "pip", "install", "--python", ".venv", "-r", "requirements.txt"),
                ("uv", "pip", "install", "--python", ".venv", "--no-deps", "."),
                COMPILE,
            ],
        ),
        (
            {"requirements.txt": "", "pyproject.toml": PROJECT + PACKAGE, "uv.lock": ""},
            [("uv", "sync", "--no-dev", "--no-editable", "--frozen"), COMPILE],
        ),
        (
            {"setup.py": ""},
            [("uv", "venv", "--no-project", ".venv"), ("uv", "pip", "install", "--python", ".venv", "."), COMPILE],
        ),
    ],
)
def test_python_follows_the_most_exact_description_of_dependencies(
    tmp_path: Path, files: dict[str, str], expected: list[object]
) -> None:
    names = write(tmp_path, files)
    assert commands(PYTHON.steps(spec(), names, tmp_path)) == expected
    assert [tool.name for tool in PYTHON.tools(spec(), names, tmp_path)] == (
        ["uv", "python"] if expected else ["python3"]
    )


def test_python_copies_and_compiles_and_never_downloads_an_interpreter(tmp_path: Path) -> None:
    names = write(tmp_path, {"requirements.txt": ""})
    uv = [step for step in PYTHON.steps(spec(), names, tmp_path) if step.command.argv[:1] == ("uv",)]
    assert all(step.env == ENV for step in uv)
    assert ENV["UV_LINK_MODE"] == "copy"
    assert ENV["UV_PYTHON_DOWNLOADS"] == "never"


def test_python_puts_its_venv_on_the_path_only_where_there_is_one(tmp_path: Path) -> None:
    assert PYTHON.command_env(spec(), frozenset(), tmp_path) == {}
    (tmp_path / ".venv/bin").mkdir(parents=True)
    assert PYTHON.command_env(spec(), frozenset(), tmp_path) == {"PATH+": f"{tmp_path}/.venv/bin"}


def test_a_broken_pyproject_is_named(tmp_path: Path) -> None:
    names = write(tmp_path, {"pyproject.toml": "[project\n"})
    with pytest.raises(UserError, match=r"orders/pyproject\.toml cannot be read"):
        PYTHON.steps(spec(), names, tmp_path)


@pytest.mark.parametrize(
    ("package", "others", "expected"),
    [
        ({}, [], []),
        ({"devDependencies": {"jest": "1"}}, [], []),
        ({"dependencies": {"a": "1"}}, [], [("npm", "install", "--omit=dev", *QUIET)]),
        ({"dependencies": {"a": "1"}}, ["package-lock.json"], [("npm", "ci", "--omit=dev", *QUIET)]),
        ({"scripts": {"postinstall": "x"}}, [], [("npm", "install", "--omit=dev", *QUIET)]),
        ({"scripts": {"start": "x"}}, [], []),
        (
            {"scripts": {"build": "tsc"}, "devDependencies": {"typescript": "5"}},
            ["package-lock.json"],
            [
                ("npm", "ci", "--include=dev", *QUIET),
                ("npm", "run", "build"),
                ("npm", "prune", "--omit=dev", *QUIET),
            ],
        ),
        (
            {"scripts": {"build": "x"}},
            [],
            [("npm", "install", "--include=dev", *QUIET), ("npm", "run", "build")],
        ),
    ],
)
def test_node_installs_for_production_and_builds_where_there_is_a_build_script(
    tmp_path: Path, package: dict[str, object], others: list[str], expected: list[object]
) -> None:
    names = write(tmp_path, {"package.json": json.dumps(package), **dict.fromkeys(others, "{}")})
    assert commands(NODE.steps(spec(), names, tmp_path)) == expected


@pytest.mark.parametrize(
    ("lock", "text", "tool", "expected"),
    [
        ("pnpm-lock.yaml", "", "pnpm", ["pnpm install --frozen-lockfile --prod --package-import-method=copy"]),
        (
            "yarn.lock",
            "# yarn lockfile v1\n",
            "yarn",
            ["yarn install --frozen-lockfile --non-interactive --production=true"],
        ),
        ("yarn.lock", "__metadata:\n  version: 8\n", "yarn", ["yarn workspaces focus --all --production"]),
    ],
)
def test_node_installs_with_the_manager_whose_lock_is_there(
    tmp_path: Path, lock: str, text: str, tool: str, expected: list[str]
) -> None:
    names = write(tmp_path, {"package.json": '{"dependencies": {"a": "1"}}', lock: text})
    assert [" ".join(step.command.argv) for step in NODE.steps(spec(), names, tmp_path)] == expected
    assert [each.name for each in NODE.tools(spec(), names, tmp_path)] == ["node", tool]


def test_node_builds_with_pnpm_and_drops_what_only_development_needs(tmp_path: Path) -> None:
    package = {"scripts": {"build": "tsc"}, "devDependencies": {"typescript": "5"}}
    names = write(tmp_path, {"package.json": json.dumps(package), "pnpm-lock.yaml": ""})
    assert [step.command.argv[:3] for step in NODE.steps(spec(), names, tmp_path)] == [
        ("pnpm", "install", "--frozen-lockfile"),
        ("pnpm", "run", "build"),
        ("pnpm", "prune", "--prod"),
    ]


@pytest.mark.parametrize("lock", ["bun.lock", "bun.lockb"])
def test_node_refuses_to_ignore_another_managers_lock(tmp_path: Path, lock: str) -> None:
    names = write(tmp_path, {"package.json": '{"dependencies": {"a": "1"}}', lock: ""})
    with pytest.raises(UserError, match="locks its dependencies") as caught:
        NODE.steps(spec(), names, tmp_path)
    assert "[build] steps" in caught.value.fix


@pytest.mark.parametrize("text", ["{", "[]", "\udcff"])
def test_a_broken_package_json_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "package.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=r"orders/package\.json cannot be read"):
        NODE.steps(spec(), frozenset({"package.json"}), tmp_path)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([], "command"),
        (["main.go"], "command"),
        (["app.py"], "python"),
        (["lib/app.py"], "command"),
        (["requirements.txt", "static.js"], "python"),
        (["server.js"], "node"),
        (["server.js", "tool.py"], "python"),
        (["package.json", "tool.py"], "node"),
        (["go.mod", "main.go"], "go"),
        (["Cargo.toml", "src/main.rs"], "rust"),
        (["Main.java"], "java"),
        (["src/shop/Main.java"], "java"),
        (["docs/Example.java"], "command"),
        (["pom.xml", "src/main/java/Main.java"], "maven"),
        (["build.gradle.kts", "src/main/java/Main.java"], "gradle"),
        (["package.json", "android/Main.java"], "node"),
    ],
)
def test_the_builder_follows_from_the_files(files: list[str], expected: str) -> None:
    assert choose(spec(), frozenset(files)).name == expected


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"pom.xml", "build.gradle"}, "its folder holds pom.xml (maven) and build.gradle (gradle)"),
        ({"go.mod", "package.json"}, "its folder holds package.json (node) and go.mod (go)"),
        ({"Cargo.toml", "server.js"}, "its folder holds node sources (node) and Cargo.toml (rust)"),
    ],
)
def test_two_build_files_in_one_folder_are_both_named(files: set[str], why: str) -> None:
    with pytest.raises(UserError) as caught:
        choose(spec(), frozenset(files))
    assert caught.value.why == why
    assert "[build] builder = " in caught.value.fix


def test_two_technologies_at_once_are_asked_about_unless_steps_or_a_name_decide() -> None:
    both = frozenset({"package.json", "pyproject.toml"})
    with pytest.raises(UserError, match="python and node at once") as caught:
        choose(spec(), both)
    assert caught.value.why == "its folder holds pyproject.toml (python) and package.json (node)"
    assert caught.value.fix == 'name one in service.toml: [build] builder = "python"'
    assert choose(spec(builder="node"), both).name == "node"
    assert choose(spec(steps=(Command(argv=("make",)),)), both).name == "command"


def test_an_unknown_builder_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError) as caught:
        choose(spec(builder="pyton"), frozenset())
    assert caught.value.fix == "did you mean 'python'?"


def test_steps_replace_what_the_language_would_do_and_keep_its_tools_in_the_key(tmp_path: Path) -> None:
    names = write(tmp_path, {"requirements.txt": ""})
    chosen = plan(spec(steps=(Command(argv=("make", "all")),)), names, tmp_path)
    assert chosen.builder.name == "python"
    assert commands(chosen.steps) == [("make", "all")]
    assert [(tool.name, tool.optional) for tool in chosen.tools] == [("make", False), ("uv", True), ("python", True)]


def test_without_steps_and_technology_nothing_is_run(tmp_path: Path) -> None:
    assert plan(spec(), frozenset({"run.sh"}), tmp_path).steps == ()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (Command(argv=("go", "build", ".")), ["go"]),
        (Command(argv=("./gradlew", "jar")), []),
        (Command(shell="cd x && CGO_ENABLED=0 go build | tee log; make"), ["cd", "go", "tee", "make"]),
        (Command(shell="echo 'a && b'"), ["echo", "b'"]),
        (Command(shell=""), []),
    ],
)
def test_the_programs_of_a_command_are_found(command: Command, expected: list[str]) -> None:
    assert list(programs(command)) == expected
