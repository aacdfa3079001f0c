"""NATS with JetStream, so that streams outlive the server."""

from collections.abc import Sequence

from atoll.model.spec import Command, Health, Port, Probe, RenderedFile, Server, ServiceSpec
from atoll.model.store_url import password_of
from atoll.servers.programs import Program, first, with_system

PROGRAM = "nats-server"
PACKAGE = "nats-server"
IMAGE = "nats:2-alpine"  # plain nats:2 has no shell for `atoll exec`
NUMBER = 4222


def find(version: str, search: Sequence[str]) -> Program | None:
    """The first server that fits."""
    return first(PROGRAM, with_system(search), version)


def service(name: str, server: Server, program: Program | None) -> ServiceSpec:
    """The server as a service."""
    lines = (
        'listen: "{host}:{port}"',
        f'server_name: "{name}"',
        'jetstream { store_dir: "{data}" }',
        f'authorization {{ user: "{server.user}", password: "{{secret.{password_of(name)}}}" }}',
    )
    return ServiceSpec(
        name=name,
        run=Command(argv=(program.path if program else PROGRAM, "--config", "{files}/nats.conf")),
        ports=(Port(name="tcp", protocol="tcp"),),
        files={"nats.conf": RenderedFile(text="\n".join(lines) + "\n")},
        health=Health(ready=Probe(kind="tcp", expect="INFO ")),  # what it says by itself, once JetStream is there
    )
