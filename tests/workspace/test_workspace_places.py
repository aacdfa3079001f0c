"""Where things lie: for whom, with which modes, and what is not trusted."""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.model.errors import UserError
from atoll.workspace import places as module
from atoll.workspace.places import Places, data_home, run_home, states, workspace_id


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Both folders below a path of the test's own, which is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="atl-") as short:
        monkeypatch.setenv("ATOLL_HOME", f"{short}/h")
        monkeypatch.setenv("ATOLL_RUN", f"{short}/r")
        yield Path(short)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_everything_of_an_environment_is_made_with_its_mode_whatever_the_umask(home: Path) -> None:
    places = Places(home, "local")
    before = os.umask(0o077)
    try:
        places.create()
        places.create()
    finally:
        os.umask(before)
    assert mode(places.run) == 0o700
    for folder in (places.workspace, places.state, places.data, home / "h"):
        assert mode(folder) == 0o711, folder
    assert places.state.is_relative_to(home / "h")
    assert places.daemon_socket.parent == places.keeper_socket.parent == places.run


def test_environments_share_artifacts_and_nothing_else(home: Path) -> None:
    one, two = Places(home, "local"), Places(home, "production")
    assert one.artifacts == two.artifacts
    assert one.state != two.state
    assert one.run != two.run


def test_workspaces_share_nothing(home: Path) -> None:
    (home / "a" / "shop").mkdir(parents=True)
    (home / "b" / "shop").mkdir(parents=True)
    one, two = Places(home / "a" / "shop", "local"), Places(home / "b" / "shop", "local")
    assert one.id != two.id
    assert one.id.startswith("shop-")
    assert not {one.artifacts, one.state, one.run} & {two.artifacts, two.state, two.run}


def test_a_workspace_reached_through_a_link_is_the_same(home: Path) -> None:
    (home / "shop").mkdir()
    (home / "link").symlink_to("shop")
    assert Places(home / "link", "local").run == Places(home / "shop", "local").run


@pytest.mark.parametrize(
    ("folder", "slug"), [("My Shop_2!", "my-shop-2"), ("ünï", "n"), ("日本", "workspace"), ("a" * 99, "a" * 32)]
)
def test_a_workspace_is_named_after_its_folder(folder: str, slug: str) -> None:
    assert workspace_id(Path("/x") / folder).rpartition("-")[0] == slug


def test_a_path_too_long_for_a_socket_is_told_with_the_fix(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATOLL_RUN", str(home / ("x" * 100)))
    with pytest.raises(UserError) as caught:
        _ = Places(home, "local").run
    assert caught.value.fix == "set ATOLL_RUN to a shorter folder"


def test_chosen_folders_must_be_absolute(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATOLL_RUN", "relative")
    with pytest.raises(UserError, match="ATOLL_RUN must be an absolute path"):
        run_home()


def test_the_defaults_depend_on_the_user_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ATOLL_HOME", "ATOLL_RUN", "XDG_DATA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setattr(module.os, "geteuid", lambda: 1000)
    assert data_home() == Path("/home/somebody/.local/share/atoll")
    assert run_home() == Path("/tmp/atoll-1000")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert data_home() == Path("/data/atoll")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert data_home() == Path("/home/somebody/.local/share/atoll")
    monkeypatch.setattr(module.os, "geteuid", lambda: 0)
    monkeypatch.setattr(module.os, "access", lambda path, how: True)
    assert (data_home(), run_home()) == (Path("/var/lib/atoll"), Path("/run/atoll"))
    monkeypatch.setattr(module.os, "access", lambda path, how: False)
    assert run_home() == Path("/tmp/atoll-0")


def refusal(places: Places) -> str:
    with pytest.raises(UserError) as caught:
        _ = places.daemon_socket
    assert caught.value.fix == "remove it, or set ATOLL_RUN to a folder of yours"
    return caught.value.why


def test_a_folder_of_sockets_that_another_could_have_made_is_refused(home: Path) -> None:
    places = Places(home, "local")
    run = places.run
    run.parent.mkdir()
    (home / "elsewhere").mkdir(mode=0o700)
    run.symlink_to(home / "elsewhere")
    assert refusal(places) == "it is a link, which somebody else may have made"
    run.unlink()
    run.write_text("")
    assert refusal(places) == "it is not a folder"
    run.unlink()
    run.mkdir()
    run.chmod(0o777)
    assert refusal(places) == "others may write to it"
    if os.geteuid() == 0:
        run.chmod(0o700)
        os.chown(run, 65534, 65534)
        assert refusal(places) == "it belongs to user 65534"


def test_the_default_folder_above_is_checked_as_well(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATOLL_RUN")
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        top = Path(short) / "atoll-0"
        monkeypatch.setattr(module, "run_home", lambda: top)
        top.symlink_to(home)
        assert refusal(Places(home, "local")) == "it is a link, which somebody else may have made"


def test_a_folder_that_cannot_be_made_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "h").write_text("")
    with pytest.raises(UserError) as caught:
        Places(home, "local").create()
    assert caught.value.what == f"{home / 'h'} cannot be made"


def test_a_served_environment_is_found_by_names_alone_and_its_api_by_who_may_not_enter_the_private_folder(
    home: Path,
) -> None:
    places = Places.served("My Shop", "production")
    places.create()
    places.create()
    assert places.daemon_socket == home / "r/my-shop.production.sock"
    assert places.state == home / "h/served/my-shop/environments/production"
    assert places.artifacts == home / "h/served/my-shop/artifacts"
    assert mode(home / "r") == 0o711
    assert mode(places.run) == 0o700
    assert places.keeper_socket.parent == places.run
    other = Places.served("my-shop", "staging")
    assert other.run != places.run
    assert other.daemon_socket != places.daemon_socket


def test_a_served_environment_is_none_of_a_checkout_of_the_same_name(home: Path) -> None:
    (home / "shop").mkdir()
    mine, served = Places(home / "shop", "production"), Places.served("shop", "production")
    assert not mine.is_served
    assert not {mine.state, mine.run, mine.artifacts, mine.daemon_socket} & {
        *(served.state, served.run, served.artifacts, served.daemon_socket)
    }


def test_all_environments_of_a_machine_are_found(home: Path) -> None:
    mine, served = Places(home, "local"), Places.served("shop", "production")
    for each in (mine, served):
        each.create()
    assert set(states()) == {mine.state, served.state}


def test_the_folder_of_sockets_of_a_private_environment_is_opened_for_a_served_one(home: Path) -> None:
    Places(home, "local").create()
    assert mode(home / "r") == 0o700
    Places.served("shop", "production").create()
    assert mode(home / "r") == 0o711
