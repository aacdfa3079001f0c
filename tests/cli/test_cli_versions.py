"""A command whose daemon is of another version: told, once, and what still works works."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from atoll import __version__
from atoll.model.environment import EnvironmentSpec, Gateway
from atoll.testing.fake_control import FakeControl, Served

Atoll = Callable[..., "object"]
OLD, NEW = "0.0.1", "99.0"


@pytest.mark.parametrize(
    ("mine", "how", "fix"),
    [(NEW, "older", "`atoll up` upgrades it"), (OLD, "newer", f"install Atoll {__version__} here, too")],
)
def test_reading_works_and_the_difference_is_told_once(
    atoll: Atoll, daemon: Served, mine: str, how: str, fix: str
) -> None:
    done = atoll("status", ATOLL_PRETEND_VERSION=mine)
    assert done.returncode == 0
    assert "orders" in done.stdout
    (note,) = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
    assert f"the daemon is Atoll {__version__}, {how} than this command's {mine}" in note
    assert fix in note
    assert json.loads(atoll("status", "--json", ATOLL_PRETEND_VERSION=mine).stdout)["services"]
    assert "note:" not in atoll("status", "--quiet", ATOLL_PRETEND_VERSION=mine).stderr


def test_the_same_version_says_nothing(atoll: Atoll, daemon: Served) -> None:
    assert atoll("status").stderr == ""


def test_an_advice_names_the_environment(atoll: Atoll, daemon: Served) -> None:
    assert "`atoll --env staging up`" in atoll("status", "--env", "staging", ATOLL_PRETEND_VERSION=NEW).stderr


def without(daemon: Served, path: str) -> None:
    """It becomes one of before that address."""
    routes = daemon.api.app.router.routes
    routes[:] = [route for route in routes if getattr(route, "path", "") != path]


def test_an_address_that_an_older_daemon_has_not_is_told_as_what_it_is(atoll: Atoll, daemon: Served) -> None:
    without(daemon, "/v1/services/{service}/fault")
    done = atoll("fault", "orders", "--kill", ATOLL_PRETEND_VERSION=NEW)
    assert (done.returncode, "error[versions-differ]: the daemon of 'local' cannot do" in done.stderr) == (2, True)
    assert f"the daemon is Atoll {__version__}, older than this command's {NEW} (POST /v1/services/" in done.stderr


def test_a_plan_that_an_older_daemon_cannot_be_asked_about_is_told_with_that(atoll: Atoll, daemon: Served) -> None:
    daemon.control.settings = EnvironmentSpec(name="local", gateway=Gateway(port=9000))
    without(daemon, "/v1/environment/check")
    done = atoll("deploy", "orders", "--plan", ATOLL_PRETEND_VERSION=NEW, ATOLL_PRETEND_MACHINE="vm1")
    assert done.returncode == 0, done.stderr
    assert "vm1 would take over from atoll.toml: gateway" in done.stderr
    assert f"not known: the daemon is Atoll {__version__}, older than this command's {NEW}" in done.stderr


class Misunderstood(FakeControl):
    """Of a version in which a service's name is a number."""

    async def status(self):  # type: ignore[no-untyped-def]
        found = msgspec.to_builtins(await super().status())
        found["services"][0]["name"] = 7
        return found


def test_an_answer_that_is_not_understood_says_which_versions_these_are(atoll: Atoll, tmp_path: Path) -> None:
    with Served(tmp_path / "s", Misunderstood()):
        done = atoll("status", ATOLL_PRETEND_VERSION=NEW)
        assert done.returncode == 7
        assert "error[versions-differ]" in done.stderr
        assert f"Atoll {__version__}, older than this command's {NEW}" in done.stderr
        assert atoll("status", "--json", ATOLL_PRETEND_VERSION=NEW).returncode == 0  # as it came
