"""Docker Swarm, docker-compose and Atoll on one dockerd, each with two copies of the same image.

In front of Swarm and of Compose stands HAProxy in a container: neither has a proxy that takes replicas in and out (Swarm's
own mesh needs a kernel with IPVS, and does not look at health beyond the container's). It asks Docker's DNS and each
replica's health four times a second and sends a connection that was refused to another replica.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from examples.workspace import free_ports

from bench.site import PROGRAMS, Site, get, until

if TYPE_CHECKING:
    from dockerd import Dockerd

PORT = 8080
COPIES = 2
START_S = 60.0
COMMAND_S = 180
COMMAND = ("python3", "-S", "/service/container_service.py")
BASE_ENV = {"HOST": "0.0.0.0", "PORT": str(PORT), "WORK_MS": "20"}  # in a container
HAPROXY = """
global
    maxconn 4000
resolvers docker
    nameserver dns 127.0.0.11:53
    timeout resolve 250ms
    timeout retry 250ms
    hold valid 250ms
    hold nx 250ms
    hold obsolete 0s
defaults
    mode http
    timeout connect 1s
    timeout client 60s
    timeout server 10s
    timeout check 1s
    retries 3
    option redispatch 1
frontend in
    bind :80
    default_backend service
backend service
    option httpchk GET /healthz
    server-template replica 4 {name}:{port} check inter 250ms fall 1 rise 1 resolvers docker init-addr none
"""
DOCKERFILE = "FROM {base}\nCOPY container_service.py /service/\nCMD {command}\n"
PROXY_DOCKERFILE = "FROM {base}\nRUN apt-get update -qq && apt-get install -y -qq --no-install-recommends haproxy\n"


def make_images(giver: Dockerd, folder: Path) -> tuple[str, str]:
    """The service's image and HAProxy's; tags in the daemon that reaches package archives."""
    base = giver.base("runtime")
    made = []
    for name, text in (
        ("service", DOCKERFILE.format(base=base, command=json.dumps(COMMAND))),
        ("haproxy", PROXY_DOCKERFILE.format(base=base)),
    ):
        context = folder / f"image-{name}"
        context.mkdir()
        (context / "Dockerfile").write_text(text)
        (context / "container_service.py").write_text((PROGRAMS / "container_service.py").read_text())
        made.append(f"atoll-bench/{name}:latest")
        giver.docker("build", "--quiet", "--tag", made[-1], str(context), timeout_s=300)
    return made[0], made[1]


class Orchestrator(Protocol):
    """A service at `url`. `release` rolls out a version and returns when that is said to be over."""

    name: str
    url: str
    containers: str  # a filter of `docker ps` that finds its replicas

    def start(self, version: str) -> None: ...
    def release(self, version: str) -> None: ...
    def stop(self) -> None: ...


def kill_one(daemon: Dockerd, of: Orchestrator) -> float:
    """`kill -9` of the newest replica; the instant at which it was."""
    newest = daemon.docker("ps", "--filter", of.containers, "--format", "{{.ID}}").splitlines()[0]
    os.kill(int(daemon.docker("inspect", "--format", "{{.State.Pid}}", newest)), signal.SIGKILL)
    return time.monotonic()


class _Fronted:
    """What stands behind HAProxy."""

    def __init__(self, daemon: Dockerd, folder: Path, images: tuple[str, str]) -> None:
        self.daemon, self.folder = daemon, folder
        self.image, self._proxy_image = images
        self.url = ""

    def front(self, network: str, name: str) -> None:
        """Start HAProxy in a network where `name` is all replicas; it is reached at its address on Docker's own bridge."""
        conf = self.folder / f"haproxy-{network}.cfg"
        conf.write_text(HAPROXY.format(name=name, port=PORT))
        mount = f"{conf}:/haproxy.cfg:ro"
        proxy = f"proxy-{network}"
        self.daemon.docker("run", "--detach", "--name", proxy, "--volume", mount, "--network", network,
                           self._proxy_image, "/usr/sbin/haproxy", "-db", "-f", "/haproxy.cfg")  # fmt: skip
        self.daemon.docker("network", "connect", "bridge", proxy)
        path = "{{.NetworkSettings.Networks.bridge.IPAddress}}"
        self.url = f"http://{self.daemon.docker('inspect', '--format', path, proxy)}:80"
        until(lambda: get(self.url + "/"), START_S)


class Swarm(_Fronted):
    """Start-first, one replica at a time, with a health check and no delay before a restart: its defaults wait longer."""

    name = "Docker Swarm"
    containers = "label=com.docker.swarm.service.name=svc"

    def start(self, version: str) -> None:
        first = free_ports(2)
        at = ("--advertise-addr=127.0.0.1", f"--listen-addr=127.0.0.1:{first}", f"--data-path-port={first + 1}")
        self.daemon.docker("swarm", "init", *at)
        self.daemon.docker("network", "create", "--driver", "overlay", "--attachable", "swarm")
        health = f"python3 -S -c \"import urllib.request as u; u.urlopen('http://127.0.0.1:{PORT}/healthz')\""
        env = [
            word for name, value in {**BASE_ENV, "VERSION": version}.items() for word in ("--env", f"{name}={value}")
        ]
        self.daemon.docker(
            "service", "create", "--name", "svc", "--network", "swarm", "--endpoint-mode", "dnsrr", "--init",
            "--replicas", str(COPIES), "--no-resolve-image", "--update-order", "start-first", "--restart-delay", "0s",
            "--health-cmd", health, "--health-interval", "500ms", "--health-start-period", "5s", *env, self.image,
        )  # fmt: skip
        self.front("swarm", "tasks.svc")

    def release(self, version: str) -> None:
        self.daemon.docker("service", "update", "--no-resolve-image", "--env-add", f"VERSION={version}", "svc")

    def stop(self) -> None:
        with contextlib.suppress(RuntimeError):
            self.daemon.docker("swarm", "leave", "--force")


class Compose(_Fronted):
    """`docker-compose up --detach`, which replaces what has changed: stop, then start. `restart: always`."""

    name = "docker-compose"
    containers = "label=com.docker.compose.service=svc"

    def start(self, version: str) -> None:
        self.release(version)
        self.front("bench_default", "svc")

    def release(self, version: str) -> None:
        (self.folder / "docker-compose.yml").write_text(json.dumps(self._file(version)))
        done = subprocess.run(
            ["docker-compose", "--project-name", "bench", "up", "--detach", "--scale", f"svc={COPIES}"],
            cwd=self.folder, env={**os.environ, "DOCKER_HOST": self.daemon.host}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=COMMAND_S, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"docker-compose ended with {done.returncode}: {done.stderr}")

    def stop(self) -> None:
        """The daemon's end is its end."""

    def _file(self, version: str) -> Mapping[str, object]:
        service = {
            "image": self.image,
            "init": True,
            "restart": "always",
            "environment": {**BASE_ENV, "VERSION": version},
        }
        return {"version": "3.7", "services": {"svc": service}}


class Atoll:
    """Blue-green, else with nothing said about how. Requests come through its gateway."""

    name = "Atoll"
    containers = "label=dev.atoll.service=svc"

    def __init__(self, daemon: Dockerd, place: Site, image: str) -> None:
        self._place, self.url = place, place.url
        self._image = daemon.docker("image", "inspect", "--format", "{{.Id}}", image)
        with (place.root / "atoll.toml").open("a") as file:
            file.write(f'engine = "docker"\ndocker = {{ socket = "{daemon.socket}" }}\n')

    def start(self, version: str) -> None:
        self._write(version)
        self._place.atoll("up")
        until(lambda: get(self.url + "/"), START_S)

    def release(self, version: str) -> None:
        self._write(version)
        self._place.atoll("deploy", "svc")

    def stop(self) -> None:
        """Its site's end is its end."""

    def _write(self, version: str) -> None:
        toml = (
            f'run = {json.dumps(COMMAND)}\nroute = "/"\nhealth = "/healthz"\nreplicas = {COPIES}\n'
            f'rollout = {{ strategy = "blue-green", bake = "0s" }}\nimage = "{self._image}"'
        )
        env = {"HOST": "{host}", "WORK_MS": BASE_ENV["WORK_MS"], "VERSION": version}
        self._place.service("svc", "container_service.py", toml, env)
