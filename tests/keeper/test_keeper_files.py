"""Rendered files of a replica: for its user alone, and gone when it ended, whoever was killed meanwhile."""

import os
from pathlib import Path

import msgspec
import pytest

from atoll.keeper import files
from atoll.keeper.client import places_of
from atoll.model.errors import Permanent
from atoll.ports import Launch

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give services users of their own")
LINE = 'cat "$FILES/etc/app.conf"; stat -c "%a %u %n" "$FILES" "$FILES/etc" "$FILES/etc/app.conf"; id -u; echo ready; exec sleep {mark}'


def with_files(host, launch: Launch, given: dict[str, str] | None = None) -> Launch:
    folder = f"{host.files_base()}/{launch.id}"
    given = {"etc/app.conf": "password=swordfish\n"} if given is None else given
    return msgspec.structs.replace(launch, files=given, files_folder=folder, env={**launch.env, "FILES": folder})


async def started(box, host):
    launch = with_files(host, box.launch(LINE))
    hosted = await host.start(launch)
    assert hosted.exit is None, hosted
    path = box.state / "logs" / launch.service / f"{launch.id}.log"
    box.wait(lambda: path.exists() and "ready" in path.read_text(), "it has read its files")
    return launch, hosted


async def test_they_are_for_its_user_alone(box):
    box.boot()
    host = box.host()
    launch, _ = await started(box, host)
    said = (await host.last_output(launch.id)).splitlines()
    folder, uid = launch.files_folder, said[4]
    assert said[0] == "password=swordfish"
    assert said[1:4] == [f"700 {uid} {folder}", f"700 {uid} {folder}/etc", f"600 {uid} {folder}/etc/app.conf"]
    await host.close()


@root_only
async def test_another_services_user_cannot_reach_them_and_they_are_in_memory(box):
    box.boot()
    host = box.host()
    launch, _ = await started(box, host)
    other = box.launch(
        f"cat {launch.files_folder}/etc/app.conf; ls {launch.files_folder}; ls {host.files_base()}", service="other"
    )
    ended, output = await host.run(other, 30.0)
    assert ended.code != 0
    assert "swordfish" not in output
    assert output.count("Permission denied") == 3
    assert files.in_memory(launch.files_folder)
    await host.close()


async def test_a_command_beside_it_finds_them(box):
    box.boot()
    host = box.host()
    launch, _ = await started(box, host)
    beside = msgspec.structs.replace(launch, command=box.launch('cat "$FILES/etc/app.conf"').command)
    ended, output = await host.run(beside, 30.0)
    assert (ended.code, output) == (0, "password=swordfish\n")
    assert Path(launch.files_folder).exists(), "what runs beside a replica takes nothing away"
    await host.close()


async def test_their_content_is_written_nowhere_else(box):
    box.boot()
    host = box.host()
    launch, hosted = await started(box, host)
    for path in [*box.state.rglob("*"), *box.run.rglob("*")]:
        if path.is_file() and launch.id not in path.name.removesuffix(".log"):
            assert b"swordfish" not in path.read_bytes(), path
    journal = next(box.state.rglob(f"{launch.id}.journal"))
    assert b"swordfish" not in journal.read_bytes()
    for pid in (hosted.pid, box.shim_of(hosted.pid)):
        assert b"swordfish" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert b"swordfish" not in Path(f"/proc/{pid}/environ").read_bytes()
    await host.close()


@pytest.mark.parametrize("killed", ["replica", "shim", "keeper and shim"])
async def test_nothing_of_them_is_left_after_a_kill(box, killed):
    keeper = box.boot()
    host = box.host()
    launch, hosted = await started(box, host)
    shim = box.shim_of(hosted.pid)
    if killed == "keeper and shim":
        box.kill(keeper)
    box.kill(hosted.pid if killed == "replica" else shim)
    await host.list()  # revives the keeper
    box.wait(lambda: not Path(launch.files_folder).exists(), "its folder is gone")
    await host.close()


async def test_a_keeper_sweeps_what_nobody_has(box):
    keeper = box.boot()
    host = box.host()
    launch, _ = await started(box, host)
    stray = Path(host.files_base()) / "reef-r1-stray"
    stray.mkdir()
    (stray / "old").write_text("x")
    box.kill(keeper)
    await host.list()
    box.wait(lambda: not stray.exists(), "it is swept")
    assert Path(launch.files_folder).exists(), "that of a running one stays"
    await host.close()


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a//b", "a/../b", ""])
async def test_a_file_elsewhere_is_refused(box, name):
    box.boot()
    host = box.host()
    with pytest.raises(Permanent, match="not a file below its folder"):
        await host.start(with_files(host, box.launch(), {name: "x"}))
    await host.close()


@pytest.mark.parametrize("name", ["../../x", "../x", "/etc/x", "a/../../../x", "a\0b"])
def test_whoever_asks_nothing_is_written_beside_its_folder(tmp_path, name):
    """The host of containers asks without a keeper between."""
    folder = tmp_path / "files" / "a"
    with pytest.raises(PermissionError, match="not a file below its folder"):
        files.write({"files": {"good": "x", name: "x"}, "files_folder": str(folder)}, None)
    assert list(tmp_path.rglob("*")) == []


@root_only
def test_its_user_gets_a_folder_only_when_all_is_in_it(tmp_path, monkeypatch):
    """Else a process of that user puts a link in the way of the next file, and root writes where it leads."""
    folder, uid = tmp_path / "files" / "a", 61234
    written, fdopen = [], os.fdopen

    def look(fd, *given, **fields):
        written.append({each.lstat().st_uid for each in (folder, folder / "conf.d")})
        return fdopen(fd, *given, **fields)

    monkeypatch.setattr("os.fdopen", look)
    given = {"conf.d/first": "1", "conf.d/second": "2"}
    files.write({"files": given, "files_folder": str(folder)}, uid)
    assert written == [{0}, {0}]
    assert {each.lstat().st_uid for each in (folder, *folder.rglob("*"))} == {uid}


async def test_a_folder_elsewhere_is_refused(box, tmp_path):
    box.boot()
    host = box.host()
    launch = with_files(host, box.launch(), {"a": "x"})
    for folder in (str(tmp_path / launch.id), f"{host.files_base()}/other"):
        with pytest.raises(Permanent, match="not a folder for the files"):
            await host.start(msgspec.structs.replace(launch, files_folder=folder))
    await host.close()


def test_removing_follows_no_link(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    folder = tmp_path / "files"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "link").symlink_to(outside)
    (folder / "file-link").symlink_to(outside / "kept")
    files.remove(str(folder))
    assert not folder.exists()
    assert (outside / "kept").read_text() == "x"


@root_only
def test_a_place_that_somebody_else_made_is_passed_over(tmp_path):
    places = places_of(tmp_path / "state", tmp_path / "run")
    first, second = files.bases(places)
    Path(first).mkdir()
    try:
        os.chown(first, 65534, 65534)
        assert files.base(places) == second
        with pytest.raises(PermissionError):
            files.write({"id": "a", "files": {"x": ""}, "files_folder": f"{first}/a"}, None)
    finally:
        Path(first).rmdir()
    assert files.base(places) == first
