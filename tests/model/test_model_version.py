"""Versions and their order."""

import itertools

import pytest

from atoll.model.version import newer

ORDER = (
    "0.0.9",
    "0.1.0.dev1",
    "0.1.0a1",
    "0.1.0b2",
    "0.1.0rc1",
    "0.1.0rc2",
    "0.1.0",
    "0.1.0.post1",
    "0.2",
    "0.10.0",
    "1.0",
)


def test_the_order_is_that_of_pep_440() -> None:
    for (lower, one), (higher, other) in itertools.product(enumerate(ORDER), repeat=2):
        assert newer(one, other) is (lower > higher), (one, other)


@pytest.mark.parametrize(("one", "other"), [("0.1", "0.1.0"), ("1.0.0+local", "1.0"), ("unknown", "0.1"), ("0.1", "")])
def test_what_is_the_same_or_no_version_is_not_newer(one: str, other: str) -> None:
    assert not newer(one, other)
