"""Which of a service's variables hold the URL of a store: those are written as `[stores.NAME]` instead of `[env]`. Pure.

Called by `text`. Addresses that are told in parts (PGHOST, PGUSER) stay variables: which belong together is a guess.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from atoll.adopt.found import Found, slug
from atoll.model.store_url import parse

_TYPES = frozenset({"postgres", "mysql", "redis", "amqp", "nats", "mongodb", "kafka", "sqlite"})
# Of a secret only its variable's name is known.
_NAMES = re.compile(
    r"(?:^|_)(DATABASE|DB|POSTGRES(?:QL)?|PG|MYSQL|MARIADB|REDIS|MONGO(?:DB)?|AMQP|RABBITMQ|NATS|KAFKA)_(?:URL|URI|DSN)$"
)
_BY_NAME = {"postgresql": "postgres", "pg": "postgres", "mariadb": "mysql", "mongo": "mongodb", "rabbitmq": "amqp"}


class StoreFound(NamedTuple):
    """A store of one service. `secret` is that of its URL, when the URL is one."""

    name: str
    variable: str
    url: str = ""
    secret: str = ""
    type: str = ""  # where the URL does not tell


def stores_of(found: Found) -> list[StoreFound]:
    """The stores of a service, in the order of its variables, each by a name of its own."""
    used = set(found.stores)  # those that a Compose file told of
    named: list[StoreFound] = []
    for store in _stores(found):
        name = slug(store.name, used)
        used.add(name)
        named.append(store._replace(name=name))
    return named


def _stores(found: Found) -> Iterator[StoreFound]:
    for variable, value in found.env.items():
        try:
            url = parse(value)
        except ValueError:
            continue
        if url.type in _TYPES and (url.hosts or url.database):
            yield StoreFound(name=url.type, variable=variable, url=value)
    for variable, secret in found.secrets.items():
        type = type_by_name(variable)
        if type is not None:
            yield StoreFound(name=type or "database", variable=variable, secret=secret, type=type)


def type_by_name(variable: str) -> str | None:
    """What kind of store a variable's name says that it is the URL of: "" of a database of any kind, None when of none."""
    if told := _NAMES.search(variable.upper()):
        word = told[1].lower()
        type = _BY_NAME.get(word, word)
        return type if type in _TYPES else ""
    return None
