"""A workspace of its own with real processes and a real Envoy, driven through the real command line.

Everything lives under one temporary folder and ends with `close`. Ports come from a range that this lab alone holds.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from atoll.app.hooks import AppHooks
from atoll.cli.client import Client
from atoll.cli.failed import Failed

HERE = Path(__file__).parent
WITHIN_S = 60.0  # for anything that must happen at all; machines are slow and busy


class Lab:
    """One environment. `atoll(...)` runs a command, `service(...)` writes a service's file."""

    def __init__(self, folder: Path, first_port: int) -> None:
        self.root = folder / "ws"
        self.root.mkdir()
        self.home = folder / "home"
        self.gateway_port = first_port
        self.program = [sys.executable, "-m", "atoll.app"]
        self.env = {
            **os.environ,
            "ATOLL_HOME": str(self.home),
            "ATOLL_RUN": str(folder / "run"),
            "NO_COLOR": "1",
        }
        (self.root / "atoll.toml").write_text(
            f'name = "lab"\ngateway = "127.0.0.1:{first_port}"\nports = [{first_port + 1}, {first_port + 499}]\n'
        )
        (folder / "run").mkdir(mode=0o700)

    def service(
        self, name: str, text: str = "", *, env: Mapping[str, str] | None = None, route: str | None = ""
    ) -> None:
        """Write (or rewrite) an echo service. `route` "" is /NAME, None is no route."""
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        (folder / "echo_service.py").write_text((HERE / "echo_service.py").read_text())
        path = f"/{name}" if route == "" else route
        lines = [f'name = "{name}"']
        if "run =" not in text:
            lines.append(f'run = ["{sys.executable}", "-S", "echo_service.py"]')
        if "health" not in text:
            lines.append('health = { ready = "/healthz", stable_for = "300ms", start_budget = "20s" }')
        if path is not None:
            lines.append(f'route = "{path}"')
        if "rollout" not in text:  # these tests are about the switch itself: their load must not make it a canary
            lines.append('rollout = "blue-green"')
        lines.append(text)
        values = {"VERSION": "v1", **(env or {})}
        lines.append("[env]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        (folder / "service.toml").write_text("\n".join(lines) + "\n")

    def run(self, *argv: str, timeout_s: float = 120.0, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """`atoll ARGV` to its end."""
        return subprocess.run(
            [*self.program, *argv],
            cwd=self.root,
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def atoll(self, *argv: str, code: int = 0, timeout_s: float = 120.0, stdin: str | None = None) -> str:
        """`atoll ARGV` must end with `code`; its standard output."""
        done = self.run(*argv, timeout_s=timeout_s, stdin=stdin)
        assert done.returncode == code, f"atoll {argv} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *argv: str, code: int = 0) -> Any:
        """`atoll ARGV --json`, decoded."""
        return json.loads(self.atoll(*argv, "--json", code=code))

    def json_with(self, stdin: str, *argv: str) -> Any:
        """The same, with something on standard input."""
        return json.loads(self.atoll(*argv, "--json", stdin=stdin))

    def status(self) -> Any:
        """What `atoll status --json` prints. Tests ask for it again and again: a command each time would take half a processor
        from what they wait for, so the way of the command is gone in this process.
        """
        own = {name: value for name, value in self.env.items() if name.startswith("ATOLL_")}
        environment = own.get("ATOLL_ENV", "local")
        with mock.patch.dict(os.environ, own):
            line = AppHooks().places(self.root, environment).line
            try:
                return json.loads(Client(line, environment, lambda: None).raw("/v1/status"))
            except Failed as exc:
                raise AssertionError(f"no status: {exc}") from exc

    def of(self, name: str) -> Any:
        """One service of the status."""
        return next(service for service in self.status()["services"] if service["name"] == name)

    def events(self, name: str) -> list[Any]:
        """A service's ledger, the oldest first."""
        return [json.loads(line) for line in self.atoll("events", name, "--json").splitlines()]

    def pid(self, part: str) -> int:
        """The pid of keeper, daemon or proxy."""
        return int(next(one["pid"] for one in self.status()["parts"] if one["name"] == part))

    def pids(self, name: str) -> list[int]:
        """The pids of a service's ready replicas."""
        return [replica["pid"] for replica in self.of(name)["replicas"] if replica["ready"]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.gateway_port}"

    def get(self, path: str, timeout_s: float = 10.0) -> Any:
        """A GET through the gateway, decoded."""
        with urllib.request.urlopen(self.url + path, timeout=timeout_s) as reply:
            return json.load(reply)

    def until(self, what: Callable[[], Any], within_s: float = WITHIN_S) -> Any:
        """Ask until it is true; errors of the way count as not yet."""
        deadline = time.monotonic() + within_s
        last: object = None
        while (began := time.monotonic()) < deadline:
            try:
                if last := what():
                    return last
            except (OSError, AssertionError, KeyError, StopIteration, TypeError, ValueError) as exc:
                last = exc
            time.sleep(max(0.1, time.monotonic() - began))  # to ask takes work from what is waited for
        raise AssertionError(f"not within {within_s} s; last: {last!r}\n{self.tail()}")

    def tail(self) -> str:
        """The ends of the logs of Atoll's own processes, for a failing test's message."""
        own = ("daemon", "keeper", "proxy")
        logs = [log for log in sorted(self.home.rglob("*.log")) if log.stem in own]
        return "\n".join(f"--- {log.name}\n{_end_of(log)}" for log in logs)

    def processes(self) -> list[str]:
        """Command lines of every process that belongs to this lab."""
        mine = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    environ = (entry / "environ").read_bytes()
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    owned = str(self.home) in command or f"ATOLL_HOME={self.home}".encode() in environ
                    owned = owned or str(self.root.parent) in str((entry / "cwd").readlink())  # replicas: an artifact
                    if owned and int(entry.name) != os.getpid():
                        mine.append(f"{entry.name} {command}")
        return mine

    def close(self) -> None:
        """Everything down, nothing left."""
        done = self.run("down", "--yes", timeout_s=90)
        left = self.processes()
        for line in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(line.split()[0]), signal.SIGKILL)
        assert not left, f"left behind: {left}\n{done.stdout}\n{done.stderr}\n{self.tail()}"


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-30:])
