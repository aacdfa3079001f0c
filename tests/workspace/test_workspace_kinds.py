"""How single values are read, shown and refused."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atoll.workspace.kinds import (
    Choice,
    Duration,
    Either,
    Flag,
    Integer,
    Kind,
    ListOf,
    MapOf,
    Percent,
    Size,
    Text,
    Wrong,
    duration_text,
    size_text,
)

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine, too


def refused(kind: Kind, value: Any) -> tuple[str, str]:
    with pytest.raises(Wrong) as caught:
        kind.read(value)
    (mistake,) = caught.value.mistakes
    return mistake.what, mistake.fix


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("2s", 2),
        ("1m30s", 90),
        ("10m", 600),
        ("1h", 3600),
        ("1.5s", 1.5),
        ("0s", 0),
        ("1h1m1s1ms", 3661.001),
    ],
)
def test_durations_are_read_as_seconds(text: str, seconds: float) -> None:
    assert Duration().read(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("value", "what", "fix"),
    [
        (30, "must be a duration, not the number 30", 'write "30s", with a unit'),
        (1.5, "must be a duration, not the number 1.5", 'write "1.5s", with a unit'),
        ("30", 'must be a duration, not "30"', 'write "30s", with a unit'),
        ("", 'must be a duration, not ""', 'such as "500ms", "2s" or "1m30s"'),
        ("1s1m", 'must be a duration, not "1s1m"', 'such as "500ms", "2s" or "1m30s"'),
        ("2 s", 'must be a duration, not "2 s"', 'such as "500ms", "2s" or "1m30s"'),
        ("-2s", 'must be a duration, not "-2s"', 'such as "500ms", "2s" or "1m30s"'),
        (True, "must be a duration, not true", 'such as "500ms", "2s" or "1m30s"'),
        (["2s"], "must be a duration, not a list", 'such as "500ms", "2s" or "1m30s"'),
        (16**3000, "must be a duration, not a huge number", 'such as "500ms", "2s" or "1m30s"'),
        ("25h", 'must be from "0s" to "24h", not "25h"', ""),
        ("9" * 400 + "h", 'must be from "0s" to "24h", not "' + "9" * 37 + '..."', ""),
    ],
)
def test_what_is_no_duration_is_told_with_the_fix(value: Any, what: str, fix: str) -> None:
    assert refused(Duration(), value) == (what, fix)


@CALM
@given(st.integers(0, 86_400_000))
def test_durations_survive_writing_and_reading(milliseconds: int) -> None:
    assert Duration().read(duration_text(milliseconds / 1000)) == pytest.approx(milliseconds / 1000, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "size"),
    [("256MiB", 2**28), ("1.5GiB", 3 * 2**29), ("500MB", 500_000_000), ("10 KiB", 10_240), ("7kB", 7000), ("0B", 0)],
)
def test_sizes_are_read_as_bytes(text: str, size: int) -> None:
    assert Size().read(text) == size


@pytest.mark.parametrize(
    ("value", "what", "fix"),
    [
        (256, "must be a size with its unit, not the number 256", 'write "256B" if bytes are meant'),
        ("256M", 'must be a size with its unit, not "256M"', 'write "256MiB"'),
        ("1.5g", 'must be a size with its unit, not "1.5g"', 'write "1.5GiB"'),
        ("256 Mib", 'must be a size with its unit, not "256 Mib"', 'write "256MiB"'),
        ("much", 'must be a size with its unit, not "much"', 'such as "256MiB" or "1.5GiB"'),
        (False, "must be a size with its unit, not false", 'such as "256MiB" or "1.5GiB"'),
        ("9999999999999999999TiB", 'must be from "0B" to "1024TiB", not "9999999999999999999TiB"', ""),
    ],
)
def test_what_is_no_size_is_told_with_the_fix(value: Any, what: str, fix: str) -> None:
    assert refused(Size(), value) == (what, fix)


@CALM
@given(st.integers(0, 2**50))
def test_sizes_survive_writing_and_reading(size: int) -> None:
    text = size_text(size)
    if len(text) < 16:
        assert Size().read(text) == size


@pytest.mark.parametrize(
    ("kind", "value", "what", "fix"),
    [
        (Percent(), 20, "must be a percentage, not the number 20", 'write "20%"'),
        (Percent(), "120%", 'must be from "0%" to "100%", not "120%"', ""),
        (Percent(), "x", 'must be a percentage, not "x"', 'such as "20%"'),
        (Flag(), "true", 'must be true or false, not "true"', "write true"),
        (Flag(), 1, "must be true or false, not the number 1", ""),
        (Integer(1, 9), "3", 'must be a whole number from 1 to 9, not "3"', "write 3"),
        (Integer(1, 9), 3.0, "must be a whole number from 1 to 9, not the number 3.0", ""),
        (Integer(1, 9), True, "must be a whole number from 1 to 9, not true", ""),
        (Integer(1, 9), 10, "must be from 1 to 9, not the number 10", ""),
        (Integer(1, 9), 2**70, "must be from 1 to 9, not a huge number", ""),
        (Choice("http", "grpc"), "htp", 'must be one of "http", "grpc", not "htp"', "did you mean 'http'?"),
        (Choice("http", "grpc"), ["http"], 'must be one of "http", "grpc", not a list', ""),
        (Choice("process"), "docker", 'must be "process", not "docker"', ""),
        (Text(), 3, "must be a string, not the number 3", 'write "3"'),
        (Text(), "a\0b", "must not hold a NUL character", "no environment or command line can carry one"),
        (Text(pattern="[a-z]+", must="be lower", mend=str.lower), "ABC", 'must be lower, not "ABC"', 'did you mean "abc"?'),
        (Text(pattern="[a-z]+", must="be lower", mend=str.lower), "A C", 'must be lower, not "A C"', ""),
        (ListOf(Text()), "a", 'must be a list, not "a"', 'write ["a"]'),
        (ListOf(Text(), least=1), [], "must not be empty", ""),
        (MapOf(Text(), Text()), "a", 'must be a table, not "a"', ""),
        (Either(text=Text(), table=MapOf(Text(), Text())), 3, "must be a string or a table, not the number 3", ""),
    ],
)  # fmt: skip
def test_other_values_are_refused_with_what_is_expected(kind: Kind, value: Any, what: str, fix: str) -> None:
    assert refused(kind, value) == (what, fix)


def test_all_mistakes_of_a_list_and_a_table_are_found_and_the_rest_is_kept() -> None:
    kind = MapOf(Text(pattern="[a-z]+", must="be lower"), ListOf(Integer(0, 9)))
    with pytest.raises(Wrong) as caught:
        kind.read({"a": [1, "x", 3, 10], "B": [], "c": 1, "d": [4]})
    found = [(mistake.path, mistake.what) for mistake in caught.value.mistakes]
    assert found == [
        (("a", 1), 'must be a whole number from 0 to 9, not "x"'),
        (("a", 3), "must be from 0 to 9, not the number 10"),
        (("B",), 'has a name that must be lower, not "B"'),
        (("c",), "must be a list, not the number 1"),
    ]
    assert caught.value.partial == {"a": (1, 3), "d": (4,)}
