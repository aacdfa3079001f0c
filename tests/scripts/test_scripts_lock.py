import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text()


def distribution(requirement: str) -> str:
    """Its name as indexes normalise it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower())


def test_every_dependency_of_the_project_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {distribution(line) for line in [*project["dependencies"], *project["optional-dependencies"]["dev"]]}
    locked = {line.split("==")[0] for line in LOCK.splitlines() if "==" in line}
    assert wanted <= locked, "run `make lock`"


def test_every_locked_file_is_pinned_by_hash_and_no_registry_is_named() -> None:
    for entry in re.split(r"\n(?=\S)", LOCK):
        assert entry.startswith("#") or "--hash=sha256:" in entry, entry
    assert "://" not in LOCK
    assert "--index" not in LOCK
