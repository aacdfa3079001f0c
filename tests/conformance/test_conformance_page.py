"""The page of engines is that of the suite and of what its runs showed."""

from pathlib import Path

import pytest

from atoll.testing.engine_suite import EngineSuite
from atoll.testing.engine_suite.capabilities import CAPABILITIES, every_test, shown_by, shows
from atoll.testing.engine_suite.page import ENGINES, page
from atoll.testing.engine_suite.results import read

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "engines.json"


def test_the_page_of_engines_is_up_to_date() -> None:
    said = "python -m atoll.testing.engine_suite.page docs"
    assert (RESULTS.parent / "engines.md").read_text() == page(read(RESULTS)), said


@pytest.mark.parametrize("engine", ENGINES)
def test_each_test_was_run_on_each_engine_and_no_other_is_told_of(engine: str) -> None:
    assert set(read(RESULTS)[engine]) == {shown.test for shown in every_test(EngineSuite)}


def test_each_capability_has_a_test_and_each_test_a_capability() -> None:
    assert {shown.capability for shown in every_test(EngineSuite)} == set(CAPABILITIES)


def test_a_capability_that_nobody_knows_cannot_be_shown() -> None:
    with pytest.raises(ValueError, match="speed"):
        shows("speed")
    assert shown_by(print) == ""
