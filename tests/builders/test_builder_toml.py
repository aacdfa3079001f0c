"""Manifests that are cut are written as TOML that reads the same."""

import tomllib
from datetime import UTC, date, datetime, time

from hypothesis import given
from hypothesis import strategies as st

from atoll.builders.toml import dumps

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_MOMENTS = st.one_of(
    st.dates(min_value=date(1, 1, 1)),
    st.times(),
    st.datetimes(min_value=datetime(1000, 1, 1)),  # noqa: DTZ001 (TOML has local ones, too)
    st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
_LEAVES = st.one_of(_TEXT, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), _MOMENTS)
_VALUES = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3))


@given(st.dictionaries(_TEXT, _VALUES, max_size=4))
def test_what_is_written_reads_the_same(content: dict[str, object]) -> None:
    assert tomllib.loads(dumps(content)) == content


def test_it_is_laid_out_as_people_do() -> None:
    content = {"workspace": {"members": ["a"], "dependencies": {"b": {"path": "b"}}}, "at": time(12, 0)}
    assert dumps(content) == (
        'at = 12:00:00\n\n[workspace]\nmembers = ["a"]\n\n[workspace.dependencies.b]\npath = "b"\n'
    )
