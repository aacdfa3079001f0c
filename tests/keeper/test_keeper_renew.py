"""A keeper becomes a newer program in the same process, and nobody notices."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from atoll.keeper.client import KeeperError, proc, wire

ENV = {"PATH": "/usr/bin:/bin"}


def test_it_keeps_its_pid_its_replicas_and_what_it_supervises(box):
    keeper = box.boot()
    start = proc.start_of(keeper)
    daemon = box.client.ensure("daemon", ["/bin/sleep", box.mark], ENV, box.folder / "daemon.log")
    sleeper = box.client.call("start", 30.0, **plain(box))["replica"]
    box.client.renew()
    status = box.client.status()
    assert status["pid"] == keeper
    assert proc.start_of(keeper) == start
    assert status["fixtures"]["daemon"]["pid"] == daemon
    assert status["fixtures"]["daemon"]["restarts"] == 0
    assert [one["pid"] for one in box.client.call("list", 10.0)["replicas"]] == [sleeper["pid"]]
    assert proc.read_stat(sleeper["shim"]).ppid == keeper
    assert "goes on in the same process" in box.keeper_log()
    box.kill(daemon)
    box.wait(lambda: box.client.status()["fixtures"]["daemon"]["pid"] not in {None, daemon}, "it still supervises")


def test_who_is_connected_stays_so_and_hears_of_what_ends(box):
    box.boot()
    sleeper = box.client.call("start", 30.0, **plain(box))["replica"]
    with wire.connect(str(box.run / "keeper.sock")) as watcher:
        watcher.settimeout(30)
        watcher.sendall(b'{"n": 7, "op": "watch"}\n')
        stream = watcher.makefile("rb")
        assert json.loads(stream.readline())["n"] == 7
        box.client.renew()
        watcher.sendall(b'{"n": 8, "op": "list"}\n')
        assert json.loads(stream.readline())["n"] == 8
        os.kill(sleeper["pid"], signal.SIGKILL)
        news = json.loads(stream.readline())
        assert news["event"] == "exit"
        assert news["replica"]["exit"]["signal"] == 9


def test_a_command_that_runs_for_somebody_is_not_cut_off(box):
    box.boot()
    answers = []
    launch = plain(box, "sleep 2; echo done; exit 3")
    asking = threading.Thread(
        target=lambda: answers.append(box.client.call("run", 60.0, **launch, timeout_s=50.0)), daemon=True
    )
    asking.start()
    box.wait(box.marked, "it runs")
    for _ in range(3):
        box.client.renew()
    asking.join(60)
    assert answers[0]["output"] == "done\n"
    assert answers[0]["replica"]["exit"]["code"] == 3


def test_a_request_that_comes_while_there_is_no_program_waits_for_the_next(box):
    box.boot()
    failed = []
    stop = threading.Event()

    def ask():
        while not stop.is_set():
            try:
                box.client.status()
            except KeeperError as exc:
                failed.append(exc)

    asking = [threading.Thread(target=ask, daemon=True) for _ in range(3)]
    for each in asking:
        each.start()
    for _ in range(5):
        box.client.renew()
    stop.set()
    for each in asking:
        each.join(30)
    assert not failed


def test_nobody_else_gets_the_folder_meanwhile(box):
    keeper = box.boot()
    for _ in range(5):
        box.client.renew()
        assert box.boot() == keeper


def test_one_that_cannot_be_run_leaves_the_old_as_it_was(box):
    keeper = box.boot()
    daemon = box.client.ensure("daemon", ["/bin/sleep", box.mark], ENV, box.folder / "daemon.log")
    with pytest.raises(KeeperError, match="No such file"):
        box.client.call("renew", 30.0, argv=["/no/such/python"], env={})
    assert box.client.status()["pid"] == keeper
    box.kill(daemon)
    box.wait(lambda: box.client.status()["fixtures"]["daemon"]["pid"] not in {None, daemon}, "it still supervises")


def test_a_successor_that_does_not_understand_adopts_as_after_a_crash(box, monkeypatch):
    keeper = box.boot()
    sleeper = box.client.call("start", 30.0, **plain(box))["replica"]
    folder = box.folder / "other"
    (folder / "atoll").mkdir(parents=True)
    whole = Path(wire.__file__).parents[1]
    (folder / "atoll/__init__.py").write_text((whole / "__init__.py").read_text())
    (folder / "atoll/keeper").mkdir()
    for file in (whole / "keeper").glob("*.py"):
        text = (
            file.read_text().replace("FORMAT = 1  #", "FORMAT = 2  #") if file.name == "renew.py" else file.read_text()
        )
        (folder / "atoll/keeper" / file.name).write_text(text)
    monkeypatch.setattr("atoll.keeper.client.HOME", str(folder))
    box.client.renew()
    assert box.client.status()["pid"] == keeper
    assert "adopted" in box.keeper_log()
    assert [one["pid"] for one in box.client.call("list", 10.0)["replicas"]] == [sleeper["pid"]]
    assert box.boot() == keeper  # it has the lock


def test_one_in_the_foreground_stays_there(box):
    keeper = box.boot()
    box.client.renew()
    time.sleep(0.1)
    assert proc.is_running(keeper, proc.start_of(keeper))


def plain(box, line="sleep 1000"):
    return {
        "launch": {
            "id": f"reef-r1-{box.mark}",
            "service": "reef",
            "release": 1,
            "argv": ["/bin/sh", "-c", line, box.mark],
            "folder": "/",
            "env": ENV,
        }
    }
