"""What was written really runs: built by its script, started as its units say, reached through its nginx."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from atoll.eject import Recipe, files
from atoll.model.building import Step
from atoll.model.spec import Command
from atoll.testing.ports import ports
from atoll.workspace.loader import load

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not here"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here"),
]

PROGRAM = """
import os, sys, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        text = sys.argv[1] + " " + self.path + " " + open("built").read().strip() + " " + os.environ.get("KEY", "-")
        if "API_URL" in os.environ and self.path != "/healthz":
            text += " > " + urllib.request.urlopen(os.environ["API_URL"] + "/deep", timeout=10).read().decode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments):
        pass

ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def first() -> Iterator[int]:
    with ports() as (_, first):
        yield first


@pytest.fixture
def shop(tmp_path: Path, first: int) -> tuple[Path, int]:
    python = shlex.quote(sys.executable)
    texts = {
        "atoll.toml": f'name = "shop"\ngateway = "127.0.0.1:{first}"\nports = "{first + 1}-{first + 11}"',
        "api/program.py": PROGRAM,
        "api/service.toml": f'run = """{python} program.py api"""\nhealth = "/healthz"\nreplicas = 2\nenv.KEY = {{ secret = "k" }}',
        "web/program.py": PROGRAM,
        "web/service.toml": (
            f'run = """{python} program.py web"""\nhealth = "/healthz"\n'
            'route = [{ path = "/shop", strip = true }, "/plain"]\ncalls.api = "API_URL"'
        ),
    }
    root = tmp_path / "shop"
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    recipe = Recipe("python", (Step(command=Command(shell='echo "with $WORD" > built'), env={"WORD": "care"}),))
    ejected = root / "ejected"
    for name, text in files(load(root), {"api": recipe, "web": recipe}, str(ejected)).items():
        (ejected / name).parent.mkdir(parents=True, exist_ok=True)
        (ejected / name).write_text(text)
    (ejected / "systemd" / "api.env").write_text("KEY=hidden\n")
    return ejected, first


def test_the_script_builds_and_the_units_run_what_the_gateway_reaches(shop: tuple[Path, int], tmp_path: Path) -> None:
    ejected, gateway = shop
    subprocess.run(["sh", "build.sh"], cwd=ejected, check=True, timeout=60, capture_output=True)
    assert not (ejected / "build" / "api" / "service.toml").exists()
    started: list[subprocess.Popen[bytes]] = []
    try:
        for name in ("shop-nginx", "shop-api-1", "shop-api-2", "shop-web-1"):
            unit = ejected / "systemd" / f"{name}.service"
            started.append(start(unit, tmp_path / name))
        assert get(gateway, "/shop/x?y=1") == "web /x?y=1 with care - > api /deep with care hidden"
        assert get(gateway, "/plain/x").startswith("web /plain/x with care")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(gateway, "/shopping")
        end(started[1])  # one of two replicas: nginx asks the other
        assert get(gateway, "/plain").endswith("api /deep with care hidden")
    finally:
        for process in started:
            end(process)


def start(unit: Path, runtime: Path) -> "subprocess.Popen[bytes]":
    """What systemd would make of a unit's [Service]; its runtime folder is `runtime`."""
    settings = [line.partition("=")[::2] for line in unit.read_text().splitlines() if "=" in line]
    env = {"PATH": os.environ["PATH"]}
    command, ready, folder = [], [], None
    for key, value in settings:
        match key:
            case "Environment":
                env |= [word.replace("%%", "%").split("=", 1) for word in shlex.split(value)]  # type: ignore[arg-type]
            case "EnvironmentFile":
                env |= [line.split("=", 1) for line in Path(value).read_text().splitlines()]  # type: ignore[arg-type]
            case "WorkingDirectory":
                folder = value
            case "RuntimeDirectory":
                runtime.mkdir()
            case "ExecStart":
                command = list(words(value.replace(f"/run/{runtime.name} ", f"{runtime} ")))
            case "ExecStartPost":
                ready = list(words(value))
    process = subprocess.Popen(command, cwd=folder, env=env, start_new_session=True)
    if ready:
        try:
            subprocess.run(ready, env=env, check=True, timeout=60, stderr=subprocess.DEVNULL)
        except subprocess.SubprocessError:
            end(process)
            raise
    return process


def end(process: "subprocess.Popen[bytes]") -> None:
    """It and all that it started, as systemd would."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=20)


def words(value: str) -> Iterator[str]:
    return (word.replace("$$", "$").replace("%%", "%") for word in shlex.split(value))


def get(port: int, path: str) -> str:
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as exc:
            if exc.code == 404 or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
