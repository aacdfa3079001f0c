"""A program that is configured by a file alone: rendered for each replica, changed by a deploy, and gone afterwards."""

import sys
from pathlib import Path

from lab import HERE, Lab

from atoll.keeper.client import files, places_of
from atoll.testing.steady import Steady

TEMPLATE = """{
  "port": {port}, "version": "%s", "level": "{env.LEVEL}", "password": "{secret.db}",
  "upstream": "{calls.catalog.url}/", "absent": "{calls.mail.host}/{calls.mail.port}", "text": "{{port}}"
}
"""
SERVICE = """
run = ["PYTHON", "-S", "configured_service.py", "{files}/etc/app.json"]
calls.catalog = { env = "CATALOG_URL" }
calls.mail = { env = "MAIL_URL", optional = true }
replicas = 2
files."etc/app.json" = { template = "app.json.tmpl" }
"""


def configured(lab: Lab, version: str) -> None:
    lab.service("orders", SERVICE.replace("PYTHON", sys.executable), env={"LEVEL": "warn"})
    (lab.root / "orders" / "configured_service.py").write_text((HERE / "configured_service.py").read_text())
    (lab.root / "orders" / "app.json.tmpl").write_text(TEMPLATE % version)


def left(lab: Lab) -> list[str]:
    """Where rendered files of the lab lie, by every place that they may have."""
    states = [path.parent for path in lab.home.rglob("daemon.json")]
    runs = [path for path in (lab.root.parent / "run").iterdir() if path.is_dir()]
    assert states
    bases = {base for state in states for run in runs for base in files.bases(places_of(state, run))}
    return [str(path) for base in bases for path in Path(base).rglob("*")]


def test_a_configuration_file_is_rendered_for_each_replica_and_goes_with_it(lab: Lab) -> None:
    lab.service("catalog")
    configured(lab, "v1")
    lab.atoll("up", code=2)  # the secret is not set yet: said, and the others are up
    lab.atoll("secret", "set", "db", stdin="sw0rdfish")
    lab.atoll("up")
    seen = lab.get("/orders/")
    assert (seen["version"], seen["level"], seen["password"], seen["text"]) == ("v1", "warn", "sw0rdfish", "{port}")
    host, _ = seen["absent"].split("/")
    assert host == "127.0.0.1"
    assert lab.get("/orders/call")["upstream"]["version"] == "v1"
    assert len([path for path in left(lab) if path.endswith("app.json")]) == 2

    with Steady(lab.url, ("/orders/a",), rate=60) as load:
        configured(lab, "v2")
        [operation] = lab.json("deploy", "orders")
        assert any("file etc/app.json: changed" in each for each in operation["receipt"]["changed"])
        lab.atoll("rollback", "orders")
    assert load.failures == []
    assert set(load.versions) == {"v1", "v2"}
    assert lab.get("/orders/")["version"] == "v1", "a release keeps the template that it was deployed with"

    ran = lab.atoll("exec", "orders", "--", "/bin/sh", "-c", "true")
    asked = [
        ("status", "--json"),
        ("events", "--json"),
        ("releases", "orders", "--json"),
        ("logs", "orders"),
        ("why", "orders"),
    ]
    told = ran + "".join(lab.atoll(*each) for each in asked)
    assert "sw0rdfish" not in told
    for path in lab.home.rglob("*"):
        if path.is_file():
            assert b"sw0rdfish" not in path.read_bytes(), path

    for pid in [int(line.split()[0]) for line in lab.processes()]:
        assert b"sw0rdfish" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    lab.atoll("down", "--yes")
    assert left(lab) == []
