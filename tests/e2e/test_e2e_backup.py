"""Backups of an environment that serves and is deployed meanwhile; and an environment made of one, elsewhere."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

from lab import WITHIN_S, Lab

PASSPHRASE = "five words taken by chance"
SECRET = "a-value-that-nobody-shall-read-4711"


class Load:
    """Requests one after the other until it is left; `failed` has what was no 200."""

    def __init__(self, url: str) -> None:
        self._url, self._stop = url, threading.Event()
        self.sent, self.failed = 0, list[str]()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(WITHIN_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.sent += 1
            try:
                with urllib.request.urlopen(self._url, timeout=20) as reply:
                    reply.read()
            except OSError as exc:
                self.failed.append(str(exc))


def begun(lab: Lab) -> Path:
    """One service with a secret, its key written down; returns the folder for backups."""
    lab.service("orders", env={"VERSION": "v1"})
    with (lab.root / "orders/service.toml").open("a") as file:
        file.write('SHOWN = { secret = "shown" }\n')
    lab.run("up")
    lab.atoll("secret", "set", "shown", stdin=SECRET)
    lab.atoll("up")
    lab.until(lambda: lab.get("/orders")["env"] == SECRET)
    folder = lab.root.parent / "backups"
    folder.mkdir()
    lab.atoll("backup", "--key", str(folder / "lab.key"), stdin=PASSPHRASE)
    return folder


def deployed(lab: Lab, version: str) -> None:
    file = lab.root / "orders/service.toml"
    lines = [f'VERSION = "{version}"' if line.startswith("VERSION") else line for line in file.read_text().splitlines()]
    file.write_text("\n".join(lines) + "\n")
    lab.atoll("deploy", "orders")


def test_deploys_and_requests_go_on_and_each_backup_makes_an_environment_again(lab: Lab) -> None:
    folder = begun(lab)
    backups: list[str] = []
    with Load(f"{lab.url}/orders") as load:
        for version in ("v2", "v3", "v4"):
            deploy = threading.Thread(target=deployed, args=(lab, version))
            deploy.start()
            backups.append(lab.json("backup", str(folder / f"{version}.backup"))["file"])
            deploy.join(WITHIN_S)
    assert load.failed == []
    assert load.sent > 10
    for backup in backups:
        checked = lab.json_with(PASSPHRASE, "restore", backup, "--check", "--key", str(folder / "lab.key"))
        assert (checked["signed"], checked["secrets"], checked["left"], checked["lacking"]) == (True, 1, [], [])
        assert SECRET.encode() not in Path(backup).read_bytes()
    assert lab.status()["backup"]["made_wall"] > 0

    deployed(lab, "v5")  # after the last backup: it is not in it
    lab.atoll("down")
    shutil.move(lab.home, lab.home.with_name("dead"))  # the machine is gone; this is another one
    done = lab.run("restore", backups[-1], "--key", str(folder / "lab.key"), stdin=PASSPHRASE)
    assert done.returncode == 0, done.stderr
    lab.atoll("up")
    assert lab.status()["backup"]["key_wall"] is not None  # it came with a backup and its key: there is one of each
    answer = lab.until(lambda: lab.get("/orders"))
    assert answer["version"] in {"v3", "v4"}
    assert answer["env"] == SECRET
    assert "environment.restored" in [json.loads(line)["kind"] for line in lab.atoll("events", "--json").splitlines()]
    deployed(lab, "v6")  # and it goes on
    lab.until(lambda: lab.get("/orders")["version"] == "v6")


def test_an_environment_goes_back_and_what_it_was_is_moved_aside(lab: Lab) -> None:
    folder = begun(lab)
    backup = lab.json("backup", str(folder))["file"]
    deployed(lab, "v2")
    refused = lab.run("restore", backup, "--replace")
    assert (refused.returncode, "runs" in refused.stderr) == (5, True)
    assert lab.get("/orders")["version"] == "v2"
    lab.atoll("down")
    assert lab.json("backup", str(folder / "of-one-that-is-down.backup"))["releases"] == 2
    assert lab.run("restore", backup).returncode == 2
    aside = Path(lab.json("restore", backup, "--replace")["aside"])  # its own key is still there
    with sqlite3.connect(aside / "state.db") as before:
        assert before.execute("SELECT count(*) FROM releases").fetchone() == (2,)
    before.close()
    lab.atoll("up")
    lab.until(lambda: lab.get("/orders") | {"pid": 0} == {"version": "v1", "env": SECRET, "pid": 0})


def test_a_daemon_that_is_killed_meanwhile_leaves_no_backup_and_the_next_one_is_made(lab: Lab) -> None:
    folder = begun(lab)
    (lab.root / "orders/ballast").write_bytes(os.urandom(192 * 2**20))  # so that it takes a while
    deployed(lab, "v2")
    daemon = lab.pid("daemon")
    file = folder / "killed.backup"
    program = [sys.executable, "-m", "atoll.app", "backup", str(file)]
    process = subprocess.Popen(program, cwd=lab.root, env=lab.env, stderr=subprocess.PIPE, text=True)
    part = file.with_name(f"{file.name}.part")
    lab.until(lambda: part.stat().st_size > 2**20)
    os.kill(daemon, signal.SIGKILL)
    _, said = process.communicate(timeout=WITHIN_S)
    assert (process.returncode, "error[daemon-unreachable]" in said) == (7, True), said
    assert not file.exists()
    assert not part.exists()
    assert lab.until(lambda: lab.json("backup", str(file)))["releases"] == 2
    (state,) = lab.home.glob("*/environments/local")
    assert not list(state.glob(".backup-*"))
    assert lab.get("/orders")["version"] == "v2"


def test_an_environment_of_which_half_is_restored_does_not_start_and_says_why(lab: Lab) -> None:
    folder = begun(lab)
    backup = lab.json("backup", str(folder))["file"]
    lab.atoll("down")
    (state,) = lab.home.glob("*/environments/local")
    (state / "restoring").write_text("replaced-20261127T020000Z-abcd")
    done = lab.run("up")
    assert (done.returncode, "restore" in done.stderr, "broken off" in done.stderr) == (7, True, True)
    lab.atoll("down")
    lab.atoll("restore", backup)  # no --replace: it finishes
    lab.atoll("up")
    lab.until(lambda: lab.get("/orders")["env"] == SECRET)
