"""Stores and topics in the files: which store a service means, what its variables get, what a person reads."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from atoll.model.environment import WorkspaceSpec
from atoll.model.errors import InvalidWorkspace, Problem
from atoll.model.spec import Plain, SecretRef, ServiceSpec
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
        ('stores.db = { type = "oracle" }', "stores.db has a type but no `url`, and Atoll cannot run oracle by its name alone", 'say where it is: url = "oracle://127.0.0.1/db" or { secret = "db" }; or what to run: image = "oracle", and `server`'),
        ('stores.db = { image = "mysql:8" }', "stores.db has an image and neither a type that Atoll knows nor `server`", 'say what it is: type = "postgres"; or what must be told of it: server = { port = 3306, data = "/var/lib/db" }'),
        ('stores.db = { url = "redis://x", version = "7" }', "stores.db.version is for a store that Atoll runs, and one with a `url` is somebody else's", "take one of the two out"),
        ('stores.db = { type = "redis", database = "1" }', "stores.db.database has no meaning for redis", "take it out"),
        ('stores.db = { type = "redis", server = { port = 1 } }', "stores.db.server is for an image whose type is not known: Atoll knows how redis is run", "take it out, or `type`"),
        ('stores.db = { image = "x", server = { port = 1 }, env = "URL" }', "stores.db.env.URL wants {url}, which is not known of this image", "say its `type`, which is what its URL begins with; or use {address}"),
        ('stores.orders.type = "redis"', "stores.orders is a store that Atoll runs, and has the name of a service", "another name, such as stores.orders-db"),
        ('stores.db.type = "redis"\ncalls.db.env = "X"', "calls.db names a store: what it is told of that stands in `stores` alone", "take the call out"),
        ('stores.broker = { env = "URL", memory = "64MiB" }', "stores.broker.memory is also said by atoll.toml, which has [stores.broker] for all services", "take it out here, or the store out there"),
        ('stores.brokr = "URL"', "stores.brokr has no `url`, and atoll.toml has no store of this name", "did you mean 'broker'?"),
        ('stores.db = "URL"', "stores.db has neither a `url` nor a `type`, and atoll.toml has no store of this name", 'let Atoll run it: type = "postgres"; or say where it is: url = "postgres://db:5432/db"; or, for several services, in atoll.toml: [stores.db]'),
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
        (
            "stores.db.url says nothing for the environment 'production'",
            'add production = "..." or { secret = "db" }; or a `type`, and Atoll runs it there',
        )
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


def test_one_without_a_url_is_reached_through_an_edge_and_told_its_password(tmp_path: Path) -> None:
    found = orders(
        tmp_path, 'stores.orders-db = { type = "postgres", env = { URL = "{url}", HOST = "{host}", WHO = "{user}" } }'
    )
    url = "postgres://orders_db:{password}@{calls.orders-db.address}/orders_db"
    assert found.env == {
        "URL": SecretRef("store.orders-db", part=url, password=True),
        "HOST": Plain("{calls.orders-db.host}"),
        "WHO": Plain("orders_db"),
    }
    [call] = found.calls
    assert (call.callee, call.protocol, call.store, call.policy.idle_timeout_s) == ("orders-db", "tcp", True, 0)


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ('type = "redis"', "redis://:{password}@{calls.db.address}/0"),
        ('type = "nats"', "nats://db:{password}@{calls.db.address}"),
        ('type = "postgres", user = "u", database = "d"', "postgres://u:{password}@{calls.db.address}/d"),
        (
            'type = "mysql", image = "mysql:8", user = "u", server = { port = 3306, env = { P = "{password}" } }',
            "mysql://u:{password}@{calls.db.address}",
        ),
    ],
)
def test_its_url_is_that_of_its_type(tmp_path: Path, fields: str, url: str) -> None:
    found = orders(tmp_path, f'stores.db = {{ {fields}, env = "URL" }}')
    assert found.env == {"URL": SecretRef("store.db", part=url, password=True)}


def test_it_may_be_somebody_elses_in_one_environment(tmp_path: Path) -> None:
    text = 'stores.db = { type = "postgres", url = { production = { secret = "db" } }, env = "URL" }'
    assert orders(tmp_path, text, PRODUCTION, "production").env == {"URL": SecretRef("db")}
    assert [call.callee for call in orders(tmp_path, text, PRODUCTION).calls] == ["db"]


def test_what_it_runs_as_is_no_part_of_the_services_that_use_it(tmp_path: Path) -> None:
    small = two(tmp_path, 'stores.db = "URL"', "", '[stores.db]\ntype = "redis"\nmemory = "64MiB"')
    large = two(tmp_path, 'stores.db = "URL"', "", '[stores.db]\ntype = "redis"\nmemory = "1GiB"')
    assert small.services == large.services
    assert small.servers != large.servers


def test_two_services_on_one_that_atoll_runs_are_told_unless_it_is_a_broker_or_meant(tmp_path: Path) -> None:
    def told(top: str) -> list[str]:
        return [problem.id for problem in two(tmp_path, 'stores.db = "URL"', 'stores.db = "URL"', top).warnings]

    assert told('[stores.db]\ntype = "redis"') == ["shared-store"]
    assert told('[stores.db]\ntype = "redis"\nshared = true') == []
    assert told('[stores.db]\ntype = "nats"') == []


def test_two_services_cannot_each_declare_one_of_the_same_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidWorkspace) as caught:
        two(tmp_path, 'stores.db.type = "redis"', 'stores.db.type = "redis"')
    assert [problem.id for problem in caught.value.problems] == ["name-taken"]
