"""poetry.lock as constraints for uv: the versions and hashes that Poetry locked, for whatever pyproject.toml asks for."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from atoll.model.building import Step
from atoll.model.errors import UserError
from atoll.model.spec import Command, ServiceSpec

CONSTRAINTS = ".poetry-lock.txt"
_MOST_BYTES = 100_000  # of one argument; the kernel allows 128 KiB
_FIX = "write a lock that uv follows: `uvx migrate-to-uv`, or `poetry export -o requirements.txt`"


def write_constraints(spec: ServiceSpec, folder: Path, project: Mapping[str, Any]) -> Iterator[Step]:
    """The steps that write CONSTRAINTS. Raises UserError when uv could not follow this lock to the letter."""
    import tomllib

    where = f"{spec.folder}/poetry.lock"
    poetry = project.get("tool", {}).get("poetry", {})
    if "project" not in project and poetry.get("package-mode") is False:
        raise UserError(
            f"{where} cannot be followed",
            "package-mode is false and there is no [project] table",
            _FIX,
            id="lockfile-unusable",
        )
    try:
        lock = tomllib.loads((folder / "poetry.lock").read_text(encoding="utf-8"))
        packages = lock.get("package", [])
        names = Counter(package["name"] for package in packages)
        lines = [_line(where, package, names) for package in packages]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as exc:
        raise UserError(
            f"{where} cannot be read",
            str(exc) or "it is no lock of Poetry",
            "run `poetry lock`",
            id="file-not-understood",
        ) from exc
    chunk = ""
    for line in lines:
        if len(chunk) + len(line) > _MOST_BYTES:
            yield _append(chunk)
            chunk = ""
        chunk += line
    yield _append(chunk)


def _append(text: str) -> Step:
    command = Command(shell=f"cat >> {CONSTRAINTS} <<'END'\n{text}END")  # noqa: S604 (a value, not a call)
    return Step(command=command, label="read poetry.lock")


def _line(where: str, package: Mapping[str, Any], names: Mapping[str, int]) -> str:
    name, version, marker = package["name"], package["version"], package.get("markers", "")
    if package.get("source", {}).get("type", "legacy") != "legacy":
        raise UserError(
            f"{where} cannot be followed", f"{name} does not come from an index", _FIX, id="lockfile-unusable"
        )
    if names[name] > 1 and not (isinstance(marker, str) and marker):
        raise UserError(
            f"{where} cannot be followed", f"it holds {name} {names[name]} times", _FIX, id="lockfile-unusable"
        )
    hashes = "".join(f" --hash={file['hash']}" for file in package.get("files", ()))
    return f"{name}=={version}{f' ; {marker}' if names[name] > 1 else ''}{hashes}\n"
