"""What each type of store is started as: its argv, its files, its questions; and how its program is found."""

import re
from pathlib import Path

import pytest

from atoll.model.errors import UserError
from atoll.model.spec import Command, Plain, SecretRef, Server, ServiceSpec, Store
from atoll.model.state import Image
from atoll.model.store_url import password_of
from atoll.servers import draft, image_name, image_user, programs
from atoll.servers.programs import Program, first, fits, says

HERE = {
    "postgres": Program("/usr/lib/postgresql/15/bin/postgres", "15.18"),
    "redis": Program("/usr/bin/redis-server", "7.0.15"),
    "nats": Program("/usr/sbin/nats-server", "2.9.10"),
}
INSIDE = Image(id="sha256:1", folder="/", user="")


def store(type: str, **server: object) -> Store:
    given = {"user": "db_user", "database": "db_base", **server}
    return Store(name="db", type=type, server=Server(**given))  # type: ignore[arg-type]


def made(type: str, where: Program | Image | None = None, **server: object) -> ServiceSpec:
    return draft(store(type, **server), where or HERE[type]).spec


def program(folder: Path, name: str, says: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("type", sorted(HERE))
@pytest.mark.parametrize("inside", [False, True])
def test_its_password_is_in_a_file_and_neither_in_an_argument_nor_a_variable(type: str, inside: bool) -> None:
    spec = made(type, INSIDE if inside else None)
    reference = f"{{secret.{password_of('db')}}}"
    assert sum(reference in file.text for file in spec.files.values()) == 1
    assert reference not in " ".join(spec.run.argv)
    assert spec.secret_names == {password_of("db")}
    assert not spec.env


@pytest.mark.parametrize("type", sorted(HERE))
def test_every_store_is_alone_with_its_data_and_has_time(type: str) -> None:
    spec = made(type, memory_bytes=64 << 20)
    assert (spec.store, spec.replicas, spec.overlap) == (type, 1, False)
    assert spec.rollout.strategy == "all-at-once"
    assert spec.stop.grace_s >= 60
    assert spec.health.start_budget_s >= 120
    assert spec.health.ready.timeout_s >= 5
    assert spec.limits.memory_bytes == 64 << 20


@pytest.mark.parametrize(("type", "number"), [("postgres", 5432), ("redis", 6379), ("nats", 4222)])
def test_it_has_the_usual_port_where_it_is_alone_and_a_leased_one_elsewhere(type: str, number: int) -> None:
    assert [port.number for port in made(type, INSIDE).ports] == [number]
    assert [port.number for port in made(type).ports] == [None]


def test_redis_writes_before_it_answers_and_knows_one_user_but_for_the_probe() -> None:
    spec = made("redis")
    assert spec.run.argv == ("/usr/bin/redis-server", "{files}/redis.conf")
    lines = spec.files["redis.conf"].text.splitlines()
    assert {"bind {host}", "port {port}", 'dir "{data}"', "appendonly yes", "user default off"} <= set(lines)
    assert "user atoll on nopass -@all +ping" in lines
    assert "user default off" not in made("redis", user="default").files["redis.conf"].text
    assert made("redis", INSIDE).run.argv[0] == "redis-server"


@pytest.mark.parametrize(
    ("answer", "ready"),
    [("+OK\r\n+PONG\r\n", True), ("+OK\r\n-LOADING\r\n", False), ("-ERR AUTH\r\n-NOAUTH\r\n", False)],
)
def test_redis_is_ready_when_it_has_read_its_file(answer: str, ready: bool) -> None:
    assert bool(re.match(made("redis").health.ready.expect, answer)) == ready


def test_nats_keeps_its_streams_in_its_data() -> None:
    spec = made("nats")
    assert spec.run.argv == ("/usr/sbin/nats-server", "--config", "{files}/nats.conf")
    text = spec.files["nats.conf"].text
    assert 'jetstream { store_dir: "{data}" }' in text
    assert 'listen: "{host}:{port}"' in text
    assert re.match(spec.health.ready.expect, 'INFO {"server_id":"x"}')


def test_postgres_is_started_by_a_script_that_knows_its_names_and_is_stopped_fast() -> None:
    spec = made("postgres", version="15")
    assert spec.run.argv == ("/bin/sh", "{files}/start.sh")
    script = spec.files["start.sh"].text
    assert "user='db_user' base='db_base' wanted='15'" in script
    assert "@" not in script.split("\n")[2], "every mark is filled in"
    assert spec.files["pg_hba.conf"].text == "host all all all scram-sha-256\n"
    assert spec.stop.signal == "SIGINT"
    hello = spec.health.ready.send.encode("latin-1")
    assert int.from_bytes(hello[:4]) == len(hello), "a start-up message says its own length"
    assert hello[4:8] == b"\0\3\0\0"


def test_any_image_gets_what_its_file_says() -> None:
    spec = made(
        "mysql",
        INSIDE,
        image="mysql:8",
        port=3306,
        data="/var/lib/mysql",
        env={"USER": Plain("{user}"), "PASSWORD": Plain("{password}"), "BASE": Plain("{database}")},
    )
    assert spec.run == Command()
    assert [port.number for port in spec.ports] == [3306]
    assert spec.writable == ("/var/lib/mysql",)
    assert (spec.env["USER"], spec.env["BASE"]) == (Plain("db_user"), Plain("db_base"))
    assert isinstance(spec.env["PASSWORD"], SecretRef)
    assert spec.secret_names == {password_of("db")}


@pytest.mark.parametrize(
    ("server", "bases", "name"),
    [
        ({}, {}, "postgres:16"),
        ({"version": "15"}, {}, "postgres:15"),
        ({"version": "15"}, {"postgres": "mine"}, "mine"),
        ({"image": "theirs"}, {"postgres": "mine"}, "theirs"),
    ],
)
def test_its_image_is_the_files_else_the_environments_else_the_usual_one(
    server: dict[str, object], bases: dict[str, str], name: str
) -> None:
    assert image_name(store("postgres", **server), bases) == name


def test_a_version_of_an_image_keeps_its_variant() -> None:
    assert image_name(store("nats", version="2.10"), {}) == "nats:2.10-alpine"


def test_a_database_that_wants_a_user_with_a_name_gets_its_own_in_an_image_that_names_root() -> None:
    assert [image_user(store("postgres"), named) for named in ("", "0", "root", "70")] == [*["postgres"] * 3, "70"]
    assert image_user(store("redis"), "") == ""


# --- looking for programs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "wanted", "does"),
    [("15.18", "15", True), ("15.18", "15.18", True), ("15.18", "1", False), ("15.18", "16", False), ("7", "", True)],
)
def test_a_version_fits_part_by_part(version: str, wanted: str, does: bool) -> None:
    assert fits(version, wanted) == does


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "15.18"),
        ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=d", "7.0.15"),
        ("nats-server: v2.9.10", "2.9.10"),
        ("nothing of the kind", ""),
    ],
)
def test_a_program_says_its_version(tmp_path: Path, text: str, version: str) -> None:
    assert says(str(program(tmp_path, "server", text))) == version


def test_the_first_that_fits_is_taken_and_what_cannot_be_started_is_passed_over(tmp_path: Path) -> None:
    program(tmp_path / "a", "server", "v6.0")
    seven = program(tmp_path / "b", "server", "v7.2")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "server").write_text("no program")
    folders = [str(tmp_path / name) for name in "cab"]
    assert first("server", folders, "7") == Program(str(seven), "7.2")
    assert first("server", folders, "") == Program(str(tmp_path / "a" / "server"), "6.0")
    assert first("server", folders, "8") is None


def test_one_that_is_not_here_says_what_to_install_and_which_other_there_is(tmp_path: Path) -> None:
    program(tmp_path, "nats-server", "nats-server: v0.1")
    with pytest.raises(UserError) as refused:
        programs(store("nats", version="77"), [str(tmp_path)])
    assert "needs a nats 77 server, and this machine has 0.1" in refused.value.what
    assert "sudo apt-get install nats-server" in refused.value.fix
    with pytest.raises(UserError, match="an engine of processes cannot run"):
        programs(store("mysql", image="mysql:8"), [])
