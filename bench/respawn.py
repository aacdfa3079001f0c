"""From the kill -9 of a process to its replacement's first words: Atoll, pm2, supervisord, and a floor of 15 lines.

Each supervises as many copies of a shell script that writes its process id into a pipe and then sleeps. When all have been
up for more than 10 s, one copy of each supervisor in turn is killed, so that each crash is the first after 10 healthy
seconds; the time runs until the replacement's line arrives. The floor polls the pidfds of its children and starts another
at once: what the kernel needs. pm2 is fetched with npm and supervisord with pip, into temporary folders; each runs with
its defaults.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench.peers import fetched_pm2
from bench.report import Result
from bench.site import PROGRAMS, ended, site, temporary
from bench.stats import Sample

HEALTHY_S = 11.0
FETCH_S = 180
TARGET_MS = 50.0
FLOOR = """
import os, select, subprocess, sys
commands = {n: ["/bin/sh", *sys.argv[2:4], f"c{n}"] for n in range(int(sys.argv[1]))}
poll, of = select.poll(), {}
def start(n):
    process = subprocess.Popen(commands[n])
    fd = os.pidfd_open(process.pid)
    of[fd] = n, process
    poll.register(fd, select.POLLIN)
for n in commands:
    start(n)
while True:
    for fd, _ in poll.poll():
        n, process = of.pop(fd)
        poll.unregister(fd), os.close(fd), process.wait()
        start(n)
"""


class Pipe:
    """Where the copies of one supervisor say `NAME PID`."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        path.chmod(0o666)  # whatever user the copies run as
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)  # itself a writer: it never sees an end
        self._rest = b""
        self.pids: dict[str, int] = {}

    def wait(self, done: Callable[[], bool], within_s: float) -> float:
        """Read until `done`; the instant at which it was. Raises RuntimeError when it takes too long."""
        deadline = time.monotonic() + within_s
        while not done():
            if not select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise RuntimeError(
                    f"{self.path.name}: {len(self.pids)} copies, and no further one within {within_s:g} s"
                )
            *lines, self._rest = (self._rest + os.read(self._fd, 65536)).split(b"\n")
            for name, pid in (line.split() for line in lines):
                self.pids[name.decode()] = int(pid)
        return time.monotonic()

    def has(self, copies: int) -> bool:
        return len(self.pids) == copies

    def close(self) -> None:
        os.close(self._fd)


def run(*, quick: bool) -> Result:
    copies, rounds = (2, 1) if quick else (10, 2)
    result = Result()
    times: dict[str, list[float]] = {}
    with temporary() as folder, contextlib.ExitStack() as running:
        supervisors = {"floor, 15 lines": _floor, "atoll": _atoll, "pm2": _pm2, "supervisord": _supervisord}
        pipes: dict[str, Pipe] = {}
        for name, start in supervisors.items():
            pipe = Pipe(folder / f"pipe-{name.split(',')[0]}")
            running.callback(pipe.close)
            try:
                running.enter_context(start(folder, pipe.path, copies))
                pipe.wait(partial(pipe.has, copies), 60)
            except (OSError, subprocess.SubprocessError, RuntimeError) as problem:
                if name == "atoll":
                    raise
                result.notes.append(f"{name} is left out: {str(problem).splitlines()[0][:200]}.")
                continue
            pipes[name], times[name] = pipe, []
        for _ in range(rounds):
            time.sleep(HEALTHY_S)
            for number in range(copies):
                for name, pipe in pipes.items():
                    times[name].append(_killed(pipe, f"c{number}") * 1000)
                    time.sleep(0.05)
    floor = Sample.of(times["floor, 15 lines"]).median
    for name, spent in times.items():
        sample = Sample.of(spent)
        ours = name == "atoll"
        target, met = (f"at most {TARGET_MS:g} ms", sample.median <= TARGET_MS) if ours else ("", None)
        result.add(name, f"{sample.text('ms', 1)}; {sample.median / floor:.1f} x the floor", target, met)
    return result


def _killed(pipe: Pipe, name: str) -> float:
    """Seconds from the kill of this copy to the first words of another."""
    victim = pipe.pids[name]
    os.kill(victim, signal.SIGKILL)
    began = time.monotonic()
    return pipe.wait(lambda: pipe.pids[name] != victim, 30) - began


@contextlib.contextmanager
def _floor(_folder: Path, pipe: Path, copies: int) -> Iterator[None]:
    argv = [sys.executable, "-S", "-c", FLOOR, str(copies), str(PROGRAMS / "beat.sh"), str(pipe)]
    with _group(argv, pipe.parent, dict(os.environ)):
        yield


@contextlib.contextmanager
def _atoll(_folder: Path, pipe: Path, copies: int) -> Iterator[None]:
    with site() as place:
        for number in range(copies):
            name = f"c{number}"
            toml = f'run = ["/bin/sh", "beat.sh", "{pipe}", "{name}"]\nport = "none"\nhealth = "process"'
            place.service(name, "beat.sh", toml)
        place.atoll("up")
        yield


@contextlib.contextmanager
def _pm2(folder: Path, pipe: Path, copies: int) -> Iterator[None]:
    pm2 = fetched_pm2(folder)
    apps = [
        {
            "name": f"c{n}",
            "script": "/bin/sh",
            "interpreter": "none",
            "args": [str(PROGRAMS / "beat.sh"), str(pipe), f"c{n}"],
        }
        for n in range(copies)
    ]
    (folder / "pm2.json").write_text(json.dumps({"apps": apps}))
    env = {**os.environ, "PM2_HOME": str(folder / "pm2-home")}
    try:
        subprocess.run([pm2, "start", str(folder / "pm2.json")], env=env, check=True, capture_output=True, timeout=60)
        yield
    finally:
        subprocess.run([pm2, "kill"], env=env, check=False, capture_output=True, timeout=60)


@contextlib.contextmanager
def _supervisord(folder: Path, pipe: Path, copies: int) -> Iterator[None]:
    venv = folder / "supervisor"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, capture_output=True, timeout=FETCH_S)
    fetch = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "supervisor", "setuptools<81"]
    subprocess.run(fetch, check=True, capture_output=True, timeout=FETCH_S)
    programs = [f"[program:c{n}]\ncommand=/bin/sh {PROGRAMS / 'beat.sh'} {pipe} c{n}\n" for n in range(copies)]
    file = folder / "supervisord.conf"
    own = f"[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={folder}/supervisord.pid\n"
    file.write_text(own + "".join(programs))
    with _group([str(venv / "bin" / "supervisord"), "-n", "-c", str(file)], folder, dict(os.environ)):
        yield


@contextlib.contextmanager
def _group(argv: list[str], cwd: Path, env: dict[str, str]) -> Iterator[None]:
    """A supervisor and, at the end, its children too."""
    process = subprocess.Popen(
        argv, cwd=cwd, env=env, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    import psutil

    try:
        with ended(process):
            try:
                yield
            finally:
                children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    finally:
        for child in children:
            with contextlib.suppress(psutil.Error):
                child.kill()
