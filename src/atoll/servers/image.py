"""Any other image: its port, its folder of data, its variables and its health are what the file says."""

from atoll.model.spec import Command, EnvValue, Health, Plain, Port, SecretRef, Server, ServiceSpec
from atoll.model.store_url import password_of
from atoll.model.templates import partly, placeholders
from atoll.servers.programs import Program


def service(name: str, server: Server, program: Program | None) -> ServiceSpec:
    """The server as a service."""
    del program  # it is in the image
    return ServiceSpec(
        name=name,
        run=server.run or Command(),  # none is what the image starts
        ports=(Port(name="tcp", protocol="tcp", number=server.port),),
        env={variable: _told(name, server, value) for variable, value in server.env.items()},
        writable=(server.data,) if server.data else (),
        health=Health(ready=server.health),
    )


def _told(name: str, server: Server, value: EnvValue) -> EnvValue:
    if isinstance(value, SecretRef):
        return value
    text = partly(value.value, {"user": server.user, "database": server.database})
    if "password" in placeholders(text):
        return SecretRef(password_of(name), part=text, password=True)
    return Plain(text)
