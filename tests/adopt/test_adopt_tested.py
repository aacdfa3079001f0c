"""How a service is tested: written where its files tell, and left out where they leave a doubt."""

import json

import pytest

from atoll.adopt.found import Found
from atoll.adopt.tested import how_tested
from atoll.adopt.tree import Tree


def asked(files: dict[str, str], **found: object) -> tuple[list[str], list[str]]:
    tree = Tree(files, lambda path: files[path].encode())
    return how_tested(tree, Found(name="orders", folder="orders", source="", **found))


def package(test: str) -> str:
    return json.dumps({"scripts": {"test": test}})


PYTEST = '[dependency-groups]\ndev = ["ruff", "pytest>=8"]\n'


@pytest.mark.parametrize(
    ("files", "language", "commands"),
    [
        ({"package.json": package("node --test"), "package-lock.json": "{}"}, "node", ["npm ci", "npm test"]),
        (
            {"package.json": package("vitest run"), "pnpm-lock.yaml": ""},
            "node",
            ["pnpm install --frozen-lockfile", "pnpm test"],
        ),
        ({"go.mod": "", "inner/a_test.go": ""}, "go", ["go test ./..."]),
        (
            {"Cargo.lock": "", "src/main.rs": "#[cfg(test)] mod t { #[test] fn a() {} }"},
            "rust",
            ["cargo test --locked"],
        ),
        ({"pom.xml": "", "src/test/java/ATest.java": ""}, "maven", ["mvn -B -q test"]),
        ({"pom.xml": "", "mvnw": "", "src/test/java/ATest.java": ""}, "maven", ["./mvnw -B -q test"]),
        ({"pyproject.toml": PYTEST, "uv.lock": ""}, "python", ["uv run --frozen pytest"]),
    ],
)
def test_files_that_tell_how_it_is_tested(files: dict[str, str], language: str, commands: list[str]) -> None:
    assert asked({f"orders/{path}": text for path, text in files.items()}, language=language) == (commands, [])


def test_pytest_among_the_requirements_runs_in_the_environment_of_the_build() -> None:
    commands, needs = asked({"orders/requirements.txt": "flask\npytest==8.3\n"}, language="python")
    assert (commands, needs) == (["{needs.build}/.venv/bin/python -m pytest"], ["build"])


@pytest.mark.parametrize(
    ("files", "language"),
    [
        ({"package.json": package('echo "Error: no test specified" && exit 1'), "package-lock.json": "{}"}, "node"),
        ({"package.json": package("jest --watch"), "package-lock.json": "{}"}, "node"),
        ({"package.json": package("node --test")}, "node"),
        ({"package.json": '{"scripts": ["test"]}', "package-lock.json": "{}"}, "node"),
        ({"go.mod": "", "main.go": ""}, "go"),
        ({"Cargo.toml": "", "src/main.rs": "fn main() {}"}, "rust"),
        ({"pom.xml": "", "src/main/java/A.java": ""}, "maven"),
        ({"requirements.txt": "pytest-mock\n", "test_a.py": ""}, "python"),
        ({"pyproject.toml": "", "uv.lock": ""}, "python"),
    ],
)
def test_a_doubt_is_left_to_a_person(files: dict[str, str], language: str) -> None:
    assert asked({f"orders/{path}": text for path, text in files.items()}, language=language) == ([], [])


def test_where_several_share_a_build_nobody_knows_whose_tests_they_are() -> None:
    files = {"orders/go.mod": "", "orders/a_test.go": ""}
    assert asked(files, language="go", context="..") == ([], [])
