"""Stores and topics in the files: which store a service means, what its variables get, what a person reads."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from atoll.model.errors import InvalidWorkspace, Problem
from atoll.model.spec import Plain, SecretRef, ServiceSpec, WorkspaceSpec
from atoll.workspace.loader import load

PRODUCTION = "[environments.production]\n"


def write(root: Path, texts: Mapping[str, str]) -> Path:
    for name, text in {"atoll.toml": "", **texts}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def orders(root: Path, text: str, top: str = "", environment: str = "local") -> ServiceSpec:
    write(root, {"atoll.toml": top, "orders/service.toml": f'run = "x"\n{text}'})
    return load(root, environment).services["orders"]


def problems(root: Path, text: str, top: str = "", environment: str = "local") -> list[tuple[str, str]]:
    """What and fix of each error and warning of one service."""
    try:
        write(root, {"atoll.toml": top, "orders/service.toml": f'run = "x"\n{text}'})
        found: tuple[Problem, ...] = load(root, environment).warnings
    except InvalidWorkspace as exc:
        found = exc.problems
    return [(problem.what, problem.fix) for problem in found]


def test_a_variable_gets_the_url(tmp_path: Path) -> None:
    found = orders(tmp_path, 'stores.db = { url = "postgres://u:p@db:5433/orders", env = "DATABASE_URL" }')
    assert found.env == {"DATABASE_URL": Plain("postgres://u:p@db:5433/orders")}
    assert [(store.name, store.type) for store in found.stores] == [("db", "postgres")]


def test_the_parts_of_a_url_are_templates(tmp_path: Path) -> None:
    templates = ", ".join(
        f'DB_{name.upper()} = "{{{name}}}"' for name in ("host", "port", "address", "user", "password", "database")
    )
    found = orders(tmp_path, f'stores.db = {{ url = "mysql://u:p%40s@db/orders?ssl=1", env = {{ {templates} }} }}')
    assert {name: value.value for name, value in found.env.items() if isinstance(value, Plain)} == {
        "DB_HOST": "db",
        "DB_PORT": "3306",
        "DB_ADDRESS": "db:3306",
        "DB_USER": "u",
        "DB_PASSWORD": "p@s",
        "DB_DATABASE": "orders",
    }


def test_every_part_of_a_secret_url_is_a_secret(tmp_path: Path) -> None:
    found = orders(
        tmp_path, 'stores.db = { url = { secret = "db" }, type = "postgres", env = { A = "{url}", B = "{host}" } }'
    )
    assert found.env == {"A": SecretRef("db"), "B": SecretRef("db", part="{host}")}


def test_a_file_is_named_by_its_path_in_the_services_own_folder(tmp_path: Path) -> None:
    found = orders(
        tmp_path, 'stores.db = { url = "sqlite:{data}/orders.db", env = { DB = "{database}", LITERAL = "{{port}}" } }'
    )
    assert found.env == {"DB": Plain("{data}/orders.db"), "LITERAL": Plain("{{port}}")}
    assert found.stores[0].type == "sqlite"


def test_a_url_may_differ_by_environment(tmp_path: Path) -> None:
    text = 'stores.db = { url = { local = "sqlite:{data}/x", production = { secret = "db" } }, env = "URL" }'
    assert orders(tmp_path, text, PRODUCTION).env == {"URL": Plain("sqlite:{data}/x")}
    assert orders(tmp_path, text, PRODUCTION, "production").env == {"URL": SecretRef("db")}


def test_a_shared_store_stands_once_in_atoll_toml(tmp_path: Path) -> None:
    write(tmp_path, {
        "atoll.toml": 'stores.broker = "amqp://mq"',
        "a/service.toml": 'run = "x"\nstores.broker = "AMQP_URL"',
        "b/service.toml": 'run = "x"\nstores.broker.env = { MQ = "{address}" }',
    })  # fmt: skip
    found = load(tmp_path)
    assert found.services["a"].env == {"AMQP_URL": Plain("amqp://mq")}
    assert found.services["b"].env == {"MQ": Plain("mq:5672")}
    assert found.warnings == ()  # a broker is there to be shared


def test_what_a_service_says_of_a_store_comes_before_what_the_workspace_says_of_all(tmp_path: Path) -> None:
    found = orders(tmp_path, 'stores.db = { url = "redis://a", env = "URL" }', 'env = { URL = "everywhere" }')
    assert found.env == {"URL": Plain("redis://a")}


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ('stores.db = { type = "postgres" }', "stores.db has a type but no `url`: Atoll tells a service where its postgres is, and does not start one", 'start it yourself, and say where it is: url = "postgres://127.0.0.1/db" or { secret = "db" }'),
        ('stores.brokr = "URL"', "stores.brokr has no `url`, and atoll.toml has no store of this name", "did you mean 'broker'?"),
        ('stores.db = "URL"', "stores.db has no `url`, and atoll.toml has no store of this name", 'say where it is: url = "postgres://db:5432/db"; or, for several services, in atoll.toml: [stores.db]'),
        ('stores.db = { url = "db:5432", env = "URL" }', 'stores.db.url must be a URL such as "postgres://db:5432/orders" or "sqlite:{data}/orders.db": `db:` must be followed by //', ""),
        ('stores.db = { url = { secrt = "x" } }', "stores.db.url is no secret: secrt is not its field", 'such as { secret = "orders-db" }'),
        ('stores.db = { url = { staging = "redis://x", local = "redis://y" } }', "stores.db.url.staging is no environment of atoll.toml", "known: local"),
        ('stores.db = { url = "sqlite:x", env = { H = "{host}" } }', "stores.db.env.H wants {host}, which the store's URL does not have", "write it into the URL"),
        ('stores.db = { url = { secret = "x" }, env = { H = "{hots}" } }', "stores.db.env.H has an unknown placeholder {hots}", "did you mean 'host'?"),
        ('env.A = "1"\nstores.db = { url = "redis://x", env = "A" }', "stores.db.env.A is also set by env.A", "give each a variable of its own"),
        ('stores.db = { url = "redis://x", env = "PORT" }', "stores.db.env.PORT is also the variable of port 'http', whose number Atoll chooses", 'take it out, or name the port\'s variable: ports.http = { env = "MY_PORT" }'),
        ('stores.db = { url = "sqlite:{dta}/x", env = "DB" }', "stores.db.env.DB has an unknown placeholder {dta}", "did you mean 'data'?; as a text it is written {{dta}}"),
        ('stores.db = { urll = "redis://x" }', "stores.db.urll is not a field of a store", "did you mean 'url'?"),
        ('publishes = { topic = "a" }', "publishes must be a list", 'such as ["orders.placed"] or [{ topic = "orders.placed", store = "broker" }]'),
        ('publishes = ["a", "a"]', 'publishes[1] names "a" again', "once is enough"),
        ('publishes = [{ topic = "a", store = "brokr" }]\nstores.broker = "URL"', "publishes[0].store is no store of orders: 'brokr'", "did you mean 'broker'?"),
        ('publishes = [{ topic = "a", contract = "a.yaml" }]', 'publishes[0].contract is "a.yaml", and there is no such file', "it lies relative to the service's folder"),
        ('publishes = ["orders.placed"]\nconsumes = ["order.placed"]', "consumes: nobody here publishes 'order.placed'", "did you mean 'orders.placed'?"),
    ],
)  # fmt: skip
def test_mistakes_say_what_and_how(tmp_path: Path, text: str, what: str, fix: str) -> None:
    assert (what, fix) in problems(tmp_path, text, 'stores.broker = "amqp://mq"')


def test_a_url_that_cannot_be_read_is_not_repeated(tmp_path: Path) -> None:
    [(what, fix)] = problems(tmp_path, 'stores.db = { url = "postgres://u:hunter2@x@db/x" }')
    assert "hunter2" not in what + fix
    assert "percent-encoded" in fix


def test_an_environment_without_a_url_is_told(tmp_path: Path) -> None:
    text = 'stores.db = { url = { local = "redis://x" }, env = "URL" }'
    assert orders(tmp_path, text, PRODUCTION).env == {"URL": Plain("redis://x")}
    assert problems(tmp_path, text, PRODUCTION, "production") == [
        ("stores.db.url says nothing for the environment 'production'", 'add production = "..." or { secret = "db" }')
    ]


def test_a_password_in_a_file_is_told_where_it_guards_something(tmp_path: Path) -> None:
    text = 'stores.db = { url = "redis://:pw@x", env = "URL" }'
    assert problems(tmp_path, text, PRODUCTION) == []
    assert problems(tmp_path, text, PRODUCTION, "production") == [
        ("stores.db has its password in a file that people share", 'url = { secret = "db" }, and `atoll secret set db`')
    ]


def two(root: Path, one: str, other: str, top: str = "") -> WorkspaceSpec:
    write(root, {"atoll.toml": top, "a/service.toml": f'run = "x"\n{one}', "b/service.toml": f'run = "x"\n{other}'})
    return load(root)


def test_two_services_on_one_store_are_told(tmp_path: Path) -> None:
    one, other = 'stores.db.url = "postgres://db/x"', 'stores.other.url = "postgresql://u:p@db:5432/x?a=b"'
    [warning] = two(tmp_path, one, other).warnings
    assert (warning.file, warning.line) == ("b/service.toml", 2)
    assert warning.what == "stores.other is the store of a (a/service.toml), too: neither can change its tables alone"
    assert warning.fix.endswith("declare it once in atoll.toml: [stores.other] with shared = true")


@pytest.mark.parametrize(
    ("one", "other", "top"),
    [
        ('stores.db.url = "postgres://db/x"', 'stores.db.url = "postgres://db/y"', ""),
        ('stores.db.url = "sqlite:{data}/x"', 'stores.db.url = "sqlite:{data}/x"', ""),
        ('stores.db.url = "sqlite:x.db"', 'stores.db.url = "sqlite:x.db"', ""),
        ('stores.db.url = "postgres://db/{service}"', 'stores.db.url = "postgres://db/{service}"', ""),
        ('stores.db = "A"', 'stores.db = "A"', 'stores.db = { url = "redis://c", shared = true }'),
        ('stores.db.url = "nats://n"', 'stores.db.url = "nats://n"', ""),
    ],
)
def test_two_stores_and_what_is_meant_to_be_shared_are_fine(tmp_path: Path, one: str, other: str, top: str) -> None:
    assert two(tmp_path, one, other, top).warnings == ()


def test_one_file_of_the_machine_is_one_store(tmp_path: Path) -> None:
    text = 'stores.db.url = "sqlite:///srv/x.db"'
    assert len(two(tmp_path, text, text).warnings) == 1


def test_one_secret_is_one_store(tmp_path: Path) -> None:
    text = 'stores.db.url = { secret = "db" }'
    assert len(two(tmp_path, text, text).warnings) == 1


def test_a_topic_from_outside_is_fine_when_it_is_said(tmp_path: Path) -> None:
    assert problems(tmp_path, 'consumes = [{ topic = "stock", external = true }]') == []


def test_a_mistake_in_a_shared_stores_url_is_told_once(tmp_path: Path) -> None:
    assert [what for what, _ in problems(tmp_path, 'stores.db = "URL"', 'stores.db = "x"')] == [
        'stores.db must be a URL such as "postgres://db:5432/orders" or "sqlite:{data}/orders.db": it is no URL'
    ]
