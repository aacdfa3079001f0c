"""`atoll dev` for real: files are edited under load, broken, mended, added; parts of it are killed."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from lab import WITHIN_S, Lab

from atoll.cli.dev.told import DevEvent
from atoll.testing.steady import Steady


class Developer:
    """A terminal with `atoll dev --json` in it, and somebody who edits."""

    def __init__(self, lab: Lab, *argv: str) -> None:
        self.lab = lab
        self._events: queue.Queue[Any] = queue.Queue()
        self.seen: list[Any] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "atoll.app", "dev", "--json", *argv],
            cwd=lab.root, env=lab.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.errors: list[str] = []
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read, self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            msgspec.json.decode(line, type=DevEvent)
            self._events.put(json.loads(line))

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors += self.process.stderr

    def sees(self, event: str, service: str = "", **fields: Any) -> Any:
        """The next event that is so; what comes before it is put into `seen`."""
        until = time.monotonic() + WITHIN_S
        while time.monotonic() < until:
            with contextlib.suppress(queue.Empty):
                one = self._events.get(timeout=0.5)
                self.seen.append(one)
                if (one["event"], one["service"]) == (event, service) and fields.items() <= one.items():
                    return one
            if self.process.poll() is not None and self._events.empty():
                break
        said = "".join(self.errors)
        raise AssertionError(
            f"no {event} of {service or 'all'} {fields}:\n{self.seen[-20:]}\n{said}\n{self.lab.tail()}"
        )

    @property
    def moved(self) -> set[str]:
        """Services that were seen to be live so far."""
        return {one["service"] for one in self.seen if one["event"] == "live"}

    def edit(self, service: str, old: str, new: str, file: str = "echo_service.py") -> None:
        """As an editor saves: another file, renamed over it."""
        path = self.lab.root / service / file
        swap = path.with_name(f".{file}.swp")
        swap.write_text(path.read_text().replace(old, new))
        swap.rename(path)

    def close(self) -> None:
        with self.process, contextlib.suppress(ProcessLookupError):
            self.process.kill()
            for reader in self._readers:
                reader.join(timeout=20)

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=120)  # with --down it may wait 75 s for what is in flight


@contextlib.contextmanager
def developing(lab: Lab, *argv: str) -> Iterator[Developer]:
    developer = Developer(lab, *argv)
    try:
        developer.sees("watching")
        yield developer
    finally:
        developer.close()


def says(version: str) -> tuple[str, str]:
    """What to edit so that the answers of an echo service say another version."""
    return 'os.environ.get("VERSION", "v1")', f'"{version}"'


def test_edits_under_load_move_only_what_was_edited_and_fail_no_request(lab: Lab) -> None:
    canary = 'rollout = { strategy = "canary", steps = [{ weight = "10%", hold = "1h" }] }\n'
    lab.service("orders", canary)
    lab.service("web", '[calls.orders]\nenv = { UPSTREAM = "{url}" }\n')
    with developing(lab) as developer, Steady(lab.url, ("/orders/a", "/web/b"), rate=60) as load:
        before = lab.pids("web")
        developer.edit("orders", *says("two"))
        live = developer.sees("live", "orders")
        assert (live["release"], live["files"]) == ("r2", ["echo_service.py"])
        assert live["seconds"] < WITHIN_S
        assert lab.get("/orders/")["version"] == "two"
        developer.edit("orders", '"two"', '"three"')
        developer.edit("orders", 'VERSION = "v1"', 'VERSION = "v9"', "service.toml")
        live = developer.sees("live", "orders", release="r3")
        assert live["files"] == ["echo_service.py", "service.toml"], "both are one change"
        assert "three starting" in [one["line"]["text"] for one in developer.seen if one["event"] == "log"]
        assert lab.pids("web") == before
        assert lab.of("web")["release"] == "r1"
    assert load.failures == []
    assert set(load.versions) >= {"v1", "two", "three"}
    assert lab.json("up")["unchanged"] == ["orders", "web"], "what runs is what the files say"


def test_what_is_broken_is_told_with_its_place_and_the_last_good_release_goes_on(lab: Lab) -> None:
    lab.service("orders")
    with developing(lab) as developer, Steady(lab.url, ("/orders/a",), rate=40) as load:
        developer.edit("orders", "import json\n", "import json, jsn\n")
        failed = developer.sees("failed", "orders")
        assert failed["place"] == "orders/echo_service.py:7"
        assert failed["text"] == "ModuleNotFoundError: No module named 'jsn'"
        assert (failed["release"], failed["error"]["id"]) == ("r1", "crashed")
        developer.edit("orders", "import json, jsn\n", "import json\n")
        assert developer.sees("unchanged", "orders", again=True)["release"] == "r1"
        developer.edit("orders", "health =", "helth =", "service.toml")
        [mistake] = developer.sees("mistakes")["problems"]
        assert (mistake["file"], mistake["line"]) == ("orders/service.toml", 3)
        developer.edit("orders", *says("two"))
        assert developer.sees("live", "orders")["release"] == "r3", "with what was read before"
        developer.edit("orders", "helth =", "health =", "service.toml")
        developer.sees("mended")
    assert load.failures == []


def test_what_crashes_after_it_is_live_is_told_too(lab: Lab) -> None:
    lab.service("orders")
    with developing(lab) as developer:
        developer.edit(
            "orders",
            "    server.serve_forever()",
            "    threading.Timer(2.0, lambda: os._exit(9)).start()\n    server.serve_forever()",
        )
        developer.sees("live", "orders", release="r2")
        failed = developer.sees("failed", "orders")
        assert failed["error"]["what"] == "r2 was live, then crashed: exit code 9"
        developer.edit("orders", "lambda: os._exit(9)", "int")
        assert developer.sees("live", "orders", again=True)["release"] == "r3"


def test_a_build_that_fails_is_told_and_a_newer_edit_supersedes_one_that_runs(lab: Lab) -> None:
    lab.service("orders", 'build = ["./build.sh"]')
    script = lab.root / "orders" / "build.sh"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    with developing(lab, "--no-logs") as developer:
        script.write_text("#!/bin/sh\necho echo_service.py:3: error: no such thing >&2\nexit 3\n")
        failed = developer.sees("failed", "orders")
        assert (failed["place"], failed["text"]) == ("orders/echo_service.py:3", "error: no such thing")
        assert failed["error"]["id"] == "build-step-failed"
        script.write_text("#!/bin/sh\nexec sleep 120\n")
        developer.sees("building", "orders")
        began = time.monotonic()
        script.write_text("#!/bin/sh\nexit 0\n# well\n")
        done = developer.sees("live", "orders", again=True)
        assert time.monotonic() - began < WITHIN_S, "it did not wait for the build before"
        assert done["files"] == ["build.sh"]
        assert not [one for one in lab.processes() if "sleep 120" in one]
        assert developer.end() == 130


def test_builds_of_edits_that_are_history_do_not_fill_the_disk(lab: Lab) -> None:
    lab.service("orders")
    lab.service("other")
    (lab.root / "orders" / "large.bin").write_bytes(b"x" * 1000)
    with developing(lab, "--no-logs") as developer:
        for n in range(14):
            old, new = says(f"edit {n}") if n == 0 else (f'"edit {n - 1}"', f'"edit {n}"')
            developer.edit("orders", old, new)
            developer.sees("live", "orders")
        lab.until(lambda: len(list(lab.home.rglob("artifacts/*/large.bin"))) < 12)
        kept = {release["artifact"] for name in ("orders", "other") for release in lab.json("releases", name)}
        there = {path.name for path in lab.home.glob("*/artifacts/*") if not path.name.startswith(".")}
        assert kept <= there, "what can be rolled back to is there"
        lab.atoll("rollback", "orders")
        assert lab.get("/orders/")["version"] == "edit 12"


def test_services_come_and_go_while_it_runs(lab: Lab) -> None:
    lab.service("orders")
    with developing(lab) as developer:
        lab.service("late")
        developer.sees("added", "late")
        assert developer.sees("live", "late")["release"] == "r1"
        assert lab.get("/late/")["version"] == "v1"
        developer.edit("late", *says("two"))
        developer.sees("live", "late", release="r2")
        (lab.root / "late" / "service.toml").unlink()
        developer.sees("removed", "late")
        assert lab.get("/late/")["version"] == "two", "what runs goes on until somebody stops it"
        developer.edit("orders", *says("two"))
        developer.sees("live", "orders")


def test_many_files_at_once_are_one_change_and_several_services_move_side_by_side(lab: Lab) -> None:
    for name in ("one", "two", "three"):
        lab.service(name)
    with developing(lab) as developer:
        for name in ("one", "two", "three"):
            for number in range(40):
                (lab.root / name / f"module_{number}.py").write_text("x = 1\n")
        for name in ("one", "two", "three"):
            if name not in developer.moved:
                developer.sees("live", name)
        releases = {service["name"]: service["release"] for service in lab.status()["services"]}
        assert releases == {"one": "r2", "two": "r2", "three": "r2"}


def test_the_daemon_may_be_killed_and_dev_may_be_killed_and_nothing_is_left_but_the_environment(lab: Lab) -> None:
    lab.service("orders", 'build = ["./build.sh"]')
    script = lab.root / "orders" / "build.sh"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    with developing(lab) as developer, Steady(lab.url, ("/orders/a",), rate=40) as load:
        os.kill(lab.pid("daemon"), signal.SIGKILL)
        developer.edit("orders", *says("two"))
        assert developer.sees("live", "orders")["release"] == "r2"
        script.write_text("#!/bin/sh\nexec sleep 120\n")
        developer.sees("building", "orders")
        developer.process.kill()
        developer.process.wait()
        lab.until(lambda: not [one for one in lab.processes() if "sleep 120" in one or "atoll.app dev" in one])
        assert lab.get("/orders/")["version"] == "two"
    assert load.failures == []


def test_it_ends_by_ctrl_c_leaving_all_or_with_down_nothing(lab: Lab) -> None:
    lab.service("orders")
    with developing(lab) as developer:
        assert developer.end() == 130
    assert "atoll down" in "".join(developer.errors)
    assert lab.get("/orders/")["version"] == "v1"
    with developing(lab, "--down") as developer:
        assert developer.end() == 130
    assert not lab.processes()


RELOADS = """
import http.server, json, os, pathlib, signal, sys

TEXT = pathlib.Path("text.txt")
loaded = TEXT.read_text()

def load(*_):
    global loaded
    loaded = TEXT.read_text()

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        data = json.dumps({"version": loaded, "now": TEXT.read_text(), "folder": os.getcwd(), "pid": os.getpid()}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *_): pass

signal.signal(signal.SIGHUP, load)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_a_service_that_reloads_by_itself_runs_in_its_own_folder_and_is_neither_built_nor_switched(lab: Lab) -> None:
    folder = lab.root / "orders"
    run = json.dumps([sys.executable, "-S", "reloads.py", "{port}"])
    dev = f"[dev]\nrun = {run}\nreload = 'test -s text.txt && kill -HUP $PID'\n"
    lab.service("orders", f'run = "nobody-has-this"\nbuild = "false"\n{dev}')
    (folder / "reloads.py").write_text(RELOADS)
    (folder / "text.txt").write_text("one")
    with developing(lab) as developer:
        first = lab.get("/orders/")
        assert (first["version"], first["folder"]) == ("one", str(folder.resolve()))
        (folder / "text.txt").write_text("two")
        reloaded = developer.sees("reloaded", "orders")
        assert (reloaded["release"], reloaded["files"]) == ("r1", ["text.txt"])
        assert lab.until(lambda: lab.get("/orders/")["version"] == "two")
        assert lab.get("/orders/")["pid"] == first["pid"]
        (folder / "text.txt").write_text("")
        failed = developer.sees("failed", "orders")
        assert (failed["error"]["id"], failed["release"]) == ("reload-failed", "r1")
        (folder / "text.txt").write_text("three")
        assert developer.sees("reloaded", "orders", again=True)
        developer.edit("orders", 'VERSION = "v1"', 'VERSION = "v2"', "service.toml")
        assert developer.sees("live", "orders")["release"] == "r2", "what is to run is another"
    failures = lab.json("up", code=6)["failures"]
    assert failures["orders"]["id"] == "build-step-failed", "everywhere else it is built"


@pytest.mark.parametrize("said", ["", "dev = true\n"])
def test_other_environments_must_say_that_they_are_meant_for_it(lab: Lab, said: str) -> None:
    lab.service("orders")
    file = Path(lab.root, "atoll.toml")
    file.write_text(f"{file.read_text()}\n[environments.staging]\n{said}")
    if not said:
        done = lab.run("dev", "--env", "staging")
        assert done.returncode == 4
        assert "error[not-for-development]" in done.stderr
        return
    with developing(lab, "--env", "staging", "--down") as developer:
        developer.edit("orders", *says("two"))
        developer.sees("live", "orders")
        assert developer.end() == 130
