"""`atoll backup` and `atoll restore`: a file is whole or not there, and nothing secret is an argument or is printed."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.backup.made import PASSPHRASE, SECRET, Made, environment

from atoll.backup import keys
from atoll.testing.fake_control import Served


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return environment(tmp_path / "made")


def test_a_backup_is_in_a_folder_under_its_name_and_time_and_the_daemon_knows(
    atoll, daemon: Served, made: Made
) -> None:
    daemon.control.archive = made.backup(made.root / "b").read_bytes()
    folder = made.root / "backups"
    folder.mkdir()
    done = atoll("backup", str(folder))
    (kept,) = folder.iterdir()
    assert done.stdout == f"{kept}\n"
    assert kept.name == "shop.production.2023-11-14T22-13-20Z.backup"
    assert kept.read_bytes() == daemon.control.archive
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    told = daemon.control.requests[-1]
    assert (told.size_bytes, told.made_wall, bool(told.id)) == (kept.stat().st_size, 1_700_000_000.0, True)


def test_what_came_and_is_no_backup_is_not_kept_and_the_daemon_is_not_told(atoll, daemon: Served, shop: Path) -> None:
    done = atoll("backup", "b.backup")
    assert (done.returncode, "error[backup-damaged]" in done.stderr) == (2, True)
    assert not list(shop.glob("b.backup*"))
    assert len(daemon.control.requests) == 1


def test_one_that_breaks_off_is_not_kept(atoll, daemon: Served, shop: Path) -> None:
    daemon.control.archive = b""
    done = atoll("backup", "b.backup")
    assert (done.returncode, "broken off" in done.stderr) == (7, True)
    assert not list(shop.glob("b.backup*"))


def test_nothing_is_overwritten(atoll, daemon: Served, shop: Path) -> None:
    (shop / "b.backup").write_text("the only good one")
    for options in (("b.backup",), ("--key", "b.backup")):
        done = atoll("backup", *options, stdin=PASSPHRASE)
        assert (done.returncode, "error[would-overwrite]" in done.stderr) == (2, True)
    assert (shop / "b.backup").read_text() == "the only good one"
    assert daemon.control.requests == []


def test_a_folder_that_is_not_there_does_not_become_a_file(atoll, daemon: Served, made: Made, shop: Path) -> None:
    daemon.control.archive = made.backup(made.root / "b").read_bytes()
    done = atoll("backup", "backups/")
    assert (done.returncode, "there is no folder backups/; `mkdir -p" in done.stderr) == (2, True), done.stderr
    assert not (shop / "backups").exists()
    (shop / "backups").mkdir()
    assert atoll("backup", "backups/").returncode == 0
    assert len(list((shop / "backups").iterdir())) == 1


def test_what_a_machine_serves_is_started_by_the_name_of_its_unit(atoll, made: Made, tmp_path: Path) -> None:
    file = made.backup(tmp_path / "b.backup")
    done = atoll("restore", "--served", "My Shop", "--env", "production", str(file))
    assert (done.returncode, "`systemctl start atoll-my-shop-production`" in done.stdout + done.stderr) == (0, True)


def test_older_ones_of_the_same_environment_go_and_nothing_else(atoll, daemon: Served, made: Made) -> None:
    daemon.control.archive = made.backup(made.root / "b").read_bytes()
    folder = made.root / "backups"
    folder.mkdir()
    mine = [f"shop.production.2023-11-{day:02}T00-00-00Z.backup" for day in range(1, 5)]
    others = [
        "shop.staging.2023-11-01T00-00-00Z.backup",
        "shop.production.yearly.backup",
        "shop.production.eu.2023-11-01T00-00-00Z.backup",
        "shop.production.2023-11-01T00-00-00Z.backup.part",
        "shop.key",
    ]
    for name in (*mine, *others):
        (folder / name).write_text(name)
    done = atoll("backup", str(folder), "--keep", "2")
    assert done.returncode == 0
    left = {each.name for each in folder.iterdir()}
    assert left == {mine[-1], "shop.production.2023-11-14T22-13-20Z.backup", *others}


def test_the_one_that_was_just_made_stays_though_the_clock_was_set_back(atoll, daemon: Served, made: Made) -> None:
    daemon.control.archive = made.backup(made.root / "b").read_bytes()
    folder = made.root / "backups"
    folder.mkdir()
    for day in (1, 2):
        (folder / f"shop.production.2033-11-0{day}T00-00-00Z.backup").write_text("made when the clock was wrong")
    assert atoll("backup", str(folder), "--keep", "2").returncode == 0
    left = {each.name for each in folder.iterdir()}
    assert left == {"shop.production.2033-11-02T00-00-00Z.backup", "shop.production.2023-11-14T22-13-20Z.backup"}


@pytest.mark.parametrize("left", ["link", "file"])
def test_in_a_folder_of_all_nothing_that_others_put_there_is_written_to(
    atoll, daemon: Served, made: Made, left: str
) -> None:
    daemon.control.archive = made.backup(made.root / "b").read_bytes()
    folder = made.root / "all"
    folder.mkdir()
    folder.chmod(0o777)
    theirs = made.root / "theirs"
    theirs.write_text("theirs")
    for name in ("b.backup.part", "k.key.part"):
        if left == "link":
            (folder / name).symlink_to(theirs)
        else:
            os.link(theirs, folder / name)
    assert atoll("backup", str(folder / "b.backup")).returncode == 0
    assert atoll("backup", "--key", str(folder / "k.key"), stdin=PASSPHRASE).returncode == 0
    assert theirs.read_text() == "theirs"
    assert not (folder / "b.backup").is_symlink()


def test_standard_output_gets_the_bytes_and_nothing_else(
    atoll, daemon: Served, made: Made, shop: Path, environ: dict[str, str]
) -> None:
    daemon.control.archive = made.backup(made.root / "b").read_bytes()
    with (shop / "out").open("wb") as out:
        program = Path(__file__).with_name("pretend_atoll.py")
        argv = [sys.executable, str(program), "backup", "-"]
        subprocess.run(argv, cwd=shop, env=environ, stdout=out, check=True, timeout=60)
    assert (shop / "out").read_bytes() == daemon.control.archive
    assert daemon.control.requests[-1].size_bytes == len(daemon.control.archive)


def test_a_reader_that_goes_ends_it_as_it_ends_any_program(
    daemon: Served, made: Made, shop: Path, environ: dict[str, str]
) -> None:
    daemon.control.archive = os.urandom(2**22)
    program = Path(__file__).with_name("pretend_atoll.py")
    line = f"{sys.executable} {program} backup - | head -c 10 > out; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=shop, env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("141\n", "")
    assert len(daemon.control.requests) == 1  # nobody said that it is kept


def test_the_passphrase_goes_to_the_daemon_and_nowhere_else(atoll, daemon: Served, shop: Path) -> None:
    done = atoll("backup", "--key", "shop.key", stdin=f"{PASSPHRASE}\nmore\n")
    assert (done.returncode, done.stdout) == (0, "shop.key\n")
    assert daemon.control.requests[-1].passphrase == PASSPHRASE
    assert stat.S_IMODE((shop / "shop.key").stat().st_mode) == 0o600
    assert PASSPHRASE not in done.stdout + done.stderr + (shop / "shop.key").read_text()


def test_without_a_passphrase_nothing_is_asked_for(atoll, daemon: Served, shop: Path) -> None:
    done = atoll("backup", "--key", "shop.key", stdin="")
    assert (done.returncode, "error[backup-key]" in done.stderr) == (2, True)
    assert daemon.control.requests == []


def test_a_check_tries_file_and_key_and_needs_neither_daemon_nor_workspace(atoll, made: Made, tmp_path: Path) -> None:
    file = made.backup(tmp_path / "b.backup")
    (tmp_path / "shop.key").write_bytes(keys.written(made.key(), PASSPHRASE, "shop", "production"))
    (tmp_path / "phrase").write_text(f"{PASSPHRASE}\n")
    key = ("--key", str(tmp_path / "shop.key"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    good = atoll("restore", str(file), "--check", *key, "--passphrase", str(tmp_path / "phrase"), cwd=elsewhere)
    assert (good.returncode, "3 versions of secrets, each opened" in good.stdout) == (0, True)
    assert SECRET not in good.stdout + good.stderr
    wrong = atoll("restore", str(file), "--check", *key, stdin="another passphrase\n", cwd=elsewhere)
    assert (wrong.returncode, "error[backup-key]" in wrong.stderr) == (2, True)
    file.write_bytes(file.read_bytes()[:-1])
    bad = atoll("restore", str(file), "--check", cwd=elsewhere)
    assert (bad.returncode, "error[backup-damaged]" in bad.stderr) == (2, True)
    assert list(elsewhere.iterdir()) == []


def test_replacing_what_others_use_asks_for_its_name(atoll, made: Made, tmp_path: Path) -> None:
    file = made.backup(tmp_path / "b.backup")
    done = atoll("restore", str(file), "--replace", "--env", "production")
    assert (done.returncode, "error[not-confirmed]" in done.stderr) == (4, True)
    assert atoll("restore", str(file), "--replace", "--env", "production", "--yes").returncode == 0


def test_an_environment_on_another_machine_is_restored_there(atoll, made: Made, tmp_path: Path) -> None:
    file = made.backup(tmp_path / "b.backup")
    done = atoll("restore", str(file), "--replace", ATOLL_PRETEND_MACHINE="deploy@vm1")
    assert (done.returncode, "deploy@vm1" in done.stderr, "--served" in done.stderr) == (4, True, True)
    assert atoll("restore", str(file), "--check", ATOLL_PRETEND_MACHINE="deploy@vm1").returncode == 0


def test_a_full_disk_leaves_no_file(atoll, daemon: Served, made: Made, shop: Path) -> None:
    daemon.control.archive = made.backup(made.root / "b").read_bytes() + os.urandom(200_000)
    small = shop / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", small], check=False).returncode:
        pytest.skip("needs a file system of its own, which only root can mount")
    try:
        done = atoll("backup", "small/b.backup")
        assert (done.returncode, "error[cannot-write]" in done.stderr) == (2, True)
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)
