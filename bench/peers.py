"""Peers that a benchmark runs beside Atoll, each fetched into a temporary folder and ended with it.

A peer that cannot run here raises OSError, subprocess.SubprocessError or RuntimeError with the reason; a benchmark then
leaves it out and says so.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.site import PROGRAMS, ended, free_ports, get, until

FETCH_S = 300
COMMAND_S = 120
START_S = 30.0
PACKAGES = ("docker.io", "containerd", "runc")


def fetched_pm2(folder: Path) -> Path:
    """pm2's command, installed below `folder`."""
    if not shutil.which("npm"):
        raise RuntimeError("npm is not installed")
    fetch = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder / "pm2"), "pm2"]
    subprocess.run(fetch, check=True, capture_output=True, timeout=FETCH_S)
    return folder / "pm2" / "node_modules" / ".bin" / "pm2"


class Pm2:
    """Two instances of `node_service.js` in cluster mode; `release` reloads them one by one."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._command = fetched_pm2(folder)
        self._env = {**os.environ, "PM2_HOME": str(folder / "pm2-home")}
        self.port = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self._values = {"PORT": str(self.port), **env}

    def start(self) -> None:
        self._run("start", str(PROGRAMS / "node_service.js"), "--name", "svc", "-i", "2")
        until(lambda: get(self.url + "/"), START_S)

    def release(self, env: Mapping[str, str]) -> None:
        """Returns when pm2 says that it is done."""
        self._values.update(env)
        self._run("reload", "svc", "--update-env")

    def stop(self) -> None:
        self._run("kill")

    def _run(self, *argv: str) -> None:
        env = {**self._env, **self._values}
        subprocess.run([self._command, *argv], env=env, check=True, capture_output=True, timeout=COMMAND_S)


class Swarm:
    """Two copies of `shared_port.go`, from an image with nothing else in it, on the host's network; `release` is a rolling
    update with Swarm's defaults. Needs root and Go; dockerd is fetched from Debian where it is not installed.
    """

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        if os.getuid():
            raise RuntimeError("dockerd needs root")
        if not shutil.which("go"):
            raise RuntimeError("go is not installed")
        self._folder = folder / "swarm"
        self._folder.mkdir()
        tools = _docker(self._folder)
        self._env = {
            **os.environ,
            "PATH": os.pathsep.join([*map(str, tools), os.environ["PATH"]]),
            "DOCKER_HOST": f"unix://{self._folder}/docker.sock",
        }
        first = free_ports(3)
        self.url, self._ports = f"http://127.0.0.1:{first}", (first + 1, first + 2)
        self._values = {"PORT": str(first), **env}
        self._running = contextlib.ExitStack()

    def start(self) -> None:
        folder = self._folder
        build = ["go", "build", "-o", str(folder / "image" / "service"), str(PROGRAMS / "shared_port.go")]
        subprocess.run(build, env={**self._env, "CGO_ENABLED": "0"}, check=True, capture_output=True, timeout=FETCH_S)
        # In a mount namespace of its own, so that what it mounts ends with it. It leaves the machine's packet filter
        # alone: on the host's network nothing is to be forwarded.
        argv = ["unshare", "--mount", "dockerd", "--iptables=false", "--ip-forward=false", "--bridge=none"]
        argv += ["--storage-driver", "vfs", "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"]
        argv += ["--host", self._env["DOCKER_HOST"], "--pidfile", f"{folder}/docker.pid"]
        with (folder / "dockerd.log").open("wb") as log:
            dockerd = subprocess.Popen(argv, env=self._env, stdout=log, stderr=log, start_new_session=True)
        self._running.enter_context(ended(dockerd, within_s=20))
        until(lambda: self._ready(dockerd), START_S, 0.1)
        with subprocess.Popen(["tar", "-C", str(folder / "image"), "-c", "service"], stdout=subprocess.PIPE) as tar:
            self._run("import", "--change", 'ENTRYPOINT ["/service"]', "-", "svc", stdin=tar.stdout)
        at = [f"--listen-addr=127.0.0.1:{self._ports[0]}", f"--data-path-port={self._ports[1]}"]
        self._run("swarm", "init", "--advertise-addr=127.0.0.1", *at)
        create = ["service", "create", "--name", "svc", "--network", "host", "--replicas", "2", "--no-resolve-image"]
        self._run(*create, *_options("--env", self._values), "svc")
        until(lambda: get(self.url + "/"), START_S)

    def release(self, env: Mapping[str, str]) -> None:
        """Returns when Swarm says that it has converged."""
        self._run("service", "update", "--no-resolve-image", *_options("--env-add", env), "svc")

    def stop(self) -> None:
        with self._running:
            for last in (("swarm", "leave", "--force"), ("network", "rm", "docker_gwbridge")):
                with contextlib.suppress(subprocess.SubprocessError):
                    self._run(*last)

    def _ready(self, dockerd: subprocess.Popen[bytes]) -> bool:
        if dockerd.poll() is not None:
            lines = (self._folder / "dockerd.log").read_text().splitlines()
            raise RuntimeError(f"dockerd does not run here: {lines[-1] if lines else dockerd.returncode}")
        with contextlib.suppress(subprocess.SubprocessError):
            self._run("info")
            return True
        return False

    def _run(self, *argv: str, stdin: object = subprocess.DEVNULL) -> None:
        subprocess.run(
            ["docker", *argv], env=self._env, stdin=stdin, check=True, capture_output=True, timeout=COMMAND_S
        )  # type: ignore[call-overload]


def _docker(folder: Path) -> Sequence[Path]:
    """The folders with dockerd and its tools; none when they are installed. Unpacks Debian's packages, installs nothing."""
    if shutil.which("dockerd") and shutil.which("docker"):
        return ()
    if not shutil.which("apt-get"):
        raise RuntimeError("dockerd is not installed")
    fetch = ["apt-get", "download", *PACKAGES]
    subprocess.run(fetch, cwd=folder, check=True, capture_output=True, timeout=FETCH_S)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(folder / "root")], check=True, timeout=FETCH_S)
    return [folder / "root" / "usr" / "bin", folder / "root" / "usr" / "sbin"]


def _options(name: str, values: Mapping[str, str]) -> list[str]:
    return [part for key, value in values.items() for part in (name, f"{key}={value}")]
