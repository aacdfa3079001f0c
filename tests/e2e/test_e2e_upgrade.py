"""Two wheels of different versions in two environments: one takes over from the other while requests go on."""

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import envoy
import pytest
from bench.newcomer import wheel
from hammer import Load
from lab import Lab
from machine import Machine, why_not
from unit_by_ssh import UNIT, Unit

from atoll.keeper.client import KeeperClient, proc

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

OLD, NEW = "0.1.0", "0.2.0"
DRAIN = 'stop = { drain = "5s" }'  # which is waited for in whole while an older proxy still has a stream
MIGRATION = '''"""What the newer version adds."""

from alembic import op

revision = "0999"
down_revision = "{head}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One table more."""
    op.execute("CREATE TABLE novelty (id INTEGER PRIMARY KEY)")
'''


class Wheels(NamedTuple):
    old: Path
    new: Path


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Wheels:
    return Wheels(*(wheel(tmp_path_factory.mktemp(name), edit) for name, edit in (("old", older), ("new", newer))))


def versioned(sources: Path, version: str = OLD) -> None:
    for file in (sources / "pyproject.toml", sources / "src/atoll/__init__.py"):
        lines = file.read_text().splitlines(keepends=True)
        ours = [line.startswith(("version = ", "__version__ = ")) for line in lines]
        assert sum(ours) == 1
        file.write_text(
            "".join(
                f'{line.split()[0]} = "{version}"\n' if own else line for line, own in zip(lines, ours, strict=True)
            )
        )


def older(sources: Path) -> None:
    """One whose daemon lacks an address of the API that later clients ask."""
    versioned(sources)
    endpoints = sources / "src/atoll/daemon/endpoints.py"
    text = endpoints.read_text()
    assert '"/v1/artifacts/sweep"' in text
    endpoints.write_text(text.replace('"/v1/artifacts/sweep"', '"/v1/artifacts/swept"'))


def newer(sources: Path) -> None:
    """Another version, with another schema."""
    versioned(sources, NEW)
    schema = sources / "src/atoll/store/schema.py"
    text = schema.read_text()
    head = text.partition('HEAD: Final = "')[2].partition('"')[0]
    schema.write_text(text.replace(f'HEAD: Final = "{head}"', 'HEAD: Final = "0999"'))
    migration = sources / "src/atoll/store/migrations/versions/r0999_novelty.py"
    migration.write_text(MIGRATION.replace("{head}", head))


class Venv:
    """An environment with a wheel, and its dependencies from this one's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=120)
        self.packages = folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
        (self.packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        self.program = [str(folder / "bin/atoll")]

    def install(self, made: Path) -> None:
        pip = [sys.executable, "-m", "pip", "--python", str(self.folder / "bin/python"), "install", "--quiet"]
        subprocess.run([*pip, "--no-deps", "--upgrade", str(made)], check=True, timeout=300)

    def own_envoy(self) -> None:
        """Another program, at another place."""
        shutil.copytree(Path(envoy.__file__).parent, self.packages / "envoy", copy_function=_linked)


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


class Loads:
    """Posts at the gateway, and gets that go on to another service."""

    def __init__(self, port: int) -> None:
        self.stop = threading.Event()
        asked = [("POST", "/orders/x")] * 3 + [("GET", "/front/call")] * 2
        self.all = [Load(port, *each, self.stop) for each in asked]

    def __enter__(self) -> "Loads":
        for each in self.all:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for each in self.all:
            each.join(60)

    def more(self, lab: Lab) -> None:
        """Each of them gets an answer, after now."""
        before = [each.done for each in self.all]
        lab.until(lambda: all(each.done > at for each, at in zip(self.all, before, strict=True)))

    def judged(self) -> None:
        assert [text for each in self.all for text in each.failed] == []
        assert sum(each.done for each in self.all) > 500


class Parts(NamedTuple):
    """What runs, such that a number that was given twice is told apart."""

    keeper: tuple[int, int]
    daemon: int
    proxy: int
    replicas: frozenset[tuple[int, int]]


def parts(lab: Lab) -> Parts:
    pids = {one["name"]: one["pid"] for one in lab.status()["parts"]}
    replicas = frozenset((pid, proc.start_of(pid)) for name in ("orders", "front", "talk") for pid in lab.pids(name))
    return Parts((pids["keeper"], proc.start_of(pids["keeper"])), pids["daemon"], pids["proxy"], replicas)


def shop(lab: Lab) -> None:
    lab.service("orders", DRAIN)
    lab.service("front", '[calls.orders]\nenv = { UPSTREAM = "http://{host}:{port}/orders/hello" }')
    here = Path(__file__).parent
    lab.service("talk", f'run = ["{sys.executable}", "streams_service.py", "http"]\nhealth = "/talk"')
    shutil.copy(here / "streams_service.py", lab.root / "talk")


def stream(lab: Lab) -> socket.socket:
    """A WebSocket that stays open."""
    line = socket.create_connection(("127.0.0.1", lab.gateway_port), timeout=30)
    line.sendall(b"GET /talk/ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
    assert b" 101 " in line.recv(4096)
    return line


def echoes(line: socket.socket) -> bool:
    line.sendall(b"hello")
    return line.recv(4096) == b"v1:hello"


@pytest.fixture
def venvs(lab: Lab, wheels: Wheels) -> tuple[Venv, Venv]:
    lab.env.pop("PYTHONPATH", None)
    old, new = Venv(lab.root.parent / "old"), Venv(lab.root.parent / "new")
    old.install(wheels.old)
    return old, new


def test_an_upgrade_in_place_replaces_keeper_daemon_and_nothing_else(
    lab: Lab, venvs: tuple[Venv, Venv], wheels: Wheels
) -> None:
    venv, _ = venvs
    lab.program = venv.program
    shop(lab)
    lab.atoll("up")
    before = parts(lab)
    with Loads(lab.gateway_port) as loads, stream(lab) as line:
        loads.more(lab)
        venv.install(wheels.new)
        assert f"Atoll {OLD}, older than this command's {NEW}" in lab.run("status").stderr
        rows = {row["check"]: row["text"] for row in json.loads(lab.run("doctor", "--json").stdout)}
        assert rows["version"] == f"this is {NEW}; keeper {OLD}, daemon {OLD}"
        said = lab.run("up").stderr
        assert f"upgrading the keeper from {OLD} to {NEW}" in said
        assert f"upgrading the daemon from {OLD} to {NEW}" in said
        after = parts(lab)
        assert (after.keeper, after.proxy, after.replicas) == (before.keeper, before.proxy, before.replicas)
        assert after.daemon != before.daemon
        assert keeper(lab).status()["version"] == lab.status()["version"] == NEW
        assert lab.run("up").stderr.count("upgrading") == 0
        assert parts(lab) == after
        loads.more(lab)
        assert echoes(line)
    loads.judged()


def test_another_installation_takes_over_and_the_older_one_knows_its_place(
    lab: Lab, venvs: tuple[Venv, Venv], wheels: Wheels
) -> None:
    old, new = venvs
    new.install(wheels.new)
    new.own_envoy()
    lab.program = old.program
    shop(lab)
    lab.atoll("up")
    before = parts(lab)
    with Loads(lab.gateway_port) as loads, stream(lab) as line:
        loads.more(lab)
        lab.program = new.program
        assert "replaced by a newer one" in lab.run("up").stderr
        after = parts(lab)
        assert (after.keeper, after.replicas) == (before.keeper, before.replicas)
        assert after.daemon != before.daemon
        assert after.proxy != before.proxy
        assert keeper(lab).status()["fixtures"]["proxy"]["older"] == [before.proxy]  # as long as it has the stream
        loads.more(lab)
        assert echoes(line)
        lab.service("orders", DRAIN, env={"VERSION": "v2"})
        lab.atoll("deploy", "orders")
        assert echoes(line)
        lab.program = old.program
        assert f"Atoll {NEW}, newer than this command's {OLD}" in lab.run("status").stderr
        assert "it is left as it is" in lab.run("up").stderr
        lab.program = new.program
        assert parts(lab)[:3] == after[:3]
    loads.judged()
    lab.atoll("down")
    lab.program = old.program
    refused = lab.run("up")
    assert refused.returncode != 0
    assert "written by a newer Atoll" in refused.stderr
    back = refused.stderr.partition("`rm ")[2].partition("`")[0]
    subprocess.run(["/bin/sh", "-c", f"rm {back}"], check=True, timeout=30)
    lab.atoll("up")
    assert lab.get("/orders/x")["version"] == "v1"
    assert lab.status()["version"] == OLD


def test_a_killed_keeper_daemon_and_proxy_come_back_as_the_newer_version(
    lab: Lab, venvs: tuple[Venv, Venv], wheels: Wheels
) -> None:
    """Nothing of the older one is remembered where it could be started again."""
    old, new = venvs
    new.install(wheels.new)
    lab.program = old.program
    shop(lab)
    lab.atoll("up")
    lab.program = new.program
    lab.atoll("up")
    shutil.rmtree(old.folder)
    for name in ("keeper", "daemon", "proxy"):
        killed = lab.pid(name)
        os.kill(killed, 9)
        lab.until(lambda name=name, killed=killed: lab.pid(name) not in {0, killed})
    lab.until(lambda: keeper(lab).status()["version"] == NEW)
    assert lab.status()["version"] == NEW
    lab.until(lambda: lab.get("/orders/x")["version"] == "v1")


def test_a_reload_of_its_unit_upgrades_a_served_environment(lab: Lab, venvs: tuple[Venv, Venv], wheels: Wheels) -> None:
    old, new = venvs
    new.install(wheels.new)
    new.own_envoy()

    def words(venv: Venv, *option: str) -> list[str]:
        return [str(venv.folder / "bin/python"), "-P", "-m", "atoll.app.serve", "lab", "production", *option]

    def act(venv: Venv, *option: str) -> str:
        done = subprocess.run(
            words(venv, *option), env=lab.env, capture_output=True, text=True, timeout=150, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    main = subprocess.Popen(words(old), env=lab.env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert main.stderr is not None
    try:
        act(old, "--wait")
        lab.until(lambda: keeper(lab).status()["fixtures"]["proxy"]["pid"])
        before = keeper(lab).status()["fixtures"]
        said = act(new, "--reload")
        assert f"upgrading the keeper from {OLD} to {NEW}" in said
        after = keeper(lab).status()
        assert (after["pid"], after["version"]) == (main.pid, NEW)
        assert after["fixtures"]["daemon"]["stamp"] == NEW
        assert after["fixtures"]["proxy"]["older"] == [before["proxy"]["pid"]]
        again = keeper(lab).status()["fixtures"]["daemon"]["pid"]
        act(new, "--reload")
        assert keeper(lab).status()["fixtures"]["daemon"]["pid"] != again  # a reload is the daemon anew in any case
    finally:
        act(new, "--stop")
        main.wait(60)
        said = main.stderr.read()
        main.stderr.close()
    assert "goes on in the same process" in said  # its log still goes where the service manager has it


def keeper(lab: Lab) -> KeeperClient:
    (path,) = (lab.root.parent / "run").glob("*/keeper.sock")
    return KeeperClient(path.parent)


@pytest.fixture
def unit(tmp_path: Path) -> Iterator[Unit]:
    if why := why_not():
        pytest.skip(why)
    if not Path("/usr/sbin/sshd").exists() or shutil.which("ssh") is None:
        pytest.skip("needs sshd and ssh (scripts/apt installs them)")
    with tempfile.TemporaryDirectory(prefix="atl-") as name, Machine(Path(name)).on() as machine:
        one = Unit(Path(name), machine)
        try:
            one.let_in()
            yield one
        finally:
            one.close()


def test_pip_and_a_reload_of_the_real_unit_fail_no_request_and_clients_of_each_version_know_their_place(
    unit: Unit, wheels: Wheels
) -> None:
    old, new = Venv(unit.folder / "old"), Venv(unit.folder / "new")
    old.install(wheels.old)
    new.install(wheels.new)
    unit.pip(wheels.old)
    unit.there("install", "shop", "--env", "production")
    unit.service("v1")
    up = unit.run(old.program, "up")
    assert up.returncode == 0, up.stderr
    before = unit.parts(old.program)
    assert before["version"] == OLD

    ahead = unit.run(new.program, "status")
    assert ahead.returncode == 0
    assert f"Atoll {OLD}, older than this command's {NEW}" in ahead.stderr
    assert f"on vm1: install Atoll {NEW}, then reload" in ahead.stderr
    unit.service("v2")
    assert unit.run(new.program, "deploy", "orders").returncode == 0
    unknown = unit.run(new.program, "cache", "gc")
    assert (unknown.returncode, "error[versions-differ]" in unknown.stderr) == (2, True), unknown.stderr

    with unit.load() as seen:
        unit.pip(wheels.new)
        unit.machine.run("systemctl", "reload", UNIT)
        after = unit.parts(new.program)
    assert set(seen) == {"v2"}, seen
    assert seen["v2"] > 50
    assert after["version"] == NEW
    assert (after["keeper"], after["proxy"]) == (before["keeper"], before["proxy"])
    assert after["daemon"] != before["daemon"]
    assert int(unit.machine.run("systemctl", "show", "--property=MainPID", "--value", UNIT)) == after["keeper"]
    assert unit.run(new.program, "cache", "gc").returncode == 0

    behind = unit.run(old.program, "status")
    assert behind.returncode == 0
    assert f"Atoll {NEW}, newer than this command's {OLD}" in behind.stderr
    assert f"install Atoll {NEW} here, too" in behind.stderr
    unit.service("v3")
    deployed = unit.run(old.program, "deploy", "orders")
    assert deployed.returncode == 0, deployed.stderr
