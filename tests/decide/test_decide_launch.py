"""Tables of `launch`: what a host is told to start."""

from typing import Any

import msgspec
import pytest

from atoll.decide.launch import DEFAULT_PATH, launch, probe_command
from atoll.model.errors import UserError
from atoll.model.spec import Call, Command, Limits, Plain, Port, SecretRef
from atoll.model.state import Artifact


def launched(orders: Any, **facts: Any) -> Any:
    base, secrets, leases = facts.pop("base", None), facts.pop("secrets", {}), facts.pop("leases", {})
    changes = {name: facts.pop(name) for name in ("artifact", "inherited") if name in facts}
    release = msgspec.structs.replace(orders.release(7, **facts), **changes)
    record = orders.replica("orders-r7-0-x", ports={"http": 21000}).record
    return launch(release, record, leases, secrets, base)


def test_a_release_becomes_a_command_in_its_artifact(orders: Any) -> None:
    found = launched(orders, workdir="app", limits=Limits(memory_bytes=2**28))
    assert (found.id, found.service, found.release) == ("orders-r7-0-x", "orders", 7)
    assert found.command == Command(argv=("orders", "--port", "21000"))
    assert found.folder == "/artifacts/7/app"
    assert found.ports == {"http": 21000}
    assert found.limits.memory_bytes == 2**28
    assert found.secrets == {}


def test_nothing_is_in_the_environment_that_was_not_declared(orders: Any) -> None:
    assert launched(orders).env == {"PATH": DEFAULT_PATH, "PORT": "21000"}


def test_a_worker_gets_no_port(orders: Any) -> None:
    worker = msgspec.structs.replace(orders.release(7), spec=orders.spec(ports=(), run=Command(argv=("work",))))
    found = launch(worker, orders.replica(ports={}).record, {}, {})
    assert found.env == {"PATH": DEFAULT_PATH}


def test_only_the_first_port_is_in_PORT_and_others_where_they_ask(orders: Any) -> None:  # noqa: N802  the variable is called so
    ports = (Port(name="http"), Port(name="rpc", env="GRPC_PORT"), Port(name="quiet"))
    numbers = {"http": 21000, "rpc": 21001, "quiet": 21002}
    release = msgspec.structs.replace(orders.release(7), spec=orders.spec(ports=ports))
    found = launch(release, orders.replica(ports=numbers).record, {}, {})
    assert found.env == {"PATH": DEFAULT_PATH, "PORT": "21000", "GRPC_PORT": "21001"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{port}", "21000"),
        ("--listen={host}:{port.http}", "--listen=127.0.0.1:21000"),
        ("{url}/cb", "http://127.0.0.1:21000/cb"),
        ("{address} {service} {release}", "127.0.0.1:21000 orders r7"),
        ('{"port": 1}', '{"port": 1}'),
        ("${port} ${HOME} {a,b} {}", "${port} ${HOME} {a,b} {}"),
    ],
)
def test_templates_are_filled_and_other_braces_stay(orders: Any, text: str, filled: str) -> None:
    assert launched(orders, run=Command(argv=("x", text))).command.argv == ("x", filled)
    assert launched(orders, run=Command(shell=f"x {text}")).command.shell == f"x {filled}"
    assert launched(orders, env={"X": Plain(text)}).env["X"] == filled


@pytest.mark.parametrize("text", ["{port.rpc}", "{unknown}"])
def test_a_placeholder_without_a_value_is_told(orders: Any, text: str) -> None:
    with pytest.raises(UserError, match="no value for"):
        launched(orders, run=Command(argv=(text,)))
    call = Call(callee="catalog", env={"CATALOG": text})
    with pytest.raises(UserError, match="no value for"):
        launched(orders, calls=(call,), leases={"edge:orders-r7->catalog": 23001})


def test_edges_give_their_address_in_the_callers_words(orders: Any) -> None:
    calls = (
        Call(callee="catalog", port="rpc", env={"CATALOG_ADDR": "{address}"}),
        Call(callee="catalog", env={"CATALOG_HOST": "{host}", "CATALOG_PORT": "{port}"}),
        Call(callee="mail", optional=True, env={"MAIL_URL": "{url}/send"}),
        Call(callee="silent"),
    )
    leases = {"edge:orders-r7->catalog.rpc": 23001, "edge:orders-r7->catalog": 23002, "edge:orders-r7->mail": 23003}
    env = launched(orders, calls=calls, leases=leases).env
    assert env["CATALOG_ADDR"] == "127.0.0.1:23001"
    assert (env["CATALOG_HOST"], env["CATALOG_PORT"]) == ("127.0.0.1", "23002")
    assert env["MAIL_URL"] == "http://127.0.0.1:23003/send"
    assert set(env) == {"PATH", "PORT", "CATALOG_ADDR", "CATALOG_HOST", "CATALOG_PORT", "MAIL_URL"}


def test_secrets_never_stand_among_plain_values(orders: Any) -> None:
    env = {"DB_URL": SecretRef("orders-db"), "LEVEL": Plain("info")}
    found = launched(orders, env=env, secrets={"orders-db": "s3cret", "other": "x"}, base={"DB_URL": "from the host"})
    assert found.secrets == {"DB_URL": "s3cret"}
    assert "DB_URL" not in found.env
    assert "s3cret" not in str(found.env) + found.command.text


def test_a_missing_secret_is_told_with_its_fix(orders: Any) -> None:
    with pytest.raises(UserError) as caught:
        launched(orders, env={"DB_URL": SecretRef("orders-db")})
    assert "atoll secret set orders-db" in caught.value.fix


def test_the_builders_path_comes_first(orders: Any) -> None:
    built = Artifact(
        key="k",
        digest="d",
        builder="python",
        platform="any",
        path="/a",
        command_env={"PATH+": "/a/.venv/bin", "VIRTUAL_ENV": "/a/.venv"},
    )
    env = launched(orders, artifact=built, inherited={"HOME": "/root"}, base={"PATH": "/opt/bin", "LANG": "C"}).env
    assert env["PATH"] == "/a/.venv/bin:/opt/bin"
    assert (env["VIRTUAL_ENV"], env["HOME"], env["LANG"]) == ("/a/.venv", "/root", "C")


def test_what_a_person_declares_wins(orders: Any) -> None:
    env = launched(orders, env={"PORT": Plain("80{port}")}, inherited={"PORT": "1"}).env
    assert env["PORT"] == "8021000"


def test_a_probe_command_is_filled_like_the_run_command(orders: Any) -> None:
    probe = Command(argv=("check", "{url}"))
    filled = probe_command(probe, orders.release(7), orders.replica(ports={"http": 21000}).record, {})
    assert filled.argv == ("check", "http://127.0.0.1:21000")
