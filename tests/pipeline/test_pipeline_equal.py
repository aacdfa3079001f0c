"""Two builds of the same files give the same bytes: the example's services, each with its real toolchain."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.pipeline.conftest import Workshop

from atoll.model.errors import BuildFailed
from atoll.model.spec import ServiceSpec
from atoll.model.state import Artifact
from atoll.pipeline.artifacts import Artifacts, remove_tree
from atoll.workspace.loader import load

SHOP = Path(__file__).parents[2] / "examples" / "shop"
SERVICES = sorted(file.parent.name for file in SHOP.glob("*/service.toml"))
# A virtual environment does not relocate: these name the folder that they lie in (docs/builders.md says so).
NAMES_ITS_PLACE = re.compile(r"\.venv/bin/activate[^/]*|\.venv/.*\.pyc")


def built(workshop: Workshop, spec: ServiceSpec) -> Artifact:
    result = workshop.build(spec)[spec.name]
    if isinstance(result, BuildFailed):
        if result.id in {"tool-missing", "fetch-failed"}:
            pytest.skip(result.what)
        raise result
    return result


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    return {
        path.relative_to(folder).as_posix(): os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in files
    }


@pytest.fixture
def places(tmp_path: Path) -> Iterator[list[Path]]:
    """The shop, twice; read-only results are removed after, which pytest could not without root."""
    places = [tmp_path / "one", tmp_path / "another-longer-name"]
    for place in places:
        shutil.copytree(SHOP, place, ignore=shutil.ignore_patterns("node_modules", "__pycache__", "target"))
    yield places
    for place in places:
        remove_tree(place)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("service", SERVICES)
def test_two_builds_are_equal_at_one_place_and_at_two(places: list[Path], service: str) -> None:
    workshops = [Workshop(place) for place in places]
    spec = load(places[0]).services[service]
    first = built(workshops[0], spec)
    before = content(Path(first.path))
    Artifacts(workshops[0].artifacts).remove(first.key)
    again = built(workshops[0], spec)
    assert (again.key, again.digest) == (first.key, first.digest), differing(before, content(Path(again.path)))
    elsewhere = built(workshops[1], load(places[1]).services[service])
    assert elsewhere.key == first.key
    unlike = differing(before, content(Path(elsewhere.path)))
    assert [path for path in unlike if not NAMES_ITS_PLACE.fullmatch(path)] == []
    assert bool(unlike) == (elsewhere.digest != first.digest)


def differing(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    return sorted(path for path in {*one, *other} if one.get(path) != other.get(path))
