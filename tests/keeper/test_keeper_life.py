"""Booting, refusing a second one, and ending with nothing left."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from atoll.keeper.client import KeeperError, is_keeper_up, proc, start_keeper

ENV = {"PATH": "/usr/bin:/bin"}


def test_starting_it_twice_starts_one(box):
    first = box.boot()
    assert box.boot() == first


def test_a_second_keeper_refuses_with_a_message(box):
    pid = box.boot()
    for flag in ([], ["--foreground"]):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "atoll.keeper", box.state, box.folder / "elsewhere", *flag],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 3
        assert f"already runs for {box.state} (pid {pid})" in done.stderr


def test_a_folder_that_cannot_be_made_is_explained(box):
    (box.folder / "file").write_text("")
    with pytest.raises(KeeperError, match="file/state"):
        start_keeper(box.folder / "file" / "state", box.folder / "file" / "run")


def test_its_socket_is_for_this_user_only(box):
    box.boot()
    assert (box.run / "keeper.sock").stat().st_mode & 0o777 == 0o600
    assert box.run.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_another_user_is_hung_up_on(box):
    box.boot()
    box.run.chmod(0o755)
    (box.run / "keeper.sock").chmod(0o666)
    script = (
        "import os, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); os.setuid(65534)\n"
        f"s.connect({str(box.run / 'keeper.sock')!r})\n"
        's.settimeout(20)\ntry: s.sendall(b\'{"n":1,"op":"status"}\\n\'); print(s.recv(100))\n'
        "except OSError: print(b'')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "b''", done.stderr


def test_a_removed_socket_is_made_anew(box):
    pid = box.boot()
    (box.run / "keeper.sock").unlink()
    assert box.boot() == pid


def test_nonsense_on_the_socket_harms_nobody(box):
    pid = box.boot()
    for words in (b"nonsense\n", b"[1]\n", b'{"op":"start"}\n', b'{"op":7,"n":[]}\n', b"\xff\xfe\n", b'{"op":"run"'):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20)
            sock.connect(str(box.run / "keeper.sock"))
            sock.sendall(words)
    assert box.client.status()["pid"] == pid
    with pytest.raises(KeeperError, match="unknown operation"):
        box.client.call("dance", 20)
    with pytest.raises(KeeperError, match="missing field"):
        box.client.call("start", 20)
    with pytest.raises(KeeperError, match="not a replica id"):
        box.client.call("start", 20, launch={"id": "../x", "service": "a", "argv": [], "env": {}, "folder": "/"})


def test_shutdown_ends_daemon_replicas_and_proxy(box):
    keeper = box.boot()
    box.client.ensure("daemon", ["/bin/sleep", box.mark], ENV, box.folder / "daemon.log")
    box.client.ensure("proxy", ["/bin/sleep", box.mark], ENV, box.folder / "proxy.log")

    async def replicas():
        host = box.host()
        await host.start(box.launch())
        await host.start(box.launch("trap '' TERM; sleep {mark} & while :; do sleep 0.1; done"))
        await host.start(box.launch("setsid sh -c 'setsid sleep {mark} & sleep {mark}' & exec sleep {mark}"))
        await host.close()

    asyncio.run(replicas())
    box.wait(lambda: len(box.marked()) >= 6, "all run")
    box.client.shutdown(6.0)
    assert box.marked() == []
    assert not is_keeper_up(box.run)
    assert not Path(f"/proc/{keeper}").exists() or not proc.is_running(keeper, proc.start_of(keeper))
    assert not list(box.run.rglob("*.sock"))
    box.client.shutdown(1.0)


def test_after_a_shutdown_nothing_is_started_again(box):
    box.boot()
    box.client.ensure("daemon", ["/bin/sleep", box.mark], ENV, box.folder / "daemon.log")
    box.client.shutdown(10.0)
    box.boot()
    assert box.client.status()["fixtures"] == {}
    assert box.marked() == []


def test_sigterm_to_the_keeper_leaves_all_running(box):
    keeper = box.boot()
    daemon = box.client.ensure("daemon", ["/bin/sleep", box.mark], ENV, box.folder / "daemon.log")
    start = proc.start_of(keeper)
    os.kill(keeper, 15)
    box.wait(lambda: not proc.is_running(keeper, start), "the keeper ends")
    assert box.marked() == [daemon]
    box.boot()
    assert box.client.status()["fixtures"]["daemon"]["pid"] == daemon
