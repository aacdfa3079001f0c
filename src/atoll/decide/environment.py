"""An environment's own settings: whether they fit together and fit the machine that they are for, and what differs in two of them.

Pure. `decide.validate` asks the first; the command line and the daemon of another machine the second.
"""

from collections.abc import Collection, Iterator, Sequence

from msgspec.structs import replace

from atoll.model.environment import EnvironmentSpec, WorkspaceSpec
from atoll.model.errors import Problem, Refused

WORKSPACE_FILE = "atoll.toml"


def kept_there(told: EnvironmentSpec, running: EnvironmentSpec) -> EnvironmentSpec:
    """What an environment keeps that runs with `running` and is told `told` by another machine: all but what is its own.

    Its own are the way to it, and dockerd's socket where nobody named one.
    """
    docker = told.docker if told.docker.socket else replace(told.docker, socket=running.docker.socket)
    return replace(told, host=None, docker=docker)


def differences(told: EnvironmentSpec, running: EnvironmentSpec) -> Sequence[str]:
    """The fields in which what it would keep differs from what it runs with, as atoll.toml calls them."""
    kept = kept_there(told, running)
    names = [name for name in EnvironmentSpec.__struct_fields__ if getattr(kept, name) != getattr(running, name)]
    return [{"freezes": "freeze"}.get(name, name) for name in names]


def refuse_other_engine(
    told: EnvironmentSpec, running: EnvironmentSpec, wanted: Collection[str], *, down: bool = False
) -> None:
    """Raise Refused where services shall run (`wanted`) and the engine is another: the next daemon could not take them over.

    `down`: nobody is there to be told that they shall not.
    """
    if told.engine == running.engine or not wanted:
        return
    some = sorted(wanted)
    names = ", ".join(some[:3]) + (f" and {len(some) - 3} more" if some[3:] else "")
    back = f'put `engine = "{running.engine}"` back'
    raise Refused(
        f"'{told.name}' runs on the engine '{running.engine}', and atoll.toml says '{told.engine}' now",
        f"neither takes over what the other one runs: {names}",
        f"{back}, then `atoll up` and `atoll down`, and change it after that"
        if down
        else f"{back}; or `atoll down` and then `atoll up`: services are away until they are deployed anew",
        id="engine-changed",
    )


def of_environment(workspace: WorkspaceSpec, ephemeral: tuple[int, int] | None) -> Iterator[Problem]:
    """The gateway's port and the range of leases."""
    environment = workspace.environment
    (low, high), gateway = environment.ports, environment.gateway
    if environment.host is not None:
        ephemeral = None  # it is another machine's kernel that counts
        yield from _other_machine(environment)
    if low <= gateway.port <= high:
        yield Problem(
            file=WORKSPACE_FILE,
            field="gateway",
            what=f"gateway: port {gateway.port} lies within the ports {low}-{high} that replicas get",
            fix="choose a gateway port outside, or move `ports`",
            id="port-range",
        )
    plain = gateway.tls.http if gateway.tls else None
    if plain is not None and (low <= plain <= high or plain == gateway.port):
        where = (
            "is the gateway's own" if plain == gateway.port else f"lies within the ports {low}-{high} that replicas get"
        )
        yield Problem(
            file=WORKSPACE_FILE,
            field="gateway.tls.http",
            what=f"gateway.tls.http: port {plain} {where}",
            fix="such as http = 80 beside port = 443",
            id="port-range",
        )
    if ephemeral is not None and low <= ephemeral[1] and ephemeral[0] <= high:
        yield Problem(
            file=WORKSPACE_FILE,
            field="ports",
            what=f"ports {low}-{high} overlap {ephemeral[0]}-{ephemeral[1]}, from which this machine's kernel takes"
            " ports of outgoing connections: a replica's port may be taken when it starts",
            fix=_outside(ephemeral, high - low),
            level="warning",
            id="port-range",
        )
    needed = sum(2 * (spec.replicas * len(spec.ports) + len(spec.calls)) for spec in workspace.services.values())
    if needed > high - low + 1:
        yield Problem(
            file=WORKSPACE_FILE,
            field="ports",
            what=f"ports {low}-{high} are {high - low + 1}, but two releases of every service need {needed}",
            fix=f'such as ports = "{EnvironmentSpec().ports[0]}-{EnvironmentSpec().ports[1]}"',
            id="port-range",
        )


def _other_machine(environment: EnvironmentSpec) -> Iterator[Problem]:
    """Files of a machine that has neither the checkout nor the home of whoever reads this file here."""
    tls = environment.gateway.tls
    named = [("envoy", environment.envoy)]
    for pair in tls.certificates if tls else ():
        named += [("gateway.tls.certificates", pair.cert), ("gateway.tls.certificates", pair.key)]
    named += [("gateway.tls.acme.ca", tls.acme.ca)] if tls and tls.acme else []
    for field, path in named:
        if path and not path.startswith("/"):
            what = f"{field}: {path} is not absolute, and the environment runs on {environment.host}"
            fix = "name the file as it is called there, from / on"
            yield Problem(file=WORKSPACE_FILE, field=field, what=what, fix=fix, id="wrong-value")


def _outside(ephemeral: tuple[int, int], width: int) -> str:
    """A range of that width beside the kernel's, where there is room."""
    if ephemeral[0] - width - 1 >= 1024:
        return f'such as ports = "{ephemeral[0] - width - 1}-{ephemeral[0] - 1}"'
    if ephemeral[1] + width + 1 <= 65_535:
        return f'such as ports = "{ephemeral[1] + 1}-{ephemeral[1] + width + 1}"'
    return "narrow the kernel's: sysctl net.ipv4.ip_local_port_range"
