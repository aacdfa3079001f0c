"""What a machine serves, as root finds it by its folders and others by the units."""

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.app import served
from atoll.app.serve import prepare
from atoll.app.unit import unit
from atoll.workspace.places import Places


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="atl-") as name:  # short enough for sockets
        folder = Path(name)
        monkeypatch.setenv("ATOLL_HOME", str(folder / "h"))
        monkeypatch.setenv("ATOLL_RUN", str(folder / "r"))
        monkeypatch.setattr(served, "_UNITS", folder / "units")
        (folder / "units").mkdir()
        (folder / "r").mkdir(mode=0o755)
        yield folder


def test_who_owns_the_folders_finds_those_that_are_served_and_no_others() -> None:
    prepare(Places.served("My Shop", "production"), "My Shop", isolated=False)
    Places(Path("/ws"), "local").create()
    ((name, places),) = served.served_here().items()
    assert name == ("My Shop", "production")
    assert places.socket == Places.served("My Shop", "production").daemon_socket


@pytest.mark.parametrize("variables", [{}, {"ATOLL_HOME": "/srv/h", "ATOLL_RUN": "/srv/my r"}])
def test_others_find_the_units_and_the_sockets_at_which_they_may_knock(home: Path, variables: dict[str, str]) -> None:
    text = unit("My Shop", "production", "/opt/atoll/bin/python", variables)
    (home / "units" / "atoll-my-shop-production.service").write_text(text)
    (home / "units" / "atoll-other.service").write_text("[Unit]\nDescription=somebody else's\n")
    ((name, places),) = served.served_here().items()
    assert name == ("My Shop", "production")
    assert str(places.socket) == f"{variables.get('ATOLL_RUN', '/run/atoll')}/my-shop.production.sock"
    assert not places.keeper_alive()


def test_a_socket_at_which_nobody_listens_any_more_is_waited_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "_RUN", str(home / "r"))
    (home / "units" / "atoll-shop-production.service").write_text(unit("shop", "production", "/python", {}))
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(home / "r" / "shop.production.sock"))
    (places,) = served.served_here().values()
    assert places.will_answer()
