"""Deploys by the command line. What holds on every engine is shown by the suite (tests/conformance)."""

import json
import socket

from lab import Lab


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


def test_every_reading_command_answers_in_json(lab: Lab) -> None:
    lab.service("orders")
    lab.atoll("up")
    for argv in (["status"], ["releases", "orders"], ["events"], ["why", "orders"], ["doctor"], ["check"]):
        text = lab.atoll(*argv, "--json")
        for line in [text] if text.lstrip().startswith(("{\n", "[\n")) else text.splitlines():
            json.loads(line)


def test_a_plan_refuses_what_up_refuses_and_by_the_same_words(lab: Lab) -> None:
    lab.service("orders")
    lab.atoll("up")
    file = lab.root / "atoll.toml"
    good, said = file.read_text(), []
    file.write_text(f'{good}engine = "docker"\n')
    for more in ((), ("--plan",)):
        done = lab.run("up", *more)
        assert done.returncode == 4, done.stdout + done.stderr
        said.append(done.stderr[done.stderr.index("error[engine-changed]") :])
    assert said[0] == said[1]
    file.write_text(good)
    lab.atoll("down", "--yes")
    with socket.create_server(("127.0.0.1", lab.gateway_port)):
        said = []
        for more in ((), ("--plan",)):
            done = lab.run("up", *more)
            assert done.returncode == 2, done.stdout + done.stderr
            said.append(done.stderr[done.stderr.index("error[gateway-port-taken]") :])
    assert said[0] == said[1]
    lab.atoll("up", "--plan")
