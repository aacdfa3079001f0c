"""The keeper's own two: the daemon and the proxy."""

import os
import sys
from datetime import datetime
from pathlib import Path

import pytest
from tests.keeper.conftest import words_of

from atoll.keeper.client import KeeperError
from atoll.keeper.fixtures import Fixtures

ENV = {"PATH": "/usr/bin:/bin"}


def pid_of(box, name="daemon"):
    return box.client.status()["fixtures"][name]["pid"]


def test_a_fixture_runs_and_is_left_alone_when_asked_for_again(box):
    box.boot()
    log = box.folder / "daemon.log"
    first = box.client.ensure("daemon", ["/bin/sh", "-c", f"echo hello; exec sleep {box.mark}"], ENV, log)
    again = box.client.ensure("daemon", ["/bin/sh", "-c", f"echo hello; exec sleep {box.mark}"], ENV, log)
    assert first == again == pid_of(box)
    box.wait(lambda: log.exists() and " hello\n" in log.read_text(), "its output is in its log")
    assert box.client.status()["fixtures"]["daemon"]["restarts"] == 0


def test_a_dead_fixture_is_restarted_at_once_and_its_exit_kept(box):
    box.boot()
    first = box.client.ensure("daemon", ["/bin/sleep", box.mark], ENV, box.folder / "daemon.log")
    box.kill(first)
    box.wait(lambda: pid_of(box) not in {None, first}, "another is there")
    status = box.client.status()["fixtures"]["daemon"]
    assert status["restarts"] == 1
    assert status["last_exit"]["signal"] == 9


def test_one_that_keeps_dying_is_restarted_with_growing_pauses(box):
    box.boot()
    log = box.folder / "daemon.log"
    box.client.ensure("daemon", ["/bin/sh", "-c", "echo again; exit 1"], ENV, log)

    def paused():
        status = box.client.status()["fixtures"]["daemon"]
        return status["restarts"] >= 4 and status["state"] == "backoff"

    box.wait(paused, "it is restarted again and again, and waits between")
    days = [" ".join(line.split()[:2]) for line in log.read_text().splitlines()]
    times = [datetime.strptime(day, "%Y-%m-%d %H:%M:%S.%f").astimezone().timestamp() for day in days]
    assert times[3] - times[2] > times[1] - times[0] or times[3] - times[2] > 0.15


def test_a_changed_definition_replaces_it(box):
    box.boot()
    log = box.folder / "proxy.log"
    first = box.client.ensure("proxy", ["/bin/sleep", box.mark], ENV, log)
    second = box.client.ensure("proxy", ["/bin/sleep", box.mark, "1"], ENV, log)
    assert words_of(second)[2] == "1"
    assert not Path(f"/proc/{first}").exists()


def test_it_is_restarted_and_stopped_on_request(box):
    box.boot()
    first = box.client.ensure("proxy", ["/bin/sleep", box.mark], ENV, box.folder / "proxy.log")
    box.client.restart("proxy")
    second = box.wait(lambda: (pid := pid_of(box, "proxy")) != first and pid, "another runs")
    box.client.stop("proxy")
    assert not Path(f"/proc/{second}").exists()
    assert box.client.status()["fixtures"]["proxy"]["state"] == "stopped"
    box.client.ensure("proxy", ["/bin/sleep", box.mark], ENV, box.folder / "proxy.log")
    assert pid_of(box, "proxy")


def test_one_that_ignores_sigterm_is_killed_after_its_grace(box):
    box.boot()
    line = f"trap '' TERM; while :; do sleep 0.05; done # {box.mark}"
    pid = box.client.ensure("proxy", ["/bin/sh", "-c", line], ENV, box.folder / "proxy.log")
    box.client.stop("proxy", grace_s=0.3)
    assert not Path(f"/proc/{pid}").exists()


def test_one_that_cannot_be_executed_says_why(box):
    box.boot()
    with pytest.raises(KeeperError, match="no-such-thing"):
        box.client.ensure("proxy", ["/no-such-thing"], ENV, box.folder / "proxy.log")
    box.client.stop("proxy")


def test_a_new_keeper_adopts_what_runs_and_knows_what_should(box):
    keeper = box.boot()
    daemon = box.client.ensure("daemon", ["/bin/sleep", box.mark], ENV, box.folder / "daemon.log")
    proxy = box.client.ensure("proxy", ["/bin/sleep", box.mark], ENV, box.folder / "proxy.log")
    box.kill(keeper)
    box.kill(proxy)
    assert box.boot() != keeper
    assert pid_of(box, "daemon") == daemon
    box.wait(lambda: pid_of(box, "proxy") not in {None, proxy}, "the one that died meanwhile is back")
    assert len(box.marked()) == 2


def test_the_environment_of_a_fixture_is_exactly_what_was_given(box):
    box.boot()
    os.environ["STRAY"] = "1"
    try:
        pid = box.client.ensure("daemon", ["/bin/sleep", box.mark], {"ONLY": "this"}, box.folder / "daemon.log")
    finally:
        del os.environ["STRAY"]
    environ = box.wait(Path(f"/proc/{pid}/environ").read_bytes, "the kernel shows what it was given")
    names = {pair.split(b"=")[0] for pair in environ.split(b"\0") if pair}
    assert names == {b"ONLY", b"PATH"}


def test_a_fixtures_shim_survives_its_own_death_of_the_keeper_with_output(box):
    keeper = box.boot()
    log = box.folder / "daemon.log"
    script = "import time\nfor n in range(100000): print('tick', n, flush=True); time.sleep(0.05)"
    pid = box.client.ensure("daemon", [sys.executable, "-c", script, box.mark], ENV, log)
    box.wait(lambda: log.exists() and log.stat().st_size, "it prints")
    box.kill(keeper)
    size = log.stat().st_size
    box.wait(lambda: log.stat().st_size > size, "it goes on printing")
    box.boot()
    assert pid_of(box) == pid


@pytest.mark.parametrize("text", ["no json", "[]", '{"daemon": 1}', "\0"])
def test_a_file_that_does_not_say_what_to_run_ends_no_keeper(tmp_path, text):
    path = tmp_path / "fixtures.json"
    path.write_text(text)
    fixtures = Fixtures(str(path), lambda fixture: None, lambda run, grace_s: True)
    assert fixtures.load([]).startswith(f"{path} cannot be read: ")
    assert fixtures.all == {}
