"""The folders in which Envoy and the daemon meet, and what a user of Envoy's may do there."""

import os
import stat
import tempfile
from pathlib import Path

import pytest

from atoll.model.errors import UserError
from atoll.proxy.sockets import Sockets, User, beside

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
SOMEBODY = User(64901, 64902)


def test_without_a_user_all_lies_in_the_one_folder() -> None:
    sockets = Sockets(Path("/run/a"))
    assert {sockets.xds.parent, sockets.admin.parent, sockets.line.parent} == {Path("/run/a")}


@root_only
def test_with_one_it_has_a_folder_in_a_folder_in_which_only_root_may_put_anything(tmp_path: Path) -> None:
    sockets = Sockets(tmp_path / "run", SOMEBODY)
    for _ in range(2):
        sockets.make()
    outer, own = sockets.folder.stat(), sockets.admin.parent.stat()
    assert (outer.st_uid, outer.st_gid, stat.S_IMODE(outer.st_mode)) == (0, SOMEBODY.gid, 0o710)
    assert (own.st_uid, own.st_gid, stat.S_IMODE(own.st_mode)) == (*SOMEBODY, 0o700)
    assert sockets.xds.parent == sockets.folder
    assert not (tmp_path / "run").exists()


@root_only
def test_a_folder_that_others_may_write_is_not_used(tmp_path: Path) -> None:
    folder = beside(tmp_path / "run")
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(UserError, match=r"run\.proxy cannot be used"):
        Sockets(tmp_path / "run", SOMEBODY).make()


@root_only
def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    beside(tmp_path / "run").symlink_to(tmp_path / "etc")
    with pytest.raises(UserError, match="cannot be used"):
        Sockets(tmp_path / "run", SOMEBODY).make()
    assert (tmp_path / "etc").stat().st_gid == 0


@root_only
def test_what_stands_in_a_users_way_is_named_as_the_kernel_sees_it() -> None:
    with tempfile.TemporaryDirectory() as name:  # the test's own folder lies in one that is closed to others
        folder = Path(name)
        folder.chmod(0o711)
        program, file = folder / "program", folder / "file"
        program.write_text("")
        file.write_text("")
        file.chmod(0o600)
        program.chmod(0o755)
        assert SOMEBODY.kept_from(str(program), file) == str(file)
        os.chown(file, *SOMEBODY)
        assert SOMEBODY.kept_from(str(program), file) == ""
        program.chmod(0o700)
        assert SOMEBODY.kept_from(str(program), file) == str(program)


def test_a_user_is_written_as_it_is_read() -> None:
    assert User.parsed(str(SOMEBODY)) == SOMEBODY


def test_a_name_that_nobody_has_is_nobody() -> None:
    assert User.named("atoll-nobody-has-this") is None
    assert User.named("root") is None
