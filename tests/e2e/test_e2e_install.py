"""`atoll install` on a machine with a real systemd: boot, crash, reload, loss of power, removal."""

import contextlib
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from machine import Machine, why_not

HERE = Path(__file__).parent
NAME, UNIT, PORT = "My Shop", "atoll-my-shop-production", 18080
STATE = "/var/lib/atoll/served/my-shop/environments/production"
SOCKET = "/run/atoll/my-shop.production.sock"
PYTHON = "/usr/bin/python3"  # which every user may run; this test's own may lie in a private home
WITHIN_S = 60.0
WORKSPACE = f"""
name = "{NAME}"
[environments.production]
host = "unix://{SOCKET}"
gateway = "127.0.0.1:{PORT}"
ports = [18100, 18400]
"""
DEPLOY = ("deploy", "orders", "--workspace", "/srv/ws", "--env", "production")
SERVICE = f"""
name = "orders"
run = ["{PYTHON}", "-S", "echo_service.py"]
health = {{ ready = "/healthz", stable_for = "300ms", start_budget = "20s" }}
route = "/orders"
rollout = "blue-green"
[env]
VERSION = "v1"
"""


class Installed:
    """A machine, and what is asked of it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.run = machine.run

    def atoll(self, *argv: str, check: bool = True) -> str:
        return self.run(sys.executable, "-m", "atoll.app", *argv, check=check, env={"NO_COLOR": "1"})

    def install(self, *more: str) -> Any:
        """`atoll install`, decoded."""
        return json.loads(self.atoll("install", NAME, "--env", "production", "--json", *more))

    def ask(self, path: str) -> Any:
        """The API, decoded."""
        return json.loads(self.run("curl", "-sS", "-m", "20", "--unix-socket", SOCKET, f"http://atoll{path}"))

    def parts(self) -> dict[str, int]:
        return {part["name"]: part["pid"] for part in self.ask("/v1/status")["parts"]}

    def replicas(self) -> list[int]:
        services = self.ask("/v1/status")["services"]
        return [replica["pid"] for service in services for replica in service["replicas"] if replica["ready"]]

    def get(self) -> str:
        """A request through the gateway; its status."""
        url = f"http://127.0.0.1:{PORT}/orders"
        return self.run("curl", "-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}", url, check=False)

    def proxy(self) -> dict[str, str]:
        """What the kernel says of Envoy's rights."""
        lines = self.run("cat", f"/proc/{self.parts()['proxy']}/status").splitlines()
        return {name: text.strip() for name, _, text in (line.partition(":") for line in lines)}

    def proxy_uid(self) -> str:
        return self.proxy()["Uid"].split()[1]

    def as_proxy(self, *argv: str) -> str:
        """A command as Envoy's user; what it printed, errors too."""
        uid = self.run("id", "-u", UNIT).strip()
        run = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--", *argv)
        return self.run("sh", "-c", 'cd / && exec "$@" 2>&1', "sh", *run, check=False)

    def main_pid(self) -> int:
        return int(self.run("systemctl", "show", "--property=MainPID", "--value", UNIT))

    def active(self) -> str:
        return self.run("systemctl", "is-active", UNIT, check=False).strip()

    def until(self, what: Callable[[], Any]) -> Any:
        deadline, last = time.monotonic() + WITHIN_S, None
        while time.monotonic() < deadline:
            try:
                if last := what():
                    return last
            except (AssertionError, KeyError, ValueError) as exc:
                last = exc
            time.sleep(0.1)
        raise AssertionError(f"{last!r}\n{self.run('journalctl', '-n', '60', '--no-pager', check=False)}")

    def deploy(self) -> None:
        """The service, at a gateway of this test's own."""
        self.machine.write("/srv/ws/atoll.toml", WORKSPACE)
        self.machine.write("/srv/ws/orders/service.toml", SERVICE)
        self.machine.write("/srv/ws/orders/echo_service.py", (HERE / "echo_service.py").read_text())
        self.atoll(*DEPLOY)
        self.until(lambda: self.get() == "200")

    @contextlib.contextmanager
    def hammered(self) -> Iterator[None]:
        """Posts and gets without pause on kept connections, and one request that lasts, meanwhile. None fails."""
        self.machine.write("/srv/hammer.py", (HERE / "hammer.py").read_text())
        self.run("rm", "-f", "/srv/stop")
        asked = ["POST", "/orders"] * 3 + ["GET", "/orders"] * 2 + ["GET", "/orders/slow?3"]
        with ThreadPoolExecutor() as pool:
            hammer = pool.submit(self.run, PYTHON, "-S", "/srv/hammer.py", str(PORT), "/srv/stop", *asked)
            try:
                yield
            finally:
                self.run("touch", "/srv/stop")
            *failed, done = hammer.result().splitlines()
        assert failed == []
        assert int(done) > 200

    @contextlib.contextmanager
    def held(self) -> Iterator[tuple[ThreadPoolExecutor, Future[str]]]:
        """A request that the service has, and that is answered after `release`; with a pool for more beside it."""
        self.run("rm", "-f", "/srv/release")
        before = self.atoll("logs", *DEPLOY[1:]).count("holds a request")
        url = f"http://127.0.0.1:{PORT}/orders/held?/srv/release"
        with ThreadPoolExecutor() as pool:
            try:
                held = pool.submit(self.run, "curl", "-s", "-m", str(WITHIN_S), "-w", " %{http_code}", url)
                self.until(lambda: self.atoll("logs", *DEPLOY[1:]).count("holds a request") > before)
                yield pool, held
            finally:
                self.release()

    def release(self) -> None:
        self.run("touch", "/srv/release")

    @contextlib.contextmanager
    def load(self) -> Iterator[list[str]]:
        """Requests one after the other meanwhile; the statuses of all."""
        seen: list[str] = []
        over = threading.Event()

        def ask() -> None:
            while not over.is_set():
                seen.append(self.get())

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield seen
        finally:
            over.set()
            thread.join()


@pytest.fixture
def installed() -> Iterator[Installed]:
    if why := why_not():
        pytest.skip(why)
    with tempfile.TemporaryDirectory(prefix="atl-") as folder, Machine(Path(folder)).on() as machine:
        yield Installed(machine)


def test_a_machine_serves_from_boot_on_and_no_crash_of_a_part_costs_a_request(installed: Installed) -> None:
    lacking = "this machine has no group 'nobodys', which has a role"
    assert any(note.startswith(lacking) for note in installed.install("--plan", "--deployers", "nobodys")["notes"])
    view = installed.install()
    assert view["running"]
    assert view["unit"] == f"{UNIT}.service"
    assert installed.run("systemctl", "is-enabled", UNIT).strip() == "enabled"
    assert installed.run("getent", "group", "atoll")
    assert installed.main_pid() == installed.parts()["keeper"]
    assert installed.install()["written"] == []

    installed.deploy()
    pids, parts = installed.replicas(), installed.parts()
    assert pids
    with installed.load() as seen:
        installed.run("kill", "-9", str(installed.main_pid()))
        installed.until(lambda: installed.parts()["keeper"] not in {None, parts["keeper"]})
        after = installed.parts()
        assert installed.main_pid() == after["keeper"]
        assert (after["daemon"], after["proxy"]) == (parts["daemon"], parts["proxy"])
        installed.run("systemctl", "reload", UNIT)
        assert installed.parts()["daemon"] != parts["daemon"]
    assert installed.replicas() == pids
    assert set(seen) == {"200"}, seen
    assert installed.active() == "active"

    installed.machine.cut_power()
    installed.machine.boot()
    installed.until(lambda: installed.get() == "200")
    installed.until(lambda: installed.active() == "active")
    assert installed.main_pid() == installed.parts()["keeper"]


def test_a_service_runs_as_a_user_of_its_own_or_not_at_all(installed: Installed) -> None:
    installed.install()
    installed.deploy()
    uids = installed.run("stat", "--format=%u", *(f"/proc/{pid}" for pid in installed.replicas())).split()
    assert uids
    assert all(61000 <= int(uid) < 65000 for uid in uids)
    private = SERVICE.replace(PYTHON, "/srv/private/python3")
    installed.run("sh", "-c", f"mkdir -m 700 /srv/private && cp {PYTHON} /srv/private/python3")
    installed.machine.write("/srv/ws/orders/service.toml", private)
    told = json.loads(installed.atoll(*DEPLOY, "--json", check=False))
    assert "no service here runs as root" in str(told)
    assert installed.get() == "200"


def test_the_proxy_has_a_user_of_its_own_who_may_do_nothing_else(installed: Installed) -> None:
    installed.install()
    installed.deploy()
    account = installed.run("id", "-u", UNIT).strip()
    rights = installed.proxy()
    assert set(rights["Uid"].split()) == set(rights["Gid"].split()) == {account}
    assert account != "0"
    assert (rights["Groups"], rights["NoNewPrivs"]) == ("", "1")
    only = "0000000000000400"  # ports below 1024
    assert {rights[f"Cap{each}"] for each in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {only}
    kept = installed.run("find", STATE, "-type", "f").split("\n")[:-1]
    assert {f"{STATE}/{name}" for name in ("envoy.json", "access.json", "fixtures.json")} <= set(kept)
    may = 'how=$1; shift; for each; do if [ $how "$each" ]; then echo "$each"; fi; done'
    reads = installed.as_proxy("sh", "-c", may, "sh", "-r", *kept).split()
    assert set(reads) == {f"{STATE}/envoy.json", f"{STATE}/access.json"}  # the second is everybody's
    assert installed.as_proxy("sh", "-c", may, "sh", "-w", *kept) == ""
    assert installed.run("stat", "--format=%u %a", f"{STATE}/envoy.json").strip() == "0 640"
    sockets = installed.run("find", "/run/atoll", "-type", "s").split()
    reached = installed.as_proxy("sh", "-c", may, "sh", "-w", *sockets).split()
    assert {Path(each).name for each in reached} >= {"xds.sock", "envoy.sock"}
    assert {each for each in reached if ".proxy/" not in each} == {SOCKET}
    private = installed.run("sh", "-c", "echo /run/atoll/*/keeper.sock").strip()
    for name in ("keeper.sock", "daemon.sock"):
        socket = f"{Path(private).parent}/{name}"
        assert "(7)" in installed.as_proxy("curl", "-sS", "--unix-socket", socket, "http://atoll/v1/status")
    assert "403" in installed.as_proxy(
        "curl", "-s", "-w", "%{http_code}", "--unix-socket", SOCKET, "http://atoll/v1/status"
    )
    installed.run("kill", "-9", str(installed.parts()["proxy"]))
    installed.until(lambda: installed.get() == "200" and installed.proxy_uid() == account)
    installed.machine.write("/srv/ws/atoll.toml", WORKSPACE.replace(str(PORT), "81"))  # which is for root, else
    installed.atoll(*DEPLOY)
    installed.until(lambda: installed.run("curl", "-sf", "-m", "20", "http://127.0.0.1:81/orders"))


def test_a_proxy_takes_over_from_one_of_its_user_and_from_one_of_roots_and_no_request_fails(
    installed: Installed,
) -> None:
    installed.install()
    installed.deploy()
    account, first = installed.run("id", "-u", UNIT).strip(), installed.parts()["proxy"]
    envoy = installed.run("readlink", f"/proc/{first}/exe").strip()
    with installed.hammered():
        installed.run("touch", envoy)  # another program behind the same words
        installed.run("systemctl", "reload", UNIT)
        installed.until(lambda: installed.parts()["proxy"] not in {None, first})
        time.sleep(1)
    assert installed.proxy_uid() == account

    # As an earlier Atoll had it: no account, and so a proxy of root's.
    installed.run("systemctl", "stop", UNIT)
    installed.run("userdel", UNIT)
    installed.run("systemctl", "start", UNIT)
    installed.until(lambda: installed.get() == "200")
    assert installed.proxy_uid() == "0"
    roots, pids = installed.parts()["proxy"], installed.replicas()
    installed.run("systemd-sysusers")
    with installed.hammered():
        installed.run("systemctl", "reload", UNIT)
        installed.until(lambda: installed.parts()["proxy"] not in {None, roots})
        time.sleep(1)
    assert installed.proxy_uid() == installed.run("id", "-u", UNIT).strip() != "0"
    assert installed.replicas() == pids
    installed.run("kill", "-9", str(installed.parts()["proxy"]))  # its predecessor is root's, and lives
    installed.until(lambda: installed.get() == "200")
    assert installed.proxy_uid() != "0"

    # What its user cannot run does not replace it; from a start on it is root's, and is told so.
    users = installed.parts()["proxy"]
    installed.run("chmod", "700", str(Path(envoy).parent))
    installed.run("systemctl", "reload", UNIT, check=False)
    assert installed.parts()["proxy"] == users
    assert f"its own user '{UNIT}' may not use {envoy}" in installed.run("journalctl", "--no-pager", "-u", UNIT)
    installed.run("systemctl", "restart", UNIT)
    installed.until(lambda: installed.get() == "200")
    assert installed.proxy_uid() == "0"
    assert next(view["ok"] for view in installed.ask("/v1/doctor") if view["check"] == "proxy user") is None


def test_stopping_the_unit_ends_everything_and_starting_it_brings_everything_back(installed: Installed) -> None:
    installed.install()
    installed.deploy()
    pids = [*installed.parts().values(), *installed.replicas()]
    installed.run("systemctl", "stop", UNIT)
    assert installed.active() == "inactive"
    assert not [pid for pid in pids if not installed.run("sh", "-c", f"[ -e /proc/{pid} ] || echo gone").strip()]
    installed.run("systemctl", "start", UNIT)
    installed.until(lambda: installed.get() == "200")


def test_on_the_machine_itself_doctor_finds_what_is_served_and_judges_it(installed: Installed) -> None:
    installed.install()
    installed.deploy()
    doctor = f"cd / && {sys.executable} -m atoll.app doctor --json"  # nsenter leaves a folder that is none over there
    found = {check["check"]: check for check in json.loads(installed.run("sh", "-c", doctor, check=False))}
    assert found["served"]["text"] == f"{NAME} production, by its daemon"
    assert found["backup"]["ok"] is False
    assert f"`atoll backup --served '{NAME}' --env production FILE`" in found["backup"]["fix"]
    assert found["limits"]["text"].startswith("orders: no memory limit")

    assert "secrets" not in found
    installed.machine.write(f"{STATE}/vault.db", "nonsense\n" * 1000)
    found = {check["check"]: check for check in json.loads(installed.run("sh", "-c", doctor, check=False))}
    assert "vault.db is damaged: file is not a database" in found["secrets"]["text"]
    installed.run("sh", "-c", f"cd / && {found['secrets']['fix'].split('`')[1]}")  # to the letter
    assert "secrets" not in {check["check"] for check in json.loads(installed.run("sh", "-c", doctor, check=False))}


def test_a_stop_answers_what_is_in_flight_and_takes_nothing_new(installed: Installed) -> None:
    installed.install()
    installed.deploy()
    with installed.held() as (pool, held):
        stopping = pool.submit(installed.run, "systemctl", "stop", UNIT)
        installed.until(lambda: installed.get() == "000")
        waits = "the gateway is closed; waiting for "  # one, and maybe a question that came just before
        installed.until(lambda: waits in installed.run("journalctl", "--no-pager", "-u", UNIT))
        assert not held.done()
        assert installed.replicas()
        installed.release()
        assert held.result().endswith(" 200")
        stopping.result()
    assert installed.active() == "inactive"
    installed.run("systemctl", "start", UNIT)
    installed.until(lambda: installed.get() == "200")

    # One that is cut off leaves services and daemon running; the next start finds the gateway shut.
    with installed.held() as (pool, held):
        stopping = pool.submit(installed.run, "systemctl", "stop", UNIT)
        installed.until(lambda: installed.get() == "000")
        installed.run("pkill", "-9", "-f", "atoll.app.serve.*--stop")
        stopping.result()
        installed.run("systemctl", "start", UNIT)
        installed.release()
        assert held.result().endswith(" 200")
    installed.until(lambda: installed.get() == "200")


def test_a_backup_makes_the_environment_again_on_a_machine_that_was_just_installed(installed: Installed) -> None:
    """As docs/howto/backup.md says it, for a new machine and for one that goes back."""
    installed.install()
    installed.deploy()
    served = ("--served", NAME, "--env", "production")
    installed.run("mkdir", "-m", "700", "/srv/backups")
    installed.machine.write("/srv/passphrase", "correct horse battery staple\n")
    key = ("--key", "/srv/shop.key", "--passphrase", "/srv/passphrase")
    at_home = ("sh", "-c", f'cd / && exec {sys.executable} -m atoll.app "$@"', "sh")
    installed.run(*at_home, "backup", *served, "--key", key[1], *key[2:])
    file = installed.run(*at_home, "backup", *served, "/srv/backups", "--keep", "14").strip()
    installed.run(*at_home, "restore", file, *key, "--check")

    installed.atoll("uninstall", NAME, "--env", "production", "--purge", "--yes")
    installed.install("--no-start")
    installed.run(*at_home, "restore", *served, *key, file)
    installed.run("systemctl", "start", UNIT)
    installed.until(lambda: installed.get() == "200")

    installed.run("systemctl", "stop", UNIT)
    installed.run(*at_home, "restore", *served, "--replace", "--yes", *key, file)
    installed.run("systemctl", "start", UNIT)
    installed.until(lambda: installed.get() == "200")


def test_the_journal_has_what_happened_by_unit_and_by_service(installed: Installed) -> None:
    installed.install()
    installed.deploy()
    of_unit = installed.run("journalctl", "--no-pager", "-u", UNIT)
    assert f"started, pid {installed.main_pid()}" in of_unit
    assert "leads 'production' of workspace 'My Shop'" in of_unit
    of_service = installed.run("journalctl", "--no-pager", "ATOLL_SERVICE=orders", "ATOLL_EVENT=rollout.live")
    assert "rollout.live orders r1" in of_service
    happened = of_service.strip().splitlines()[-1].partition("rollout.live orders r1: ")[2]
    assert installed.run("journalctl", "--no-pager", "-u", UNIT).count(happened) == 1


def test_what_is_uninstalled_is_gone_and_what_was_kept_is_found_again(installed: Installed) -> None:
    installed.install("--admins", "root")
    installed.deploy()
    atoll = ("uninstall", NAME, "--env", "production", "--yes")
    installed.atoll(*atoll)
    assert UNIT not in installed.run("cat", "/etc/passwd", "/etc/group")
    assert not installed.run("systemctl", "list-unit-files", f"{UNIT}.service", check=False).count("enabled")
    assert installed.get() == "000"
    installed.install()
    installed.until(lambda: installed.get() == "200")
    assert json.loads(installed.run("cat", f"{STATE}/access.json"))["admins"] == ["root"]
    installed.atoll(*atoll, "--purge")
    assert installed.run(
        "sh", "-c", "ls -A /var/lib/atoll/served /run/atoll; pgrep -f [a]toll.app.daemon", check=False
    ).split() == [
        "/run/atoll:",
        "/var/lib/atoll/served:",
    ]
