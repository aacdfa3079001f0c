"""Whether deploys are frozen now: around holidays, or on Friday evenings. Pure; admission asks.

Going back is never frozen, nor is starting what should run already.
"""

from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

from atoll.model.environment import Freeze

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def frozen(freezes: Iterable[Freeze], wall: float) -> Freeze | None:
    """The first freeze in force at `wall` (seconds since the epoch); None when there is none."""
    return next((freeze for freeze in freezes if _holds(freeze, wall)), None)


def describe(freeze: Freeze) -> str:
    """`from 2026-12-20 to 2027-01-02 (holidays)`, `fri from 16:00 to 24:00 Europe/Berlin`."""
    days = ", ".join(freeze.days)
    dates = f"from {freeze.first} to {freeze.last}" if freeze.first else ""
    span = ", ".join(part for part in (dates, days) if part) or "each day"
    whole = (freeze.after, freeze.before) == ("00:00", "24:00")
    hours = "" if whole else f" from {freeze.after} to {freeze.before} {freeze.zone}"
    return f"{span}{hours}{f' ({freeze.why})' if freeze.why else ''}"


def _holds(freeze: Freeze, wall: float) -> bool:
    now = datetime.fromtimestamp(wall, ZoneInfo(freeze.zone))
    today, minute = now.date().isoformat(), f"{now:%H:%M}"
    if freeze.first and not freeze.first <= today <= freeze.last:
        return False
    if freeze.days and DAYS[now.weekday()] not in freeze.days:
        return False
    return freeze.after <= minute < freeze.before
