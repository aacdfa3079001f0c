"""The fields of stores and topics. See `fields_service` and `fields_workspace`, which both have `[stores]`."""

from typing import Any

from atoll.model.spec import Plain, SecretRef, Server, Store, Topic
from atoll.model.store_url import URL, parse
from atoll.model.suggest import nearest
from atoll.workspace.fields_health import PROBE
from atoll.workspace.fields_values import (
    COMMAND,
    ENV_VALUES,
    ENVIRONMENT_NAME,
    INSIDE,
    SERVICE_NAME,
    SOME_TEXT,
    VARIABLE,
    Secret,
)
from atoll.workspace.kinds import (
    Either,
    Flag,
    Integer,
    Kind,
    ListOf,
    MapOf,
    Mapped,
    Mistake,
    Refused,
    Size,
    Text,
    Wrong,
    seen,
    wrong,
)
from atoll.workspace.tables import Field, Table

STORE_TYPE = Text("type", pattern=r"[a-z][a-z0-9-]{0,31}", must="be a store's type in lower case")
URL_SHAPE = r"(sqlite3?|file):[^\s]+|(jdbc:)?[a-z][a-z0-9+.-]*://[^\s]*"


def _url(text: str) -> Plain:
    """The message leaves the text out: it may hold a password."""
    try:
        if not URL.fullmatch(text) or any(mark.isspace() for mark in text):
            raise ValueError("it is no URL")
        parse(text)
    except ValueError as exc:
        fix = "a `@`, `:` or `/` within user or password is percent-encoded: %40, %3A, %2F" if "@" in text else ""
        what = f'must be a URL such as "postgres://db:5432/orders" or "sqlite:{{data}}/orders.db": {exc}'
        raise wrong(what, fix) from None
    return Plain(text)


PLAIN_URL = Mapped(Text("URL"), _url, shape={"pattern": f"^({URL_SHAPE})$"})


class StoreAddress:
    """`url` of a store: a text, a secret, or one of them for each environment."""

    says = 'URL, `{ secret = "name" }`, or a table of them by environment'
    one: Kind = Either(text=PLAIN_URL, table=Secret(), fix='such as "postgres://db:5432/orders" or { secret = "NAME" }')
    many = MapOf(ENVIRONMENT_NAME, one)

    def read(self, value: object) -> Plain | SecretRef | dict[str, Plain | SecretRef]:
        if not isinstance(value, dict) or list(value) == ["secret"]:
            return self.one.read(value)  # type: ignore[no-any-return]
        if not value:
            raise wrong("must not be empty", 'such as { local = "postgres://db:5432/orders" }')
        if len(value) == 1 and (near := nearest("secret", list(value))):
            raise wrong(f"is no secret: {near} is not its field", 'such as { secret = "orders-db" }')
        return self.many.read(value)

    def show(self, value: Any) -> str:
        if isinstance(value, dict):
            return self.many.show(value)
        return Secret().show(value) if isinstance(value, SecretRef) else f'"{value.value}"'


USUAL_URL = "{url}"
STORE_ENV = Either(
    text=Mapped(VARIABLE, lambda variable: {variable: USUAL_URL}, says="a variable's name"),
    table=MapOf(VARIABLE, SOME_TEXT, says="table of templates"),
    fix='such as "DATABASE_URL" or { PGHOST = "{host}" }',
)
_URL_FIELD = Field(
    "url",
    StoreAddress(),
    "Where it is, when somebody else runs it. What stands before `:` tells its type. Without it Atoll runs a store that has a "
    "`type` (postgres, redis, nats) or an `image`; one without either, in service.toml, is the one of that name in atoll.toml.",
    ('"postgres://db:5432/orders"', '{ secret = "orders-db" }', '{ local = "sqlite:{data}/orders.db", production = { secret = "orders-db" } }'),
    default="none",
)  # fmt: skip
_TYPE_FIELD = Field(
    "type",
    STORE_TYPE,
    "`postgres`, `mysql`, `redis`, `amqp`, `nats`, `mongodb`, `kafka`, `sqlite`, `file` or any other, where the URL does not tell it.",
    ('"postgres"',),
    default="as the URL says",
)  # fmt: skip
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}"
SERVER_TABLE = Table(
    "a server",
    (
        Field("port", Integer(1, 65_535), "Where the program listens.", ("3306",), required=True),
        Field(
            "data",
            Text("path", pattern=r"/(?!(?:.*/)?\.\.(?:/|$))[\s\S]*[^/]", must="be an absolute path in the image, without '..'"),
            "The folder in the image that is kept.",
            ('"/var/lib/mysql"',),
            default="none: nothing outlives it",
        ),
        Field("run", COMMAND, "What is started in it.", ('["mysqld", "--skip-name-resolve"]',), default="what the image starts"),
        Field(
            "env",
            ENV_VALUES,
            "Its variables. They may name `{user}`, `{database}` and `{password}`, which Atoll makes up.",
            ('{ MYSQL_ROOT_PASSWORD = "{password}", MYSQL_DATABASE = "{database}" }',),
            default="none",
        ),
        Field("health", PROBE, "When it may be used.", ('"tcp"', '{ command = ["mysqladmin", "ping"] }'), default='`"tcp"`'),
    ),
    Server,
    spec=Server,
    hints={"volume": "the folder that is kept is `data`", "environment": "it is called `env`", "command": "it is called `run`"},
)  # fmt: skip
_SERVER_FIELDS = (
    Field(
        "image",
        Text("image", pattern=r"[^\s]+", must='be the name of an image, such as "mysql:8"'),
        "The container image of a store that Atoll runs. An engine of processes takes what the machine has of its `type` instead.",
        ('"postgis/postgis:16-3.4"', '"mysql:8"'),
        default="the usual one of its type",
    ),
    Field(
        "version",
        Text("version", pattern=r"\d+(\.\d+){0,2}", must='be a version or its beginning, such as "16"'),
        "Of a store that Atoll runs: of which version its program must be.",
        ('"16"',),
        default="what is there; of images postgres 16, redis 7, nats 2",
    ),
    Field(
        "user",
        Text("user", pattern=_NAME, must="be a user's name of letters, digits, `_`, `.` and `-`"),
        "Of a store that Atoll runs: the user that its services get.",
        ('"orders"',),
        default="the store's name",
    ),
    Field(
        "database",
        Text("database", pattern=_NAME, must="be a database's name of letters, digits, `_`, `.` and `-`"),
        "Of a store that Atoll runs: the database that they get.",
        ('"orders"',),
        default="the store's name",
    ),
    Field(
        "memory",
        Size(2**20),
        "Of a store that Atoll runs: the most that it may use.",
        ('"512MiB"',),
        into="memory_bytes",
        default="no limit",
    ),
    Field(
        "server",
        SERVER_TABLE,
        "Of an `image` whose type Atoll does not know: what must be told of it.",
        ('{ port = 3306, data = "/var/lib/mysql", env = { MYSQL_ROOT_PASSWORD = "{password}" } }',),
        default="none",
    ),
)
_HINTS = {
    "address": "where it is is `url`",
    "host": "where it is is `url`",
    "dsn": "where it is is `url`",
    "kind": "it is called `type`",
    "engine": "it is called `type`",
    "variable": "it is called `env`",
    "volume": "Atoll keeps the data of what it runs; of another image: server.data",
    "environment": "the server's own variables are server.env",
    "password": "Atoll makes one up, and tells it as {password}",
    "tag": "it is part of `image`, or `version`",
}


def _store(url: Any = None, **given: Any) -> dict[str, Any]:
    """Kept as fields until the environment is known: `assemble` makes the `Store`."""
    return {**given, **({} if url is None else {"url": url})}


STORE_TABLE = Table(
    "a store",
    (
        Field(
            "env",
            STORE_ENV,
            "The variables that tell it. A name alone gets `{url}`. Templates: `{url}`, `{host}`, `{port}`, `{address}` = "
            "host:port, `{user}`, `{password}`, `{database}` (of a file: its path). All parts of a secret are secret.",
            ('"DATABASE_URL"', '{ PGHOST = "{host}", PGPORT = "{port}", PGPASSWORD = "{password}" }'),
            default="none",
        ),
        _URL_FIELD,
        _TYPE_FIELD,
        *_SERVER_FIELDS,
    ),
    _store,
    spec=Store,
    hints={**_HINTS, "shared": "a store that several services use stands in atoll.toml: [stores.NAME] there"},
)
STORES = MapOf(
    SERVICE_NAME,
    Either(
        text=Mapped(STORE_ENV, lambda env: {"env": env}),
        table=STORE_TABLE,
        fix='such as "BROKER_URL" or { url = "postgres://db:5432/orders", env = "DATABASE_URL" }',
    ),
    says="table of stores",
    why='such as stores.orders-db = { url = "postgres://db:5432/orders", env = "DATABASE_URL" }',
)

SHARED_STORE_TABLE = Table(
    "a shared store",
    (
        _URL_FIELD._replace(
            meaning="Where it is, for the services that name it (`stores.NAME` in service.toml), when somebody else runs it. Without "
            "it Atoll runs a store that has a `type` (postgres, redis, nats) or an `image`."
        ),
        _TYPE_FIELD,
        *_SERVER_FIELDS,
        Field("shared", Flag(), "That several services use it is meant: `atoll check` does not warn. Brokers need no word.", ("true",)),
    ),
    _store,
    spec=Store,
    hints={**_HINTS, "env": "each service says under which variable it wants it: stores.NAME = \"VARIABLE\" in its service.toml"},
)  # fmt: skip
SHARED_STORES = MapOf(
    SERVICE_NAME,
    Either(text=Mapped(PLAIN_URL, lambda url: {"url": url}), table=SHARED_STORE_TABLE),
    says="table of stores",
    why='such as stores.broker = "amqp://broker:5672"',
)

TOPIC_NAME = Text("name", pattern=r"[^\s\"'`{}]{1,249}", must="be a topic's name without blanks, quotes and braces")
_TOPIC_FIELDS = (
    Field("topic", TOPIC_NAME, "Its name, as both sides use it.", ('"orders.placed"',), into="name", required=True),
    Field("store", SERVICE_NAME, "Which of the service's `stores` carries it.", ('"broker"',)),
    Field(
        "contract",
        Text("file", pattern=INSIDE, must="be a file below the service's folder, without '..'"),
        "A file that describes the messages; it must be there, and is not read yet.",
        ('"asyncapi.yaml"',),
    ),
)
PUBLISHED_TABLE = Table(
    "a topic", _TOPIC_FIELDS, Topic, spec=Topic, hints={"name": "it is called `topic`", "queue": "it is called `topic`"}
)
CONSUMED_TABLE = Table(
    "a consumed topic",
    (
        *_TOPIC_FIELDS,
        Field("external", Flag(), "Somebody outside the workspace publishes it.", ("true",)),
    ),
    Topic,
    spec=Topic,
    hints={"name": "it is called `topic`", "queue": "it is called `topic`"},
)


def _topics(table: Table) -> Either:
    """A name, a table, or a list of them; each topic once."""
    text = Mapped(TOPIC_NAME, lambda name: Topic(name=name))
    return Either(
        text=Mapped(text, lambda topic: (topic,)),
        items=Mapped(ListOf(Either(text=text, table=table, fix='such as "orders.placed"')), _once),
        table=Refused("must be a list", lambda _: 'such as ["orders.placed"] or [{ topic = "orders.placed", store = "broker" }]'),
        says="name, or list (name or table)",
        fix='such as ["orders.placed"]',
    )  # fmt: skip


def _once(topics: tuple[Topic, ...]) -> tuple[Topic, ...]:
    seen_names = [topic.name for topic in topics]
    twice = [
        Mistake(f"names {seen(topic.name)} again", "once is enough", (index,))
        for index, topic in enumerate(topics)
        if topic.name in seen_names[:index]
    ]
    if twice:
        raise Wrong(twice, tuple({topic.name: topic for topic in topics}.values()))
    return topics


PUBLISHES, CONSUMES = _topics(PUBLISHED_TABLE), _topics(CONSUMED_TABLE)
