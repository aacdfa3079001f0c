"""Whether services fit together: the pure checks, on specifications made by hand."""

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atoll.decide.validate import check
from atoll.model.environment import EnvironmentSpec, Gateway, WorkspaceSpec
from atoll.model.errors import Problem
from atoll.model.spec import Build, Call, Command, Health, Plain, Port, Probe, Protocol, Route, ServiceSpec
from atoll.model.templates import fill, placeholders

HTTP = Port(name="http", protocol="http", env="PORT")
GRPC = Port(name="grpc", protocol="grpc")
TCP = Port(name="raw", protocol="tcp")
RUN = Command(shell="x")


def service(name: str = "orders", ports: Sequence[Port] = (HTTP,), **fields: object) -> ServiceSpec:
    made: dict[str, object] = {"run": RUN, "folder": name, **fields}
    return ServiceSpec(name=name, ports=tuple(ports), **made)  # type: ignore[arg-type]


def workspace(*services: ServiceSpec, environment: EnvironmentSpec | None = None) -> WorkspaceSpec:
    named = {each.name: each for each in services}
    return WorkspaceSpec(name="ws", root="/ws", environment=environment or EnvironmentSpec(), services=named)


def said(*services: ServiceSpec, unsure: Sequence[str] = ()) -> list[tuple[str, str, str]]:
    """(file, what, fix) of each problem."""
    return [(each.file, each.what, each.fix) for each in check(workspace(*services), unsure=unsure)]


CATALOG = service("catalog", [HTTP, GRPC, TCP])


def test_services_that_fit_have_no_problem() -> None:
    orders = service(
        calls=(
            Call(callee="catalog", env={"A": "{url}"}),
            Call(callee="absent", env={"B": "{url}"}, optional=True),
            Call(callee="outside", env={"C": "{url}"}, url="https://example.com"),
        ),
        routes=(Route(path="/orders"), Route(path="/orders", host="a.example")),
        env={"D": Plain("{port} {port.http} {data} {service} {release} {host} {address} {url}")},
    )
    assert said(orders, CATALOG) == []


@pytest.mark.parametrize(
    ("call", "what", "fix"),
    [
        (Call(callee="catalgo"), "calls.catalgo names no service of the workspace", "did you mean 'catalog'?"),
        (
            Call(callee="mail"),
            "calls.mail names no service of the workspace",
            "one that may be absent is `optional = true`, one outside has a `url`",
        ),
        (Call(callee="catalog", port="rpc"), "calls.catalog.port names no port of catalog: 'rpc'", "did you mean 'grpc'?"),
        (Call(callee="worker"), "calls.worker cannot be called: worker has no port", "give worker a port, or take the call out"),
        (
            Call(callee="catalog", port="raw", env={"A": "{url}/x"}),
            "calls.catalog.env.A wants a URL, but port 'raw' of catalog speaks tcp",
            "use {address}, or {host} and {port}",
        ),
        (
            Call(callee="db", url="tcp://db:5432", env={"A": "{url}"}),
            "calls.db.env.A wants a URL, but tcp://db:5432 speaks tcp",
            "use {address}, or {host} and {port}",
        ),
        (
            Call(callee="gone", optional=True, protocol="tcp", env={"A": "{url}"}),
            "calls.gone.env.A wants a URL, but calls.gone speaks tcp",
            "use {address}, or {host} and {port}",
        ),
        (
            Call(callee="x", url="http://x.example", protocol="http"),
            "calls.x.protocol has no meaning beside url",
            "the URL's scheme says it",
        ),
        (
            Call(callee="catalog", port="raw", protocol="grpc"),
            "calls.catalog.protocol is grpc, but port 'raw' of catalog speaks tcp",
            "take it out: the callee says it",
        ),
        (
            Call(callee="catalog", url="http://x.example"),
            "calls.catalog.url is given, but a service of that name is here",
            "rename the call, or take `url` out",
        ),
        (
            Call(callee="x", url="http://x.example", port="http"),
            "calls.x.port has no meaning beside url",
            "write the port into the URL",
        ),
        (
            Call(callee="catalog", env={"A": "{adress}"}),
            "calls.catalog.env.A has an unknown placeholder {adress}",
            "did you mean 'address'?; as a text it is written {{adress}}",
        ),
        (
            Call(callee="catalog", env={"A": "{port.grpc}"}),
            "calls.catalog.env.A has an unknown placeholder {port.grpc}",
            "did you mean 'port'?; as a text it is written {{port.grpc}}",
        ),
    ],
)  # fmt: skip
def test_a_call_that_leads_nowhere_is_told(call: Call, what: str, fix: str) -> None:
    found = said(service(calls=(call,)), CATALOG, service("worker", ()))
    assert found == [("orders/service.toml", what, fix)]


def test_of_a_service_whose_file_is_wrong_nothing_is_said() -> None:
    orders = service(calls=(Call(callee="catalog", port="rpc"), Call(callee="gone")))
    assert said(orders, CATALOG, unsure=["catalog", "gone"]) == []
    assert said(service(ports=(), routes=(Route(),), env={"A": Plain("{port}")}), unsure=["orders"]) == []


def test_a_call_to_itself_is_a_warning() -> None:
    (problem,) = check(workspace(service(calls=(Call(callee="orders", env={"A": "{url}"}),))))
    assert (problem.level, problem.field, problem.fix) == (
        "warning",
        "calls.orders",
        "a replica reaches itself at its own port",
    )


def test_two_services_cannot_have_the_same_path_of_the_same_host() -> None:
    a = service("a", routes=(Route(path="/x/"), Route(path="/y", host="h")))
    b = service(
        "b", routes=(Route(path="/y"), Route(path="/x", host="h"), Route(path="/x"), Route(path="/y/", host="h"))
    )
    assert said(a, b) == [
        ("b/service.toml", 'route[2] "/x" belongs to a (a/service.toml)', "a path and host lead to one service"),
        ("b/service.toml", 'route[3] "h/y/" belongs to a (a/service.toml)', "a path and host lead to one service"),
    ]


def test_a_service_cannot_have_a_path_twice() -> None:
    twice = service(routes=(Route(path="/"), Route(path="/a"), Route(path="/a/")))
    assert said(twice) == [
        ("orders/service.toml", 'route[2] "/a/" belongs to this service already', "a path and host lead to one service")
    ]


@pytest.mark.parametrize(
    ("ports", "route", "what"),
    [
        ((), Route(), "route[0] leads to a service without a port"),
        ((TCP,), Route(), "route[0] leads to port 'raw', which speaks tcp; the gateway speaks http and grpc"),
        ((HTTP,), Route(port="web"), "route[0].port names no port of the service: 'web'"),
        ((GRPC,), Route(strip=True), "route[0].strip would break gRPC, whose path names the method"),
    ],
)
def test_a_route_needs_a_port_that_the_gateway_can_speak_to(ports: Sequence[Port], route: Route, what: str) -> None:
    assert [each[1] for each in said(service(ports=ports, routes=(route,)))] == [what]


@pytest.mark.parametrize(
    ("ports", "probe", "what", "fix"),
    [
        ((), Probe(kind="http"), "health.ready asks by http, but the service has no port", 'use "process", or a command'),
        ((), Probe(kind="tcp"), "health.ready asks by tcp, but the service has no port", 'use "process", or a command'),
        (
            (HTTP,),
            Probe(kind="grpc"),
            "health.ready asks by grpc, but port 'http' speaks http",
            'say port = "grpc", or ask by "tcp"',
        ),
        ((HTTP, TCP), Probe(kind="http", port="raw"), "health.ready asks by http, but port 'raw' speaks tcp", "name another port"),
        ((HTTP,), Probe(kind="http", port="htp"), "health.ready.port names no port of the service: 'htp'", "did you mean 'http'?"),
    ],
)  # fmt: skip
def test_a_probe_needs_a_port_that_speaks_its_protocol(
    ports: Sequence[Port], probe: Probe, what: str, fix: str
) -> None:
    assert said(service(ports=ports, health=Health(ready=probe))) == [("orders/service.toml", what, fix)]


def test_a_probe_that_asks_nothing_or_any_port_is_fine() -> None:
    for probe in (Probe(kind="process"), Probe(kind="command", command=RUN)):
        assert said(service(ports=(), health=Health(ready=probe, live=probe))) == []
    assert said(service(ports=(TCP,), health=Health(ready=Probe(kind="tcp", port="raw")))) == []


def test_each_variable_has_one_source() -> None:
    orders = service(
        env={"PORT": Plain("1"), "A": Plain("x")},
        calls=(
            Call(callee="catalog", env={"A": "{url}", "B": "{url}"}),
            Call(callee="mail", env={"B": "{url}"}, url="http://m"),
        ),
        inherit=("HOME", "B"),
    )
    assert [what for _, what, _ in said(orders, CATALOG)] == [
        "env.PORT is also the variable of port 'http', whose number Atoll chooses",
        "calls.catalog.env.A is also set by env.A",
        "calls.mail.env.B is also set by calls.catalog.env.B",
        "inherit[1] (B) is also set by calls.mail.env.B",
    ]


def test_a_service_that_must_not_overlap_has_one_replica() -> None:
    assert said(service(overlap=False, replicas=2)) == [
        (
            "orders/service.toml",
            "overlap = false allows one instance at a time, but replicas is 2",
            "take `replicas` out, or `overlap`",
        )
    ]


def warned(low: int, high: int, ephemeral: tuple[int, int] | None) -> list[Problem]:
    return check(workspace(environment=EnvironmentSpec(ports=(low, high))), ephemeral=ephemeral)


@pytest.mark.parametrize(
    ("ephemeral", "fix"),
    [
        ((32768, 60999), 'such as ports = "32667-32767"'),
        ((1100, 60999), 'such as ports = "61000-61100"'),
        ((1024, 65535), "narrow the kernel's: sysctl net.ipv4.ip_local_port_range"),
    ],
)
def test_ports_that_the_kernel_may_take_are_warned_of_with_a_better_range(ephemeral: tuple[int, int], fix: str) -> None:
    (problem,) = warned(33000, 33100, ephemeral)
    assert (problem.level, problem.field, problem.fix) == ("warning", "ports", fix)
    assert problem.what.startswith("ports 33000-33100 overlap ")


@given(st.integers(1024, 65000), st.integers(1, 500), st.integers(1, 65000), st.integers(0, 65000))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_better_range_is_really_outside(low: int, width: int, kernel: int, span: int) -> None:
    ephemeral = (kernel, min(kernel + span, 65535))
    for problem in warned(low, min(low + width, 65535), ephemeral):
        if problem.level == "warning" and "sysctl" not in problem.fix:
            first, last = map(int, problem.fix.split('"')[1].split("-"))
            assert 1024 <= first <= last <= 65535
            assert last < ephemeral[0] or first > ephemeral[1]


def test_ports_outside_the_kernels_range_are_fine() -> None:
    assert warned(20000, 29999, (32768, 60999)) == []
    assert warned(20000, 29999, None) == []


def test_the_gateway_lies_outside_the_leased_ports() -> None:
    environment = EnvironmentSpec(gateway=Gateway(port=20005))
    (problem,) = check(workspace(environment=environment))
    assert (problem.file, problem.field) == ("atoll.toml", "gateway")


def test_there_must_be_ports_for_two_releases_of_everything() -> None:
    environment = EnvironmentSpec(ports=(20000, 20005))
    (problem,) = check(workspace(service(replicas=4), environment=environment))
    assert problem.what == "ports 20000-20005 are 6, but two releases of every service need 8"


@pytest.mark.parametrize(
    ("text", "names", "filled"),
    [
        ("{port}", ["port"], "P"),
        ("{{port}}", [], "{port}"),
        ('{"port":{port}}', ["port"], '{"port":P}'),
        ("${port} ${{port}}", [], "${port} ${{port}}"),
        ("{PORT} { port } {print $1} {}", [], "{PORT} { port } {print $1} {}"),
        ("{port.my-admin}{port}", ["port.my-admin", "port"], "AP"),
        ("{{port} {port", [], "{{port} {port"),
    ],
)
def test_placeholders_that_are_checked_are_those_that_are_filled_in(text: str, names: list[str], filled: str) -> None:
    assert placeholders(text) == names
    assert fill(text, {"port": "P", "port.my-admin": "A"}) == filled


NAMES = st.sampled_from(["a", "b", "c", "orders"])
PORTS = st.lists(
    st.builds(
        Port, name=st.sampled_from(["x", "y"]), protocol=st.sampled_from(list(Protocol.__args__)), env=st.none() | NAMES
    ),
    max_size=2,
    unique_by=lambda port: port.name,
).map(tuple)
SERVICES = st.builds(
    ServiceSpec,
    name=NAMES,
    run=st.builds(Command, shell=st.sampled_from(["x", "{port}", "{prt}", "{port.y}"])),
    ports=PORTS,
    calls=st.lists(
        st.builds(
            Call,
            callee=NAMES,
            port=st.sampled_from(["", "x"]),
            optional=st.booleans(),
            url=st.none() | st.just("http://x"),
            env=st.dictionaries(NAMES, st.sampled_from(["{url}", "{adress}", "x"]), max_size=1),
        ),
        max_size=2,
    ).map(tuple),
    routes=st.lists(st.builds(Route, path=st.sampled_from(["/", "/a", "/a/"])), max_size=2).map(tuple),
    replicas=st.integers(1, 3),
    overlap=st.booleans(),
    env=st.dictionaries(NAMES, st.builds(Plain, st.sampled_from(["x", "{port}"])), max_size=2),
    inherit=st.lists(NAMES, max_size=1).map(tuple),
)


@given(st.lists(SERVICES, max_size=4, unique_by=lambda spec: spec.name))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_workspace_is_judged_alike_each_time_with_file_field_and_text(services: list[ServiceSpec]) -> None:
    found = check(workspace(*services))
    assert found == check(workspace(*services))
    for problem in found:
        assert problem.field
        assert problem.what
        assert problem.file.endswith(".toml")


@pytest.mark.parametrize(
    ("folder", "context", "good"),
    [
        (".", ".", True),
        ("apps/web", "../..", True),
        ("web", "../shared", True),
        ("web", "../..", False),
        (".", "..", False),
    ],
)
def test_a_build_takes_files_of_its_workspace_only(folder: str, context: str, good: bool) -> None:
    found = check(workspace(service(folder=folder, build=Build(context=context))))
    assert [problem.field for problem in found] == ([] if good else ["build.context"])
