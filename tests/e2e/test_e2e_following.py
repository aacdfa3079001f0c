"""Who follows logs and events gets each of them once: over rotation, and over a daemon that is killed meanwhile."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import Lab

COUNTING = """\
import itertools, time
for number in itertools.count():
    print(number, "x" * {padding}, flush=True)
    time.sleep({every_s})
"""


@contextmanager
def following(lab: Lab, *argv: str) -> Iterator[Path]:
    """The file that gets what the command prints until the block ends."""
    out = lab.root.parent / "followed"
    with out.open("wb") as file:
        command = [sys.executable, "-m", "atoll.app", *argv]
        follower = subprocess.Popen(command, cwd=lab.root, env=lab.env, stdout=file)
    try:
        yield out
        assert follower.poll() is None
    finally:
        follower.send_signal(signal.SIGINT)
        assert follower.wait(60) == 130


def kill_daemon(lab: Lab) -> None:
    daemon = lab.pid("daemon")
    os.kill(daemon, signal.SIGKILL)
    lab.until(lambda: lab.pid("daemon") != daemon)


def test_logs_come_once_over_rotation_and_a_killed_daemon(lab: Lab) -> None:
    """One prints so much that its file is rotated several times, the other many lines at one time.

    1 MB a second: what is kept, two files of 8 MiB, outlives a daemon that is away for eight seconds.
    """
    for name, padding, every_s in (("loud", 20_000, 0.02), ("quick", 10, 0.001)):
        (lab.root / name).mkdir()
        (lab.root / name / "count.py").write_text(COUNTING.format(padding=padding, every_s=every_s))
        run = f'run = ["{sys.executable}", "-S", "count.py"]\nport = "none"\n'
        (lab.root / name / "service.toml").write_text(run)
    lab.atoll("up")
    with following(lab, "logs", "-f", "-n", "5", "--json") as out:
        for _ in range(2):
            time.sleep(2)
            kill_daemon(lab)
        lab.until(lambda: list(lab.home.rglob("loud/*.log.1")))
        lines = out.stat().st_size
        lab.until(lambda: out.stat().st_size > lines + 1_000_000)
    numbers: dict[str, list[int]] = {}
    for line in out.read_text().splitlines()[:-1]:
        view = json.loads(line)
        numbers.setdefault(view["replica"], []).append(int(view["text"].split()[0]))
    assert {name.partition("-")[0] for name in numbers} == {"loud", "quick"}
    for name, seen in numbers.items():
        assert seen == list(range(seen[0], seen[0] + len(seen))), name


def test_events_come_once_over_a_killed_daemon(lab: Lab) -> None:
    lab.service("orders")
    lab.atoll("up")
    with following(lab, "events", "-f", "--after", "0", "--json") as out:
        kill_daemon(lab)
        lab.atoll("restart", "orders")
        last = lab.status()["last_event"]
        lab.until(lambda: f'"seq":{last}' in out.read_text())
    numbers = [json.loads(line)["seq"] for line in out.read_text().splitlines()]
    assert numbers[:last] == list(range(1, last + 1))


def test_a_status_that_is_watched_outlives_the_daemon(lab: Lab) -> None:
    lab.service("orders")
    lab.atoll("up")
    with following(lab, "status", "--watch", "--json") as out:
        lab.until(lambda: out.read_text().count("\n") >= 2)
        kill_daemon(lab)
        before = out.read_text().count("\n")
        lab.until(lambda: out.read_text().count("\n") > before)
