"""Redis: every write is in the append-only file before it is answered, so that a killed server has lost none of them."""

from collections.abc import Sequence

from atoll.model.spec import Command, Health, Port, Probe, RenderedFile, Server, ServiceSpec
from atoll.model.store_url import password_of
from atoll.servers.programs import Program, first, with_system

PROGRAM = "redis-server"
PACKAGE = "redis-server"
IMAGE = "redis:7"
NUMBER = 6379
# While it reads its file it answers AUTH, and PING with LOADING. The user `atoll` may do nothing but that.
_ASKS = "AUTH atoll probe\r\nPING\r\n"
_ANSWERS = r"\+OK\r\n\+PONG"


def find(version: str, search: Sequence[str]) -> Program | None:
    """The first server that fits."""
    return first(PROGRAM, with_system(search), version)


def service(name: str, server: Server, program: Program | None) -> ServiceSpec:
    """The server as a service."""
    user = f"user {server.user} on ~* &* +@all" if server.user != "default" else "user default on ~* &* +@all"
    lines = (
        "bind {host}",
        "port {port}",
        "protected-mode no",  # it has a password
        'dir "{data}"',
        "appendonly yes",
        "daemonize no",
        f'{user} ">{{secret.{password_of(name)}}}"',
        *(() if server.user == "default" else ("user default off",)),
        "user atoll on nopass -@all +ping",
    )
    return ServiceSpec(
        name=name,
        run=Command(argv=(program.path if program else PROGRAM, "{files}/redis.conf")),
        ports=(Port(name="tcp", protocol="tcp"),),
        files={"redis.conf": RenderedFile(text="\n".join(lines) + "\n")},
        health=Health(ready=Probe(kind="tcp", send=_ASKS, expect=_ANSWERS)),
    )
