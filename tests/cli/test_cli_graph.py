"""`atoll graph` over real files, word by word; it starts as fast as what needs no daemon must."""

import os
import subprocess
import sys
from pathlib import Path

FILES = {
    "atoll.toml": 'name = "shop"\nstores.broker = "amqp://mq"',
    "web/service.toml": 'run = "x"\nroute = "/"\ncalls = { orders = "A", bank = { url = "https://bank.test", env = "B" } }',
    "orders/service.toml": """
run = "x"
owner = "checkout"
publishes = ["orders.placed"]
calls.web = "WEB"
stores.db = { url = { secret = "db" }, type = "postgres", env = "DB" }
stores.broker = "MQ"
""",
    "mailer/service.toml": 'run = "x"\nport = "none"\nconsumes = ["orders.placed", "stock"]\nstores.db = { url = { secret = "db" }, type = "postgres" }',
}
TREE = """\
shop · local: 3 services, 2 stores, 2 topics, 1 external callee

mailer
├─ keeps     db             postgres, secret db, shared
├─ consumes  orders.placed  from orders
└─ consumes  stock          from outside

orders (checkout)
├─ calls     web            in a cycle
├─ keeps     db             postgres, secret db, shared
├─ keeps     broker         amqp://mq
├─ publishes orders.placed  read by mailer
└─ is called by web

web
├─ serves    /       at 127.0.0.1:8080
├─ calls     orders  in a cycle
├─ calls     bank    https://bank.test
└─ is called by orders

! orders → web → orders: a cycle of calls; when one is slow or away, all of them are
! db is shared by mailer, orders: none can change its tables alone
! stock is consumed, and nobody here publishes it
"""


def atoll(root: Path, *argv: str) -> str:
    env = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "atoll.app", *argv],
        cwd=root,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def write(root: Path) -> Path:
    for name, text in FILES.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    return root


def test_the_tree_is_written_word_by_word(tmp_path: Path) -> None:
    assert atoll(write(tmp_path), "graph") == TREE


def test_one_service_is_shown_with_what_it_has_to_do_with(tmp_path: Path) -> None:
    told = atoll(write(tmp_path), "graph", "web")
    assert told.splitlines()[0] == "shop · local: 2 services, 1 external callee"
    assert "\nmailer" not in told
    assert "a cycle of calls" in told
    assert "shared by" not in told


def test_it_loads_neither_a_daemon_nor_a_terminal_library(tmp_path: Path) -> None:
    code = "import sys, atoll.app; sys.argv[1:] = ['graph']\ntry: atoll.app.main()\nexcept SystemExit: pass\nprint(sorted({'rich', 'starlette', 'grpc', 'sqlalchemy', 'httpx'} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=write(tmp_path), capture_output=True, text=True, timeout=60, check=True)  # fmt: skip
    assert done.stderr.strip() == "[]"
