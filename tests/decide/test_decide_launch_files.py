"""Rendered files: what a replica is given, and that secrets go nowhere else."""

from typing import Any

import msgspec
import pytest

from atoll.decide.launch import Folders, launch, probe_command
from atoll.model.errors import UserError
from atoll.model.launch import Launch
from atoll.model.spec import Call, Command, Plain, RenderedFile, SecretRef

FOLDERS = Folders(data="/state/data/orders", files="/shm/atoll")
CALLS = (Call(callee="payments", port="grpc"), Call(callee="mail", optional=True, env={"MAIL_URL": "{url}"}))
LEASES = {"edge:orders-r7->payments.grpc": 23001, "edge:orders-r7->mail": 23002}


def launched(orders: Any, files: dict[str, str], secrets: dict[str, str] | None = None, **spec: Any) -> Launch:
    rendered = {name: RenderedFile(text=text) for name, text in files.items()}
    release = orders.release(7, files=rendered, calls=CALLS, **spec)
    record = orders.replica("orders-r7-0-x", ports={"http": 21000}).record
    return launch(release, record, LEASES, secrets or {}, folders=FOLDERS)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("server.port={port}\n", "server.port=21000\n"),
        ("{host} {address} {url} {port.http}", "127.0.0.1 127.0.0.1:21000 http://127.0.0.1:21000 21000"),
        ("{calls.payments.address}", "127.0.0.1:23001"),
        ("{calls.mail.url} {calls.mail.host} {calls.mail.port}", "http://127.0.0.1:23002 127.0.0.1 23002"),
        ("{data} {files} {service} {release}", "/state/data/orders /shm/atoll/orders-r7-0-x orders r7"),
        ("{env.LEVEL} {env.PORT} {env.MAIL_URL}", "warn 21000 http://127.0.0.1:23002"),
        ('{{port}} ${port} {"a": {port}}', '{port} ${port} {"a": 21000}'),
    ],
)
def test_a_file_is_rendered_with_all_that_a_replica_knows(orders: Any, text: str, filled: str) -> None:
    made = launched(orders, {"etc/app.conf": text}, env={"LEVEL": Plain("warn")})
    assert made.files == {"etc/app.conf": filled}
    assert made.files_folder == "/shm/atoll/orders-r7-0-x"
    assert not made.files_hold_secrets


@pytest.mark.parametrize("text", ["password={secret.orders-db}", "password={env.DB_PASSWORD}"])
def test_a_secret_stands_in_the_file_and_nowhere_else(orders: Any, text: str) -> None:
    env = {"DB_PASSWORD": SecretRef("orders-db")}
    made = launched(orders, {"app.conf": text}, {"orders-db": "s3cret"}, env=env)
    assert made.files == {"app.conf": "password=s3cret"}
    assert made.files_hold_secrets
    assert "s3cret" not in str(msgspec.structs.replace(made, files={}, secrets={}))


def test_a_secret_that_only_a_file_names_is_one_of_the_releases_secrets(orders: Any) -> None:
    spec = orders.spec(files={"a": RenderedFile(text="{secret.from-file}")}, env={"X": SecretRef("from-env")})
    assert spec.secret_names == {"from-file", "from-env"}
    with pytest.raises(UserError) as caught:
        launched(orders, {"a": "{secret.from-file}"})
    assert "atoll secret set from-file" in caught.value.fix


def test_commands_and_variables_are_told_where_the_files_and_the_callees_are(orders: Any) -> None:
    made = launched(
        orders,
        {"app.conf": "x"},
        run=Command(argv=("serve", "--config", "{files}/app.conf")),
        env={"PAY_HOST": Plain("{calls.payments.host}"), "PAY_PORT": Plain("{calls.payments.port}")},
    )
    assert made.command.argv == ("serve", "--config", "/shm/atoll/orders-r7-0-x/app.conf")
    assert (made.env["PAY_HOST"], made.env["PAY_PORT"]) == ("127.0.0.1", "23001")


def test_a_probe_finds_the_same_files(orders: Any) -> None:
    release = orders.release(7, files={"a": RenderedFile()})
    record = orders.replica("orders-r7-0-x", ports={"http": 21000}).record
    asked = probe_command(Command(argv=("check", "{files}/a")), release, record, {}, FOLDERS)
    assert asked.argv == ("check", "/shm/atoll/orders-r7-0-x/a")


def test_a_file_that_names_the_data_folder_makes_it_writable(orders: Any) -> None:
    assert launched(orders, {"a": "db={data}/orders.db"}).writable == ("/state/data/orders",)
    assert launched(orders, {"a": "db=none"}).writable == ()


def test_a_service_without_files_has_no_folder_for_them(orders: Any) -> None:
    made = launched(orders, {})
    assert (made.files, made.files_folder) == ({}, "")
