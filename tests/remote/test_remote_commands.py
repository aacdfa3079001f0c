"""Commands of an environment on another machine, over the real ssh; the daemon there is one of pretend."""

import contextlib
import json
import os
import signal
import stat
import time
from collections.abc import Callable

import pytest
from tests.remote.conftest import Shop

from atoll.model.environment import EnvironmentSpec, Gateway
from atoll.testing.fake_control import Served

BOOTS_S = 14.0  # longer than anybody waits for a daemon that starts anew


def until(happened: Callable[[], object], within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.usefixtures("daemon")
def test_a_command_logs_in_once_and_the_next_ones_find_the_connection(shop: Shop) -> None:
    out, _ = shop.atoll("status")
    assert "orders" in out
    [connection] = shop.machines.connections()
    for argv in (["status", "--json"], ["releases", "orders"], ["events"], ["secret", "list"], ["why", "orders"]):
        shop.atoll(*argv)
    assert shop.machines.connections() == [connection]


@pytest.mark.usefixtures("daemon")
def test_who_may_use_the_connection_is_who_made_it(shop: Shop) -> None:
    shop.atoll("status")
    [folder] = (shop.folder / "run").iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(each.stat().st_mode) & 0o077 == 0 for each in folder.iterdir() if each.is_socket())


@pytest.mark.usefixtures("daemon")
def test_a_connection_that_was_killed_is_made_anew(shop: Shop) -> None:
    shop.atoll("status")
    [connection] = shop.machines.connections()
    os.kill(connection, signal.SIGKILL)
    shop.atoll("status")
    assert shop.machines.connections() != [connection]


@pytest.mark.usefixtures("daemon")
def test_several_commands_at_once_make_one_connection(shop: Shop) -> None:
    with contextlib.ExitStack() as stack:
        for each in [stack.enter_context(shop.begun("status")) for _ in range(4)]:
            each.communicate(timeout=120)
            assert each.returncode == 0
    assert len(shop.machines.connections()) == 1


def test_what_follows_goes_on_over_a_new_connection_and_loses_nothing(shop: Shop, daemon: Served) -> None:
    with shop.begun("events", "--follow", "--json") as following:
        assert following.stdout is not None
        first = [json.loads(following.stdout.readline())["seq"] for _ in range(3)]
        [connection] = shop.machines.connections()
        os.kill(connection, signal.SIGKILL)
        daemon.record("replica.ready", "orders", "one more")
        then = json.loads(following.stdout.readline())["seq"]
    assert first == [1, 2, 3]
    assert then == 4


@pytest.mark.slow
def test_what_follows_waits_for_a_machine_that_lets_in_before_its_environments_are_up(shop: Shop) -> None:
    with contextlib.ExitStack() as stack:
        with Served(shop.far) as fake:
            fake.control.settings = EnvironmentSpec(name="production")
            following = stack.enter_context(shop.begun("events", "--follow", "--json"))
            assert following.stdout is not None
            first = [json.loads(following.stdout.readline())["seq"] for _ in range(3)]
        time.sleep(BOOTS_S)
        assert following.poll() is None, following.communicate()
        with Served(shop.far) as again:
            again.record("replica.ready", "orders", "one more")
            then = json.loads(following.stdout.readline())["seq"]
    assert (first, then) == ([1, 2, 3], 4)


@pytest.mark.usefixtures("daemon")
def test_the_variable_and_the_option_say_another_host_than_the_file(shop: Shop) -> None:
    shop.write("ssh://nowhere")
    shop.atoll("status", ATOLL_HOST=f"ssh://vm1{shop.far}")
    shop.atoll("status", "--host", f"unix://{shop.far}")
    shop.atoll("--host", f"ssh://vm1{shop.far}", "status", ATOLL_HOST="ssh://nowhere")


@pytest.mark.usefixtures("daemon")
def test_a_host_for_no_environment_is_refused(shop: Shop) -> None:
    _, err = shop.atoll("status", "--host", f"ssh://vm1{shop.far}", "--env", "local", code=2)
    assert "name it with --env" in err
    _, err = shop.atoll("status", "--host", "vm1", code=2)
    assert "vm1 is no host" in err


def test_what_the_file_says_is_told_once_and_waited_for(shop: Shop, daemon: Served) -> None:
    shop.write(more='gateway = "0.0.0.0:80"')
    _, err = shop.atoll("up", "--plan", code=0)
    assert "would take over from atoll.toml: gateway" in err
    assert daemon.control.settings == EnvironmentSpec(name="production")
    _, err = shop.atoll("up")
    assert "takes over from atoll.toml: gateway" in err
    assert daemon.control.settings.gateway == Gateway(host="0.0.0.0", port=80)
    _, err = shop.atoll("up")
    assert "takes over" not in err


def test_another_environment_is_not_told_anything(shop: Shop, daemon: Served) -> None:
    daemon.control.settings = EnvironmentSpec(name="staging")
    _, err = shop.atoll("deploy", "orders", code=5)
    assert "error[another-environment]" in err
    assert "'staging'" in err
    assert daemon.control.requests == []


@pytest.mark.usefixtures("daemon")
def test_down_ends_the_services_and_leaves_the_daemon_to_its_machine(shop: Shop) -> None:
    _, err = shop.atoll("down", code=4)
    assert "add --yes" in err
    _, err = shop.atoll("down", "--yes")
    assert "every service of 'production' is down on vm1" in err
    views = json.loads(shop.atoll("status", "--json")[0])["services"]
    assert {view["state"] for view in views} == {"down"}


@pytest.mark.usefixtures("daemon")
def test_what_needs_files_of_this_machine_is_refused_with_the_reason(shop: Shop) -> None:
    _, err = shop.atoll("dev", code=4)
    assert "error[not-from-here]" in err
    assert "'production' runs on vm1" in err


@pytest.mark.usefixtures("daemon")
def test_doctor_tells_of_the_way_and_of_the_other_machine(shop: Shop) -> None:
    out, _ = shop.atoll("doctor", "--json")
    checks = {check["check"]: check for check in json.loads(out)}
    assert "there and back" in checks["connection"]["text"]
    assert checks["store"]["ok"] is True
    assert "python" not in checks
