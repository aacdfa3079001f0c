"""Databases of a Compose file that Atoll runs in their stead, and those that stay where they are."""

from typing import Any

import pytest

from atoll.adopt.compose_servers import Run, run_of, template
from atoll.adopt.yaml_file import Fields

COMPOSE = """\
services:
  orders:
    build: ./orders
    environment:
      DATABASE_URL: postgresql+psycopg://shop:hunter2@db:5432/orders?sslmode=disable
      CACHE_URL: redis://cache:6379/1
      BROKER_URL: nats://broker:4222
  web:
    build: ./web
    environment: [ "CACHE_URL=redis://cache/1" ]
  db:
    image: postgres:15-alpine
    environment: { POSTGRES_USER: shop, POSTGRES_PASSWORD: hunter2, POSTGRES_DB: orders }
    volumes: [ "pg:/var/lib/postgresql/data" ]
  cache: { image: redis, command: redis-server --appendonly yes }
  broker: { image: "nats:2", command: [ "-js" ] }
"""


def test_they_are_written_by_type_with_what_each_service_was_given(adopt: Any) -> None:
    files = {"compose.yaml": COMPOSE}
    for name in ("orders", "web"):
        files[f"{name}/package.json"] = '{"scripts": {"start": "node index.js"}}'
        files[f"{name}/index.js"] = "app.listen(process.env.PORT)\n"
        files[f"{name}/Dockerfile"] = "FROM node\nCMD npm start\n"
    done = adopt(files)
    database = (
        'db = { type = "postgres", version = "15", user = "shop", database = "orders", env = { DATABASE_URL = '
        '"postgresql+psycopg://{user}:{password}@{address}/{database}?sslmode=disable" } }'
    )
    assert done.service("orders").partition("[stores]\n")[2].strip().splitlines() == [
        database,
        'cache = { env = { CACHE_URL = "redis://:{password}@{address}/1" } }',
        'broker = { type = "nats", env = "BROKER_URL" }',
    ]
    assert 'cache = { type = "redis" }' in done.files["atoll.toml"]
    assert {store.name for store in done.workspace.services["orders"].stores if store.server} == {
        "db",
        "cache",
        "broker",
    }
    assert "hunter2" not in str(done)
    assert "secret" not in str(done.left), "nobody asks for a password that Atoll makes up"
    assert [line.split(" -> ")[0] for line in done.left if line.startswith("db:")] == [
        "db: image postgres:15-alpine is a store that Atoll runs itself now, empty at first; used by DATABASE_URL of orders"
    ]


@pytest.mark.parametrize(
    ("image", "raw"),
    [
        ("postgis/postgis:16", {}),
        ("mysql:8", {}),
        ("acme/redis", {}),
        ("postgres:16", {"environment": {"POSTGRES_INITDB_ARGS": "--locale=C"}}),
        ("postgres:16", {"volumes": ["./init.sql:/docker-entrypoint-initdb.d/init.sql"]}),
        ("postgres:16", {"command": "postgres -c shared_preload_libraries=x"}),
        ("redis:7", {"command": ["redis-server", "/etc/redis.conf"]}),
        ("redis:7", {"env_file": "cache.env"}),
        ("nats:2", {"command": "-c /etc/nats.conf"}),
    ],
)
def test_a_server_that_is_more_than_its_image_stays_where_it_is(image: str, raw: dict[str, Any]) -> None:
    assert run_of(image, Fields(raw, {})) is None


@pytest.mark.parametrize(
    ("run", "url"),
    [
        (Run(type="postgres", user="shop", database="shop"), "postgres://other:x@db/shop"),
        (Run(type="postgres", user="shop", database="shop"), "postgres://shop:x@db/other"),
        (Run(type="postgres", user="shop", database="shop"), "jdbc:postgresql://db:5432/shop"),
        (Run(type="postgres", user="shop", database="shop"), "postgres://shop@db/shop?password=hunter2"),
        (Run(type="redis"), "redis://one:6379,two:6379"),
        (Run(type="redis"), "http://cache:6379"),
        (Run(type="redis"), "127.0.0.1:6379"),
        (Run(type="redis"), "127.0.0.1"),
    ],
)
def test_what_is_no_url_of_that_server_has_no_template(run: Run, url: str) -> None:
    assert template(run, url) == ""
