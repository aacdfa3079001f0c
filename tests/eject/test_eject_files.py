"""The way out: exact text for a small workspace, judged by systemd and nginx themselves where they are there."""

import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from atoll.eject import Recipe, files
from atoll.eject.layout import Layout
from atoll.eject.left import left_of
from atoll.model.building import Step
from atoll.model.errors import UserError
from atoll.model.spec import Command
from atoll.workspace.loader import load

SHOP = {
    "atoll.toml": 'name = "shop"\ngateway = "127.0.0.1:18080"\nports = "21000-21099"',
    "catalog/service.toml": """
run = ["./catalog", "--listen", "{host}:{port}"]
port = "grpc"
health = "grpc"
build = "make"
""",
    "orders/service.toml": r"""
run = 'python3 orders.py --path "$HOME" 100%'
health = { ready = { http = "/healthz", headers = { Host = "orders.local" } }, start_budget = "20s" }
route = [{ path = "/orders", strip = true, max_body = "1MiB" }, { path = "/", host = "shop.example.com" }]
replicas = 2
stop = { signal = "SIGINT", grace = "5s" }
limits = { memory = "256MiB", cpu_weight = 50, open_files = 4096 }
inherit = ["LANG"]

[env]
DB = "{data}/orders.db"
DB_URL = { secret = "orders-db" }
QUOTED = 'a "b" \ c$d %e'

[calls.catalog]
env = { CATALOG = "{address}" }
timeout = "2s"
retry_on = ["unavailable"]

[calls.bank]
env = "BANK_URL"
url = "https://bank.example.com/v1"

[calls.missing]
env = "MISSING_URL"
optional = true
""",
    "worker/service.toml": 'run = "python3 worker.py"\nport = "none"\noverlap = false\ncalls.orders = "ORDERS_URL"\nfailures.http = [429]',
}
RECIPES = {
    "catalog": Recipe("command", (Step(command=Command(shell="make")),)),
    "orders": Recipe(
        "python", (Step(command=Command(argv=("uv", "sync")), env={"UV": "1"}),), {"PATH+": "{folder}/.venv/bin"}
    ),
    "worker": Recipe("python"),
}

COMPOSE = r"""# Written by `atoll eject`; see README.md beside it.
name: shop
services:
  gateway:
    image: "nginx:1.29"
    ports:
      - "127.0.0.1:18080:18080"
    volumes:
      - "./nginx.compose.conf:/etc/nginx/nginx.conf:ro"
    depends_on:
      orders:
        condition: service_healthy
    restart: unless-stopped
  catalog:
    build:
      context: "../catalog"
      dockerfile_inline: |
        FROM debian:stable-slim
        WORKDIR /app
        COPY . .
        RUN ["/bin/sh", "-c", "make"]
    working_dir: /app
    command:
      - "./catalog"
      - "--listen"
      - "0.0.0.0:8080"
    environment:
      PORT: "8080"
    healthcheck:
      test:
        - CMD
        - /bin/bash
        - "-c"
        - "exec 3<>/dev/tcp/127.0.0.1/8080"
      interval: "2s"
      timeout: "1s"
      retries: 3
      start_period: "30s"
    stop_signal: SIGTERM
    stop_grace_period: "10s"
    restart: unless-stopped
  orders:
    build:
      context: "../orders"
      dockerfile_inline: |
        FROM python:3-slim
        RUN pip install --no-cache-dir uv
        WORKDIR /app
        COPY . .
        ENV UV="1"
        RUN uv sync
        ENV PATH="/app/.venv/bin:$$PATH"
    working_dir: /app
    command:
      - /bin/sh
      - "-c"
      - "python3 orders.py --path \"$$HOME\" 100%"
    environment:
      PORT: "8080"
      CATALOG: "catalog:8080"
      BANK_URL: "https://bank.example.com/v1"
      MISSING_URL: "http://missing:80"
      DB: /data/orders.db
      QUOTED: "a \"b\" \\ c$$d %e"
      DB_URL: "${ORDERS_DB:?set it in .env}"
      LANG: "${LANG:-}"
    depends_on:
      catalog:
        condition: service_healthy
    healthcheck:
      test:
        - CMD
        - python3
        - "-c"
        - "import urllib.request as u; u.urlopen(u.Request('http://127.0.0.1:8080/healthz', headers={'Host': 'orders.local'}), timeout=1)"
      interval: "2s"
      timeout: "1s"
      retries: 3
      start_period: "20s"
    volumes:
      - "orders-data:/data"
    deploy:
      replicas: 2
    mem_limit: 268435456
    cpu_shares: 512
    ulimits:
      nofile: 4096
    stop_signal: SIGINT
    stop_grace_period: "5s"
    restart: unless-stopped
  worker:
    build:
      context: "../worker"
      dockerfile_inline: |
        FROM python:3-slim
        WORKDIR /app
        COPY . .
    working_dir: /app
    command:
      - /bin/sh
      - "-c"
      - python3 worker.py
    environment:
      ORDERS_URL: "http://orders:8080"
    depends_on:
      orders:
        condition: service_healthy
    stop_signal: SIGTERM
    stop_grace_period: "10s"
    restart: unless-stopped
volumes:
  orders-data: {}
"""

UNIT = r"""[Unit]
Description=orders of shop (replica 2)
PartOf=shop.target
Wants=shop-nginx.service shop-catalog-1.service
After=network.target shop-nginx.service shop-catalog-1.service
StartLimitIntervalSec=0

[Service]
Type=exec
WorkingDirectory=FOLDER/build/orders
Environment=PORT=21002
Environment=CATALOG=127.0.0.1:21003
Environment=BANK_URL=https://bank.example.com/v1
Environment=MISSING_URL=http://127.0.0.1:21004
Environment=DB=/var/lib/shop/orders/orders.db
Environment="QUOTED=a \"b\" \\ c$d %%e"
Environment=PATH=FOLDER/build/orders/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
EnvironmentFile=FOLDER/systemd/orders.env
PassEnvironment=LANG
ExecStart=/bin/sh -c "python3 orders.py --path \"$$HOME\" 100%%"
ExecStartPost=/bin/sh -c "until curl -fsS -o /dev/null -m 1 -H 'Host: orders.local' http://127.0.0.1:21002/healthz; do sleep 0.2; done"
TimeoutStartSec=20s
KillSignal=SIGINT
TimeoutStopSec=5s
Restart=always
RestartSec=1
DynamicUser=yes
User=shop-orders
StateDirectory=shop/orders
MemoryMax=268435456
CPUWeight=50
LimitNOFILE=4096

[Install]
WantedBy=shop.target
"""


def made(root: Path, texts: dict[str, str] = SHOP, recipes: dict[str, Recipe] = RECIPES) -> dict[str, str]:
    """The files of a workspace, for a folder in it."""
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return files(load(root), recipes, str(root.resolve() / "ejected"))


def test_compose_is_written_word_by_word(tmp_path: Path) -> None:
    assert made(tmp_path)["compose.yaml"] == COMPOSE


def test_compose_is_yaml(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    document = yaml.safe_load(made(tmp_path)["compose.yaml"])
    assert list(document["services"]) == ["gateway", "catalog", "orders", "worker"]
    orders = document["services"]["orders"]
    assert orders["environment"]["QUOTED"] == 'a "b" \\ c$$d %e'
    assert orders["build"]["dockerfile_inline"].splitlines()[0] == "FROM python:3-slim"
    assert document["services"]["catalog"]["command"] == ["./catalog", "--listen", "0.0.0.0:8080"]


def test_a_unit_is_written_word_by_word(tmp_path: Path) -> None:
    text = made(tmp_path)["systemd/shop-orders-2.service"]
    assert text == UNIT.replace("FOLDER", str(tmp_path.resolve() / "ejected"))


def test_no_value_of_a_secret_is_asked_for_nor_written(tmp_path: Path) -> None:
    written = made(tmp_path)
    assert written[".env.example"].endswith("# the secret orders-db\nORDERS_DB=\n")
    assert written["systemd/orders.env.example"].endswith("# the secret orders-db\nDB_URL=\n")


def test_what_is_not_carried_over_is_listed(tmp_path: Path) -> None:
    text = made(tmp_path)["README.md"]
    for sentence in (
        "`health.ready`: gRPC's health check is asked as a TCP connection only",
        "`calls.catalog`: `retry_on` unavailable.",
        "`calls.bank`: goes to https://bank.example.com/v1 directly",
        "`calls.missing`: is not in this workspace; under systemd it answers 503",
        "`overlap = false`: no two replicas run at once",
        "`failures`: nothing counts them",
        "`inherit` LANG",
        "The image `debian:stable-slim` is a guess",
    ):
        assert sentence in text


def test_a_part_of_a_secret_url_is_a_secret_of_its_own_to_fill_in(tmp_path: Path) -> None:
    (tmp_path / "atoll.toml").touch()
    (tmp_path / "service.toml").write_text("""
name = "orders"
run = "x"
stores.db = { url = { secret = "orders-db" }, env = { URL = "{url}", PGHOST = "{host}" } }
stores.cache = { url = "redis://localhost", env = { CACHE = "{address}" } }
""")
    layout = Layout(load(tmp_path), {}, str(tmp_path / "out"))
    spec = layout.services[0]
    started = layout.in_container(spec)
    assert started.secrets == {"URL": "orders-db", "PGHOST": "orders-db-pghost"}
    assert started.env["CACHE"] == "localhost:6379"
    told = list(left_of(layout, spec))
    assert "`stores.db`: PGHOST is `{host}` of the secret orders-db: fill that in." in told
    assert any("means the container itself" in sentence for sentence in told)


def test_calls_in_a_circle_do_not_wait_for_each_other(tmp_path: Path) -> None:
    texts = {
        "atoll.toml": "",
        "a/service.toml": 'run = "x"\ncalls.b = "B"',
        "b/service.toml": 'run = "x"\ncalls.c = "C"',
        "c/service.toml": 'run = "x"\ncalls.a = "A"',
    }
    made(tmp_path, texts, {})
    layout = Layout(load(tmp_path), {}, "/x")
    assert layout.after == {"a": ["b"], "b": ["c"], "c": []}
    assert any("in a circle" in sentence for sentence in left_of(layout, load(tmp_path).services["c"]))


def test_too_few_ports_are_told(tmp_path: Path) -> None:
    made(tmp_path)
    spec = load(tmp_path)
    narrow = msgspec.structs.replace(spec, environment=msgspec.structs.replace(spec.environment, ports=(21000, 21001)))
    with pytest.raises(UserError, match="the ports 21000-21001 are too few"):
        files(narrow, {}, "/x")


def test_a_service_that_cannot_be_told_how_to_build_is_listed(tmp_path: Path) -> None:
    text = made(tmp_path, recipes={})["README.md"]
    assert text.count("`build`: could not be told") == 3


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
def test_systemd_finds_nothing_to_complain_about(tmp_path: Path) -> None:
    units = [name for name in _write(tmp_path) if name.endswith((".service", ".target"))]
    done = subprocess.run(
        ["systemd-analyze", "verify", *units],
        cwd=tmp_path / "ejected",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if "bus" in done.stderr and done.returncode:
        pytest.skip(f"systemd-analyze needs a running systemd here: {done.stderr[:200]}")
    assert (done.returncode, [line for line in done.stderr.splitlines() if "shop-" in line]) == (0, [])


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not here")
def test_nginx_understands_its_configuration(tmp_path: Path) -> None:
    _write(tmp_path)
    conf = tmp_path / "ejected" / "systemd" / "nginx.conf"
    # Only its syntax: what listens on this machine must not matter, so every port is one that the kernel chooses.
    text = conf.read_text()
    for number in (18080, 21003, 21004, 21005):
        text = text.replace(f"listen 127.0.0.1:{number}", f"listen unix:{tmp_path}/{number}.sock")
    conf.write_text(text)
    done = subprocess.run(
        ["nginx", "-e", "stderr", "-t", "-p", str(tmp_path), "-c", str(conf)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "location = /orders {" in text
    assert "server_name shop.example.com;" in text


def _write(root: Path) -> list[str]:
    written = made(root)
    for name, text in written.items():
        path = root / "ejected" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return list(written)
