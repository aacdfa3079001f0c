"""From the fields of one `service.toml` to its `ServiceSpec`: the environment's values merged in, the usual filled in.

Called by the loader. Pure. What is "usual" and depends on other fields stands here: the first port's variable, the
probe of a service that names none, the port that a probe or a route means.
"""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from msgspec.structs import replace

from atoll.model.catalogue.ids import ErrorId
from atoll.model.environment import WorkspaceSpec
from atoll.model.errors import Problem
from atoll.model.spec import (
    Call,
    EnvValue,
    Health,
    Port,
    Probe,
    Protocol,
    RolloutSpec,
    Route,
    SecretRef,
    ServiceSpec,
    Store,
    service_file,
)
from atoll.model.suggest import nearest
from atoll.workspace.fields_edges import USUAL_ADDRESS
from atoll.workspace.fields_health import UNSAID
from atoll.workspace.fields_jobs import settled
from atoll.workspace.kinds import Mistake
from atoll.workspace.stores import calls, variables

Env = Mapping[str, EnvValue]


def service(
    given: dict[str, Any], folder: str, env: Env, environment: str, stores: tuple[Store, ...] = ()
) -> ServiceSpec:
    """The service of these fields (by attribute) in one environment. `env` is what every service gets there, `stores`
    are its own as they are there.
    """
    fields = dict(given)
    jobs = fields.get("jobs", {})
    fields["jobs"] = tuple(jobs.values())
    fields["rollout"] = settled(fields.get("rollout", RolloutSpec()), jobs)[0]
    if "run" not in fields:  # its jobs are all of it
        fields = {"port": "none", "replicas": 0, **fields}
    ports = _ports(fields.pop("port", None), fields.pop("ports", None))
    fields["stores"] = stores
    fields["env"] = {**env, **variables(stores), **own_env(given, environment)}
    fields["calls"] = (*fields.get("calls", {}).values(), *calls(stores))
    fields["routes"] = tuple(_route(route, ports) for route in fields.get("routes", ()))
    fields["health"] = _health(fields.get("health", Health(ready=UNSAID)), ports)
    return ServiceSpec(folder=folder, ports=ports, **fields)


def own_env(given: Mapping[str, Any], environment: str) -> dict[str, EnvValue]:
    """What a service's `[env]` says in one environment."""
    own = {name: value for name, value in given.get("env", {}).items() if not isinstance(value, dict)}
    override = given.get("env", {}).get(environment)
    return {**own, **(override if isinstance(override, dict) else {})}


def environment_mistakes(given: Mapping[str, Any], environments: Collection[str]) -> list[Mistake]:
    """Tables in `[env]` that are named like no environment, and variables that are."""
    known = ", ".join(sorted(environments))
    mistakes: list[Mistake] = []
    for name, value in given.get("env", {}).items():
        if isinstance(value, dict) and name not in environments:
            id: ErrorId = "unknown-environment"
            what = "is no environment of atoll.toml"
            fix = f"known: {known}; others are declared there as [environments.{name}]"
            if near := next((key for key in value if key != "secret" and get_close_matches(key, ["secret"])), None):
                what, fix = f"is no secret: {near} is not its field", f'{name} = {{ secret = "NAME" }}'
                id = "wrong-value"
            mistakes.append(Mistake(what, fix, ("env", name), id=id))
        elif isinstance(value, SecretRef) and name in environments:
            what = "is read as a secret, but has the name of an environment"
            mistakes.append(Mistake(what, "give the variable another name", ("env", name), id="variable-twice"))
    return mistakes


def address_templates(spec: ServiceSpec, services: Mapping[str, ServiceSpec]) -> ServiceSpec:
    """The calls that only name a variable get the template that fits the callee's port."""
    return replace(spec, calls=tuple(_call(call, services.get(call.callee)) for call in spec.calls))


def without_root(workspace: WorkspaceSpec) -> tuple[WorkspaceSpec, list[Problem]]:
    """While a root is not there, a callee that nobody has may be in it: such calls are optional, and told."""
    doubts: list[Problem] = []
    services: dict[str, ServiceSpec] = {}
    for name, spec in workspace.services.items():
        calls: list[Call] = []
        for call in spec.calls:
            unknown = call.url is None and not (call.optional or call.store) and call.callee not in workspace.services
            calls.append(replace(call, optional=True) if unknown else call)
            if unknown:
                field = f"calls.{call.callee}"
                what = f"{field} names no service that is here; it may be in the root that is not there, and gets 503 until then"
                near = nearest(call.callee, workspace.services)
                fix = f"did you mean '{near}'?" if near else ""
                doubts.append(
                    Problem(
                        file=service_file(spec), field=field, what=what, fix=fix, id="root-missing", level="warning"
                    )
                )
        services[name] = replace(spec, calls=tuple(calls))
    return replace(workspace, services=services), doubts


def _call(call: Call, callee: ServiceSpec | None) -> Call:
    if call.url is not None:
        template = "{url}" if call.url.startswith("http") else "{address}"
        protocol = None
    else:
        port = callee.port(call.port) if callee else None
        protocol = call.protocol or (port.protocol if port else None)
        template = "{url}" if protocol in {None, "http"} else "{address}"
    env = {name: template if text == USUAL_ADDRESS else text for name, text in call.env.items()}
    # Its listener must know TCP before the callee ever ran; http and grpc share one, and a change between them is the
    # callee's affair alone.
    return replace(call, env=env, protocol="tcp" if protocol == "tcp" else call.protocol)


def _ports(short: str | None, named: Mapping[str, Port] | None) -> tuple[Port, ...]:
    """The first port is told as PORT unless it says otherwise; without a word there is one, for http."""
    if named is None:
        protocols: tuple[Protocol, ...] = ("http", "grpc", "tcp")
        ports = [Port(name=each, protocol=each) for each in protocols if each == (short or "http")]
    else:
        ports = list(named.values())
    if ports and ports[0].env is None:
        ports[0] = replace(ports[0], env="PORT")
    return tuple(ports)


def _health(health: Health, ports: tuple[Port, ...]) -> Health:
    """A service with a port that says nothing is ready when it accepts connections: alive alone would be too early."""
    ready = health.ready
    if ready is UNSAID:
        ready = Probe(kind="tcp" if ports else "process")
    return replace(health, ready=_probe(ready, ports), live=_probe(health.live, ports))


def _probe(probe: Probe, ports: tuple[Port, ...]) -> Probe:
    """An HTTP or gRPC probe that names no port means the first one that speaks it."""
    if probe.port or probe.kind not in {"http", "grpc"}:
        return probe
    return replace(probe, port=_speaking(probe.kind, ports))


def _route(route: Route, ports: tuple[Port, ...]) -> Route:
    """A route that names no port means the first http one."""
    return route if route.port else replace(route, port=_speaking("http", ports))


def _speaking(protocol: str, ports: tuple[Port, ...]) -> str:
    """The first port of a protocol by name; "" (the first of all) when that is it, or when there is none."""
    name = next((port.name for port in ports if port.protocol == protocol), "")
    return "" if ports and name == ports[0].name else name
