"""A program that insists on port 8080: several replicas and two releases at once, and nobody notices a deploy or a kill."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
from lab import HERE, Lab

from atoll.keeper.client import proc, try_network
from atoll.testing.steady import Steady

WHY = try_network()
pytestmark = pytest.mark.skipif(bool(WHY), reason=f"no network of a replica's own here: {WHY}")
SERVICE = """
run = ["PYTHON", "-S", "fixed_service.py", "WAIT"]
health = { ready = "tcp", stable_for = "300ms", start_budget = "20s" }
calls.catalog = "UPSTREAM"
replicas = 2
ports.http = { number = 8080 }
"""


def fixed(lab: Lab, version: str, *, wait_s: float = 0.0, text: str = "") -> None:
    service = SERVICE.replace("PYTHON", sys.executable).replace("WAIT", str(wait_s))
    lab.service("legacy", service + text, env={"VERSION": version})
    (lab.root / "legacy" / "fixed_service.py").write_text((HERE / "fixed_service.py").read_text())


def forwarders(lab: Lab) -> list[int]:
    """Those of this lab: their leased ports are its own."""
    found = []
    for stat in proc.scan().values():
        if stat.comm.startswith("pas") and stat.state not in "ZX":
            words = Path(f"/proc/{stat.pid}/cmdline").read_bytes().decode(errors="replace")
            leased = re.search(r"127\.0\.0\.1/(\d+):8080", words)
            if leased and lab.gateway_port < int(leased[1]) < lab.gateway_port + 500:
                found.append(stat.pid)
    return found


def test_two_releases_on_one_fixed_port_are_replaced_under_load_without_a_failed_request(lab: Lab) -> None:
    lab.service("catalog")
    fixed(lab, "v1")
    lab.atoll("up")
    assert lab.get("/legacy/call")["upstream"]["version"] == "v1", "its calls reach the edges of the machine"
    assert len(forwarders(lab)) == 2
    with Steady(lab.url, ("/legacy/a", "/legacy/call"), rate=60) as load:
        for n in range(2, 4):
            fixed(lab, f"v{n}")
            [operation] = lab.json("deploy", "legacy")
            assert operation["receipt"]["outcome"] == "live"
            assert lab.get("/legacy/")["version"] == f"v{n}"
        lab.atoll("rollback", "legacy")
    assert load.failures == []
    assert set(load.versions) == {"v1", "v2", "v3"}
    assert "all addresses" not in lab.atoll("status"), "nobody by-passes the proxy into its network"
    lab.atoll("down", "--yes")
    assert lab.until(lambda: not forwarders(lab) or None)


def test_it_is_not_ready_before_it_listens_behind_its_forwarder(lab: Lab) -> None:
    lab.service("catalog")
    fixed(lab, "v1")
    lab.atoll("up")
    with Steady(lab.url, ("/legacy/a",), rate=60) as load:
        fixed(lab, "v2", wait_s=3.0)  # its forwarder takes connections all that time
        [operation] = lab.json("deploy", "legacy")
    assert operation["receipt"]["seconds"]["total"] > 3.0
    assert load.failures == []
    assert set(load.versions) == {"v1", "v2"}


def test_commands_run_in_its_network(lab: Lab) -> None:
    lab.service("catalog")
    code = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8080/live').status)"
    text = SERVICE.replace("health = {", 'health = { live = { command = ["PYTHON", "-c", "CODE"], timeout = "10s" },')
    lab.service(
        "legacy",
        text.replace("CODE", code).replace("PYTHON", sys.executable).replace("WAIT", "0"),
        env={"VERSION": "v1"},
    )
    (lab.root / "legacy" / "fixed_service.py").write_text((HERE / "fixed_service.py").read_text())
    lab.atoll("up")
    lives: dict[int, int] = {}

    def asked_by_its_liveness_probe() -> bool:
        seen = lab.get("/legacy/")
        lives[seen["pid"]] = seen["lives"]
        return len(lives) == 2 and min(lives.values()) >= 3

    lab.until(asked_by_its_liveness_probe)
    assert lab.atoll("exec", "legacy", "--", sys.executable, "-c", code).strip() == "200"
    assert [replica["ready"] for replica in lab.of("legacy")["replicas"]] == [True, True]


@pytest.mark.parametrize("part", ["daemon", "keeper"])
def test_it_is_adopted_after_a_kill_and_no_request_fails(lab: Lab, part: str) -> None:
    lab.service("catalog")
    fixed(lab, "v1")
    lab.atoll("up")
    before = sorted(lab.pids("legacy"))
    with Steady(lab.url, ("/legacy/a", "/legacy/call"), rate=60) as load:
        os.kill(lab.pid(part), signal.SIGKILL)
        time.sleep(2)
        fixed(lab, "v2")
        lab.until(lambda: lab.run("deploy", "legacy").returncode == 0)
    assert load.failures == []
    assert set(load.versions) == {"v1", "v2"}
    assert set(before) < set(lab.pids("legacy")), "the first release is still warm: nothing was started anew"


def test_a_killed_forwarder_is_back_and_its_replica_goes_on(lab: Lab) -> None:
    lab.service("catalog")
    fixed(lab, "v1")
    lab.atoll("up")
    replicas = sorted(lab.pids("legacy"))
    first, *_ = forwarders(lab)
    os.kill(first, signal.SIGKILL)
    lab.until(lambda: len(forwarders(lab)) == 2 and first not in forwarders(lab))
    lab.until(lambda: sorted(lab.pids("legacy")) == replicas)
    with Steady(lab.url, ("/legacy/a",), rate=60) as load:
        time.sleep(1)
    assert load.failures == []


def test_without_pasta_it_is_refused_and_nothing_is_touched(lab: Lab) -> None:
    lab.service("catalog")
    lab.env["PATH"] = str(Path(sys.executable).parent)
    fixed(lab, "v1")
    said = lab.run("check")
    assert said.returncode == 0
    assert "legacy/service.toml" in said.stdout
    assert "warning: ports.http.number needs a network of its own" in said.stdout
    assert "passt" in said.stdout
    done = lab.run("up")
    assert done.returncode != 0
    assert "legacy cannot run here" in done.stdout + done.stderr
    assert [service["name"] for service in lab.status()["services"] if service["state"] == "up"] == ["catalog"]
    assert "legacy: ports.http.number" in lab.run("doctor").stdout
