"""`atoll fault`, against a pretend daemon."""

import pytest

from atoll.model.wire import FaultRequest
from atoll.testing.fake_control import Served


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--kill"], "--kill is about no service"),
        (["--clear"], "--clear is about no service"),
        (["orders"], "no fault was named"),
        (["orders", "--kill", "--pause"], "--kill and --pause at once"),
        (["orders", "--clear", "--plan"], "--clear and --plan at once"),
        (["orders", "--clear", "--kill"], "--kill and --clear at once"),
        (["orders", "--latency", "300"], "--latency '300' is no time"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_is_broken_or_ended(
    atoll, daemon: Served, arguments: list[str], words: str
) -> None:
    assert atoll("fault", "orders", "--abort", "503").returncode == 0
    done = atoll("fault", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert len([each for each in daemon.control.requests if isinstance(each, FaultRequest)]) == 1
    assert "broken" in atoll("fault").stdout, "it is in force as before"


def test_a_fault_that_the_proxy_does_not_acknowledge_is_told_as_one_that_waits(atoll, daemon: Served) -> None:
    daemon.control.proxy_problem = "the proxy (Envoy) is not connected"
    done = atoll("fault", "orders", "--abort", "503")
    assert done.returncode == 1
    assert "error[proxy-not-acknowledged]: orders has no fault yet: broken" in done.stderr
    assert "the proxy (Envoy) is not connected" in done.stderr
    assert "`atoll fault orders --clear` takes it back" in done.stderr
    assert "broken (not yet: the proxy (Envoy) is not connected)" in atoll("fault", COLUMNS="200").stdout
    done = atoll("fault", "orders", "--clear")
    assert done.returncode == 1
    assert "orders has its fault still: broken" in done.stderr
    assert "broken (still: the proxy (Envoy) is not connected)" in atoll("fault", COLUMNS="200").stdout
    daemon.control.proxy_problem = ""
    assert atoll("fault", "orders", "--clear").returncode == 0
    assert "no fault is in force" in atoll("fault").stderr


def test_a_fault_that_is_cleared_is_in_force_no_more(atoll, daemon: Served) -> None:
    atoll("fault", "orders", "--abort", "503")
    assert "broken" in atoll("fault", "orders", "--clear").stdout
    assert "no fault is in force" in atoll("fault").stderr
