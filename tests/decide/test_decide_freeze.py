"""Freezes: between dates, at hours of weekdays, in somebody's time zone."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from atoll.decide.freeze import describe, frozen
from atoll.model.environment import Freeze

HOLIDAYS = Freeze(first="2026-12-20", last="2027-01-02", why="holidays")
FRIDAY = Freeze(days=("fri",), after="16:00", zone="Europe/Berlin")


def at(text: str, zone: str = "Europe/Berlin") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("freeze", "when", "holds"),
    [
        (HOLIDAYS, at("2026-12-19T23:59", "UTC"), False),
        (HOLIDAYS, at("2026-12-20T00:00", "UTC"), True),
        (HOLIDAYS, at("2027-01-02T23:59", "UTC"), True),
        (HOLIDAYS, at("2027-01-03T00:00", "UTC"), False),
        (FRIDAY, at("2026-11-27T15:59"), False),
        (FRIDAY, at("2026-11-27T16:00"), True),
        (FRIDAY, at("2026-11-27T15:00", "UTC"), True),
        (FRIDAY, at("2026-11-28T16:00"), False),
    ],
)
def test_a_freeze_holds_when_its_file_says(freeze: Freeze, when: float, holds: bool) -> None:
    assert (frozen([freeze], when) is not None) == holds


def test_a_freeze_is_told_in_words() -> None:
    assert describe(HOLIDAYS) == "from 2026-12-20 to 2027-01-02 (holidays)"
    sales = Freeze(first="2026-11-27", last="2026-12-24", days=("fri", "sat"), after="08:00", zone="UTC")
    assert describe(sales) == "from 2026-11-27 to 2026-12-24, fri, sat from 08:00 to 24:00 UTC"
    assert describe(FRIDAY) == "fri from 16:00 to 24:00 Europe/Berlin"
