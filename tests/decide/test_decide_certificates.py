"""When certificates are renewed and told of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.decide.certificates import again_s, left, renew_wall, tell_wall
from atoll.model.certificate import Certificate

DAY = 86_400.0


def good_for(days: float) -> Certificate:
    return Certificate(
        chain="",
        key="SECRET",
        hosts=("a.test",),
        issuer="x",
        starts_wall=0.0,
        ends_wall=days * DAY,
        fingerprint="ab" * 32,
    )


@pytest.mark.parametrize(
    ("days", "renewed", "told"),
    [(90, 60, 69), (47, 47 * 2 / 3, 47 * 3 / 4), (6, 3, 4.5), (365, 365 * 2 / 3, 344), (3650, 3650 * 2 / 3, 3629)],
)
def test_it_is_renewed_in_time_and_told_before_the_end(days: float, renewed: float, told: float) -> None:
    assert renew_wall(good_for(days)) / DAY == pytest.approx(renewed)
    assert tell_wall(good_for(days)) / DAY == pytest.approx(told)


@given(st.floats(0.001, 10_000))
def test_who_is_told_could_not_have_it_renewed(days: float) -> None:
    assert renew_wall(good_for(days)) <= tell_wall(good_for(days)) <= days * DAY


def test_failed_attempts_stay_below_five_an_hour() -> None:
    """Let's Encrypt's limit of failed validations for a host."""
    times = [0.0]
    for failures in range(1, 40):
        times.append(times[-1] + again_s(failures))
    assert max(sum(start <= at < start + 3600 for at in times) for start in times) < 5
    assert again_s(10_000) == 3600


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (89.5 * DAY, "89 days"),
        (30 * 3600, "30 hours"),
        (90, "1 min"),
        (-2.5 * DAY, "ended 60 hours ago"),
        (-9 * DAY, "ended 9 days ago"),
    ],
)
def test_what_is_left_is_said_shortly(seconds: float, text: str) -> None:
    assert left(1e9 + seconds, 1e9) == text


def test_a_certificate_shows_no_key() -> None:
    assert "SECRET" not in repr(good_for(1)) + str(good_for(1)) + f"{[good_for(1)]}"
