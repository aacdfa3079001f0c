"""A workspace of its own for one benchmark: temporary folders, the real command line, nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
from examples.workspace import free_ports

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(__file__).resolve().parent / "programs"
PORTS = 500
COMMAND_S = 180.0


class Site:
    """One environment. `atoll(...)` runs a command, `service(...)` writes a service."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root, self.home = folder, folder / "ws", folder / "home"
        self.root.mkdir()
        (folder / "run").mkdir(mode=0o700)
        self.port = free_ports(PORTS)
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {
            **os.environ,
            "ATOLL_HOME": str(self.home),
            "ATOLL_RUN": str(folder / "run"),
            "NO_COLOR": "1",
            "PYTHONPATH": str(ROOT / "src"),
        }
        (self.root / "atoll.toml").write_text(
            f'name = "bench"\ngateway = "127.0.0.1:{self.port}"\nports = [{self.port + 1}, {self.port + PORTS - 1}]\n'
        )

    def service(self, name: str, program: str, toml: str, env: Mapping[str, str] | None = None) -> Path:
        """Write (or rewrite) a service that runs a copy of `programs/PROGRAM`; its folder."""
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        shutil.copyfile(PROGRAMS / program, folder / program)
        values = "".join(f"{key} = {json.dumps(value)}\n" for key, value in (env or {}).items())
        (folder / "service.toml").write_text(f'name = "{name}"\n{toml}\n[env]\n{values}')
        return folder

    def atoll(self, *argv: str, timeout_s: float = COMMAND_S) -> str:
        """`atoll ARGV` to its end; its standard output. Raises RuntimeError when it fails."""
        done = subprocess.run(
            [*ATOLL, *argv], cwd=self.root, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=timeout_s, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"atoll {' '.join(argv)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def json(self, *argv: str) -> Any:
        return json.loads(self.atoll(*argv, "--json"))

    def of(self, name: str) -> Any:
        """One service of the status."""
        return next(service for service in self.json("status")["services"] if service["name"] == name)

    def pids(self, name: str) -> list[int]:
        """Of a service's ready replicas."""
        return [replica["pid"] for replica in self.of(name)["replicas"] if replica["ready"]]

    def pid(self, part: str) -> int:
        """Of keeper, daemon or proxy."""
        return int(next(one["pid"] for one in self.json("status")["parts"] if one["name"] == part))

    def processes(self) -> list[psutil.Process]:
        """Every process of this site."""
        mine = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                words = " ".join(process.cmdline())
                surely = str(self.folder) in f"{words} {process.cwd()}"
                if surely or process.environ().get("ATOLL_HOME") == str(self.home):
                    mine.append(process)
        return [process for process in mine if process.pid != os.getpid()]


ATOLL = (sys.executable, "-c", "import sys; from atoll.app import main; sys.exit(main())")  # what its script does


@contextlib.contextmanager
def site() -> Iterator[Site]:
    """A site, taken down at the end whatever happened."""
    with temporary() as folder:
        made = Site(folder)
        try:
            yield made
        finally:
            with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
                made.atoll("down", "--yes")
            for process in made.processes():
                with contextlib.suppress(psutil.Error):
                    process.kill()


@contextlib.contextmanager
def temporary() -> Iterator[Path]:
    """A folder that services under users of their own can enter; short, since sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="atl-bench-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextlib.contextmanager
def ended(process: subprocess.Popen[bytes], within_s: float = 5.0) -> Iterator[subprocess.Popen[bytes]]:
    """Terminated at the end, killed when it is still there `within_s` later."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(what: Callable[[], Any], within_s: float = 60.0, every_s: float = 0.005) -> float:
    """Ask until it is true; the seconds that took. OSError counts as not yet."""
    began = time.monotonic()
    while time.monotonic() - began < within_s:
        with contextlib.suppress(OSError, StopIteration):
            if what():
                return time.monotonic() - began
        time.sleep(every_s)
    raise RuntimeError(f"not within {within_s:g} s")


def get(url: str, timeout_s: float = 5.0) -> bytes:
    """The body; OSError when it is not a 200."""
    with urllib.request.urlopen(url, timeout=timeout_s) as answer:
        return bytes(answer.read())
