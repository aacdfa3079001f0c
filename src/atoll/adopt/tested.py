"""How a service is tested, where its files tell beyond doubt: a test script, test files of the language, pytest in a lock.

`repository` asks for each service that is built from its own folder. Where several packages share a build, only a person
knows which tests are the service's.
"""

import re

from atoll.adopt.found import Found, join
from atoll.adopt.tree import Tree, table, words

_NO_TEST = re.compile(r"no test specified|--watch\b|\bwatch\b")  # npm's own placeholder, and what would never end
_INSTALL = {
    "package-lock.json": ("npm ci", "npm test"),
    "pnpm-lock.yaml": ("pnpm install --frozen-lockfile", "pnpm test"),
}
_PYTEST = re.compile(r"pytest(?![\w-])", re.IGNORECASE)


def how_tested(tree: Tree, found: Found) -> tuple[list[str], list[str]]:
    """The commands that test it, and the tasks that they need; none where there is a doubt."""
    if found.context != ".":
        return [], []
    folder = found.folder
    paths = tree.below(folder)
    if tree.has(folder, "package.json") and found.language in {"", "node"}:
        return _node(tree, folder), []
    match found.language:
        case "go" if any(path.endswith("_test.go") for path in paths):
            return ["go test ./..."], []
        case "rust" if any("#[test]" in tree.text(path) for path in paths if path.endswith(".rs")):
            return ["cargo test --locked" if tree.has(folder, "Cargo.lock") else "cargo test"], []
        case "maven" if any("/src/test/" in f"/{path}" for path in paths):
            return ["./mvnw -B -q test" if tree.has(folder, "mvnw") else "mvn -B -q test"], []
        case "python":
            return _python(tree, folder)
    return [], []


def _node(tree: Tree, folder: str) -> list[str]:
    script = table(tree.json(join(folder, "package.json")).get("scripts")).get("test")
    if not isinstance(script, str) or not script.strip() or _NO_TEST.search(script):
        return []
    return next((list(commands) for lock, commands in _INSTALL.items() if tree.has(folder, lock)), [])


def _python(tree: Tree, folder: str) -> tuple[list[str], list[str]]:
    """By what is locked: by uv with its group of tools, or in the requirements that the build installs."""
    groups = table(tree.toml(join(folder, "pyproject.toml")).get("dependency-groups"))
    if tree.has(folder, "uv.lock"):
        locked = any(_PYTEST.match(each) for each in words(groups.get("dev")))
        return (["uv run --frozen pytest"], []) if locked else ([], [])
    lines = tree.text(join(folder, "requirements.txt")).splitlines()
    if any(_PYTEST.match(line.strip()) for line in lines):
        return ["{needs.build}/.venv/bin/python -m pytest"], ["build"]
    return [], []
