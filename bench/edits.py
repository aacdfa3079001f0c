"""From the save of a file to the first new answer, and the requests that fail meanwhile: `atoll dev`, nodemon, `node --watch`.

Each runs the same Node.js server of three lines, without dependencies, with its defaults. In turn, the version in the
server's file is written in place (Node.js 20 loses sight of a file that is saved by a rename); a client asks each 5 ms over a
new connection until the new version answers, and half a second longer, so that what fails late is counted, too. nodemon is
fetched with npm into a temporary folder. nodemon and node end the old process, then start the new one; Atoll builds an
artifact, starts it beside the old one, waits until it was ready for 0.2 s, and moves the traffic.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from examples.workspace import free_ports

from bench.peers import FETCH_S
from bench.report import Result
from bench.site import ATOLL, ended, site, temporary, until
from bench.stats import Sample, ratio

SERVER = """const http = require('http');
const version = 'v0';
http.createServer((request, response) => response.end(version)).listen(process.env.PORT, '127.0.0.1');
"""
EACH_S = 0.005
LATER_S = 0.5
WITHIN_S = 60.0


@dataclass
class Rival:
    """One that is edited: where its file lies, and where it answers."""

    file: Path
    url: str
    version: str = "v0"
    sent: int = 0
    failed: int = 0


def run(*, quick: bool) -> Result:
    rounds = 2 if quick else 15
    result = Result()
    times: dict[str, list[float]] = {}
    with temporary() as folder, contextlib.ExitStack() as running:
        rivals: dict[str, Rival] = {}
        for name, start in {"atoll dev": _atoll, "nodemon": _nodemon, "node --watch": _node}.items():
            try:
                rivals[name] = running.enter_context(start(folder))
                until(lambda name=name: _answer(rivals[name].url) == "v0", WITHIN_S)  # type: ignore[misc]
            except (OSError, subprocess.SubprocessError, RuntimeError) as problem:
                if name == "atoll dev":
                    raise
                rivals.pop(name, None)
                result.notes.append(f"{name} is left out: {str(problem).splitlines()[0][:200]}.")
                continue
            times[name] = []
        for number in range(1, rounds + 1):
            for name, rival in rivals.items():
                times[name].append(_edited(rival, f"v{number}"))
                time.sleep(1.0)
    for name, rival in rivals.items():
        sample = Sample.of([seconds * 1000 for seconds in times[name]])
        share = f"; {rival.failed} of {rival.sent} requests failed"
        beside = (
            "" if name == "atoll dev" else f"; atoll takes {ratio(times['atoll dev'], times[name]).text('x', 1)} of it"
        )
        ours = name == "atoll dev"
        result.add(name, f"{sample.text('ms')}{share}{beside}", *(("0 failed", rival.failed == 0) if ours else ()))
    return result


def _edited(rival: Rival, version: str) -> float:
    """Seconds from the save to the first answer of that version."""
    rival.file.write_text(rival.file.read_text().replace(f"'{rival.version}'", f"'{version}'"))
    began, rival.version = time.monotonic(), version
    came = 0.0
    while not came or time.monotonic() < came + LATER_S:
        rival.sent += 1
        answer = _answer(rival.url)
        rival.failed += answer == ""
        now = time.monotonic()
        came = came or (now if answer == version else 0.0)
        if now > began + WITHIN_S:
            raise RuntimeError(f"{rival.file}: {version} did not answer within {WITHIN_S:g} s")
        time.sleep(EACH_S)
    return came - began


def _answer(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return str(reply.read().decode())
    except (OSError, urllib.error.URLError):
        return ""


@contextlib.contextmanager
def _atoll(_folder: Path) -> Iterator[Rival]:
    with site() as place:
        folder = place.root / "svc"
        folder.mkdir()
        (folder / "server.js").write_text(SERVER)
        (folder / "service.toml").write_text('run = "node server.js"\nroute = "/"\n')
        argv = [*ATOLL, "dev", "--json"]
        process = subprocess.Popen(
            argv, cwd=place.root, env=place.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        with ended(process, within_s=30):
            assert process.stdout is not None
            for line in process.stdout:
                if json.loads(line)["event"] == "watching":
                    break
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield Rival(folder / "server.js", f"{place.url}/")


@contextlib.contextmanager
def _nodemon(folder: Path) -> Iterator[Rival]:
    if not shutil.which("npm"):
        raise RuntimeError("npm is not installed")
    fetch = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder / "tool"), "nodemon"]
    subprocess.run(fetch, check=True, capture_output=True, timeout=FETCH_S)
    with _watching(
        folder / "nodemon", [str(folder / "tool" / "node_modules" / ".bin" / "nodemon"), "server.js"]
    ) as rival:
        yield rival


@contextlib.contextmanager
def _node(folder: Path) -> Iterator[Rival]:
    node = shutil.which("node")
    if node is None:
        raise RuntimeError("node is not installed")
    with _watching(folder / "node", [node, "--watch", "server.js"]) as rival:
        yield rival


@contextlib.contextmanager
def _watching(folder: Path, argv: list[str]) -> Iterator[Rival]:
    folder.mkdir()
    (folder / "server.js").write_text(SERVER)
    port = free_ports(1)
    env = {**os.environ, "PORT": str(port)}
    process = subprocess.Popen(
        argv, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with ended(process):
        yield Rival(folder / "server.js", f"http://127.0.0.1:{port}/")
