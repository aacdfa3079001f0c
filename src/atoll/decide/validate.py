"""Whether the services of a workspace fit together: pure checks of a whole `WorkspaceSpec`, all their findings at once.

`workspace.loader` calls it and adds the lines. What can be judged by looking at one value alone is the field table's
(`workspace.fields_service`); here stands what needs two fields, two services, or the machine.
"""

from collections.abc import Collection, Iterator, Mapping

from atoll.decide import placeholders, tasks
from atoll.decide.environment import WORKSPACE_FILE, of_environment
from atoll.decide.ownership import shared_data
from atoll.decide.problem import env_field, problem
from atoll.model.environment import EnvironmentSpec, WorkspaceSpec
from atoll.model.errors import Problem
from atoll.model.spec import Call, Port, Probe, Route, ServiceSpec, service_file
from atoll.model.suggest import did_you_mean, nearest
from atoll.model.templates import placeholders as placeholders_of

_SYSTEM = ("bin", "boot", "dev", "etc", "lib", "lib64", "proc", "root", "run", "sbin", "sys", "usr")
_VAR = ("var/cache", "var/lib", "var/log", "var/tmp")
_SHARED = frozenset(f"/{each}" for each in ("", "home", "mnt", "opt", "srv", "tmp", "var", *_VAR))


def check(
    workspace: WorkspaceSpec,
    *,
    unsure: Collection[str] = (),
    ephemeral: tuple[int, int] | None = None,
) -> list[Problem]:
    """Every problem across fields and services; `field` is set, `line` is not.

    `unsure`: services whose own files have mistakes, so that nothing is said about their ports. `ephemeral`: the
    kernel's range of outgoing ports, both ends included.
    """
    problems = list(of_environment(workspace, ephemeral))
    for spec in workspace.services.values():
        problems += _service(spec, sure=spec.name not in unsure)
        problems += _leased_numbers(spec, workspace.environment)
        if spec.name in workspace.dev and spec.name not in unsure:
            problems += placeholders.of_dev(spec, workspace.dev[spec.name])
        for call in spec.calls:
            problems += _call(spec, call, workspace.services, unsure)
    return [
        *problems,
        *_clashing_routes(workspace.services.values()),
        *_writable(workspace.services.values()),
        *shared_data(workspace),
        *tasks.check(workspace),
    ]


# --- one service --------------------------------------------------------------------------------------------------


def _service(spec: ServiceSpec, *, sure: bool) -> Iterator[Problem]:
    """What its own fields say of each other. `sure`: its ports are what the file means."""
    if not spec.overlap and spec.replicas > 1:
        what = f"= false allows one instance at a time, but replicas is {spec.replicas}"
        yield problem(spec, "overlap", what, "take `replicas` out, or `overlap`", id="fields-contradict")
    if spec.health.stable_for_s >= spec.health.start_budget_s:
        what = "must be shorter than health.start_budget: else no start is ever good"
        yield problem(spec, "health.stable_for", what, id="fields-contradict")
    below = spec.folder if spec.root == "." else spec.folder.removeprefix(spec.root).strip("/")
    if _leaves(below, spec.build.context):
        where = "the workspace" if spec.root == "." else f"its root {spec.root}"
        what = f'"{spec.build.context}" leads out of {where}'
        yield problem(spec, "build.context", what, f'name a folder of {where}, such as ".."', id="outside-workspace")
    yield from _variables(spec)
    yield from _numbers(spec)
    if sure:
        yield from _probe(spec, "health.ready", spec.health.ready)
        yield from _probe(spec, "health.live", spec.health.live)
        yield from placeholders.unknown(spec)
        yield from _jobs_only(spec)
        for index, route in enumerate(spec.routes):
            yield from _route(spec, f"route[{index}]", route)


def _writable(services: Collection[ServiceSpec]) -> Iterator[Problem]:
    """A folder is given to one service's user; those that are the system's to none."""
    owners: dict[str, str] = {}
    for spec in services:
        for index, folder in enumerate(spec.writable):
            field = f"writable[{index}]"
            if folder in _SHARED or folder.split("/")[1] in _SYSTEM:
                yield problem(
                    spec,
                    field,
                    f"is {folder}, which is the system's",
                    f'name one of its own: "/var/lib/{spec.name}"',
                    id="wrong-value",
                )
            elif (owner := owners.setdefault(folder, spec.name)) != spec.name:
                what = f"is {folder}, which {owner} has"
                yield problem(spec, field, what, "each service runs as a user of its own", id="fields-contradict")


def _numbers(spec: ServiceSpec) -> Iterator[Problem]:
    """Two ports of a service need two numbers."""
    taken: dict[int, str] = {}
    for port in spec.ports:
        if port.number is not None and (other := taken.setdefault(port.number, port.name)) != port.name:
            what = f"= {port.number} is the number of port '{other}', too"
            yield problem(spec, f"ports.{port.name}.number", what, "give each its own", id="fields-contradict")


def _leased_numbers(spec: ServiceSpec, environment: EnvironmentSpec) -> Iterator[Problem]:
    """In the replica's own network its edges are at the numbers that they have on the machine."""
    low, high = environment.ports
    for port in spec.ports:
        if port.number is not None and low <= port.number <= high:
            what = f"= {port.number} lies within the ports {low}-{high} that Atoll leases"
            yield problem(spec, f"ports.{port.name}.number", what, f"move `ports` in {WORKSPACE_FILE}", id="port-range")


def _leaves(folder: str, context: str) -> bool:
    """Whether `context`, relative to `folder` of a root, climbs above the root on its way."""
    depth = 0
    for part in f"{folder}/{context}".split("/"):
        depth += {"": 0, ".": 0, "..": -1}.get(part, 1)
        if depth < 0:
            return True
    return False


def _no_such_port(name: str, ports: tuple[Port, ...]) -> tuple[str, str]:
    """What and fix for a port that is not there."""
    return f"names no port of the service: '{name}'", did_you_mean(name, [port.name for port in ports])


def _probe(spec: ServiceSpec, field: str, probe: Probe) -> Iterator[Problem]:
    """Probes that ask a port need one that speaks their protocol."""
    if probe.kind in {"process", "command"}:
        return
    if not spec.ports:
        yield problem(
            spec,
            field,
            f"asks by {probe.kind}, but the service has no port",
            'use "process", or a command',
            id="no-such-port",
        )
        return
    port = spec.port(probe.port)
    if port is None:
        yield problem(spec, f"{field}.port", *_no_such_port(probe.port, spec.ports), id="no-such-port")
    elif probe.kind not in {"tcp", port.protocol}:
        what = f"asks by {probe.kind}, but port '{port.name}' speaks {port.protocol}"
        fix = f'say port = "{probe.kind}", or ask by "tcp"' if len(spec.ports) == 1 else "name another port"
        yield problem(spec, field, what, fix, id="wrong-protocol")


def _route(spec: ServiceSpec, field: str, route: Route) -> Iterator[Problem]:
    """The gateway speaks HTTP and gRPC."""
    if not spec.ports:
        yield problem(
            spec,
            field,
            "leads to a service without a port",
            'take the route out, or `port = "none"`',
            id="no-such-port",
        )
        return
    port = spec.port(route.port)
    if port is None:
        yield problem(spec, f"{field}.port", *_no_such_port(route.port, spec.ports), id="no-such-port")
    elif port.protocol == "tcp":
        what = f"leads to port '{port.name}', which speaks tcp; the gateway speaks http and grpc"
        yield problem(spec, field, what, "route to an http or grpc port", id="wrong-protocol")
    elif port.protocol == "grpc" and route.strip:
        yield problem(
            spec, f"{field}.strip", "would break gRPC, whose path names the method", "take it out", id="wrong-protocol"
        )


def _variables(spec: ServiceSpec) -> Iterator[Problem]:
    """Each variable has one source."""
    sources: dict[str, str] = {name: env_field(spec, name) for name in spec.env}
    for port in spec.ports:
        if port.env is None:
            continue
        if port.env in sources:
            other = sources[port.env]
            what = f"is also the variable of port '{port.name}', whose number Atoll chooses"
            fix = f'take it out, or name the port\'s variable: ports.{port.name} = {{ env = "MY_PORT" }}'
            yield problem(spec, other, what, fix, id="variable-twice")
        sources[port.env] = f"ports.{port.name}.env"
    for call in spec.calls:
        for name in call.env:
            field = f"calls.{call.callee}.env.{name}"
            if name in sources:
                yield problem(
                    spec,
                    field,
                    f"is also set by {sources[name]}",
                    "give each a variable of its own",
                    id="variable-twice",
                )
            sources[name] = field
    for index, name in enumerate(spec.inherit):
        if name in sources:
            yield problem(
                spec,
                f"inherit[{index}]",
                f"({name}) is also set by {sources[name]}",
                "take one of them out",
                id="variable-twice",
            )


def _jobs_only(spec: ServiceSpec) -> Iterator[Problem]:
    """Without `run` nothing could listen, or be there twice."""
    if spec.run is None and spec.ports:
        what = "is given, but nothing runs that could listen: the service has no `run`"
        yield problem(
            spec,
            "ports" if len(spec.ports) > 1 else "port",
            what,
            "say what runs, or take the port out",
            id="fields-contradict",
        )
    if spec.run is None and spec.replicas:
        yield problem(
            spec,
            "replicas",
            "is given, but the service has no `run`",
            "say what runs, or take it out",
            id="fields-contradict",
        )


# --- between services ---------------------------------------------------------------------------------------------


def _call(
    spec: ServiceSpec, call: Call, services: Mapping[str, ServiceSpec], unsure: Collection[str]
) -> Iterator[Problem]:
    """The callee is there and has the port."""
    if call.store:
        return  # `ownership` looks at stores
    field = f"calls.{call.callee}"
    if call.url is not None:
        if call.callee in services:
            yield problem(
                spec,
                f"{field}.url",
                "is given, but a service of that name is here",
                "rename the call, or take `url` out",
                id="fields-contradict",
            )
        if call.protocol:
            yield problem(
                spec,
                f"{field}.protocol",
                "has no meaning beside url",
                "the URL's scheme says it",
                id="fields-contradict",
            )
        if call.url.startswith("tcp:"):
            yield from _without_url(spec, call, call.url)
        if call.port:
            yield problem(
                spec,
                f"{field}.port",
                "has no meaning beside url",
                "write the port into the URL",
                id="fields-contradict",
            )
        if call.ca and not call.url.startswith(("https:", "grpcs:")):
            fix = "write https:// or grpcs://, or take it out"
            yield problem(spec, f"{field}.ca", "is for a url with TLS", fix, id="fields-contradict")
        return
    if call.ca:
        yield problem(spec, f"{field}.ca", "is for a callee with a `url`", "take it out", id="fields-contradict")
    callee = services.get(call.callee)
    if callee is None:
        if not call.optional and call.callee not in unsure:
            others = [name for name in services if name != spec.name]
            fix = (
                f"did you mean '{near}'?"
                if (near := nearest(call.callee, others))
                else "one that may be absent is `optional = true`, one outside has a `url`"
            )
            yield problem(spec, field, "names no service of the workspace", fix, id="unknown-callee")
        if call.protocol == "tcp":
            yield from _without_url(spec, call, field)
        return
    if callee.name == spec.name:
        what = f"{field} is the service itself: such a request goes to any replica of any live release"
        fix = "a replica reaches itself at its own port"
        yield Problem(file=service_file(spec), field=field, what=what, fix=fix, level="warning", id="calls-itself")
    if callee.name not in unsure:
        yield from _callee_port(spec, call, callee)


def _callee_port(spec: ServiceSpec, call: Call, callee: ServiceSpec) -> Iterator[Problem]:
    field = f"calls.{call.callee}"
    port = callee.port(call.port)
    if not callee.ports:
        yield problem(
            spec,
            field,
            f"cannot be called: {callee.name} has no port",
            f"give {callee.name} a port, or take the call out",
            id="no-such-port",
        )
    elif port is None:
        fix = did_you_mean(call.port, [each.name for each in callee.ports])
        yield problem(spec, f"{field}.port", f"names no port of {callee.name}: '{call.port}'", fix, id="no-such-port")
    elif call.protocol not in {None, port.protocol}:
        what = f"is {call.protocol}, but port '{port.name}' of {callee.name} speaks {port.protocol}"
        yield problem(spec, f"{field}.protocol", what, "take it out: the callee says it", id="wrong-protocol")
    elif port.protocol == "tcp":
        yield from _without_url(spec, call, f"port '{port.name}' of {callee.name}")


def _without_url(spec: ServiceSpec, call: Call, who: str) -> Iterator[Problem]:
    """`{url}` begins with http://, which is no address of a database."""
    for variable, text in call.env.items():
        if "url" in placeholders_of(text):
            what = f"wants a URL, but {who} speaks tcp"
            yield problem(
                spec,
                f"calls.{call.callee}.env.{variable}",
                what,
                "use {address}, or {host} and {port}",
                id="wrong-protocol",
            )


def _clashing_routes(services: Collection[ServiceSpec]) -> Iterator[Problem]:
    """Two routes for the same requests; the second is told, with the first one's file."""
    taken: dict[tuple[str | None, str], ServiceSpec] = {}
    for spec in services:
        for index, route in enumerate(spec.routes):
            key = (route.host, route.path.rstrip("/") or "/")
            if (first := taken.setdefault(key, spec)) is not spec or any(
                (other.host, other.path.rstrip("/") or "/") == key for other in spec.routes[:index]
            ):
                at = f'"{route.host or ""}{route.path}"'
                whose = "this service already" if first is spec else f"{first.name} ({service_file(first)})"
                yield problem(
                    spec,
                    f"route[{index}]",
                    f"{at} belongs to {whose}",
                    "a path and host lead to one service",
                    id="route-taken",
                )
