"""What happens around an environment: people in a hurry, damaged files, things that were removed, services that fork."""

import os
import signal
import subprocess
import sys
import time

from lab import Lab

from atoll.testing.steady import Steady


def _begin(lab: Lab, *argv: str) -> "subprocess.Popen[str]":
    """A command that goes on while the test does something else."""
    return subprocess.Popen(
        [sys.executable, "-m", "atoll.app", *argv],
        cwd=lab.root,
        env=lab.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_starts_at_once_are_one_environment(lab: Lab) -> None:
    lab.service("orders")
    both = [_begin(lab, "up"), _begin(lab, "up")]
    for one in both:
        said = one.communicate(timeout=120)[0]
        assert one.returncode == 0, said
    assert lab.get("/orders/")["version"] == "v1"
    assert len([line for line in lab.processes() if "envoy -c" in line]) == 1


def test_a_damaged_database_is_said_and_moving_it_away_begins_anew(lab: Lab) -> None:
    lab.service("orders")
    lab.atoll("up")
    lab.atoll("down", "--yes")
    [database] = lab.home.glob("*/environments/local/state.db")
    for file in database.parent.glob("state.db*"):
        file.write_bytes(b"damaged" * 1000)
    done = lab.run("up")
    assert done.returncode == 7, done.stdout + done.stderr
    assert "is damaged" in done.stderr
    assert "begin anew" in done.stderr
    assert "is damaged" in lab.run("status").stderr
    for file in database.parent.glob("state.db*"):
        file.rename(f"{file}.old")
    lab.until(lambda: lab.run("up").returncode == 0)
    assert lab.get("/orders/")["version"] == "v1"


def test_a_service_that_left_the_workspace_is_named_and_can_be_stopped(lab: Lab) -> None:
    lab.service("orders")
    lab.service("web")
    lab.atoll("up")
    (lab.root / "web" / "service.toml").unlink()
    assert "atoll down web" in lab.run("up").stderr
    assert lab.of("web")["state"] == "up"
    lab.atoll("down", "web")
    assert lab.of("web")["replicas"] == []
    assert lab.of("orders")["state"] == "up"


def test_a_deploy_that_is_stopped_meanwhile_is_no_success(lab: Lab) -> None:
    lab.service("orders")
    lab.atoll("up")
    lab.service("orders", env={"VERSION": "v2", "START_S": "30"})
    deploy = _begin(lab, "deploy", "orders")
    lab.until(lambda: lab.of("orders")["state"] == "deploying")
    lab.atoll("down", "orders")
    said = deploy.communicate(timeout=120)[0]
    assert deploy.returncode == 3, said
    assert "told to go down" in said


def test_an_interrupted_deploy_goes_on(lab: Lab) -> None:
    lab.service("orders")
    lab.atoll("up")
    lab.service("orders", env={"VERSION": "v2", "START_S": "2"})
    deploy = _begin(lab, "deploy", "orders")
    lab.until(lambda: lab.of("orders")["state"] == "deploying")
    deploy.send_signal(signal.SIGINT)
    said = deploy.communicate(timeout=120)[0]
    assert deploy.returncode == 130, said
    lab.until(lambda: lab.get("/orders/")["version"] == "v2")


def test_what_a_service_forks_away_ends_with_it(lab: Lab) -> None:
    fork = (
        "import os, time\n"
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(1000)\n    os._exit(0)\n"
        "print('forked', flush=True)\nwhile True: time.sleep(1)\n"
    )
    (lab.root / "forker").mkdir()
    (lab.root / "forker" / "forker.py").write_text(fork)
    run = f'run = ["{sys.executable}", "-S", "forker.py"]\nport = "none"\nhealth = {{ stable_for = "300ms" }}'
    lab.service("forker", run, route=None)
    lab.atoll("up")

    def forked() -> list[str]:
        return [line for line in lab.processes() if "forker.py" in line]

    lab.until(lambda: len(forked()) == 2)
    [pid] = lab.pids("forker")
    os.kill(pid, signal.SIGKILL)
    lab.until(lambda: len(forked()) == 2 and lab.pids("forker") not in ([], [pid]))
    lab.atoll("down", "forker")
    assert forked() == []


def test_a_program_that_ends_at_once_is_no_worker(lab: Lab) -> None:
    text = 'run = "true"\nport = "none"\nhealth = { stable_for = "1s", start_budget = "3s" }'
    lab.service("brief", text, route=None)
    done = lab.run("up")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "exit code 0" in done.stdout + done.stderr


def test_keeper_daemon_and_replicas_killed_again_and_again_hurt_only_what_was_in_flight(lab: Lab) -> None:
    lab.service("orders", "replicas = 2")
    lab.atoll("up")
    with Steady(lab.url, ("/orders/a",), rate=20, deadline_s=40) as load:
        for victims in (("keeper",), ("daemon",), ("keeper", "daemon"), ("keeper",)):
            pids = {part: lab.pid(part) for part in ("keeper", "daemon")}
            for part in victims:
                os.kill(pids[part], signal.SIGKILL)
            time.sleep(0.2)
            lab.atoll("up")
            lab.until(lambda pids=pids, victims=victims: all(lab.pid(part) != pids[part] for part in victims))
        lab.until(lambda: lab.of("orders")["ready"] == 2)
    assert load.failures == []
    lab.atoll("down", "--yes")
    lab.until(lambda: not lab.processes() or None)
