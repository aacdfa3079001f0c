"""What source code gives away, whatever the language: a health path, and how the port is told to the program.

Guesses by patterns, not by parsing: each is written with a comment that says so.
"""

import re
from collections.abc import Iterable, Sequence

import msgspec

from atoll.adopt.tree import Tree

MAX_SOURCES = 400  # files of one service that are looked into
_HEALTH = re.compile(
    r"""["'`](?:GET )?(/?(?:[\w-]+/){0,3}(?:healthz|health|_health|_healthz|health[_-]?check|readyz|ready|readiness|livez|ping|up)/?)["'`]"""
)
_RANK = ("readyz", "ready", "readiness", "healthz", "_healthz", "health", "_health", "healthcheck", "health-check")
_VARIABLE = re.compile(
    r"""(?:environ(?:\.get)?\s*[\[(]\s*|[gG]et_?[eE]nv\w*\(\s*|LookupEnv\(\s*|env::var\w*\(\s*|ENV(?:\.fetch)?[\[(]\s*|mustMapEnv\([^,()]+,\s*)["']([A-Z][A-Z0-9_]*)["']"""
    r"""|process\.env\.([A-Z][A-Z0-9_]*)|process\.env\[["']([A-Z][A-Z0-9_]*)["']\]"""
)
_PORT = re.compile(r"(?:^|_)PORT$")
_FOREIGN = re.compile(
    r"^(?:DB|DATABASE|POSTGRES|PG|MYSQL|MONGO|REDIS|RABBITMQ|KAFKA|SMTP|MAIL|AMQP|NATS|CACHE|ES)\w*PORT$|^PGPORT$"
)
_ADDRESS = re.compile(
    r"^(?:LISTEN|BIND|SERVER|HTTP|GRPC|SERVICE)_?(?:LISTEN_)?(?:ADDR|ADDRESS)$|^(?:LISTEN|ADDR|LISTEN_ON)$"
)


class Port(msgspec.Struct, frozen=True):
    """How a program learns its port: by `variable` (a number), by `address` (a variable with host:port), or nobody knows."""

    variable: str = ""
    address: str = ""


def texts(tree: Tree, paths: Iterable[str]) -> list[tuple[str, str]]:
    """Path and text of the sources, a bounded number of them."""
    return [(path, tree.text(path)) for path in list(paths)[:MAX_SOURCES]]


def health_path(sources: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The likeliest health path and the file that has it; ("", "") without one."""
    found: list[tuple[int, str, str]] = []
    for path, text in sources:
        for match in _HEALTH.finditer(text):
            way = "/" + match[1].lstrip("/")
            last = way.rstrip("/").rpartition("/")[2].lower()
            # A bare word without a slash is a route only where frameworks write it so (Django, Spring).
            bare = not match[1].startswith("/")
            if last in {"up", "ping", "ready"} and bare:
                continue
            found.append(((_RANK.index(last) if last in _RANK else 50) + way.count("/") * 10 + bare * 100, way, path))
    return min(found)[1:] if found else ("", "")


def port_of(sources: Sequence[tuple[str, str]]) -> Port:
    """How the program learns its port."""
    names: list[str] = []
    for _, text in sources:
        names += [next(filter(None, match.groups())) for match in _VARIABLE.finditer(text)]
    if "PORT" in names:
        return Port(variable="PORT")
    numbers = [name for name in names if _PORT.search(name) and not _FOREIGN.match(name)]
    if numbers:
        return Port(variable=numbers[0])
    addresses = [name for name in names if _ADDRESS.match(name)]
    return Port(address=addresses[0]) if addresses else Port()


def any_has(sources: Sequence[tuple[str, str]], pattern: str) -> str:
    """The path of the first source in which the pattern occurs; "" when in none."""
    compiled = re.compile(pattern)
    return next((path for path, text in sources if compiled.search(text)), "")
