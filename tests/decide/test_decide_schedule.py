"""When cron expressions are due, as tables of local times; and what is said of those that are wrong."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.decide.schedule import last_due, mistake, next_due, zone_mistake
from atoll.model.spec import Command, Job

BERLIN = ZoneInfo("Europe/Berlin")


def job(schedule: str, zone: str = "Europe/Berlin") -> Job:
    return Job(name="nightly", run=Command(shell="x"), schedule=schedule, time_zone=zone)


def wall(text: str, zone: ZoneInfo = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def following(of: Job, after: float, count: int) -> list[str]:
    found = []
    for _ in range(count):
        due = next_due(of, after)
        assert due is not None
        found.append(f"{datetime.fromtimestamp(due, BERLIN):%m-%d %H:%M %Z}")
        after = due
    return found


@pytest.mark.parametrize(
    ("schedule", "after", "then"),
    [
        ("0 3 * * *", "2026-11-26T12:00", ["11-27 03:00 CET", "11-28 03:00 CET"]),
        ("30 2 * * *", "2026-03-28T12:00", ["03-29 03:00 CEST", "03-30 02:30 CEST"]),  # skipped: right after
        ("0,30 2 * * *", "2026-03-28T12:00", ["03-29 03:00 CEST", "03-30 02:00 CEST"]),  # both skipped: once
        ("30 2 * * *", "2026-10-24T12:00", ["10-25 02:30 CEST", "10-26 02:30 CET"]),  # repeated: once
        ("0 * * * *", "2026-10-25T01:30", ["10-25 02:00 CEST", "10-25 02:00 CET", "10-25 03:00 CET"]),  # hourly: each
        ("0 9 * * MON-FRI", "2026-11-27T12:00", ["11-30 09:00 CET"]),
        ("0 0 L * *", "2026-02-10T12:00", ["02-28 00:00 CET"]),
    ],
)
def test_schedules_over_changes_of_summer_time(schedule: str, after: str, then: list[str]) -> None:
    assert following(job(schedule), wall(after), len(then)) == then


def test_in_the_repeated_hour_what_ran_in_its_first_pass_does_not_come_again() -> None:
    first = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN).timestamp()
    for minutes in range(1, 120):
        due = next_due(job("30 2 * * *"), first + 60 * minutes)
        assert due is not None
        assert due > first + 3600 * 23


@pytest.mark.parametrize(
    ("expression", "what", "fix"),
    [
        ("@daily", 'must be a cron expression, not "@daily"', 'write "0 0 * * *"'),
        ("*/5", "of five fields", 'did you mean "*/5 * * * *"?'),
        ("60 * * * *", 'has a wrong minute in "60 * * * *"', "minute is 0 to 59"),
        ("0 25 * * *", "has a wrong hour", "hour is 0 to 23"),
        ("0 0 30 2 *", "has a wrong day-of-month", "day-of-month is 1 to 31, and in one of the months"),
        ("each day at three sharp", "has a wrong minute", "0 to 59"),
        ("0 3 * * * * *", "of five fields", "five fields: minute"),
        ("", "of five fields", "five fields: minute"),
        ("0 3 * * FUNDAY", "has a wrong day-of-week", "SUN to SAT"),
    ],
)
def test_a_wrong_expression_says_what_and_how(expression: str, what: str, fix: str) -> None:
    found = mistake(expression)
    assert found is not None
    assert what in found[0]
    assert fix in found[1]


@pytest.mark.parametrize(
    "expression", ["0 3 * * *", "*/10 8-18 * * MON-FRI", "* * * * * *", "0 0 L * *", "0 0 * * 1#2"]
)
def test_a_good_expression_is_no_mistake(expression: str) -> None:
    assert mistake(expression) is None


def test_time_zones_are_known_by_name_and_a_near_miss_is_named() -> None:
    assert zone_mistake("UTC") is zone_mistake("Europe/Berlin") is None
    assert zone_mistake("Europe/Berln") == ('is no time zone: "Europe/Berln"', 'did you mean "Europe/Berlin"?')
    assert zone_mistake("../../etc/passwd") is not None


SCHEDULES = ["* * * * *", "*/7 * * * *", "30 2 * * *", "0,30 1-3 * * *", "0 * * * *", "15 4 1 * MON"]


@given(
    st.sampled_from(SCHEDULES),
    st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"]),
    st.integers(1_770_000_000, 1_800_000_000),
    st.integers(0, 4 * 86_400),
    st.integers(1, 50),
)
def test_the_newest_of_a_span_is_the_last_that_counting_one_by_one_finds(
    schedule: str, zone: str, after: int, span: int, most: int
) -> None:
    of = job(schedule, zone)
    one_by_one, due = [], next_due(of, after)
    while due is not None and due <= after + span and len(one_by_one) < 2000:
        assert not one_by_one or due > one_by_one[-1]
        one_by_one.append(due)
        due = next_due(of, due)
    found = last_due(of, after, after + span, most)
    if not one_by_one:
        assert found is None
        return
    assert found is not None
    assert found[1] == min(most, len(one_by_one))
    if len(one_by_one) < 2000:
        assert found[0] == one_by_one[-1]
    later = next_due(of, found[0])
    assert later is None or later > after + span


def test_a_day_is_utc_unless_it_says_otherwise() -> None:
    due = next_due(Job(name="n", run=Command(shell="x"), schedule="0 3 * * *"), wall("2026-11-26T12:00"))
    assert due == datetime(2026, 11, 27, 3, tzinfo=UTC).timestamp()
