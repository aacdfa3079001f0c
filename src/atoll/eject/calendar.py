"""Cron expressions as systemd's `OnCalendar`. Pure.

Both list what matches field by field; only "either day" of cron (day of month or of week) needs two lines.
"""

from datetime import UTC, datetime
from typing import Final

from cronsim import CronSim

from atoll.model.spec import Job

_DAYS: Final = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_ANY: Final = "*"


def on_calendar(job: Job) -> list[str]:
    """The lines that mean the job's schedule; none when systemd cannot say it (`L`, `LW` and `#` of some crons)."""
    assert job.schedule is not None
    cron = CronSim(job.schedule, datetime(2000, 1, 1, tzinfo=UTC))
    if any(day < 0 for day in cron.days) or any(not isinstance(day, int) for day in cron.weekdays):
        return []
    weekdays = {day % 7 for day in cron.weekdays if isinstance(day, int)}
    week = "" if len(weekdays) == len(_DAYS) else ",".join(_DAYS[day] for day in sorted(weekdays)) + " "
    month = _listed(cron.months, 1, 12)
    days = _listed(cron.days, 1, 31)
    time = f"{_listed(cron.hours, 0, 23)}:{_listed(cron.minutes, 0, 59)}:{_listed(cron.seconds, 0, 59)} {job.time_zone}"
    if cron.day_and or not week or days == _ANY:
        return [f"{week}*-{month}-{days} {time}"]
    return [f"*-{month}-{days} {time}", f"{week}*-{month}-* {time}"]


def _listed(values: set[int], low: int, high: int) -> str:
    return _ANY if len(values) == high - low + 1 else ",".join(f"{value:02d}" for value in sorted(values))
