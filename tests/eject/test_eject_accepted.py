"""Every field of a service is carried over by `atoll eject` or told; and Docker's own reader takes what is written."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from atoll.eject import Recipe, files
from atoll.model.analysis import Check
from atoll.model.environment import EnvironmentSpec, WorkspaceSpec
from atoll.model.spec import (
    Before,
    Call,
    Command,
    EdgePolicy,
    ImageSpec,
    Job,
    Limits,
    Plain,
    Port,
    Probe,
    RenderedFile,
    RolloutSpec,
    RolloutStep,
    Route,
    SecretRef,
    Server,
    ServiceSpec,
    Store,
    Topic,
)

HERE = Path(__file__).parent
BASE = ServiceSpec(
    name="web",
    folder="web",
    run=Command(argv=("./web", "{port}")),
    image=ImageSpec(),
    ports=(Port(env="PORT"), Port(name="admin", env="ADMIN")),
    calls=(Call(callee="api", env={"API": "{url}"}),),
    routes=(Route(path="/shop"),),
    stores=(Store(name="db", url=Plain("postgres://10.0.0.9/x"), env={"DB": "{url}"}),),
    publishes=(Topic(name="placed"),),
    consumes=(Topic(name="paid"),),
    limits=Limits(memory_bytes=1 << 26, cpu_weight=50, open_files=1000, cpus=0.5, pids=50),
    env={"COLOUR": Plain("red"), "DB": Plain("postgres://10.0.0.9/x")},
    files={"web.conf": RenderedFile(text="listen {port}")},
    jobs=(Job(name="nightly", run=Command(argv=("./report",)), schedule="0 3 * * *", retries=1),),
    rollout=RolloutSpec(before=Before(run=Command(argv=("./migrate",)))),
)
BASE = replace(BASE, health=replace(BASE.health, ready=Probe(kind="http", path="/ok", headers={"Host": "x"})))
API = ServiceSpec(name="api", folder="api", run=Command(shell="./api"), ports=(Port(env="PORT"), Port(name="more")))
# Another value for every field. A field that is missing here fails a test: carry it over in eject, or tell it in `left`.
OTHER: dict[str, Any] = {
    "name": "shop",
    "folder": "elsewhere",
    "root": "../other",
    "owner": "checkout",
    "description": "sells",
    "run.argv": ("./other",),
    "run.shell": "./web | cat",
    "build.builder": "go",
    "build.tool": "go@1.24",
    "build.steps": (Command(shell="make"),),
    "build.context": "..",
    "build.inputs": ("src",),
    "build.shared": ["proto"],
    "build.outputs": ("dist",),
    "build.env": {"A": "b"},
    "build.needs": ("lint",),
    "build.inherit": ("APP_VERSION",),
    "build.passed": ("NPM_TOKEN",),
    "build.provide": True,
    "build.timeout_s": 60.0,
    "image.ref": "web@sha256:" + "0" * 64,
    "image.dockerfile": "docker/Dockerfile",
    "image.generated": True,
    "image.context": "..",
    "image.target": "app",
    "image.args": {"A": "b"},
    "image.needs": ("build",),
    "image.base": "golang:1",
    "image.run_base": "debian:12",
    "image.bases": {"go": "golang:1"},
    "workdir": "app",
    "ports.name": "main",
    "ports.protocol": "tcp",
    "ports.number": 3000,
    "ports.env": "WEB_PORT",
    "health.ready.kind": "tcp",
    "health.ready.port": "admin",
    "health.ready.path": "/well",
    "health.ready.headers": {"Host": "y"},
    "health.ready.service": "shop.Web",
    "health.ready.command": Command(argv=("true",)),
    "health.ready.timeout_s": 3.0,
    "health.live.kind": "http",
    "health.start_budget_s": 77.0,
    "health.stable_for_s": 9.0,
    "health.interval_s": 9.0,
    "health.failures": 9,
    "stop.signal": "SIGINT",
    "stop.grace_s": 44.0,
    "stop.drain_s": 44.0,
    "calls.callee": "nobody",
    "calls.port": "more",
    "calls.env": {"OTHER_API": "{url}"},
    "calls.optional": True,
    "calls.protocol": "grpc",
    "calls.ca": "company.pem",
    "calls.url": "https://api.example.com",
    "routes.path": "/other",
    "routes.host": "shop.example.com",
    "routes.port": "admin",
    "routes.strip": True,
    "failures.http": ("5xx", "429"),
    "failures.grpc": ("INTERNAL",),
    "stores.name": "database",
    "stores.type": "mysql",
    "stores.url": SecretRef("db"),
    "stores.env": {"DATABASE": "{url}"},
    "stores.shared": True,
    "stores.server": Server(),
    "store": "postgres",
    "calls.store": True,
    "health.ready.send": "PING",
    "health.ready.expect": "PONG",
    "publishes.name": "cancelled",
    "publishes.store": "db",
    "publishes.contract": "events.yaml",
    "publishes.external": True,
    "consumes.name": "refunded",
    "consumes.store": "db",
    "consumes.contract": "events.yaml",
    "consumes.external": True,
    "limits.memory_bytes": 1 << 27,
    "limits.cpu_weight": 60,
    "limits.open_files": 2000,
    "limits.cpus": 1.5,
    "limits.pids": 60,
    "replicas": 2,
    "overlap": False,
    "rollout.strategy": "canary",
    "rollout.steps": (RolloutStep(weight_pct=5),),
    "rollout.bake_s": 7.0,
    "rollout.deadline_s": 7.0,
    "rollout.on_no_data": "fail",
    "rollout.on_inconclusive": "fail",
    "rollout.countdown_s": 7.0,
    "rollout.checks": (Check(name="smoke", http="http://127.0.0.1:9"),),
    **{
        f"rollout.analysis.{name}": 0.03 for name in ("alpha", "beta", "tolerate_slower_s", "warmup_s", "max_latency_s")
    },
    **{f"rollout.analysis.{name}_pct": 3.0 for name in ("detect_failures", "tolerate_failures", "max_failures")},
    **{f"rollout.analysis.{name}_slower_pct": 3.0 for name in ("detect", "tolerate")},
    "rollout.analysis.min_requests": 3,
    "rollout.analysis.latency": False,
    "rollout.analysis.dry_run": True,
    "env": {"COLOUR": Plain("blue"), "DB": Plain("x")},
    "inherit": ("LANG",),
    "writable": ("/var/lib/web",),
    "files.text": "other {port}",
    "files.template": "web.conf.tmpl",
    "jobs.name": "daily",
    "jobs.run.argv": ("./other",),
    "jobs.run.shell": "./report | mail",
    "jobs.schedule": "0 4 * * *",
    "jobs.time_zone": "Europe/Berlin",
    "jobs.timeout_s": 60.0,
    "jobs.overlap": "queue",
    "jobs.retries": 3,
    "jobs.starting_deadline_s": 60.0,
    "jobs.env": {"A": Plain("b")},
    "rollout.before.run.argv": ("./other",),
    "rollout.before.run.shell": "./migrate | tee log",
    "rollout.before.job": "nightly",
    "rollout.before.timeout_s": 60.0,
    "rollout.before.env": {"A": Plain("b")},
    "rollout.before.backward_compatible": True,
    **{f"{of}.policy.connect_timeout_s": 9.0 for of in ("calls", "routes")},
    **{f"{of}.policy.timeout_s": 9.0 for of in ("calls", "routes")},
    **{f"{of}.policy.idle_timeout_s": 9.0 for of in ("calls", "routes")},
    **{f"{of}.policy.retries": 5 for of in ("calls", "routes")},
    **{f"{of}.policy.retry_on": ("gateway-error",) for of in ("calls", "routes")},
    **{f"{of}.policy.retry_budget_pct": 33.0 for of in ("calls", "routes")},
    **{f"{of}.policy.max_connections": 33 for of in ("calls", "routes")},
    **{f"{of}.policy.max_pending": 33 for of in ("calls", "routes")},
    **{f"{of}.policy.max_requests": 33 for of in ("calls", "routes")},
    **{f"{of}.policy.eject_after": 33 for of in ("calls", "routes")},
    **{f"{of}.policy.eject_for_s": 33.0 for of in ("calls", "routes")},
    **{f"{of}.policy.max_body_bytes": 33 for of in ("calls", "routes")},
}
# Those that change nothing of what runs, each with its reason.
NOTHING = {
    "owner": "nobody reads it without Atoll",
    "build.builder": "the recipe says how it is built",
    "image.generated": "compose.yaml has a generated one in any case",
    "files.template": "its text was read already",
    "build.steps": "the recipe says how it is built",
    "root": "its folder says where it lies",
    "build.timeout_s": "a person sees how long a build takes",
    "rollout.before.job": "what it runs is carried over",
    "rollout.before.backward_compatible": "that there is no rollback is told",
    "health.ready.service": "only of gRPC's check, which is told as a whole",
    "calls.protocol": "what an absent callee would speak; that it is absent is told",
    "calls.ca": "of a callee outside: TLS to it is told to be the service's own business",
    "stores.type": "only `atoll check` and `why` read it",
    "stores.shared": "only `atoll check` reads it",
    "calls.store": "its variables stand in `stores`, where it is told",
    "store": "no file has it: it is of what `[stores]` makes",
    "health.ready.send": "of tcp probes only",
    "stores.url": "its variables have its address",
    "stores.name": "its variables have its address",
    "stores.env": "its variables stand in `env`, too",
}


def leaves(value: Any, path: str = "") -> Iterator[str]:
    """Every field, through structs, the first of a tuple of structs and the first of a table of them."""
    for field in msgspec.structs.fields(value):
        inner, name = getattr(value, field.name), f"{path}{field.name}"
        if isinstance(inner, tuple) and inner and isinstance(inner[0], msgspec.Struct):
            yield from leaves(inner[0], f"{name}.")
        elif isinstance(inner, Mapping) and inner and isinstance(next(iter(inner.values())), RenderedFile):
            yield from leaves(next(iter(inner.values())), f"{name}.")
        elif isinstance(inner, Plain | SecretRef) or not isinstance(inner, msgspec.Struct):
            yield name
        elif name == "health.live":  # a probe like `ready`, whose fields are walked there
            yield f"{name}.kind"
        else:
            yield from leaves(inner, f"{name}.")


def altered(value: Any, path: list[str], new: Any) -> Any:
    """The same with another value at `path`."""
    if isinstance(value, tuple):
        return (altered(value[0], path, new), *value[1:])
    if isinstance(value, Mapping):
        return {key: altered(item, path, new) for key, item in value.items()}
    name, *rest = path
    return replace(value, **{name: altered(getattr(value, name), rest, new) if rest else new})


def ejected(web: ServiceSpec) -> dict[str, str]:
    recipe = Recipe("python")
    workspace = WorkspaceSpec(name="x", root="/srv", environment=ENVIRONMENT, services={web.name: web, "api": API})
    return files(workspace, dict.fromkeys(workspace.services, recipe), "/srv/ejected")


ENVIRONMENT = EnvironmentSpec()


def test_the_table_above_has_every_field() -> None:
    assert set(leaves(BASE)) <= set(OTHER)
    assert EdgePolicy() == BASE.calls[0].policy


@pytest.mark.parametrize("field", list(leaves(BASE)))
def test_a_field_is_carried_over_or_told(field: str) -> None:
    same = ejected(altered(BASE, field.split("."), OTHER[field])) == ejected(BASE)
    assert same == (field in NOTHING)


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("go") is None, reason="go is not here")
def test_docker_composes_own_reader_accepts_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "accept").mkdir()
    for name in ("go.mod", "go.sum", "main.go"):
        shutil.copy(HERE / "accept" / name, tmp_path / "accept")
    try:
        built = subprocess.run(
            ["go", "build", "-o", str(tmp_path / "reader"), "."],
            cwd=tmp_path / "accept", capture_output=True, text=True, timeout=150, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        pytest.skip("the reader could not be built in time")
    if built.returncode:
        pytest.skip(f"the reader cannot be built here: {built.stderr[-200:]}")
    secret = replace(BASE, env={**BASE.env, "KEY": SecretRef("the-key")}, replicas=2, inherit=("LANG",))
    for name, text in ejected(secret).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    command = [str(tmp_path / "reader"), str(tmp_path / "compose.yaml")]
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "required variable THE_KEY is missing a value" in refused.stderr  # it can refuse
    env = {**os.environ, "THE_KEY": "x"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.split(), done.stderr) == (["api", "gateway", "web", "web-before"], "")
