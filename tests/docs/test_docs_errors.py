"""Every error has an id and a page: none without the other, and none that nobody can meet."""

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

import atoll
from atoll.cli import pages
from atoll.model.catalogue.ids import ErrorId, SymptomId
from atoll.model.catalogue.pages import CHAPTERS, PAGES
from atoll.model.spec import Health
from atoll.model.state import Exit

SOURCE = Path(atoll.__file__).parent
DOCS = Path(__file__).resolve().parents[2] / "docs"


def words_in_the_source() -> set[str]:
    """Every string of the code outside the catalogue, and every `[word]` within one: the proxy's answers carry theirs so."""
    found: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        if "catalogue" in path.parts or "testing" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= {node.value, *re.findall(r"\[([a-z-]+)\]", node.value)}
    return found


def test_every_id_has_exactly_one_page() -> None:
    ids = [page.id for chapter in CHAPTERS for page in chapter.pages]
    assert sorted(ids) == sorted((*get_args(ErrorId), *get_args(SymptomId)))
    assert len(ids) == len(set(ids))


def test_every_id_of_an_error_is_met_somewhere() -> None:
    assert set(get_args(ErrorId)) - words_in_the_source() == set()


def test_ids_are_short_and_can_be_typed() -> None:
    assert [id for id in PAGES if not re.fullmatch(r"[a-z]+(-[a-z]+){0,3}", id) or len(id) > 26] == []


@pytest.mark.parametrize("id", PAGES)
def test_a_page_says_how_it_looks_what_it_means_and_what_to_do(id: str) -> None:
    page = PAGES[id]
    assert re.fullmatch(r"\d{3}: .+|[A-Z].+[^.]", page.title)
    assert page.means.endswith(".")
    assert page.fixes
    assert "\n" not in page.example
    shown = re.match(r"error\[([a-z-]+)\]", page.example)
    assert shown is None or shown[1] == id
    for named in re.findall(r"atoll explain ([a-z-]+)", " ".join((page.means, *page.fixes))):
        assert named in PAGES


def test_the_page_of_errors_is_up_to_date() -> None:
    said = "python -m atoll.cli.pages > docs/troubleshooting.md"
    assert (DOCS / "troubleshooting.md").read_text() == pages.document(), said


def test_defaults_that_a_page_tells_are_those_of_the_specification() -> None:
    assert f"({Health().start_budget_s:g} s)" in PAGES["not-ready-in-time"].means


@pytest.mark.parametrize(
    ("end", "id"),
    [
        (Exit(code=1), "crashed"),
        (Exit(signal=11), "crashed"),
        (Exit(signal=9, oom=True), "out-of-memory"),
        (Exit(code=127), "program-not-found"),
        (Exit(error="no such file"), "program-not-found"),
    ],
)
def test_the_end_of_a_process_has_its_page(end: Exit, id: str) -> None:
    assert end.id == id
