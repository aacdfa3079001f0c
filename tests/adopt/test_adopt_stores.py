"""Variables that hold a store's URL become stores; whatever is doubtful stays a variable."""

import pytest

from atoll.adopt.found import Found
from atoll.adopt.stores import stores_of
from atoll.adopt.text import service_text


def found(**fields: object) -> Found:
    return Found(name="orders", folder="orders", source="compose.yaml", run="./orders", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("postgres://127.0.0.1:5432/orders", "postgres"),
        ("postgresql+psycopg://127.0.0.1/orders", "postgres"),
        ("jdbc:mysql://127.0.0.1/orders", "mysql"),
        ("amqps://127.0.0.1", "amqp"),
        ("sqlite:///{data}/orders.db", "sqlite"),
        ("http://127.0.0.1:9200", ""),
        ("redis", ""),
        ("redis://", ""),
        ("info", ""),
    ],
)
def test_a_url_of_a_known_type_is_a_store(value: str, name: str) -> None:
    assert [store.name for store in stores_of(found(env={"SOME": value}))] == ([name] if name else [])


@pytest.mark.parametrize(
    ("variable", "name", "type"),
    [
        ("DATABASE_URL", "database", ""),
        ("ORDERS_DB_URI", "database", ""),
        ("REDIS_URL", "redis", "redis"),
        ("SPRING_RABBITMQ_URL", "amqp", "amqp"),
        ("API_URL", "", ""),
        ("DATABASE_PASSWORD", "", ""),
    ],
)
def test_a_secret_that_is_called_like_a_stores_url_is_one(variable: str, name: str, type: str) -> None:
    stores = stores_of(found(secrets={variable: "x"}))
    assert [(store.name, store.type) for store in stores] == ([(name, type)] if name else [])


def test_two_stores_of_one_type_have_names_of_their_own() -> None:
    env = {"CACHE_URL": "redis://a", "QUEUE_URL": "redis://b"}
    assert [store.name for store in stores_of(found(env=env))] == ["redis", "redis-2"]


def test_they_are_written_beside_what_stays_a_variable() -> None:
    text = service_text(
        found(
            env={"LOG": "info", "MQ": "amqp://127.0.0.1:5673"},
            secrets={"MYSQL_URL": "mysql-url", "TOKEN": "token"},
            notes={"env.MQ": "mq is 127.0.0.1:5673"},
        )
    )
    assert (
        text
        == """\
run = "./orders"

[stores.amqp]
url = "amqp://127.0.0.1:5673"  # mq is 127.0.0.1:5673
env = "MQ"

[stores.mysql]
url = { secret = "mysql-url" }
type = "mysql"
env = "MYSQL_URL"

[env]
LOG = "info"
TOKEN = { secret = "token" }
"""
    )
