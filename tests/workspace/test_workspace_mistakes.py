"""Wrong files: what a person reads, word by word, with the line and the fix."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from written import Write

from atoll.model.errors import InvalidWorkspace, Problem
from atoll.model.failures import GRPC_CODES
from atoll.pipeline.detect import BUILDERS
from atoll.workspace.bases import TECHNOLOGIES
from atoll.workspace.loader import load


def problems(root: Path, texts: Mapping[str, str | bytes]) -> tuple[Problem, ...]:
    """The errors of these files."""
    for name, text in {"atoll.toml": "", **texts}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidWorkspace) as caught:
        load(root)
    return tuple(problem for problem in caught.value.problems if problem.level == "error")


def said(root: Path, texts: Mapping[str, str | bytes]) -> list[str]:
    """The errors as `atoll check` might print them."""
    return [f"{p.file}:{p.line}: {p.what} | {p.fix}" for p in problems(root, texts)]


# Each: the text of s/service.toml after the line `run = "x"`, then the line, what and fix.
CODES = ", ".join(f'"{code}"' for code in GRPC_CODES[1:])
SERVICE = [
    ("helth = 1", 2, "helth is not a field of service.toml", "did you mean 'health'?"),
    ("port = 8080", 2, 'port must be one of "http", "grpc", "tcp", "none", not the number 8080', "Atoll chooses the number: listen on $PORT, or write {port} into `run`; a program that insists on one has ports.http = { number = 8080 }"),
    ("[env]\nA = { secrt = 'x' }", 3, "env.A is no secret: secrt is not its field", 'A = { secret = "NAME" }'),
    ("[health]\npath = '/h'", 3, "health.path is not a field of [health]", 'it is called `http`, below `ready` or `live`: ready = { http = "/ready" }'),
    ("command = 1", 2, "command is not a field of service.toml", "it is called `run`"),
    ("depends_on = []", 2, "depends_on is not a field of service.toml", 'whom it calls is `calls`: calls.catalog = "CATALOG_URL"'),
    ("\n\n[limits]\nmemory = 256", 5, "limits.memory must be a size with its unit, not the number 256", 'write "256B" if bytes are meant'),
    ("[limits]\nmemory = '1KiB'", 3, 'limits.memory must be from "1MiB" to "1024TiB", not "1KiB"', ""),
    ("[limits]\ncpu = 1", 3, "limits.cpu is not a field of [limits]", "at most so many CPUs is `cpus`, a share when the CPU is short is `cpu_weight`"),
    ("[limits]\ncpus = 0", 3, "limits.cpus must be from 0.01 to 1024", "0.5 is half of one CPU"),
    ("failures.http = ['5x']", 2, 'failures.http[0] must be "5xx" or a status such as 429, not "5x"', ""),
    ("failures.http = [42]", 2, "failures.http[0] must be from 100 to 599, not the number 42", ""),
    ("failures.grpc = ['INTERNALS']", 2, f'failures.grpc[0] must be one of {CODES}, not "INTERNALS"', "did you mean 'INTERNAL'?"),
    ("failures.status = [500]", 2, "failures.status is not a field of [failures]", "statuses are `http`, codes are `grpc`"),
    ("limits = 5", 2, "limits must be a table, not the number 5", ""),
    ('name = "My Service"', 2, 'name must be a name of at most 40 lower-case letters, digits and hyphens, a letter first, not "My Service"', 'did you mean "my-service"?'),
    ("name = 7", 2, "name must be a string, not the number 7", ""),
    ('replicas = "2"', 2, 'replicas must be a whole number from 1 to 100, not "2"', "write 2"),
    ("replicas = 0", 2, "replicas must be from 1 to 100, not the number 0", ""),
    ('overlap = "no"', 2, 'overlap must be true or false, not "no"', ""),
    ("rollout.bake = 600", 2, "rollout.bake must be a duration, not the number 600", 'write "600s", with a unit'),
    ('keep_warm = "1h"', 2, "keep_warm is not a field of service.toml", 'it is `bake` in [rollout]: rollout.bake = "1h"'),
    ('rollout = "canry"', 2, 'rollout must be one of "auto", "canary", "header", "rolling", "blue-green", "all-at-once", not "canry"', "did you mean 'canary'?"),
    ('rollout.steps = ["100%"]', 2, 'rollout.steps[0] must be a whole percentage from "1%" to "99%", not "100%"', "all traffic comes last by itself"),
    ("[[rollout.steps]]\nhold = '1m'", 2, "rollout.steps[0] has neither weight nor header", 'such as { weight = "10%" } or { header = "x-canary: yes", approve = true }'),
    ('port = "htpp"', 2, 'port must be one of "http", "grpc", "tcp", "none", not "htpp"', "did you mean 'http'?"),
    ('port = "http"\nports.a = "http"', 2, "port cannot stand beside `ports`", "name each port under `ports`"),
    ('ports.A = "http"', 2, 'ports.A has a name that must be a port\'s name in lower case, not "A"', ""),
    ("ports.a = 80", 2, "ports.a must be a table", "a fixed number is { number = 80 }"),
    ('ports.a = { nummer = 80 }', 2, "ports.a.nummer is not a field of a port", "did you mean 'number'?"),
    ('ports.a = { number = 0 }', 2, "ports.a.number must be from 1 to 65535, not the number 0", ""),
    ('ports.a = { number = 20001 }', 2, "ports.a.number = 20001 lies within the ports 20000-29999 that Atoll leases", "move `ports` in atoll.toml"),
    ('ports = "none"', 2, 'ports must be a table, not "none"', 'such as ports.grpc = "grpc"'),
    ('health = "healthz"', 2, 'health must be a path such as "/healthz", or "tcp", "grpc" or "process", not "healthz"', 'did you mean "/healthz"?'),
    ('health = "http"', 2, 'health must be a path such as "/healthz", or "tcp", "grpc" or "process", not "http"', 'did you mean "/http"?'),
    ('health = "proces"', 2, 'health must be a path such as "/healthz", or "tcp", "grpc" or "process", not "proces"', "did you mean 'process'?"),
    ("health = true", 2, "health must be a string or a table, not true", 'such as "/healthz"'),
    ('health = { http = "/x" }', 2, "health.http is not a field of [health]", "put it under `ready` or `live`: ready = { http = ... }"),
    ('[health]\nready = { http = "/x", tcp = true }', 3, "health.ready has http and tcp: one way to ask is enough", 'one of http = "/path", grpc = "", tcp = true, command = ["..."], process = true'),
    ("[health]\nready = { timeout = '1s' }", 3, "health.ready does not say how to ask", 'one of http = "/path", grpc = "", tcp = true, command = ["..."], process = true'),
    ("[health]\nready.tcp = false", 3, "health.ready.tcp must be true where it is given", "leave it out instead"),
    ("[health]\nstart_budget = 30", 3, "health.start_budget must be a duration, not the number 30", 'write "30s", with a unit'),
    ("[health]\nstable_for = '40s'", 3, "health.stable_for must be shorter than health.start_budget: else no start is ever good", ""),
    ('stop = "TERM"', 2, 'stop must be one of "SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH", not "TERM"', "did you mean 'SIGTERM'?"),
    ("stop.timeout = '1s'", 2, "stop.timeout is not a field of [stop]", "from the signal to SIGKILL it is `grace`; for requests in flight it is `drain`"),
    ('calls = ["user-data"]', 2, "calls must say under which variable each address is wanted", 'write calls.user-data = "USER_DATA_URL"'),
    ('calls.Catalog = "C"', 2, 'calls.Catalog has a name that must be a name of at most 40 lower-case letters, digits and hyphens, a letter first, not "Catalog"', 'did you mean "catalog"?'),
    ("[calls.catalog]\ntimeout = '2s'", 2, "calls.catalog.env is missing", 'such as env = "PAYMENTS_URL"'),
    ('calls.catalog = "my-url"', 2, 'calls.catalog must be a variable\'s name: letters, digits and underscores, no digit first, not "my-url"', 'did you mean "my_url"?'),
    ("calls.catalog = { env = 'C', retries = '3' }", 2, 'calls.catalog.retries must be a whole number from 0 to 10, not "3"', "write 3"),
    ("calls.catalog = { env = 'C', retry_budget = 20 }", 2, "calls.catalog.retry_budget must be a percentage, not the number 20", 'write "20%"'),
    ("calls.catalog = { env = 'C', retry_on = ['reset', 'unavailabel'] }", 2, 'calls.catalog.retry_on[1] must be one of "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "refused-stream", "retriable-4xx", "envoy-ratelimited", "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable", not "unavailabel"', "did you mean 'unavailable'?"),
    ("calls.api = { env = 'C', url = 'api.example.com' }", 2, 'calls.api.url must be a URL such as "https://api.example.com" (http, https, grpc, grpcs or tcp), not "api.example.com"', 'did you mean "https://api.example.com"?'),
    ("calls.api = { env = 'C', url = 'tcp://db' }", 2, "calls.api.url needs a port, since tcp has no usual one", 'such as "tcp://db.example.com:5432"'),
    ("calls.api = { env = 'C', url = 'http://db:70000/x' }", 2, "calls.api.url must have a port from 1 to 65535, not 70000", ""),
    ('route = "orders"', 2, 'route must be a path such as "/orders", not "orders"', 'did you mean "/orders"?'),
    ('route = ["/a", "/b?c"]', 2, 'route[1] must be a path such as "/orders", not "/b?c"', ""),
    ('[[route]]\npath = "/a"\n[[route]]\nhost = "Shop:80"', 5, 'route[1].host must be a host name in lower case such as "shop.example.com" or "*.example.com", without a port, not "Shop:80"', ""),
    ('route = ["/a", 3]', 2, "route[1] must be a string or a table, not the number 3", 'such as "/orders" or { path = "/orders", strip = true }'),
    ("build = []", 2, "build must not be empty", ""),
    ('build = { tool = "go 1.24" }', 2, 'build.tool must be a language and the beginning of a version, such as "go@1.24", not "go 1.24"', 'did you mean "go@1.24"?'),
    ('build.inputs = ["../lib/**"]', 2, 'build.inputs[0] must be a glob below the service\'s folder, without \'..\', not "../lib/**"', ""),
    ('build.inputs = "src"', 2, 'build.inputs must be a list, not "src"', 'write ["src"]'),
    ('workdir = "/srv"', 2, 'workdir must be a folder below, without \'..\', not "/srv"', ""),
    ('[env]\n"A-B" = 1', 3, 'env.A-B has a name that must be a variable\'s name: letters, digits and underscores, no digit first, not "A-B"', 'did you mean "A_B"?'),
    ("[env]\nA = [1]", 3, "env.A must be a string or a table or true or false or a number, not a list", 'such as "text", 8, true or { secret = "name" }'),
    ("[env]\nA = { secret = 3 }", 3, "env.A is no environment of atoll.toml", "known: local; others are declared there as [environments.A]"),
    ("[env]\nA = { secret = '' }", 3, 'env.A.secret must be a secret\'s name, not ""', ""),
    ("[env.prod]\nA = 1", 2, "env.prod is no environment of atoll.toml", "known: local; others are declared there as [environments.prod]"),
    ("[env.local]\nA = { secre = 'x' }", 3, "env.local.A must be a value, or a secret by its name", 'such as { secret = "orders-db" }'),
    ("[env.local]\nsecret = 'x'", 2, "env.local is read as a secret, but has the name of an environment", "give the variable another name"),
    ("env = 'A=1'", 2, 'env must be a table, not "A=1"', 'write [env] above lines such as LOG_LEVEL = "info"'),
    ('[env]\nPORT = "80"', 3, "env.PORT is also the variable of port 'http', whose number Atoll chooses", 'take it out, or name the port\'s variable: ports.http = { env = "MY_PORT" }'),
    ('[env]\nA = "{port.admin}"', 3, "env.A has an unknown placeholder {port.admin}", "known: address, data, host, port, port.http, release, service, url; as a text it is written {{port.admin}}"),
    ('inherit = ["HOME", 3]', 2, "inherit[1] must be a string, not the number 3", ""),
    ("[run.x]", 2, None, None),
    ("name = orders", 2, "is not TOML: invalid value", 'a text stands in quotes: name = "orders"'),
    ("name: orders", 2, "is not TOML: expected '=' after a key in a key/value pair", "TOML writes `=` where YAML writes `:`: name = orders"),
    ('owner = "x\n', 2, "is not TOML: illegal character '\\n'", ""),
    ("a = [1,", 2, "is not TOML: invalid value", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "what", "fix"), SERVICE, ids=[text[:40] for text, *_ in SERVICE])
def test_a_mistake_in_a_service_is_told_with_its_line_and_fix(
    tmp_path: Path, text: str, line: int, what: str | None, fix: str | None
) -> None:
    files = {"s/service.toml": f'run = "x"\n{text}', "catalog/service.toml": 'run = "x"'}
    (problem,) = problems(tmp_path, files)
    assert (problem.file, problem.line) == ("s/service.toml", line)
    if what is not None:
        assert (problem.what, problem.fix) == (what, fix)


RUN = [
    ("", None, "run is missing", 'such as run = "node server.js"'),
    ('owner = "x"', None, "run is missing", 'such as run = "node server.js"'),
    ('run = ""', 1, 'run must not be empty: it must be a text, not ""', ""),
    ("run = []", 1, "run must not be empty", ""),
    ('run = ["x", 80]', 1, "run[1] must be a string, not the number 80", 'write "80"'),
    ("run = 3", 1, "run must be a string or a list, not the number 3", 'a line for the shell: "node server.js", or a list: ["node", "server.js"]'),
    ('run = "x\\u0000y"', 1, "run must not hold a NUL character", "no environment or command line can carry one"),
    ('run = "x"\ndev = "x {prt}"', 2, "dev.run has an unknown placeholder {prt}", "did you mean 'port'?; as a text it is written {{prt}}"),
    ('run = "x"\n[dev]\nrun = "y"\ncommand = "x"', 4, "dev.command is not a field of [dev]", "it is called `run`"),
    ('run = "x {prt}"', 1, "run has an unknown placeholder {prt}", "did you mean 'port'?; as a text it is written {{prt}}"),
    ('run = "x {port}"\nport = "none"', 1, "run has the placeholder {port}, but the service has no port", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "what", "fix"), RUN)
def test_a_mistake_in_what_runs_is_told(tmp_path: Path, text: str, line: int | None, what: str, fix: str) -> None:
    (problem,) = problems(tmp_path, {"s/service.toml": text})
    assert (problem.file, problem.line, problem.what, problem.fix) == ("s/service.toml", line, what, fix)


TOP = [
    ("gatway = 1", 1, "gatway is not a field of atoll.toml", "did you mean 'gateway'?"),
    ("gateway = 8080", 1, "gateway must be host:port", 'write "127.0.0.1:8080"'),
    ('gateway = ":8080"', 1, 'gateway must be host:port, not ":8080"', 'write "127.0.0.1:8080"'),
    ('gateway = "127.0.0.1:99999"', 1, "gateway must be from 1 to 65535, not the number 99999", ""),
    ('gateway = "127.0.0.1:20000"', 1, "gateway: port 20000 lies within the ports 20000-29999 that replicas get", "choose a gateway port outside, or move `ports`"),
    ('ports = "20000"', 1, 'ports must be a range of ports, not "20000"', 'such as "20000-29999"'),
    ("ports = [2000, 1000]", 1, "ports[1] must be from 1024 to 65535, not the number 1000", ""),
    ("ports = [3000, 2000]", 1, "ports must be a first and a last port, the first one smaller", 'such as "20000-29999"'),
    ("ports = [2000]", 1, "ports must be a first and a last port, the first one smaller", 'such as "20000-29999"'),
    ('engine = "podman"', 1, 'engine must be one of "process", "docker", not "podman"', ""),
    ('services = ["/srv"]', 1, 'services[0] must be a folder or a glob below the workspace, without \'..\' (`roots` are for other repositories), not "/srv"', ""),
    ('[environments.Prod]', 1, 'environments.Prod has a name that must be an environment\'s name of at most 32 lower-case letters, digits and hyphens, not "Prod"', ""),
    ('[environments.prod]\ngateway = "x"', 2, 'environments.prod.gateway must be host:port, not "x"', 'such as "127.0.0.1:8080"'),
    ("[environments.prod]\nreplicas = 1", 2, "environments.prod.replicas is not a field of an environment", "known: api, dev, docker, engine, env, envoy, faults, freeze, gateway, host, metrics, notify, ports, require"),
    ("[service.a]", 1, "service is not a field of atoll.toml", "each service has its own service.toml; `services` says in which folders they lie"),
    ("[env]\nA = {}", 2, "env.A must be a value, or a secret by its name", 'such as { secret = "orders-db" }'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "what", "fix"), TOP)
def test_a_mistake_in_the_workspaces_file_is_told(tmp_path: Path, text: str, line: int, what: str, fix: str) -> None:
    (problem,) = problems(tmp_path, {"atoll.toml": text})
    assert (problem.file, problem.line, problem.what, problem.fix) == ("atoll.toml", line, what, fix)


def test_all_mistakes_of_all_files_are_told_at_once_in_order(tmp_path: Path) -> None:
    files = {
        "atoll.toml": 'nam = "x"\ngateway = 1\n',
        "b/service.toml": 'run = "x"\n\n[limits]\nmemory = 1\ncpu = 2\n[calls.aa]\nenv = "A"\n',
        "a/service.toml": 'name = "aa"\nport = "none"\nroute = "/x"\n',
        "c/service.toml": "run = x",
    }
    assert [line.split(" | ")[0] for line in said(tmp_path, files)] == [
        "atoll.toml:1: nam is not a field of atoll.toml",
        "atoll.toml:2: gateway must be host:port",
        "a/service.toml:None: run is missing",
        "a/service.toml:3: route[0] leads to a service without a port",
        "b/service.toml:4: limits.memory must be a size with its unit, not the number 1",
        "b/service.toml:5: limits.cpu is not a field of [limits]",
        "b/service.toml:6: calls.aa cannot be called: aa has no port",
        "c/service.toml:1: is not TOML: invalid value",
    ]


def test_one_mistake_is_told_once_and_not_again_by_what_follows_from_it(tmp_path: Path) -> None:
    files = {
        "a/service.toml": 'run = "x"\nport = "grcp"\nhealth = "grpc"\n',
        "b/service.toml": 'run = "x"\n[calls.a]\nenv = "A"\nport = "grpc"\n[calls.c]\nenv = "C"\n',
        "c/service.toml": "not toml",
    }
    assert [(p.file, p.field) for p in problems(tmp_path, files)] == [
        ("a/service.toml", "port"),
        ("c/service.toml", ""),
    ]


def test_what_is_said_of_a_file_that_is_no_toml_has_no_line_of_a_field(tmp_path: Path) -> None:
    files = {"x/service.toml": 'name = "a"\nrun = "x"', "y/a/service.toml": '"\\1" = ' + "[" * 3000}
    files["atoll.toml"] = 'services = ["x", "y/a"]'
    assert [problem.file for problem in problems(tmp_path, files)] == ["y/a/service.toml"] * 2


def test_two_services_of_one_name_are_told_with_both_files(tmp_path: Path) -> None:
    files = {"a/service.toml": 'run = "x"\nname = "orders"', "services/orders/service.toml": 'run = "x"'}
    assert said(tmp_path, files) == [
        'services/orders/service.toml:None: name "orders" is also that of a/service.toml | each service has a name of its own'
    ]


def test_a_folder_whose_name_cannot_be_a_services_needs_a_name(tmp_path: Path) -> None:
    files = {"My App/service.toml": 'run = "x"'}
    (problem,) = problems(tmp_path, files)
    assert problem.what == 'name is missing, and the folder\'s own, "My App", cannot serve as one'
    assert problem.fix == 'such as name = "orders"'


def test_bytes_that_are_no_text_are_told_with_their_line(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, {"a/service.toml": b'run = "x"\nowner = "\xe9"\n'})
    assert (problem.line, problem.what) == (2, "is not UTF-8: byte 0xe9 at position 19")
    assert problem.fix == "save the file as UTF-8"


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "atoll.toml").write_text("")
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "service.toml").mkdir()
    (tmp_path / "b" / "service.toml").symlink_to("nowhere")
    (tmp_path / "c" / "service.toml").symlink_to("service.toml")
    (tmp_path / "d" / "service.toml").write_text("#" * (1024 * 1024 + 1))
    with pytest.raises(InvalidWorkspace) as caught:
        load(tmp_path)
    found = {problem.file: problem.what for problem in caught.value.problems if problem.level == "error"}
    assert found.pop("c/service.toml") in {
        "is a link that leads nowhere",
        "cannot be read: Too many levels of symbolic links",
    }
    assert found == {
        "a/service.toml": "is not a file",
        "b/service.toml": "is a link that leads nowhere",
        "d/service.toml": "is larger than 1 MiB",
    }


def test_a_missing_workspace_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidWorkspace) as caught:
        load(tmp_path)
    (problem,) = [each for each in caught.value.problems if each.level == "error"]
    assert (problem.file, problem.fix) == ("atoll.toml", "put a file there; an empty atoll.toml will do")


def test_deep_nesting_is_told_not_a_crash(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, {"a/service.toml": 'run = "x"\nenv = ' + "[" * 5000})
    assert problem.what.startswith("is n")


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("helth = 1", ["unknown-field"]),
        ("replicas = 0\nport = 8080", ["wrong-value", "wrong-value"]),
        ("[[publishes]]", ["missing-field"]),
        ("overlap = false\nreplicas = 2", ["fields-contradict"]),
        ("= 1", ["not-toml"]),
        ('env.A = "{prot}"', ["unknown-placeholder"]),
        ('calls.nobody = "NOBODY"', ["unknown-callee"]),
        ('env.PORT = "1"', ["variable-twice"]),
        ('port = "tcp"\nroute = "/a"', ["wrong-protocol"]),
        ('[env.stagin]\nA = "1"', ["unknown-environment"]),
    ],
)
def test_every_mistake_names_its_page(tmp_path: Path, text: str, ids: list[str]) -> None:
    assert [problem.id for problem in problems(tmp_path, {"s/service.toml": f'run = "x"\n{text}\n'})] == ids


def test_a_lone_mistake_brings_its_own_fix_and_several_the_command_that_lists_them() -> None:
    one = Problem(
        file="orders/service.toml", id="unknown-field", what="replcas is not a field", fix="did you mean 'replicas'?"
    )
    assert InvalidWorkspace([one]).fix == one.fix
    assert "atoll check" in InvalidWorkspace([one, one]).fix


def test_a_mistyped_base_is_told_and_what_is_like_nothing_is_left_alone(write: Write) -> None:
    bases = 'pyhton = "a"\ngo-run = "b"\nmysql = "c"\nmaria-db = "d"\nmariadb = "e"\n'
    root = write(
        {
            "atoll.toml": f'[environments.box]\nengine = "docker"\n\n[environments.box.docker.bases]\n{bases}',
            "one/service.toml": 'run = "x"\n[stores.legacy]\ntype = "mariadb"\nurl = "mariadb://h/d"\nenv = "U"\n',
        }
    )
    found = [(each.line, each.what, each.fix) for each in load(root, "box").warnings if "bases" in each.field]
    unused = "is used by nothing: no technology and no store is called so"
    assert found == [
        (5, f"docker.bases.pyhton {unused}", "did you mean 'python'?"),
        (8, f"docker.bases.maria-db {unused}", "did you mean 'mariadb'?"),
    ]
    assert [each for each in load(root).warnings if "bases" in each.field] == []


def test_the_technologies_of_bases_are_those_that_builders_have() -> None:
    assert set(TECHNOLOGIES) == {*BUILDERS} - {"command"}
