"""Reading workspaces: the smallest and the fullest files, short forms, environments."""

import subprocess
import sys
from collections.abc import Callable

import msgspec
import pytest
from written import Write

from atoll.model.environment import EnvironmentSpec, Gateway, WorkspaceSpec
from atoll.model.errors import InvalidWorkspace, NotFound
from atoll.model.spec import (
    Build,
    Call,
    Command,
    EdgePolicy,
    Health,
    Limits,
    Plain,
    Port,
    Probe,
    RolloutSpec,
    Route,
    SecretRef,
    ServiceSpec,
    Stop,
)
from atoll.workspace.loader import load

# --- the whole ----------------------------------------------------------------------------------------------------


def test_an_empty_workspace_is_fine(write: Write) -> None:
    root = write({})
    found = load(root)
    assert found == WorkspaceSpec(name="ws", root=str(root), environment=EnvironmentSpec(), warnings=found.warnings)


def test_the_smallest_service_gets_the_usual(write: Write) -> None:
    root = write({"services/orders/service.toml": 'run = "node server.js"\n'})
    assert load(root).services == {
        "orders": ServiceSpec(
            name="orders",
            run=Command(shell="node server.js"),
            folder="services/orders",
            ports=(Port(name="http", protocol="http", env="PORT"),),
            health=Health(ready=Probe(kind="tcp")),
        )
    }


FULL = """
name = "orders"
owner = "checkout"
description = "Takes orders."
run = ["./orders", "--listen", "127.0.0.1:{port}", "--admin", "{port.admin}"]
workdir = "bin"
replicas = 3
rollout.bake = "1h"
inherit = ["HOME", "LANG"]

[build]
steps = ["make deps", ["make", "all"]]
builder = "command"
inputs = ["src/**", "Makefile"]
outputs = ["bin/**"]
env = { CGO_ENABLED = 0, DEBUG = false }
timeout = "10m"

[ports]
http = "http"
admin = { protocol = "http", env = "ADMIN_PORT" }
rpc = "grpc"

[health]
ready = { http = "/ready", port = "admin", headers = { Host = "orders" }, timeout = "500ms" }
live = { command = ["./alive", "{port}"], timeout = "3s" }
start_budget = "2m"
stable_for = "5s"
interval = "1s"
failures = 2

[stop]
signal = "SIGINT"
grace = "30s"
drain = "1m"

[limits]
memory = "256MiB"
cpu_weight = 50
open_files = 4096

[calls]
catalog = "CATALOG_URL"

[calls.payments]
env = { PAY_HOST = "{host}", PAY_PORT = "{port}" }
port = "rpc"
optional = true
timeout = "2s"
connect_timeout = "250ms"
idle_timeout = "1h"
retries = 0
retry_on = ["gateway-error"]
retry_budget = "10%"
max_connections = 10
max_pending = 20
max_requests = 30
eject_after = 0
eject_for = "30s"
max_body = "10MiB"

[calls.mail]
env = "MAIL_URL"
url = "https://mail.example.com"

[[route]]
path = "/orders"
timeout = "3s"

[[route]]
path = "/rpc"
host = "*.example.com"
port = "rpc"

[env]
LOG_LEVEL = "info"
WORKERS = 8
RATIO = 0.5
VERBOSE = true
ME = "http://127.0.0.1:{port.admin}"
DB_URL = { secret = "orders-db" }

[env.production]
LOG_LEVEL = "warn"
WORKERS = { secret = "workers" }
"""


def test_the_fullest_file_is_read_whole(write: Write) -> None:
    top = 'env = { REGION = "eu", LOG_LEVEL = "debug" }\n[environments.production]\ngateway = "0.0.0.0:80"\n'
    root = write({"atoll.toml": top, "orders/service.toml": FULL, "catalog/service.toml": 'run = "x"\nport = "grpc"'})
    found = load(root, "production")
    assert found.environment == EnvironmentSpec(name="production", gateway=Gateway(host="0.0.0.0", port=80))
    assert found.services["orders"] == ServiceSpec(
        name="orders",
        owner="checkout",
        description="Takes orders.",
        run=Command(argv=("./orders", "--listen", "127.0.0.1:{port}", "--admin", "{port.admin}")),
        folder="orders",
        workdir="bin",
        replicas=3,
        rollout=RolloutSpec(bake_s=3600),
        inherit=("HOME", "LANG"),
        build=Build(
            builder="command",
            steps=(Command(shell="make deps"), Command(argv=("make", "all"))),
            inputs=("src/**", "Makefile"),
            outputs=("bin/**",),
            env={"CGO_ENABLED": "0", "DEBUG": "false"},
            timeout_s=600,
        ),
        ports=(
            Port(name="http", protocol="http", env="PORT"),
            Port(name="admin", protocol="http", env="ADMIN_PORT"),
            Port(name="rpc", protocol="grpc"),
        ),
        health=Health(
            ready=Probe(kind="http", port="admin", path="/ready", headers={"Host": "orders"}, timeout_s=0.5),
            live=Probe(kind="command", command=Command(argv=("./alive", "{port}")), timeout_s=3),
            start_budget_s=120,
            stable_for_s=5,
            interval_s=1,
            failures=2,
        ),
        stop=Stop(signal="SIGINT", grace_s=30, drain_s=60),
        limits=Limits(memory_bytes=2**28, cpu_weight=50, open_files=4096),
        calls=(
            Call(callee="catalog", env={"CATALOG_URL": "{address}"}),
            Call(
                callee="payments",
                port="rpc",
                env={"PAY_HOST": "{host}", "PAY_PORT": "{port}"},
                optional=True,
                policy=EdgePolicy(
                    timeout_s=2,
                    connect_timeout_s=0.25,
                    idle_timeout_s=3600,
                    retries=0,
                    retry_on=("gateway-error",),
                    retry_budget_pct=10,
                    max_connections=10,
                    max_pending=20,
                    max_requests=30,
                    eject_after=0,
                    eject_for_s=30,
                    max_body_bytes=10 * 2**20,
                ),
            ),
            Call(callee="mail", env={"MAIL_URL": "{url}"}, url="https://mail.example.com"),
        ),
        routes=(
            Route(path="/orders", policy=EdgePolicy(timeout_s=3)),
            Route(path="/rpc", host="*.example.com", port="rpc"),
        ),
        env={
            "REGION": Plain("eu"),
            "LOG_LEVEL": Plain("warn"),
            "WORKERS": SecretRef("workers"),
            "RATIO": Plain("0.5"),
            "VERBOSE": Plain("true"),
            "ME": Plain("http://127.0.0.1:{port.admin}"),
            "DB_URL": SecretRef("orders-db"),
        },
    )


def test_what_was_read_survives_the_wire(write: Write) -> None:
    root = write(
        {"orders/service.toml": FULL.replace("[env.production]", "[env.local]"), "catalog/service.toml": 'run = "x"'}
    )
    found = load(root)
    assert msgspec.json.decode(msgspec.json.encode(found), type=WorkspaceSpec) == found


# --- short forms --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ready"),
    [
        ("", Probe(kind="tcp")),
        ('port = "grpc"', Probe(kind="tcp")),
        ('port = "none"', Probe(kind="process")),
        ('health = "/up?x=1"', Probe(kind="http", path="/up?x=1")),
        ('health = "tcp"', Probe(kind="tcp")),
        ('health = "process"', Probe(kind="process")),
        ('port = "grpc"\nhealth = "grpc"', Probe(kind="grpc")),
        ('health = { ready = "/r" }', Probe(kind="http", path="/r")),
        ('health = { interval = "1s" }', Probe(kind="tcp")),
        ('port = "grpc"\nhealth.ready.grpc = "shop.Catalog"', Probe(kind="grpc", service="shop.Catalog")),
        ("health.ready = { tcp = true, timeout = \"2s\" }", Probe(kind="tcp", timeout_s=2)),
        ('health.ready = { command = "test -f x" }', Probe(kind="command", command=Command(shell="test -f x"))),
        ("health.ready = { process = true }", Probe(kind="process")),
        ('ports = { rpc = "grpc", web = "http" }\nhealth = "/up"', Probe(kind="http", path="/up", port="web")),
        ('ports = { web = "http", rpc = "grpc" }\nhealth = "grpc"', Probe(kind="grpc", port="rpc")),
    ],
)  # fmt: skip
def test_each_form_of_health(one: Callable[..., ServiceSpec], text: str, ready: Probe) -> None:
    health = one(text).health
    assert health.ready == ready
    assert health.live == Probe(kind="process")


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("", (Port(name="http", protocol="http", env="PORT"),)),
        ('port = "grpc"', (Port(name="grpc", protocol="grpc", env="PORT"),)),
        ('port = "tcp"', (Port(name="tcp", protocol="tcp", env="PORT"),)),
        ('port = "none"', ()),
        ("ports = {}", ()),
        ('ports.a = "tcp"', (Port(name="a", protocol="tcp", env="PORT"),)),
        ('ports.a = { env = "A" }', (Port(name="a", protocol="http", env="A"),)),
        ("[ports.b]\n[ports.a]", (Port(name="b", env="PORT"), Port(name="a"))),
    ],
)
def test_each_form_of_ports(one: Callable[..., ServiceSpec], text: str, ports: tuple[Port, ...]) -> None:
    assert one(text).ports == ports


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ('calls.catalog = "C"', (Call(callee="catalog", env={"C": "{url}"}),)),
        ('[calls.catalog]\nport = "grpc"\nenv = "C"', (Call(callee="catalog", port="grpc", env={"C": "{address}"}),)),
        (
            '[calls.catalog]\nport = "raw"\nenv = "C"',
            (Call(callee="catalog", port="raw", env={"C": "{address}"}, protocol="tcp"),),
        ),
        (
            '[calls.gone]\noptional = true\nprotocol = "tcp"\nenv = "C"',
            (Call(callee="gone", optional=True, env={"C": "{address}"}, protocol="tcp"),),
        ),
        ('[calls.gone]\noptional = true\nenv = "C"', (Call(callee="gone", optional=True, env={"C": "{url}"}),)),
        (
            '[calls.db]\nurl = "tcp://db:5432"\nenv = "C"',
            (Call(callee="db", url="tcp://db:5432", env={"C": "{address}"}),),
        ),
        ('[calls.catalog]\nenv = { A = "{port}" }', (Call(callee="catalog", env={"A": "{port}"}),)),
        ("[calls]", ()),
    ],
)
def test_each_form_of_calls(one: Callable[..., ServiceSpec], text: str, calls: tuple[Call, ...]) -> None:
    assert one(text).calls == calls


@pytest.mark.parametrize(
    ("text", "routes"),
    [
        ('route = "/a"', (Route(path="/a"),)),
        ('route = ["/a", { path = "/b", strip = true }]', (Route(path="/a"), Route(path="/b", strip=True))),
        ('[route]\nhost = "a.example"', (Route(path="/", host="a.example"),)),
        ("route = []", ()),
        ('route = "/a"\nports = { rpc = "grpc", web = "http" }', (Route(path="/a", port="web"),)),
        ('route = "/a.B/"\nport = "grpc"', (Route(path="/a.B/"),)),
    ],
)
def test_each_form_of_routes(one: Callable[..., ServiceSpec], text: str, routes: tuple[Route, ...]) -> None:
    assert one(text).routes == routes


def test_short_forms_of_build_and_stop(one: Callable[..., ServiceSpec]) -> None:
    assert one('build = "make"').build == Build(steps=(Command(shell="make"),))
    several = Build(steps=(Command(shell="make a"), Command(argv=("make", "b"))))
    assert one('build = ["make a", ["make", "b"]]').build == several
    assert one('build.steps = "make"').build == Build(steps=(Command(shell="make"),))
    assert one('stop = "SIGQUIT"').stop == Stop(signal="SIGQUIT")


def test_braces_that_are_no_templates_are_text(one: Callable[..., ServiceSpec]) -> None:
    text = """run = "awk '{print $1}' ${port} {PORT} {{id}}"\nenv = { JSON = '{"a": {"b":{port}}}', P = "/users/{{id}}" }"""
    assert one(text).env["P"] == Plain("/users/{{id}}")


# --- environments -------------------------------------------------------------------------------------------------


def test_values_of_an_environment_come_before_those_of_all_and_a_services_before_the_workspaces(
    one: Callable[..., ServiceSpec],
) -> None:
    top = """
        env = { A = "all", B = "all", C = "all", D = "all" }
        [environments.staging.env]
        B = "all-staging"
        C = "all-staging"
        D = "all-staging"
    """
    text = '[env]\nC = "own"\nD = "own"\n[env.staging]\nD = "own-staging"\n'

    def values(environment: str) -> dict[str, str]:
        env = one(text, environment, top).env
        return {name: value.value for name, value in env.items() if isinstance(value, Plain)}

    assert values("local") == {"A": "all", "B": "all", "C": "own", "D": "own"}
    assert values("staging") == {"A": "all", "B": "all-staging", "C": "own", "D": "own-staging"}


def test_an_environment_takes_from_the_workspace_what_it_leaves_out(write: Write) -> None:
    top = """
        gateway = "127.0.0.1:9000"
        ports = "21000-21999"
        envoy = "/opt/envoy"
        [environments.staging]
        gateway = { port = 9001 }
    """
    found = load(write({"atoll.toml": top}), "staging").environment
    assert found == EnvironmentSpec(
        name="staging", gateway=Gateway(port=9001), ports=(21000, 21999), envoy="/opt/envoy"
    )


def test_local_can_be_declared_like_any_other(write: Write) -> None:
    root = write({"atoll.toml": 'gateway = "0.0.0.0:1"\n[environments.local]\ngateway = "127.0.0.1:2"\n'})
    assert load(root).environment.gateway == Gateway(host="127.0.0.1", port=2)


def test_an_environment_that_was_not_declared_is_told_with_the_nearest_one(write: Write) -> None:
    root = write({"atoll.toml": "[environments.production]"})
    with pytest.raises(NotFound) as caught:
        load(root, "prodution")
    assert str(caught.value) == (
        "no environment 'prodution': atoll.toml does not declare it"
        " (did you mean 'production'?; or add [environments.prodution])"
    )


def test_the_gateway_may_be_an_ipv6_address(write: Write) -> None:
    assert load(write({"atoll.toml": 'gateway = "[::1]:80"'})).environment.gateway == Gateway(host="::1", port=80)


def test_a_file_with_a_byte_order_mark_and_windows_line_ends_is_read(write: Write) -> None:
    root = write({})
    (root / "a").mkdir()
    (root / "a" / "service.toml").write_bytes(b'\xef\xbb\xbfname = "a"\r\nrun = "x"\r\n')
    assert load(root).services["a"].run == Command(shell="x")


def test_reading_files_imports_nothing_heavy() -> None:
    program = (
        "import sys; import atoll.workspace.loader, atoll.workspace.places;"
        "print(*sorted({'asyncio', 'httpx', 'rich', 'click', 'grpc', 'ssl', 'socket'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == ""


def test_what_an_environment_requires_must_be_a_task_of_some_service(write: Write) -> None:
    root = write(
        {
            "atoll.toml": 'require = ["build"]\n[environments.production]\nrequire = ["test", "lnit"]\n',
            "orders/service.toml": 'run = "x"\n[tasks]\ntest = "x"\nlint = "x"\n',
        }
    )
    with pytest.raises(InvalidWorkspace) as refused:
        load(root)
    assert [(each.line, each.field, each.fix) for each in refused.value.problems] == [
        (3, "environments.production.require[1]", "did you mean 'lint'?")
    ]
    (root / "atoll.toml").write_text('require = ["build"]\n[environments.production]\nrequire = ["test"]\n')
    assert load(root).environment.require == ("build",)
    assert load(root, "production").environment.require == ("test",)
