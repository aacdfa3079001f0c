"""Deploys for real: nobody notices a good one, a bad one never takes traffic."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from lab import Lab

from atoll.testing.steady import Steady


def test_up_brings_a_folder_of_services_behind_one_gateway_and_down_leaves_nothing(lab: Lab) -> None:
    lab.service("orders")
    lab.service("web", '[calls.orders]\nenv = { UPSTREAM = "{url}" }\n')
    lab.atoll("up")
    assert lab.get("/orders/x")["version"] == "v1"
    assert lab.get("/web/call")["upstream"]["version"] == "v1"
    assert [service["state"] for service in lab.status()["services"]] == ["up", "up"]
    lab.atoll("down", "--yes")
    assert lab.until(lambda: not lab.processes() or None) is True
    assert not lab.processes()


def test_deploys_under_load_fail_no_request(lab: Lab) -> None:
    lab.service("orders")
    lab.service("other")
    lab.atoll("up")
    with Steady(lab.url, ("/orders/a", "/orders/b"), rate=80) as load:
        for n in range(2, 5):
            lab.service("orders", env={"VERSION": f"v{n}"})
            [operation] = lab.json("deploy", "orders")
            receipt = operation["receipt"]
            assert receipt["outcome"] == "live"
            assert receipt["touched"] == []
            assert lab.get("/orders/")["version"] == f"v{n}"
    assert load.failures == []
    assert load.sent > 50
    assert set(load.versions) == {"v1", "v2", "v3", "v4"}


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"CRASH": "1"}, "cannot find my configuration"),
        ({"READY_THEN_DIE_S": "0.2"}, "died"),
    ],
    ids=["crashes-at-start", "ready-then-dead"],
)
def test_a_bad_candidate_is_undone_and_the_stable_release_never_notices(
    lab: Lab, bad: dict[str, str], says: str
) -> None:
    lab.service("orders")
    lab.atoll("up")
    before = lab.pids("orders")
    with Steady(lab.url, ("/orders/a",), rate=40) as load:
        lab.service("orders", env={"VERSION": "v2", **bad})
        done = lab.run("deploy", "orders")
    assert done.returncode == 3, done.stdout + done.stderr
    assert says in done.stdout + done.stderr
    assert load.failures == []
    assert set(load.versions) == {"v1"}
    assert lab.pids("orders") == before


def test_rollback_returns_to_the_warm_release_at_once(lab: Lab) -> None:
    lab.service("orders")
    lab.atoll("up")
    lab.service("orders", env={"VERSION": "v2"})
    lab.atoll("deploy", "orders")
    with Steady(lab.url, ("/orders/a",), rate=40) as load:
        lab.atoll("rollback", "orders")
        assert lab.get("/orders/")["version"] == "v1"
    assert load.failures == []
    assert lab.of("orders")["release"] == "r1"


def test_releases_that_may_not_overlap_never_do_and_held_requests_succeed(lab: Lab) -> None:
    lab.service("orders", "overlap = false")
    lab.atoll("up")
    with Steady(lab.url, ("/orders/a",), rate=20, deadline_s=30) as load:
        lab.service("orders", "overlap = false", env={"VERSION": "v2"})
        lab.atoll("deploy", "orders")
        together = len({replica["release"] for replica in lab.of("orders")["replicas"]})
    assert load.failures == []
    assert together == 1
    assert lab.get("/orders/")["version"] == "v2"


def test_requests_in_flight_finish_at_the_old_release(lab: Lab) -> None:
    lab.service("orders")
    lab.atoll("up")
    answers: list[str] = []
    slow = threading.Thread(target=lambda: answers.append(lab.get("/orders/slow?3", timeout_s=30)["version"]))
    slow.start()
    time.sleep(0.5)
    lab.service("orders", env={"VERSION": "v2"})
    lab.atoll("deploy", "orders")
    slow.join(timeout=30)
    assert answers == ["v1"]


def test_restart_and_scale_fail_no_request(lab: Lab) -> None:
    lab.service("orders")
    lab.atoll("up")
    before = lab.pids("orders")
    with Steady(lab.url, ("/orders/a",), rate=40) as load:
        lab.atoll("restart", "orders")
        lab.atoll("scale", "orders", "3")
        lab.until(lambda: lab.of("orders")["ready"] == 3)
        lab.atoll("scale", "orders", "1")
        lab.until(lambda: len(lab.pids("orders")) == 1)
    assert load.failures == []
    assert lab.pids("orders") != before


def test_a_secret_reaches_the_service_and_nothing_else(lab: Lab) -> None:
    lab.service("orders")
    lab.atoll("up")
    lab.atoll("secret", "set", "token", stdin="s3cr3t-value-42\n")
    lab.service("orders")
    with (lab.root / "orders" / "service.toml").open("a") as file:
        file.write('SHOWN = { secret = "token" }\n')
    lab.atoll("deploy", "orders")
    assert lab.get("/orders/")["env"] == "s3cr3t-value-42"
    for text in (lab.atoll("status", "--json"), lab.atoll("events", "--json"), lab.atoll("secret", "list")):
        assert "s3cr3t-value-42" not in text
    leaked = [
        str(path) for path in Path(lab.home).rglob("*") if path.is_file() and b"s3cr3t-value-42" in path.read_bytes()
    ]
    assert leaked == []


def test_a_detached_deploy_goes_on_by_itself(lab: Lab) -> None:
    lab.service("orders")
    lab.atoll("up")
    lab.service("orders", env={"VERSION": "v2"})
    lab.atoll("deploy", "orders", "--detach")
    lab.until(lambda: lab.get("/orders/")["version"] == "v2")


def test_the_same_deploy_twice_is_one_and_a_newer_one_takes_its_place(lab: Lab) -> None:
    lab.service("orders")
    lab.atoll("up")
    lab.service("orders", env={"VERSION": "v2", "START_S": "3"})
    [first] = lab.json("deploy", "orders", "--detach")
    [again] = lab.json("deploy", "orders", "--detach")
    assert again["id"] == first["id"]
    lab.service("orders", env={"VERSION": "v3"})
    lab.atoll("deploy", "orders")
    assert lab.get("/orders/")["version"] == "v3"
    assert lab.of("orders")["release"] == "r3"


def test_a_worker_without_a_port_is_deployed_and_restarted(lab: Lab) -> None:
    lab.service(
        "mailer",
        'run = "while true; do echo $VERSION; sleep 0.2; done"\nport = "none"\nhealth = { stable_for = "300ms" }',
        route=None,
    )
    lab.atoll("up")
    [pid] = lab.pids("mailer")
    os.kill(pid, signal.SIGKILL)
    lab.until(lambda: lab.pids("mailer") not in ([], [pid]))
    lab.service(
        "mailer",
        'run = "while true; do echo $VERSION; sleep 0.2; done"\nport = "none"\nhealth = { stable_for = "300ms" }',
        route=None,
        env={"VERSION": "v2"},
    )
    lab.atoll("deploy", "mailer")
    lab.until(lambda: "v2" in lab.atoll("logs", "mailer", "--tail", "3"))


def test_every_reading_command_answers_in_json(lab: Lab) -> None:
    lab.service("orders")
    lab.atoll("up")
    for argv in (["status"], ["releases", "orders"], ["events"], ["why", "orders"], ["doctor"], ["check"]):
        text = lab.atoll(*argv, "--json")
        for line in [text] if text.lstrip().startswith(("{\n", "[\n")) else text.splitlines():
            json.loads(line)
