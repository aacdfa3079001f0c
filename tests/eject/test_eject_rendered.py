"""Rendered files on the way out: compose has them as configs, units as files; a secret's value is in neither."""

from pathlib import Path
from typing import Any

import pytest

from atoll.eject import files
from atoll.workspace.loader import load

SERVICE = """
run = "./orders --config {files}/etc/app.conf"
calls.pay = { url = "https://pay.example.com", env = "PAY_URL" }
replicas = 2
inherit = ["LANG"]
env.DB = { secret = "orders-db" }
[files]
"etc/app.conf" = '''
port={port} data={data}
db={env.DB} again={secret.other} lang={env.LANG}
pay={calls.pay.url} cost=$5
'''
"""


def made(root: Path) -> dict[str, str]:
    (root / "atoll.toml").write_text('name = "shop"\nports = "21000-21099"')
    (root / "orders").mkdir()
    (root / "orders" / "service.toml").write_text(SERVICE)
    return files(load(root), {}, str(root.resolve() / "out"))


def test_compose_gets_each_file_as_a_config_that_takes_secrets_from_its_environment(tmp_path: Path) -> None:
    yaml: Any = pytest.importorskip("yaml")
    written = made(tmp_path)
    document = yaml.safe_load(written["compose.yaml"])
    orders = document["services"]["orders"]
    assert orders["configs"] == [{"source": "orders-etc-app-conf", "target": "/files/etc/app.conf"}]
    assert orders["command"][-1] == "./orders --config /files/etc/app.conf"
    assert orders["volumes"] == ["orders-data:/data"]
    assert document["configs"]["orders-etc-app-conf"]["content"] == (
        "port=8080 data=/data\n"
        "db=${ORDERS_DB:?set it in .env} again=${OTHER:?set it in .env} lang=${LANG:-}\n"
        "pay=https://pay.example.com cost=$$5\n"
    )
    assert "OTHER=" in written[".env.example"]


def test_each_units_replica_has_files_of_its_own_and_the_rest_is_listed(tmp_path: Path) -> None:
    written = made(tmp_path)
    for replica in (1, 2):
        text = written[f"systemd/files/orders-{replica}/etc/app.conf"]
        assert f"port={20999 + replica} data=/var/lib/shop/orders" in text
        assert "db=<secret orders-db> again=<secret other> lang=<variable LANG>" in text
        unit = written[f"systemd/shop-orders-{replica}.service"]
        assert f"{tmp_path.resolve()}/out/systemd/files/orders-{replica}/etc/app.conf" in unit
        assert "StateDirectory=shop/orders" in unit
    assert "`files` etc/app.conf: under systemd" in written["README.md"]


def test_a_fixed_port_stays_what_it_is_and_what_systemd_cannot_give_is_listed(tmp_path: Path) -> None:
    yaml: Any = pytest.importorskip("yaml")
    (tmp_path / "atoll.toml").write_text('name = "shop"\nports = "21000-21099"')
    for name, text in {
        "legacy": 'run = "./legacy"\nports.http = { number = 8000 }\nreplicas = 2\nroute = "/"',
        "web": 'run = "./web"\ncalls.legacy = "LEGACY"',
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "service.toml").write_text(text)
    written = files(load(tmp_path), {}, str(tmp_path.resolve() / "out"))
    services = yaml.safe_load(written["compose.yaml"])["services"]
    assert services["legacy"]["environment"]["PORT"] == "8000"
    assert services["web"]["environment"]["LEGACY"] == "http://legacy:8000"
    assert "Environment=PORT=8000" in written["systemd/shop-legacy-1.service"]
    assert "listens on 8000 of the machine itself: only one of its 2 replicas can run" in written["README.md"]


def test_writable_folders_are_volumes_and_paths_of_the_unit(tmp_path: Path) -> None:
    yaml: Any = pytest.importorskip("yaml")
    (tmp_path / "atoll.toml").write_text('name = "shop"')
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "service.toml").write_text('run = "./orders"\nwritable = ["/var/lib/orders"]')
    written = files(load(tmp_path), {}, str(tmp_path.resolve() / "out"))
    document = yaml.safe_load(written["compose.yaml"])
    assert document["services"]["orders"]["volumes"] == ["orders-var-lib-orders:/var/lib/orders"]
    assert document["volumes"] == {"orders-var-lib-orders": {}}
    assert "ReadWritePaths=/var/lib/orders" in written["systemd/shop-orders-1.service"]
    assert "`writable` /var/lib/orders: under systemd" in written["README.md"]
