"""URLs of stores taken apart, and what of a secret one reaches a replica."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.decide.launch import launch
from atoll.model.errors import UserError
from atoll.model.spec import SecretRef
from atoll.model.store_url import parse, without_password


@pytest.mark.parametrize(
    ("url", "type", "address", "user", "password", "database"),
    [
        ("postgres://u:p%40s@db:5433/orders?sslmode=require", "postgres", "db:5433", "u", "p@s", "orders"),
        ("postgresql+asyncpg://db/orders", "postgres", "db:5432", "", "", "orders"),
        ("jdbc:postgresql://db/orders", "postgres", "db:5432", "", "", "orders"),
        ("rediss://:pw@cache/0", "redis", "cache:6379", "", "pw", "0"),
        ("amqps://mq", "amqp", "mq:5671", "", "", ""),
        ("mongodb://a:1,b/x", "mongodb", "a:1,b:27017", "", "", "x"),
        ("mongodb+srv://cluster/x", "mongodb", "cluster", "", "", "x"),
        ("postgres://[::1]/x", "postgres", "[::1]:5432", "", "", "x"),
        ("postgres:///x?host=/run/postgresql", "postgres", "", "", "", "x"),
        ("sqlite:///var/x.db?mode=ro", "sqlite", "", "", "", "/var/x.db"),
        ("file:{data}/a%20b", "file", "", "", "", "{data}/a%20b"),
        ("surreal://db:8000/x", "surreal", "db:8000", "", "", "x"),
    ],
)
def test_a_url_has_these_parts(url: str, type: str, address: str, user: str, password: str, database: str) -> None:
    found = parse(url)
    assert (found.type, found.address) == (type, address)
    assert (found.user, found.password, found.database) == (user, password, database)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nothing",
        "nowhere:5432",
        "postgres://h:0/x",
        "postgres://h:99999/x",
        "redis://a@b@c",
        "nats://a:1,nats://b:1",
    ],
)
def test_what_is_no_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"it|`|must") as caught:
        parse(url)
    assert not url or url not in str(caught.value)


_WORD = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=8)


@given(user=_WORD, password=_WORD, host=_WORD, database=_WORD)
def test_what_is_shown_has_neither_user_nor_password(user: str, password: str, host: str, database: str) -> None:
    shown = without_password(f"postgres://{user}:{password}@{host}:5432/{database}?password={password}")
    assert shown == f"postgres://{host}:5432/{database}"


def started(orders: Any, ref: SecretRef, value: str) -> Any:
    release = orders.release(7, env={"DB": ref})
    return launch(release, orders.replica(ports={"http": 21000}).record, {}, {"db": value})


def test_a_part_of_a_secret_is_handed_over_as_a_secret(orders: Any) -> None:
    found = started(orders, SecretRef("db", part="{user}:{password}@{address}"), "postgres://u:{port}%2F@db/x")
    assert found.secrets == {"DB": "u:{port}/@db:5432"}
    assert "DB" not in found.env


@pytest.mark.parametrize(
    ("part", "value"), [("{host}", "sqlite:hunter2"), ("{host}", "hunter2"), ("{port}", "x://hunter2")]
)
def test_a_secret_that_lacks_a_part_starts_nothing_and_is_not_shown(orders: Any, part: str, value: str) -> None:
    with pytest.raises(UserError) as caught:
        started(orders, SecretRef("db", part=part), value)
    assert "DB cannot be made of the secret 'db'" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
