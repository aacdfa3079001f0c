"""Databases, caches and brokers of a Compose file as `[stores]`: where they are, and under which variables each service wants that.

Comes after `compose_edges`, which found the variables that hold an address. A variable whose address is only a part of
something else stays in `[env]`.
"""

import re
from collections.abc import Mapping

import msgspec

from atoll.adopt.compose_edges import Outside
from atoll.adopt.compose_servers import Run, template
from atoll.adopt.found import Found, StoreFound, join, slug
from atoll.model.store_url import parse

# What a URL of it begins with, by a word of the image's name.
_SCHEMES: Mapping[str, str] = {
    "postgres": "postgres", "postgis": "postgres", "timescale": "postgres", "pgvector": "postgres", "mysql": "mysql",
    "mariadb": "mysql", "redis": "redis", "valkey": "redis", "keydb": "redis", "mongo": "mongodb", "rabbitmq": "amqp",
    "kafka": "kafka", "redpanda": "kafka", "nats": "nats",
}  # fmt: skip
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s,;{}]+")
_HERE = "127.0.0.1"


def take(services: Mapping[str, Found], outside: Mapping[str, Outside]) -> dict[str, StoreFound]:
    """Move each service's addresses of stores into its `stores`; returns those that several share, for atoll.toml."""
    for other in outside.values():
        if other.run is not None and _run(services, other, other.run):
            continue
        scheme = next((made for word, made in _SCHEMES.items() if word in other.image.lower()), "")
        for service, variable in dict.fromkeys(other.used_by) if scheme else ():
            found = next(each for each in services.values() if each.name == service)
            _move(found, slug(other.name), scheme, other, variable)
    return _shared(services)


def _run(services: Mapping[str, Found], other: Outside, run: Run) -> bool:
    """Have Atoll run it, where that does for everybody who uses it."""
    uses = [
        (next(each for each in services.values() if each.name == service), variable)
        for service, variable in dict.fromkeys(other.used_by)
    ]
    urls = [found.secret_urls.get(variable) or found.env.get(variable, "") for found, variable in uses]
    templates = [template(run, url) for url in urls]
    if not (uses and all(templates)):
        return False
    store = slug(other.name)
    made = StoreFound(type=run.type, version=run.version, user=run.user, database=run.database)
    for (found, variable), text in zip(uses, templates, strict=True):
        known = found.stores.get(store)
        found.stores[store] = msgspec.structs.replace(made, env={**(known.env if known else {}), variable: text})
        found.env.pop(variable, None)
        found.secrets.pop(variable, None)
        found.notes.pop(f"env.{variable}", None)
    other.runs = True
    return True


def _move(found: Found, store: str, scheme: str, other: Outside, variable: str) -> None:
    """One variable of a service."""
    value, secret = found.env.get(variable, ""), found.secrets.get(variable, "")
    pairs: dict[str, str] = {}
    if secret:
        url = ""
        if variable not in found.secret_urls:
            return
    elif _URL.fullmatch(value):
        url = value
    elif re.fullmatch(rf"{re.escape(_HERE)}:\d+", value):
        url, pairs = f"{scheme}://{value}", {variable: "{address}"}
    elif value == _HERE:
        port, beside = _port_beside(found, variable)
        at = int(port or other.at(other.store))
        url, pairs = f"{scheme}://{_HERE}:{at}", {variable: "{host}", **({beside: "{port}"} if beside else {})}
    else:
        return
    if url and not _sound(url):
        return
    made = StoreFound(url=url, secret=secret, type=scheme if secret else "", env=pairs or {variable: "{url}"})
    known = found.stores.get(store)
    if known is not None and (known.url, known.secret) != (made.url, made.secret):
        return  # another database of the same server: its variable keeps the address
    found.stores[store] = msgspec.structs.replace(made, env={**(known.env if known else {}), **made.env})
    note = found.notes.pop(f"env.{variable}", "")
    if note:
        found.notes[f"stores.{store}"] = note
    for name in made.env:
        found.env.pop(name, None)
        found.secrets.pop(name, None)


def _sound(url: str) -> bool:
    """Whether it can be taken apart."""
    try:
        parse(url)
    except ValueError:
        return False
    return True


def _port_beside(found: Found, variable: str) -> tuple[str, str]:
    """The number in `DB_PORT` beside `DB_HOST`, and that variable's name."""
    other = re.sub(r"(?:HOSTNAME|HOST|ADDR|ADDRESS|SERVER)$", "PORT", variable)
    port = found.env.get(other, "")
    return (port, other) if other != variable and re.fullmatch(r"\d{1,5}", port) else ("", "")


def _shared(services: Mapping[str, Found]) -> dict[str, StoreFound]:
    """The stores that several services have at the same address: they stand once in atoll.toml."""
    users: dict[str, list[Found]] = {}
    for found in services.values():
        for name in found.stores:
            users.setdefault(name, []).append(found)
    shared: dict[str, StoreFound] = {}
    for name, those in users.items():
        first = those[0].stores[name]
        if len(those) > 1 and all(
            msgspec.structs.replace(each.stores[name], env={}) == msgspec.structs.replace(first, env={})
            for each in those
        ):
            homes = {join(each.folder, each.context) for each in those}
            shared[name] = msgspec.structs.replace(first, env={}, shared=len(homes) == 1)
            for each in those:
                each.stores[name] = StoreFound(env=each.stores[name].env)
    return shared
