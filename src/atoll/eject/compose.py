"""compose.yaml, its .env.example and its nginx: one container image a service, built from its own folder. Pure."""

import json
import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from atoll.eject import nginx
from atoll.eject.layout import (
    CONTAINER_DATA,
    CONTAINER_FILES,
    Layout,
    Recipe,
    Started,
    container_ports,
    turned,
    variable,
)
from atoll.model.spec import Command, ImageSpec, Job, Port, Probe, ServiceSpec

IMAGES: Mapping[str, str] = {  # what has the tools of each builder; a person pins the version
    "python": "python:3-slim",
    "node": "node:lts-slim",
    "go": "golang:1",
    "rust": "rust:1",
    "maven": "maven:3-eclipse-temurin-21",
    "gradle": "gradle:jdk21",
    "java": "eclipse-temurin:21",
}
OTHER_IMAGE = "debian:stable-slim"
_NGINX = "nginx:1.29"  # 1.27.3 and later resolve the names of upstreams anew
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./ -]*(?<! )")
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


def compose_file(layout: Layout) -> str:
    """The file."""
    services: dict[str, Any] = {}
    if layout.routed:
        services[gateway_name(layout)] = _gateway(layout)
    for spec in layout.services:
        if spec.run is not None:
            services[spec.name] = _service(layout, spec, spec.run)
        for job in layout.jobs_of(spec):
            services[layout.job_name(spec, job)] = _job(layout, spec, job)
    volumes: dict[str, Any] = {
        volume: {} for spec in layout.services for volume, _ in _volumes(layout.in_container(spec))
    }
    document = {"name": layout.name, "services": services, **({"volumes": volumes} if volumes else {})}
    if configs := {
        _config(spec, name): {"content": text} for spec in layout.services for name, text in _files(layout, spec)
    }:
        document["configs"] = configs
    return "# Written by `atoll eject`; see README.md beside it.\n" + "\n".join(_yaml(document)) + "\n"


def compose_nginx(layout: Layout) -> str:
    """Its gateway's configuration."""
    port = layout.workspace.environment.gateway.port

    def upstream(spec: ServiceSpec, at: Port) -> Sequence[str]:
        return [f"{spec.name}:{container_ports(spec)[at.name]}"]

    head = ("access_log off;", "resolver 127.0.0.11 valid=5s;")
    return nginx.configuration(layout, str(port), upstream, head, edges=False, dns="127.0.0.11").replace(
        "pid nginx.pid;", "pid /var/run/nginx.pid;"
    )


def example_env(layout: Layout) -> str:
    """Secrets by the names that compose.yaml uses; never a value."""
    names: set[str] = set()
    for spec in layout.services:
        started = layout.in_container(spec)
        for each in (started, *(started.as_job(job) for job in layout.jobs_of(spec))):
            names |= set(each.secrets.values())
        names |= spec.file_secrets
    lines = ["# Copy to .env and fill in. Written by `atoll eject`, which never writes a secret's value."]
    lines += [f"# the secret {name}\n{variable(name)}=" for name in sorted(names)] or ["# No service has a secret."]
    return "\n".join(lines) + "\n"


def gateway_name(layout: Layout) -> str:
    """What nginx's own container is called: not like a service of the workspace."""
    return next(name for name in ("gateway", "nginx", "atoll-nginx") if name not in layout.workspace.services)


def _gateway(layout: Layout) -> dict[str, Any]:
    gateway = layout.workspace.environment.gateway
    routed = sorted({spec.name for spec, _ in nginx.gateway_routes(layout)})
    return {
        "image": _NGINX,
        "ports": [f"{gateway}:{gateway.port}"],
        "volumes": ["./nginx.compose.conf:/etc/nginx/nginx.conf:ro"],
        "depends_on": {name: _condition(layout, name) for name in routed},
        "restart": "unless-stopped",
    }


def _service(layout: Layout, spec: ServiceSpec, run: Command) -> dict[str, Any]:
    started = layout.in_container(spec)
    made = _container(layout, started, run)
    if spec.rollout.before:
        before = next(job for job in layout.jobs_of(spec) if job.name == "before")
        made.setdefault("depends_on", {})[layout.job_name(spec, before)] = {
            "condition": "service_completed_successfully"
        }
    if check := _health(layout, started):
        made["healthcheck"] = check
    made |= _mounts(started)
    made |= _configs(layout, spec)
    if spec.replicas != 1:
        made["deploy"] = {"replicas": spec.replicas}
    made |= _limits(spec)
    made |= {
        "stop_signal": spec.stop.signal,
        "stop_grace_period": _time(spec.stop.grace_s),
        "restart": "unless-stopped",
    }
    return {key: value for key, value in made.items() if value != {}}


def _job(layout: Layout, spec: ServiceSpec, job: Job) -> dict[str, Any]:
    """A container that ends. `docker compose run NAME` starts it; what runs before a release `up` does."""
    started = layout.in_container(spec).as_job(job)
    made = _container(layout, started, job.run) | _mounts(started) | _configs(layout, spec)
    if job.name != "before":
        made["profiles"] = ["jobs"]
    made |= _limits(spec)
    made |= {"stop_signal": spec.stop.signal, "restart": "no"}
    return {key: value for key, value in made.items() if value != {}}


def _container(layout: Layout, started: Started, run: Command) -> dict[str, Any]:
    """What replicas and jobs have in common."""
    spec = started.spec
    made: dict[str, Any] = {
        **_image(layout, spec, started.workdir),
        "command": [_dollars(word) for word in started.filled(run)],
        "environment": {name: _dollars(text) for name, text in started.env.items()},
    }
    for name, secret in started.secrets.items():
        made["environment"][name] = f"${{{variable(secret)}:?set it in .env}}"
    made["environment"] |= {name: f"${{{name}:-}}" for name in spec.inherit}
    callees = [name for name in layout.after[spec.name] if layout.workspace.services[name].run is not None]
    if callees:
        made["depends_on"] = {name: _condition(layout, name) for name in callees}
    return made


def _image(layout: Layout, spec: ServiceSpec, workdir: str) -> dict[str, Any]:
    """What it runs in: as `[image]` says where that names something, else built by what its builder does."""
    own = spec.image or ImageSpec()
    if own.ref:
        return {"image": own.ref}
    context = posixpath.join(spec.folder, (own.context if own.dockerfile else "") or spec.build.context)
    folder = posixpath.normpath(posixpath.join(layout.workspace.root, context))
    build: dict[str, Any] = {"context": posixpath.relpath(folder, layout.folder)}
    if not own.dockerfile:
        return {"build": build | {"dockerfile_inline": _dockerfile(layout, spec)}, "working_dir": workdir}
    file = posixpath.join(layout.workspace.root, spec.folder, own.dockerfile)
    build |= {"dockerfile": posixpath.relpath(file, folder), "target": own.target, "args": dict(own.args)}
    return {"build": {name: value for name, value in build.items() if value}}


def _mounts(started: Started) -> dict[str, Any]:
    volumes = [f"{volume}:{at}" for volume, at in _volumes(started)]
    return {"volumes": volumes} if volumes else {}


def _volumes(started: Started) -> Iterator[tuple[str, str]]:
    """Named volumes and where they are in the container."""
    if started.keeps_data:
        yield f"{started.spec.name}-data", CONTAINER_DATA
    for folder in started.spec.writable:
        yield _config(started.spec, folder.strip("/")), folder


def _configs(layout: Layout, spec: ServiceSpec) -> dict[str, Any]:
    names = [name for name, _ in _files(layout, spec)]
    targets = [{"source": _config(spec, name), "target": f"{CONTAINER_FILES}/{name}"} for name in names]
    return {"configs": targets} if targets else {}


def _config(spec: ServiceSpec, name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", f"{spec.name}-{name}")


def _files(layout: Layout, spec: ServiceSpec) -> Iterator[tuple[str, str]]:
    """Each rendered file; what is not known here compose takes from .env or the shell."""

    def told(kind: str, name: str) -> str:
        return f"${{{variable(name)}:?set it in .env}}" if kind == "secret" else f"${{{name}:-}}"

    for name, text in layout.in_container(spec).files.items():
        yield name, turned(_dollars(text), told)


def _limits(spec: ServiceSpec) -> dict[str, Any]:
    limits, made = spec.limits, dict[str, Any]()
    if limits.memory_bytes is not None:
        made["mem_limit"] = limits.memory_bytes
    if limits.cpu_weight is not None:
        made["cpu_shares"] = max(2, limits.cpu_weight * 1024 // 100)
    if limits.cpus is not None:
        made["cpus"] = limits.cpus
    if limits.pids is not None:
        made["pids_limit"] = limits.pids
    if limits.open_files is not None:
        made["ulimits"] = {"nofile": limits.open_files}
    return made


def _condition(layout: Layout, name: str) -> dict[str, str]:
    spec = layout.workspace.services[name]
    checked = spec.health.ready.kind != "process"
    return {"condition": "service_healthy" if checked else "service_started"}


def _dockerfile(layout: Layout, spec: ServiceSpec) -> str:
    recipe = layout.recipes.get(spec.name, Recipe("command"))
    lines = [f"FROM {image(recipe)}"]
    if any("uv" in step.command.argv[:1] for step in recipe.steps):
        lines.append("RUN pip install --no-cache-dir uv")
    lines += ["WORKDIR /app", "COPY . ."]
    env = {name: text for step in recipe.steps for name, text in step.env.items()} | dict(spec.build.env)
    lines += [f"ENV {name}={json.dumps(text)}" for name, text in env.items()]
    for step in recipe.steps:
        argv = step.command.argv
        lines.append(f"RUN {shlex.join(argv)}" if argv else f"RUN {json.dumps(['/bin/sh', '-c', step.command.shell])}")
    lines += [f'ENV {name}="{text}:${name}"' for name, text in layout.in_container(spec).before.items()]
    return _dollars("\n".join(lines)) + "\n"


def image(recipe: Recipe) -> str:
    """What a service's image is built from."""
    return IMAGES.get(recipe.builder, OTHER_IMAGE)


# --- health -------------------------------------------------------------------------------------------------------


def _health(layout: Layout, started: Started) -> dict[str, Any]:
    spec, probe = started.spec, started.spec.health.ready
    if probe.kind == "process":
        return {}
    builder = layout.recipes.get(spec.name, Recipe("command")).builder
    if probe.command is not None:
        filled = started.filled(probe.command)
        test: list[str] = ["CMD", *filled]
    else:
        test = ["CMD", *_asking(builder, probe, started)]
    return {
        "test": [_dollars(word) for word in test],
        "interval": _time(spec.health.interval_s),
        "timeout": _time(max(1.0, probe.timeout_s)),
        "retries": spec.health.failures,
        "start_period": _time(spec.health.start_budget_s),
    }


def _asking(builder: str, probe: Probe, started: Started) -> Sequence[str]:
    """With what the image has: its language. gRPC is asked as TCP."""
    port = started.probed_port
    if probe.kind == "http":
        url, headers = f"http://127.0.0.1:{port}{probe.path}", dict(probe.headers)
        if builder == "python":
            asked = f"u.Request({url!r}, headers={headers!r})"
            return ["python3", "-c", f"import urllib.request as u; u.urlopen({asked}, timeout={probe.timeout_s:g})"]
        if builder == "node":
            call = f"fetch({json.dumps(url)}, {json.dumps({'headers': headers})})"
            return ["node", "-e", f"{call}.then(r => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
        flags = " ".join(f"-H {shlex.quote(f'{name}: {value}')}" for name, value in headers.items())
        return ["/bin/sh", "-c", " ".join(filter(None, ["curl -fsS -o /dev/null", flags, shlex.quote(url)]))]
    if builder == "python":
        return ["python3", "-c", f"import socket; socket.create_connection(('127.0.0.1', {port}), {probe.timeout_s:g})"]
    if builder == "node":
        call = f"require('net').connect({port}, '127.0.0.1')"
        return ["node", "-e", f"{call}.on('connect', () => process.exit(0)).on('error', () => process.exit(1))"]
    return ["/bin/bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}"]


# --- text ---------------------------------------------------------------------------------------------------------


def _dollars(text: str) -> str:
    """Compose would fill in what follows a dollar sign."""
    return text.replace("$", "$$")


def _time(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms" if seconds != int(seconds) else f"{int(seconds)}s"


def _yaml(value: Any, indent: str = "") -> list[str]:
    """Block YAML of tables, lists and scalars; JSON's strings are YAML's."""
    lines: list[str] = []
    if isinstance(value, list):
        return [f"{indent}- {_scalar(item)}" for item in value]
    for key, item in value.items():
        name = f"{indent}{_scalar(key)}:"
        if isinstance(item, str) and item.endswith("\n"):
            lines += [f"{name} |", *(f"{indent}  {line}" for line in item.splitlines())]
        elif isinstance(item, dict | list) and item:
            lines += [name, *_yaml(item, indent + "  ")]
        else:
            lines.append(f"{name} {_scalar(item)}")
    return lines


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)
