"""The URL of a store: `postgres://user:password@db:5432/orders`, taken apart into what a service may want to be told.

`workspace` does it with URLs that stand in a file, `decide.launch` with those that are secrets. No message here shows
the URL or a part of it: it may hold a password.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

STORE_PLACEHOLDERS = ("url", "host", "port", "address", "user", "password", "database")
SCHEME = r"(?:jdbc:)?[a-z][a-z0-9+.-]*:"
URL = re.compile(
    rf"(?P<scheme>{SCHEME})(?P<net>//(?:(?P<user>[^:@/?#]*)(?::(?P<password>[^@/?#]*))?@)?(?P<hosts>[^@/?#]*)(?=[/?#]|$))?(?P<path>[^?#]*)(?:[?#].*)?"
)
_ESCAPED = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_HOST = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>.+))?")

# The port of a type where its URL names none; by IANA, or by the server's own documentation.
_USUAL_PORTS = {"postgres": 5432, "mysql": 3306, "redis": 6379, "amqp": 5672, "nats": 4222, "mongodb": 27017}
_USUAL_PORTS |= {"kafka": 9092, "http": 80, "https": 443}
_SECURE_PORTS = {"amqps": 5671}
_TYPES = {"postgresql": "postgres", "mariadb": "mysql", "rediss": "redis", "valkey": "redis", "valkeys": "redis"}
_TYPES |= {"amqps": "amqp", "sqlite3": "sqlite"}
BROKERS = frozenset({"amqp", "nats", "kafka", "mqtt"})  # to be shared is what they are for


class StoreUrl(NamedTuple):
    """A store's address. `hosts` are (host, port) pairs, several for a cluster; none for a file."""

    type: str
    hosts: tuple[tuple[str, str], ...]
    user: str
    password: str
    database: str  # its name, or the path of a file

    @property
    def address(self) -> str:
        """`host:port`, or several with commas between; "" for a file."""
        return ",".join(f"{host}:{port}" if port else host for host, port in self.hosts)

    def values(self, url: str) -> Mapping[str, str]:
        """What the templates of a store stand for; names without a value (the host of a file) are left out."""
        values = {"url": url, "user": self.user, "password": self.password, "database": self.database}
        if self.hosts:
            host, port = self.hosts[0]
            values |= {"host": host, "address": self.address} | ({"port": port} if port else {})
        return values


def parse(url: str, type: str = "") -> StoreUrl:
    """Take a URL apart; `type` when somebody says it, else the scheme's. Raises ValueError for what is no URL.

    Percent-encoding is undone in user, password and database, but not in the path of a file. Placeholders stay as they are.
    """
    found = URL.fullmatch(url)
    if found is None:
        raise ValueError("it is no URL such as postgres://db:5432/orders")
    scheme, _, variant = found["scheme"].removeprefix("jdbc:").removesuffix(":").partition("+")
    type = type or _TYPES.get(scheme, scheme)
    if scheme in {"sqlite", "sqlite3", "file"}:
        return StoreUrl(type, (), "", "", found["path"])
    if found["net"] is None:
        wrong = (
            "its host or port is not one" if found["path"].startswith("//") else f"`{scheme}:` must be followed by //"
        )
        raise ValueError(wrong)
    usual = 0 if variant == "srv" else _SECURE_PORTS.get(scheme, _USUAL_PORTS.get(type, 0))  # SRV records tell the port
    return StoreUrl(
        type,
        tuple(_host(text, usual) for text in found["hosts"].split(",") if text),
        _decoded(found["user"] or ""),
        _decoded(found["password"] or ""),
        _decoded(found["path"].removeprefix("/")),
    )


def _decoded(text: str) -> str:
    return _ESCAPED.sub(lambda found: bytes.fromhex(found[0].replace("%", "")).decode("utf-8", "replace"), text)


def _host(text: str, usual: int) -> tuple[str, str]:
    found = _HOST.fullmatch(text)
    port = (found and found["port"]) or (str(usual) if usual else "")
    if found is None or not found["host"] or not re.fullmatch(r"|\d{1,5}|\{.*\}", port):
        raise ValueError("its host or port is not one")
    if port.isdigit() and not 0 < int(port) <= 65_535:
        raise ValueError("its port is not from 1 to 65535")
    return found["host"], port


def without_password(url: str) -> str:
    """The URL as it may be shown: without user and password, and without what follows `?`."""
    found = URL.fullmatch(url)
    if found is None:
        return "(no URL)"
    return f"{found['scheme']}{'//' if found['net'] is not None else ''}{found['hosts'] or ''}{found['path']}"


# --- of a store that Atoll runs -----------------------------------------------------------------------------------

RUN_TYPES = ("postgres", "redis", "nats")  # which `atoll.servers` knows without being told more
_PASSWORDS = "store."  # what the names of their secrets begin with


def password_of(store: str) -> str:
    """The name of the secret that is the password of a store that Atoll runs."""
    return f"{_PASSWORDS}{store}"


def is_password(secret: str) -> bool:
    """Whether a secret of that name is made by Atoll, for a store."""
    return secret.startswith(_PASSWORDS)


def server_values(name: str, type: str, user: str, database: str, *, password: bool) -> Mapping[str, str]:
    """What the templates of such a store stand for: `{url}` and the like, in terms of the caller's edge and `{password}`."""
    edge = f"{{calls.{name}.address}}"
    values = {part: f"{{calls.{name}.{part}}}" for part in ("host", "port", "address")}
    values |= {key: text for key, text in (("user", user), ("database", database)) if text}
    if password:
        values |= {"password": "{password}"}
    who = f"{'' if type == 'redis' else user}:{{password}}@" if password else ""
    if type:
        values["url"] = f"{type}://{who}{edge}{f'/{database}' if database else ''}"
    return values


def server_user(name: str, type: str) -> str:
    """The user that a store of that type gets unless its file names one."""
    return {"postgres": name.replace("-", "_"), "redis": "default", "nats": name}.get(type, "")


def server_database(name: str, type: str) -> str:
    """The database, likewise."""
    return {"postgres": name.replace("-", "_"), "redis": "0"}.get(type, "")
