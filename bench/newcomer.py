"""A newcomer's way from a wheel to the first running service of their own, and on to a deploy of it.

A repository of two small services (a Python file and a Procfile each; nothing of Atoll, none of its sources near) and an
empty virtual environment. Each command that a person types is run as it stands there, once, and timed; the packages
come from pip's cache when it has them, as on a second machine of the same person. What a person reads and thinks is not
in it. The wheel's own build is not typed by anybody, and not counted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.report import Result
from bench.site import COMMAND_S, PORTS, ROOT, free_ports, temporary

SERVICE = """\
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"WORD from NAME"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answer).serve_forever()
"""
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "docs/atoll.1", "src")
INSTALL_S = 600.0


class Step(NamedTuple):
    """One command that was typed: how long it took, what it printed."""

    command: str
    seconds: float
    output: str


class Newcomer:
    """A folder with a repository, an empty environment and nothing else. `types` runs a command as a person would."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "shop"
        self.port = free_ports(PORTS)
        self.url = f"http://127.0.0.1:{self.port}"
        self.steps: list[Step] = []
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        pip = {
            name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.endswith("_CA_BUNDLE")
        }
        places = {"ATOLL_HOME": str(folder / "home"), "ATOLL_RUN": str(folder / "run")}
        self.env = {**kept, **pip, **places, "PATH": f"{folder}/venv/bin:{os.environ['PATH']}", "NO_COLOR": "1"}
        (folder / "run").mkdir(mode=0o700)
        for name in ("front", "greeter"):
            self.write(name, "hello")

    def write(self, name: str, word: str) -> None:
        """A service as its author keeps it."""
        (self.root / name).mkdir(parents=True, exist_ok=True)
        (self.root / name / "app.py").write_text(SERVICE.replace("NAME", name).replace("WORD", word))
        (self.root / name / "Procfile").write_text("web: python3 app.py\n")

    def own_port(self) -> None:
        """Ports of our own, in the file that `init` wrote: other environments share this machine."""
        toml = f'gateway = "127.0.0.1:{self.port}"\nports = [{self.port + 1}, {self.port + PORTS - 1}]\n'
        with (self.root / "atoll.toml").open("a") as file:
            file.write(toml)

    def types(self, command: str, timeout_s: float = COMMAND_S) -> str:
        """Run it in the repository's folder; what it printed. Raises RuntimeError when it fails."""
        began = time.monotonic()
        done = subprocess.run(
            ["/bin/sh", "-c", command], cwd=self.root, env=self.env, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout_s, check=False,
        )  # fmt: skip
        self.steps.append(Step(command, time.monotonic() - began, done.stdout))
        if done.returncode:
            raise RuntimeError(f"`{command}` ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def get(self, path: str) -> str:
        """Through the gateway."""
        with urllib.request.urlopen(self.url + path, timeout=10) as reply:
            body: bytes = reply.read()
            return body.decode()


def wheel(folder: Path, edit: Callable[[Path], None] = lambda _: None) -> Path:
    """The project's wheel, built from a copy of its sources, after an `edit`, by this environment's own setuptools."""
    copy = folder / "sources"
    copy.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            (copy / name).parent.mkdir(exist_ok=True)
            shutil.copy2(source, copy / name)
    edit(copy)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        ".",
    ]
    subprocess.run(build, cwd=copy, check=True, timeout=INSTALL_S, stdout=subprocess.DEVNULL)
    shutil.rmtree(copy)
    (made,) = folder.glob("atoll-*.whl")
    return made


def install(newcomer: Newcomer) -> None:
    """The wheel into an empty virtual environment. Raises RuntimeError, with pip's words."""
    made = wheel(newcomer.folder)
    newcomer.types(f"{sys.executable} -m venv {newcomer.folder}/venv")
    newcomer.types(f"pip install --quiet --disable-pip-version-check {made}", INSTALL_S)


def run(*, quick: bool) -> Result:  # noqa: ARG001  it is one walk in any case
    result = Result()
    with temporary() as folder:
        one = Newcomer(folder)
        try:
            install(one)
            one.types("atoll init")
            one.own_port()
            one.types("atoll up")
            one.types(f"curl --fail --silent {one.url}/")
            first = len(one.steps)
            one.write("front", "good morning")
            one.types("atoll deploy front")
        finally:
            subprocess.run(["atoll", "down"], cwd=one.root, env=one.env, capture_output=True, timeout=120, check=False)
    for step in one.steps:
        short = step.command.replace(f"{folder}/", "").replace(sys.executable, "python3")
        result.add(f"`{short.replace(one.url, 'http://127.0.0.1:8080')}`", f"{step.seconds:.1f} s")
    result.add("commands to the first answer of an own service", str(first), "at most 5", first <= 5)
    total = sum(step.seconds for step in one.steps[:first])
    result.add("seconds of the machine until then", f"{total:.0f} s", "at most 120 s", total <= 120)
    return result
