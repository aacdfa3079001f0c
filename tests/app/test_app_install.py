"""`atoll install` into a root folder of this test's own: what is written, and what a second call changes."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from atoll.app.draining import DRAINS_WITHIN_S
from atoll.app.install import install, uninstall
from atoll.app.serve import STOPS_WITHIN_S
from atoll.app.unit import STOP_S, proxy_user, unit
from atoll.model.access import Access
from atoll.model.errors import UserError
from atoll.model.install import Installing
from atoll.workspace.places import unit_name

UNIT = "etc/systemd/system/atoll-my-shop-production.service"
ACCOUNT = "etc/sysusers.d/atoll-my-shop-production.conf"
STATE = "var/lib/atoll/served/my-shop/environments/production"


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installing:
    for variable in ("ATOLL_HOME", "ATOLL_RUN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return Installing(workspace="My Shop", environment="production", root=str(tmp_path))


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_all_that_is_written_is_told_and_a_second_call_writes_nothing(ask: Installing, tmp_path: Path) -> None:
    view = install(ask, plan=False)
    told = {str(Path(path).relative_to(tmp_path)) for path in view.written}
    settings = {"etc/atoll/my-shop.production.env", "etc/sysusers.d/atoll.conf", ACCOUNT}
    assert {UNIT, f"{STATE}/access.json", *settings} == told
    assert told <= files(tmp_path)
    assert not view.running
    assert stat.S_IMODE((tmp_path / "etc/atoll/my-shop.production.env").stat().st_mode) == 0o600
    assert json.loads((tmp_path / STATE / "access.json").read_text())["admins"] == ["atoll"]
    assert install(ask, plan=False).written == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="what anybody else installed is theirs to change")
def test_an_atoll_that_others_may_write_to_is_told_since_root_will_run_it(
    ask: Installing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "home" / "venv"
    theirs.mkdir(parents=True)
    monkeypatch.setattr("sys.prefix", str(theirs))
    for owner, mode, told in ((0, 0o755, False), (1000, 0o755, True), (0, 0o775, True)):
        os.chown(theirs.parent, owner, 0)
        theirs.parent.chmod(mode)
        notes = [note for note in install(ask, plan=True).notes if f"may write to {theirs.parent}:" in note]
        assert bool(notes) == told, (owner, mode)


def test_a_plan_writes_nothing_and_says_the_same(ask: Installing, tmp_path: Path) -> None:
    plan = install(ask, plan=True)
    assert plan.plan
    assert files(tmp_path) == set()
    done = install(ask, plan=False)
    assert (done.written, done.commands) == (plan.written, plan.commands)


def test_variables_of_the_administrator_are_kept_and_roles_stay_unless_some_are_given(
    ask: Installing, tmp_path: Path
) -> None:
    install(ask, plan=False)
    variables = tmp_path / "etc/atoll/my-shop.production.env"
    variables.write_text("TZ=UTC\n")
    (tmp_path / UNIT).write_text("an older one")
    given = Installing(
        workspace="My Shop", environment="production", root=str(tmp_path), access=Access(deployers=("ci",))
    )
    assert {Path(path).name for path in install(given, plan=False).written} == {"access.json", Path(UNIT).name}
    install(ask, plan=False)
    assert json.loads((tmp_path / STATE / "access.json").read_text())["deployers"] == ["ci"]
    assert variables.read_text() == "TZ=UTC\n"


@pytest.mark.parametrize(("workspace", "environment"), [("shop", "../x"), ("a/b", "production"), ("shop", "A b")])
def test_names_that_no_file_of_a_workspace_may_have_are_refused(
    ask: Installing, workspace: str, environment: str
) -> None:
    with pytest.raises(UserError, match="must be"):
        install(Installing(workspace=workspace, environment=environment, root=ask.root), plan=False)


def test_uninstall_keeps_what_the_environment_keeps_until_it_is_told_to_purge(ask: Installing, tmp_path: Path) -> None:
    install(ask, plan=False)
    kept = tmp_path / STATE / "atoll.sqlite"
    kept.write_text("a store")
    view = uninstall(ask, purge=False, plan=False)
    assert [Path(path).name for path in view.written] == [Path(UNIT).name, Path(ACCOUNT).name]
    assert kept.exists()
    assert any("--purge" in note for note in view.notes)
    assert str(kept.parent) in uninstall(ask, purge=True, plan=True).written
    assert kept.exists()
    uninstall(ask, purge=True, plan=False)
    assert files(tmp_path) == {"etc/sysusers.d/atoll.conf"} | {
        path
        for path in files(tmp_path)
        if path.startswith(("etc/group", "etc/gshadow", "etc/.pwd", "etc/passwd", "etc/shadow"))
    }
    with pytest.raises(UserError, match="does not serve 'production' of 'My Shop'"):
        uninstall(ask, purge=False, plan=False)


def test_one_of_two_environments_takes_only_its_own_with_it(ask: Installing, tmp_path: Path) -> None:
    staging = Installing(workspace="My Shop", environment="staging", root=str(tmp_path))
    for each in (ask, staging):
        install(each, plan=False)
    artifacts = tmp_path / "var/lib/atoll/served/my-shop/artifacts"
    artifacts.mkdir()
    uninstall(ask, purge=True, plan=False)
    assert artifacts.exists()
    assert not (tmp_path / STATE).exists()
    uninstall(staging, purge=True, plan=False)
    assert not artifacts.parent.exists()


def test_the_proxys_account_comes_with_the_environment_and_goes_with_it(ask: Installing, tmp_path: Path) -> None:
    if shutil.which("systemd-sysusers") is None or shutil.which("userdel") is None:
        pytest.skip("systemd-sysusers or userdel is not installed")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("")
    install(ask, plan=False)
    name, _, uid, gid, _, _, shell = (tmp_path / "etc/passwd").read_text().strip().split(":")
    assert name == proxy_user("My Shop", "production")
    assert 0 < int(uid) < 1000
    assert f"{name}:x:{gid}:" in (tmp_path / "etc/group").read_text()
    assert shell.endswith("nologin")
    assert f"userdel --prefix {tmp_path} {name}" in uninstall(ask, purge=False, plan=False).commands
    assert (tmp_path / "etc/passwd").read_text() == ""


def test_a_long_name_is_cut_to_what_an_account_may_have_and_two_stay_two() -> None:
    names = {proxy_user("a" * 60, "production"), proxy_user("a" * 60, "staging"), proxy_user("shop", "e" * 32)}
    assert len(names) == 3
    assert {len(name) for name in names} == {31}


def test_systemd_takes_the_unit_as_it_is_written(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    file = tmp_path / f"{unit_name('My Shop', 'production')}.service"
    file.write_text(unit("My Shop", "production", sys.executable, {"ATOLL_HOME": '/srv/a "b" 100%'}))
    done = subprocess.run([analyze, "verify", str(file)], capture_output=True, text=True, timeout=60, check=False)
    mine = [line for line in done.stderr.splitlines() if file.name in line]
    assert mine == []


def test_systemd_does_not_rate_the_unit_worse_than_the_documentation_says(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    file = tmp_path / f"{unit_name('shop', 'production')}.service"
    file.write_text(unit("shop", "production", sys.executable, {}))
    argv = [analyze, "security", "--offline=true", "--no-pager", str(file)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("systemd-analyze is older than 250")
    assert float(done.stdout.partition("Overall exposure level for")[2].split()[1]) <= 8.9, done.stderr


def test_a_crash_of_the_keeper_ends_nothing_else_and_a_stop_has_time_to_drain() -> None:
    lines = unit("shop", "production", "/opt/atoll/bin/python", {}).splitlines()
    assert "KillMode=process" in lines
    assert "Restart=always" in lines
    assert f"TimeoutStopSec={STOP_S}" in lines
    assert DRAINS_WITHIN_S + STOPS_WITHIN_S + 20 <= STOP_S
    assert "OOMPolicy=continue" in lines
    assert "ExecStart=/opt/atoll/bin/python -P -m atoll.app.serve shop production --isolate" in lines
