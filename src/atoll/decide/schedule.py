"""When a cron expression is due, in a time zone, over changes of summer time. Pure: the time is an argument.

Five fields are Debian's cron, its care for the hour that is skipped or repeated included; a sixth one in front is seconds,
which follow the clock as it goes. `workspace` asks `mistake` of a file's text, `decide.jobs` and the pages the rest.
"""

from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from atoll.model.spec import Job
from atoll.model.suggest import nearest

MACROS: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_RANGES: Final = {
    "second": "0 to 59",
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31, and in one of the months",
    "month": "1 to 12, or JAN to DEC",
    "day-of-week": "0 to 7 (both are Sunday), or SUN to SAT",
}
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)


def mistake(expression: str) -> tuple[str, str] | None:
    """What is wrong with an expression (a predicate), and the fix; None when it is good."""
    if better := MACROS.get(expression.strip().lower()):
        return f'must be a cron expression, not "{expression}"', f'write "{better}"'
    count = len(expression.split())
    usual = 'five fields: minute, hour, day of month, month, day of week; such as "0 3 * * *" for 03:00 each day'
    if count not in {5, 6}:
        better = " ".join([*expression.split(), *"*****"][:5])
        fix = f'did you mean "{better}"?' if 0 < count < 5 and _is_good(better) else usual
        return f'must be a cron expression of five fields, not "{expression}"', fix
    try:
        next(CronSim(expression, _EPOCH))
    except CronSimError as exc:
        field = str(exc).removeprefix("Bad ")
        return f'has a wrong {field} in "{expression}"', f"{field} is {_RANGES[field]}" if field in _RANGES else usual
    except StopIteration:
        return f'is never due: "{expression}"', "there is no such day"
    return None


def zone_mistake(name: str) -> tuple[str, str] | None:
    """The same of the name of a time zone."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = nearest(name, available_timezones())
        return f'is no time zone: "{name}"', f'did you mean "{near}"?' if near else 'such as "Europe/Berlin", or "UTC"'
    return None


def next_due(job: Job, after_wall: float) -> float | None:
    """When the job is due first after `after_wall` (seconds since the epoch); None without a schedule."""
    if job.schedule is None:
        return None
    occurrences = CronSim(job.schedule, datetime.fromtimestamp(after_wall, zone(job)))
    # In the hour that is repeated the library counts from the first of the two, which may be before `after_wall`.
    return next((due for at in occurrences if (due := at.timestamp()) > after_wall), None)


def last_due(job: Job, after_wall: float, now_wall: float, most: int) -> tuple[float, int] | None:
    """The newest occurrence in (`after_wall`, `now_wall`], and how many there are, counted to `most`; None for none."""
    if job.schedule is None:
        return None
    due, count = next_due(job, after_wall), 0
    newest: float | None = None
    while due is not None and due <= now_wall:
        newest, count = due, count + 1
        if count == most:
            newest = max(newest, _newest(job, now_wall))
            break
        due = next_due(job, due)
    return None if newest is None else (newest, count)


def zone(job: Job) -> tzinfo:
    """The job's time zone; UTC's own object, which needs no table."""
    return UTC if job.time_zone == "UTC" else ZoneInfo(job.time_zone)


def _newest(job: Job, now_wall: float) -> float:
    """The last occurrence up to `now_wall`, found from its end."""
    assert job.schedule is not None
    backwards = CronSim(job.schedule, datetime.fromtimestamp(now_wall + 1, zone(job)), reverse=True)
    found = next(at for one in backwards if (at := one.timestamp()) <= now_wall)
    # Backwards the library may pass over the shifted occurrence of a skipped hour: forward from there is exact.
    while (later := next_due(job, found)) is not None and later <= now_wall:
        found = later
    return found


def _is_good(expression: str) -> bool:
    try:
        next(CronSim(expression, _EPOCH))
    except (CronSimError, StopIteration):
        return False
    return True
