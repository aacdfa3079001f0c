"""Stores of a Compose file that Atoll can run in their stead: whether it can, and the templates of their URLs. Pure.

Only a server as its image comes, and only where every service that uses it gets its address as one URL: Atoll makes up a
password, and nobody would tell it under a variable of its own. `compose_stores` calls it.
"""

import re
from collections.abc import Iterable, Mapping

import msgspec

from atoll.adopt.compose_shapes import mount
from atoll.adopt.tree import items, words
from atoll.adopt.yaml_file import Fields
from atoll.model.store_url import RUN_TYPES, URL, parse

_IMAGE = re.compile(rf"(?:docker\.io/)?(?:library/)?(?P<type>{'|'.join(RUN_TYPES)})(?::(?P<tag>[\w.-]+))?")
_DATA = {"postgres": ("/var/lib/postgresql", "/var/lib/postgresql/data"), "redis": ("/data",), "nats": ("/data",)}
# What of the server's own settings Atoll's server has, too, or replaces.
_VARIABLES = {"postgres": {"POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB", "POSTGRES_HOST_AUTH_METHOD", "PGDATA"}}
_COMMANDS = {
    "redis": re.compile(r"(?:redis-server)?(?: ?--(?:appendonly yes|requirepass \S+|save \d+ \d+|loglevel \w+))*"),
    "nats": re.compile(r"(?:nats-server ?)?(?:-js|--jetstream|-sd /data|--store_dir[ =]/data| )*"),
}
_USERS = {"redis": ":{password}@"}
_PATHS = {"postgres": "/{database}", "nats": ""}
_REDIS_0 = {"", "/", "/0"}
_PRIVATE = re.compile(r"(?i)pass|secret|token|key|auth")  # of what follows `?`, which is copied


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A server of Atoll's in place of an image. `user` and `database` are "" where nothing says them."""

    type: str
    version: str = ""
    user: str = ""
    database: str = ""


def run_of(image: str, raw: Fields) -> Run | None:
    """What Atoll would run in place of this service of a Compose file; None when that would be something else."""
    found = _IMAGE.fullmatch(image)
    if found is None:
        return None
    kind = found["type"]
    given = _environment(raw)
    mounts = [mount(item) for item in items(raw.get("volumes"))]
    if (
        given.keys() - _VARIABLES.get(kind, set()) - {"TZ"}
        or any(raw.get(field) for field in ("entrypoint", "env_file", "configs", "secrets", "extends"))
        or any(target.rstrip("/") not in _DATA[kind] for _, target, _ in mounts)
        or not _is_usual(kind, raw)
    ):
        return None
    number = re.match(r"\d+", found["tag"] or "")
    user = given.get("POSTGRES_USER", "") or ("postgres" if kind == "postgres" else "")
    database = given.get("POSTGRES_DB", "") or user
    return Run(type=kind, version=number[0] if number and kind == "postgres" else "", user=user, database=database)


def template(run: Run, url: str) -> str:
    """The URL that a service was given, by what Atoll tells of its own server; "" when that would be another one."""
    found = URL.fullmatch(url)
    if found is None or found["net"] is None or "{" in url:
        return ""
    try:
        told = parse(url)
    except ValueError:
        return ""
    if told.type != run.type or len(told.hosts) != 1 or found["scheme"].startswith("jdbc:"):
        return ""
    if run.type == "postgres" and (told.user != run.user or told.database not in {"", run.database}):
        return ""
    query = url[found.end("path") :]
    if _PRIVATE.search(query):
        return ""
    whole = found["scheme"] == f"{run.type}:" and not query
    if whole and (run.type != "redis" or found["path"] in _REDIS_0):
        return "{url}"
    path = _PATHS.get(run.type, found["path"])
    return f"{found['scheme']}//{_USERS.get(run.type, '{user}:{password}@')}{{address}}{path}{query}"


def _is_usual(kind: str, raw: Fields) -> bool:
    given = raw.get("command")
    command = given if isinstance(given, str) else " ".join(words(given))
    return not command or (kind in _COMMANDS and _COMMANDS[kind].fullmatch(command) is not None)


def _environment(raw: Fields) -> Mapping[str, str]:
    given = raw.get("environment")
    if isinstance(given, dict):
        return {name: str(value or "") for name, value in given.items()}
    pairs: Iterable[tuple[str, str, str]] = (str(item).partition("=") for item in items(given))
    return {name: value for name, _, value in pairs}
